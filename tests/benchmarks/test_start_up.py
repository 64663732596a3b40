"""Start-up: what importing and asking for help cost, in processor time of fresh processes.

`python tests/benchmarks/test_start_up.py` prints the table. The weight of the wheel is checked by
tests/test_packaging.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
from statistics import median

IMPORT_LIMIT = 0.15  # seconds that `import ansm_plugin` adds to `import torch`
HELP_LIMIT = 0.5  # seconds of `ansm --help`, the interpreter included
ADDED = """
import time, torch
start = time.process_time()
import ansm_plugin
print(time.process_time() - start)
"""
# All public names too: what a script pays that uses them.
NAMES = """
import time, torch
start = time.process_time()
import ansm_plugin
[getattr(ansm_plugin, name) for name in ansm_plugin.__all__]
print(time.process_time() - start)
"""
HELP = """
import contextlib, io, sys, time
from ansm_plugin.cli import main
with contextlib.redirect_stdout(io.StringIO()) as said:
    assert main(["--help"]) == 0
assert "localize" in said.getvalue()
assert "torch" not in sys.modules
print(time.process_time())
"""
MEASURES = {
    "`import ansm_plugin` after `import torch`": (ADDED, IMPORT_LIMIT),
    "all public names after `import torch`": (NAMES, None),
    "`ansm --help`": (HELP, HELP_LIMIT),
}


def is_within(code: str, limit: float, runs: int = 3) -> bool:
    """Whether a fresh interpreter prints at most `limit` seconds; the machine may spoil two."""
    return any(printed(code) <= limit for _ in range(runs))


def printed(code: str) -> float:
    """Run code in a fresh interpreter and return the number that it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


def test_importing_adds_little_to_torch() -> None:
    assert is_within(ADDED, IMPORT_LIMIT)


def test_help_answers_at_once_and_without_torch() -> None:
    assert is_within(HELP, HELP_LIMIT)


def main() -> None:
    """Print the table."""
    print("| what | CPU seconds, median of 5 | limit |")
    print("|---|---|---|")
    for label, (code, limit) in MEASURES.items():
        taken = median(printed(code) for _ in range(5))
        print(f"| {label} | {taken:.3f} | {'-' if limit is None else limit} |")


if __name__ == "__main__":
    main()
