"""What a piece of work costs: seconds by the clock and on all processors, and the largest memory meanwhile."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

    import torch

_STATUS = Path("/proc/self/status")
_FORGET = Path("/proc/self/clear_refs")
_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)
MIB = 2**20


class Cost:
    """Measures what happens inside ``with Cost() as cost``.

    Parameters
    ----------
    device:
        The GPU, if any, whose memory is asked too.

    Attributes
    ----------
    wall_s, cpu_s:
        Seconds by the clock, and of all threads of this process together.
    peak_memory_mib:
        Largest memory of the process, MiB. On Linux since the block began; elsewhere, or where the system forbids to
        start again, since the process began; None on Windows.
    peak_gpu_mib:
        Largest memory of PyTorch on the GPU since the block began, MiB; None without CUDA.
    """

    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_memory_mib: float | None = None
    peak_gpu_mib: float | None = None

    def __init__(self, device: torch.device | None = None) -> None:
        self._gpu = device if device is not None and device.type == "cuda" else None

    def __enter__(self) -> Cost:
        _forget_peak()
        if self._gpu is not None:
            import torch

            torch.cuda.reset_peak_memory_stats(self._gpu)
        self._started, self._used = time.perf_counter(), time.process_time()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._gpu is not None:
            import torch

            torch.cuda.synchronize(self._gpu)
            self.peak_gpu_mib = torch.cuda.max_memory_allocated(self._gpu) / MIB
        self.wall_s, self.cpu_s = time.perf_counter() - self._started, time.process_time() - self._used
        self.peak_memory_mib = peak_memory_mib()


def peak_memory_mib() -> float | None:
    """Return the largest memory that this process has had, MiB; None where the system does not tell."""
    match = _PEAK.search(_STATUS.read_text(encoding="ascii", errors="replace")) if _STATUS.is_file() else None
    if match:
        return int(match[1]) / 1024
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = MIB if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def _forget_peak() -> None:
    """Let the largest memory be counted from now on, where the system can."""
    try:
        _FORGET.write_text("5", encoding="ascii")
    except OSError:
        return
