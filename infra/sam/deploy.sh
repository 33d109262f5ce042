#!/usr/bin/env bash
# deploy.sh [CONFIG_ENV]: sam build and sam deploy with the parameters that samconfig.toml has (sam deploy --guided saves them there)
# and a DeployId: a hash of functions, template and parameters. SAM publishes a function's new version where its code or its DeployId
# changes, and not where a parameter does (nor a secret's text: FORCE=1 makes another DeployId for that).
set -euo pipefail
cd "$(dirname "$0")/../.."
env=${1:-default}
sam build --config-env "$env"
overrides=()
while IFS= read -r line; do overrides+=("$line"); done < <(python3 - "$env" <<'P'
import json, shlex, sys
try:
    import tomllib
except ImportError: # before Python 3.11
    from pip._vendor import tomli as tomllib
with open("samconfig.toml", "rb") as f:
    given = tomllib.load(f).get(sys.argv[1], {}).get("deploy", {}).get("parameters", {}).get("parameter_overrides", [])
for item in shlex.split(given) if isinstance(given, str) else given:
    name, _, value = item.partition("=")
    if name != "DeployId":
        print(f"{name}={json.dumps(value.strip(chr(34)))}")
P
)
id=$(python3 - .aws-sam/build/template.yaml .aws-sam/build/*/bootstrap -- ${FORCE:+"$(date)"} ${overrides[@]+"${overrides[@]}"} <<'P'
import hashlib, sys
cut = sys.argv.index("--")
sum = hashlib.sha256("\n".join(sys.argv[cut:]).encode())
for name in sys.argv[1:cut]:
    with open(name, "rb") as f:
        sum.update(f.read())
print(sum.hexdigest()[:16])
P
)
exec sam deploy --config-env "$env" --parameter-overrides ${overrides[@]+"${overrides[@]}"} "DeployId=\"$id\""
