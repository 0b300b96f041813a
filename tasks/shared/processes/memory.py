"""What a process holds of memory."""

from pathlib import Path


def peak_memory() -> int | None:
    """The most that this process has held, in MB. What getrusage tells begins with the parent's peak, this does not."""
    status = Path("/proc/self/status")
    peaks = (
        [line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM:")]
        if status.exists()
        else []
    )
    return round(int(peaks[0].split()[1]) / 1024) if peaks else None
