"""Transforms template.yaml offline as SAM does and holds each integration to what its event asks for."""
import json, os, sys
os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
from samcli.yamlhelper import yaml_parse
from samtranslator.translator.transform import transform

class NoPolicies:
    def load(self): return {}

src = yaml_parse(open("template.yaml").read())
functions = [r for r in src["Resources"].values() if r["Type"] == "AWS::Serverless::Function"]
want = {e["Properties"]["Path"]: e["Properties"].get("ResponseTransferMode") for f in functions for e in f["Properties"]["Events"].values()}
for f in functions: f["Properties"]["CodeUri"] = "s3://bucket/key"
out = transform(src, {}, NoPolicies())
faults, seen = [], set()
for r in out["Resources"].values():
    if r["Type"] != "AWS::ApiGateway::RestApi": continue
    for path, methods in r["Properties"]["Body"]["paths"].items():
        for method, d in methods.items():
            seen.add(path)
            i = d.get("x-amazon-apigateway-integration", {})
            uri, streams = json.dumps(i.get("uri")), want.get(path) == "RESPONSE_STREAM"
            if method != "x-amazon-apigateway-any-method": faults.append(f"{path}: method {method}")
            if (i.get("responseTransferMode") == "STREAM") != streams: faults.append(f"{path}: transfer mode {i.get('responseTransferMode')}")
            if ("response-streaming-invocations" in uri) != streams: faults.append(f"{path}: uri {uri}")
            if i.get("timeoutInMillis") != (900000 if streams else None): faults.append(f"{path}: timeout {i.get('timeoutInMillis')}")
if seen != set(want): faults.append(f"paths differ: {seen ^ set(want)}")
size = len(json.dumps(out))
if len(out["Resources"]) > 500 or size > 1_000_000: faults.append(f"{len(out['Resources'])} resources, {size} bytes")
print(f"transform: {len(out['Resources'])} resources, {size} bytes, {len(seen)} paths, {sum(m == 'RESPONSE_STREAM' for m in want.values())} streamed")
print("\n".join(faults), file=sys.stderr)
sys.exit(bool(faults))
