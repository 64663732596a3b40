"""Scripts in two processes on this machine's CPU, as torchrun starts them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path


def two_processes(script: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a Python script in two processes and return what both printed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2",
                "--master-addr=127.0.0.1", f"--master-port={port}"]  # fmt: skip
    return subprocess.run(
        [*torchrun, str(script), *arguments],
        capture_output=True, text=True, check=False, timeout=240,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "",
             "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
