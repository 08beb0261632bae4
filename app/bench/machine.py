"""What the machine itself can do: the rate of its matrix products, memory, names."""

from __future__ import annotations

import platform
import resource
import statistics
import time
from pathlib import Path

import torch

from app.encoders.device import Placement, free_cores, use_threads

_SIDE = 2048  # large enough that memory does not count, small enough to be cut into many runs
_GIGA = 1e9
_CPUINFO = Path("/proc/cpuinfo")


def gemm_rate(placement: Placement, seconds: float = 3.0) -> float:
    """GFLOP/s of square matrix products (2 n³ each) in a placement's precision; the median of warm runs.

    Warm: ``seconds`` of products are computed, of which the second half counts.
    """
    use_threads(placement.threads)
    a = torch.randn(_SIDE, _SIDE, dtype=placement.dtype, device=placement.device)
    b = torch.randn(_SIDE, _SIDE, dtype=placement.dtype, device=placement.device)
    times: list[float] = []
    begin = time.perf_counter()
    with torch.inference_mode():
        while time.perf_counter() - begin < seconds or len(times) < 8:
            start = time.perf_counter()
            torch.mm(a, b)
            synchronise(placement)
            times.append(time.perf_counter() - start)
    return 2 * _SIDE**3 / statistics.median(times[len(times) // 2 :]) / _GIGA


def synchronise(placement: Placement) -> None:
    """Wait until the device has done what it was given."""
    if not placement.is_cpu:
        torch.cuda.synchronize(placement.device)


def peak_memory_mb(placement: Placement) -> int:
    """The most memory in MB: of the process on a CPU, of torch's tensors on a GPU."""
    if placement.is_cpu:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return torch.cuda.max_memory_allocated(placement.device) // 2**20


def describe_machine(placement: Placement) -> dict[str, object]:
    """The machine and the versions that a table was measured with."""
    return {
        "device": "cpu" if placement.is_cpu else torch.cuda.get_device_name(placement.device),
        "processor": _processor(),
        "cores": free_cores(),
        "threads": placement.threads or free_cores(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _processor() -> str:
    lines = _CPUINFO.read_text(encoding="utf-8").splitlines() if _CPUINFO.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
