"""Where and how exactly a forward pass runs: device, precision, threads."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import torch

from app.errors import Misconfigured, Unavailable, device_lost
from app.logs import get_logger

Precision = Literal["fp32", "bf16", "fp16"]
DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

_CGROUPS = Path("/sys/fs/cgroup")
# Where a quota and its period stand, in version 2 and in version 1.
_CPU_LIMITS = (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"))
# Of a CPU, of CUDA itself, of its libraries: torch raises a RuntimeError for them.
_MEMORY_MESSAGES = ("DefaultCPUAllocator: can't allocate memory", "CUDA error: out of memory", "_STATUS_ALLOC_FAILED")

log = get_logger("encoder")


@dataclass(frozen=True, slots=True)
class Placement:
    """A device, the precision of matrix products on it, and the threads of one forward pass (0: every core)."""

    device: torch.device
    precision: Precision
    threads: int = 0

    @property
    def dtype(self) -> torch.dtype:
        """The type that matrix products are computed in."""
        return DTYPES[self.precision]

    @property
    def is_cpu(self) -> bool:
        """Whether the device is the CPU."""
        return self.device.type == "cpu"


def use_threads(threads: int) -> None:
    """Give the forward passes of this thread that many threads; 0 takes every core that this process may use."""
    wanted = threads or free_cores()
    if torch.get_num_threads() != wanted:  # setting the same number again throws torch's prepared kernels away
        torch.set_num_threads(wanted)


@cache
def free_cores() -> int:
    """Cores that this process may use: those of its affinity, or fewer where a container is limited."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for files in _CPU_LIMITS:
        with suppress(OSError, ValueError):  # no cgroups of that version, or "max"
            quota, period = " ".join((_CGROUPS / file).read_text(encoding="ascii") for file in files).split()
            if int(quota) > 0:  # -1: no limit
                cores = min(cores, -(-int(quota) // int(period)))
    return max(1, cores)


def choose_placement(device: str = "auto", precision: str = "auto", threads: int = 0) -> Placement:
    """A placement from settings: ``auto`` takes a GPU where there is one, fp32 on a CPU and bf16 on a GPU.

    Raises Misconfigured ``no_such_device``.
    """
    if device == "auto":
        device = "cuda:0" if torch.cuda.is_available() else "cpu"
    chosen = torch.device(device)
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise Misconfigured(
            "no_such_device",
            f"there is no device {device}: torch sees {torch.cuda.device_count()} GPUs",
            hint="set SONOSEEK_ENCODERS__DEVICE to auto or cpu, or install a CUDA build of torch",
        )
    if precision == "auto":
        precision = "fp32" if chosen.type == "cpu" else "bf16"
    return Placement(chosen, precision, threads)  # type: ignore[arg-type]


def onednn_computes(dtype: torch.dtype) -> bool:
    """Whether oneDNN, in this build and on this processor, computes in a type: torch is many times slower without."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    if dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    if dtype == torch.float16:
        return bool(torch.ops.mkldnn._is_mkldnn_fp16_supported())
    return dtype == torch.float32


def computes(placement: Placement) -> bool:
    """Whether the device has instructions for the precision; a CPU without them takes many times as long."""
    return not placement.is_cpu or onednn_computes(placement.dtype)


def known_failure(error: Exception, device: torch.device) -> Unavailable | None:
    """What an error of a forward pass means for the service: too little memory, or a device that is lost.

    None where it is neither; the error then belongs to what was computed.
    """
    if _is_out_of_memory(error):
        return Unavailable(
            "no_memory",
            "the memory did not suffice to encode this image",
            hint="try again later; lower SONOSEEK_ENCODERS__BATCH_SIZE or load fewer encoders if it happens often",
        )
    if answers(device):
        return None
    log.critical("the device does not answer", error=type(error).__name__, code=getattr(error, "error_code", None))
    return device_lost()


def answers(device: torch.device) -> bool:
    """Whether a device still computes.

    Some errors of CUDA spoil everything that the process does on the GPU afterwards; torch gives them the same
    type as those that do not (torch.AcceleratorError). A small sum tells them apart.
    """
    try:
        return torch.ones(2, device=device).sum().item() == 2
    except Exception as error:  # RuntimeError, AcceleratorError, AssertionError: there was no sum
        return _is_out_of_memory(error)


def give_back_memory(device: torch.device) -> None:
    """Return to the device what torch keeps for later, so that the next pass can have it in other pieces."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _MEMORY_MESSAGES)
