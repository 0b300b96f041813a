"""What a process holds of memory, and what there is."""

import os
from pathlib import Path

CONTAINER = Path("/sys/fs/cgroup/memory.max")  # bytes that a container may take, or "max"


def peak_memory() -> int | None:
    """The most that this process has held, in MB. What getrusage tells begins with the parent's peak, this does not."""
    status = Path("/proc/self/status")
    peaks = (
        [line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM:")]
        if status.exists()
        else []
    )
    return round(int(peaks[0].split()[1]) / 1024) if peaks else None


def total_memory() -> int:
    """Bytes of this machine's memory, or of this container's where that is less."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    allowed = CONTAINER.read_text(encoding="ascii").strip() if CONTAINER.is_file() else ""
    return min(machine, int(allowed)) if allowed.isdecimal() else machine
