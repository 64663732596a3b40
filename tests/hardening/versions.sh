#!/usr/bin/env bash
# The normal suite with the oldest packages that pyproject.toml allows, or with the newest:
#   bash tests/hardening/versions.sh oldest             # python3, every `>=` taken as `==`
#   bash tests/hardening/versions.sh newest python3.13  # any interpreter from 3.11 on
# More arguments go to pytest. Needs a network for pip, 6 GB in the temporary folder, and minutes;
# what it made there it removes.
set -euo pipefail
cd "$(dirname "$0")/../.."
which=${1:?oldest or newest}
python=${2:-python3}
shift "$(($# < 2 ? $# : 2))"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

"$python" -m venv "$folder/venv"
"$folder/venv/bin/python" - "$which" > "$folder/bounds.txt" <<'PYTHON'
import re, sys, tomllib
from pathlib import Path

wanted = tomllib.loads(Path("pyproject.toml").read_text())["project"]["dependencies"]
if sys.argv[1] == "oldest":
    unbounded = [line for line in wanted if ">=" not in line]
    assert not unbounded, f"no lower bound: {unbounded}"
    print("\n".join(re.sub(r">=\s*([^,\s]+).*", r"==\1", line) for line in wanted))
PYTHON
"$folder/venv/bin/pip" install --quiet -c "$folder/bounds.txt" '.[test]'
rm -rf build
"$folder/venv/bin/pip" list 2>/dev/null |
  grep -E -i '^(torch|torchvision|timm|segmentation|kornia|numpy|onnx[a-z]*) ' || true
"$folder/venv/bin/python" --version
OMP_NUM_THREADS=1 "$folder/venv/bin/python" -m pytest -q -p no:cacheprovider \
  --basetemp "$folder/tests" "$@"
