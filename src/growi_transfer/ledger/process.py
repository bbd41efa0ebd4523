"""The memory of this process, as the kernel counts it; a transfer's receipt tells it."""

from __future__ import annotations

import sys
from pathlib import Path

if sys.platform != "win32":
    import resource


def peak_rss_mib() -> float | None:
    """The most memory this process has held at once, in MiB; None where nobody knows."""
    status = Path("/proc/self/status")
    if status.exists():
        # Unlike ru_maxrss this does not begin with what the parent process had.
        for line in status.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) / 1024, 1)
    if sys.platform == "win32":
        return None
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(used / (1 << 20 if sys.platform == "darwin" else 1 << 10), 1)
