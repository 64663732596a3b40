"""Test double of ForensicHub's test.py: no package around it, and it builds what the YAML says."""

import json
import sys

from ForensicHub.registry import MODELS, build_from_registry

if __name__ == "__main__":
    with open(sys.argv[sys.argv.index("--config") + 1]) as file:  # noqa: PTH123 - as the host does
        model = build_from_registry(MODELS, json.load(file)["model"])
    print("built", type(model).__name__)
