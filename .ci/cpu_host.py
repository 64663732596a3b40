"""Run `ansm_plugin.toolkits.run`, or a bare script of IMDLBenCo, on a machine without a GPU.

IMDLBenCo 0.1.45 names CUDA in a few places whatever `--device` says. These are replaced here, in
our process alone; its files stay as its package brought them.
"""

from __future__ import annotations

import functools
import runpy
import sys
from typing import Any

import torch
import torchvision  # noqa: F401 - it makes a table of torch's functions, which must not hold ours
from torch import distributed
from torch.nn import parallel

_tensor = torch.tensor
_join = distributed.init_process_group


@functools.wraps(_tensor)
def _on_cpu(*args: Any, **options: Any) -> torch.Tensor:
    if options.get("device") == "cuda":
        options["device"] = "cpu"
    return _tensor(*args, **options)


@functools.wraps(_join)
def _by_gloo(*args: Any, **options: Any) -> None:
    _join(*args, **{**options, "backend": "gloo"})


class _Parallel(parallel.DistributedDataParallel):
    def __init__(self, module: torch.nn.Module, **options: Any) -> None:
        super().__init__(module, **{**options, "device_ids": None})


def patch() -> None:
    """Let IMDLBenCo's scripts run on the CPU."""
    torch.cuda.set_device = torch.cuda.synchronize = lambda *_: None
    torch.tensor = _on_cpu
    distributed.init_process_group = _by_gloo
    parallel.DistributedDataParallel = _Parallel
    torch.nn.SyncBatchNorm.convert_sync_batchnorm = lambda module: module


if __name__ == "__main__":
    patch()
    del sys.argv[0]
    if sys.argv[0] == "bare":
        del sys.argv[0]
        sys.path.insert(0, ".")
        runpy.run_path(sys.argv[0], run_name="__main__")
    else:
        runpy.run_module("ansm_plugin.toolkits.run", run_name="__main__", alter_sys=True)
