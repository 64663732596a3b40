"""A process that has imported all that the commands need, and forks to run one of them.

Reads one JSON command per line: {"argv": [...], "log": FILE} starts a run and answers its number;
{"wait": NUMBER} answers how that run ended: its exit code, or minus the signal.
"""

from __future__ import annotations

import json
import os
import signal
import sys

import torch
import torch._dynamo  # what optimizers import first; a kill is to meet work, not an import
import torchmetrics.functional  # noqa: F401

from ansm_plugin import cli
from ansm_plugin.backbones import smp_family  # noqa: F401 - imported before the forks
from ansm_plugin.commands import loading, recipe_options, results  # noqa: F401
from ansm_plugin.data import samples
from ansm_plugin.evaluation import attack_set, material, rivals  # noqa: F401
from ansm_plugin.recipes import ffa, hardened, localizer, mgr, two_stage  # noqa: F401
from ansm_plugin.report import panels, table  # noqa: F401
from ansm_plugin.training import cache as attacked


def start(argv: list[str], log: str) -> int:
    """Run a command in a child; return its process number."""
    number = os.fork()
    if number:
        return number
    code = 1
    try:
        stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for target in (1, 2):
            os.dup2(stream, target)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        code = cli.main(argv)
    except KeyboardInterrupt:
        code = 131  # between the end of the command and ours
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def wait(number: int) -> int:
    """Return the exit code of a child, or minus the signal that ended it."""
    status = os.waitpid(number, 0)[1]
    return os.waitstatus_to_exitcode(status)


def main() -> None:
    """Serve until the end of the input."""
    torch.set_num_threads(1)
    # A shell starts what runs in the background with SIGINT ignored, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    attacked.SHARD = 4  # small parts, so that many kills meet a half-finished one
    samples._CROPS_PER_BATCH = 2
    sys.path.insert(0, sys.argv[1])
    print("ready", flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        answer = wait(asked["wait"]) if "wait" in asked else start(asked["argv"], asked["log"])
        print(answer, flush=True)


if __name__ == "__main__":
    main()
