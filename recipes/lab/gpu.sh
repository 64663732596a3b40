#!/usr/bin/env bash
# What a GPU makes of this checkout: the tests that need one, then the table of `lab.gpu`.
#   bash recipes/lab/gpu.sh [--dry] [--json FILE]
# Five minutes on one GPU, without a network. --dry needs none: every row runs at the smallest size
# on the CPU, and the table says "not measured". It takes torch and what pyproject.toml names; where
# these are missing, WHEELS=FOLDER installs them from the wheels in a folder, into a temporary one.
set -euo pipefail
cd "$(dirname "$0")/../.."
export PYTHONPATH="$PWD:$PWD/recipes:$PWD/tests"
python=${PYTHON:-python3}
if [ -n "${WHEELS:-}" ]; then
    packages=$(mktemp -d)
    trap 'rm -rf "$packages"' EXIT
    "$python" -m pip install --quiet --no-index --no-deps --target "$packages" "$WHEELS"/*.whl
    PYTHONPATH="$PYTHONPATH:$packages"
fi
missing=$("$python" - <<'PYTHON'
import importlib.util
names = ("torch timm segmentation_models_pytorch kornia einops safetensors accelerate torchmetrics "
         "rich jinja2 matplotlib PIL numpy skimage tomli_w pytest")
print(*(name for name in names.split() if importlib.util.find_spec(name) is None))
PYTHON
)
if [ -n "$missing" ]; then
    echo "gpu.sh: these modules are missing: $missing. Install the package with its extra \`test\`" \
        "(pip install '.[test]'), or give a folder of wheels as WHEELS." >&2
    exit 2
fi
failed=0
"$python" -m pytest -q -p no:randomly -m gpu tests/gpu || failed=$?
[ "$failed" -ne 5 ] || failed=0 # no test was chosen
"$python" -m lab.gpu "$@" || failed=$?
exit "$failed"
