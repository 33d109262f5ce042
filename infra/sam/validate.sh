#!/bin/bash
# Everything that linters say of template.yaml without AWS. No AWS keys: sam would call STS.
set -euo pipefail
cd "$(dirname "$0")/../.."
unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AWS_PROFILE
export SAM_CLI_TELEMETRY=0 AWS_EC2_METADATA_DISABLED=true AWS_DEFAULT_REGION=us-east-1
.tools/sam/bin/python .tools/sam/bin/sam validate --lint # by python: a moved checkout has moved environments
.tools/sam/bin/python .tools/sam/bin/cfn-lint template.yaml
.tools/checkov/bin/python .tools/checkov/bin/checkov -f template.yaml --config-file infra/sam/checkov.yaml
