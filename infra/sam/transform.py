"""Prints what SAM makes of template.yaml, as JSON: transform.py [Parameter=value ...]. Nothing is asked of AWS."""
import json, os, sys

os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
from samcli.yamlhelper import yaml_parse
from samtranslator.translator.transform import transform


class ManagedPolicies:  # SAM would fetch the account's list to find a policy by its name; the template names none so
    def load(self):
        return {}


template = yaml_parse(open("template.yaml").read())
for resource in template["Resources"].values():
    if resource["Type"] == "AWS::Serverless::Function":
        resource["Properties"]["CodeUri"] = "s3://bucket/key"
json.dump(transform(template, dict(a.split("=", 1) for a in sys.argv[1:]), ManagedPolicies()), sys.stdout)
