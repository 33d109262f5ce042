#!/bin/bash
# Everything that can be asked of template.yaml without AWS. No AWS keys: sam would call STS.
set -euo pipefail
cd "$(dirname "$0")/../.."
unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AWS_PROFILE
export SAM_CLI_TELEMETRY=0 AWS_EC2_METADATA_DISABLED=true AWS_DEFAULT_REGION=us-east-1 PATH="$PWD/.tools/sam/bin:$PATH"
sam validate --lint
cfn-lint template.yaml
.tools/sam/bin/python infra/sam/transform.py
