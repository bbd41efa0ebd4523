"""This process, as the kernel knows it: a name that no other process ever has, and the memory it has used."""

from __future__ import annotations

import os
import socket
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


def process_name() -> str:
    """Names this process among all machines and all times: host, boot, process id, and when it started."""
    return f"{_here()}|{os.getpid()}|{_started(os.getpid())}"


def is_gone(name: str) -> bool:
    """Whether the process of this name is known to have ended: it was of this machine and is not there any more."""
    here, _, rest = name.rpartition("|")
    here, _, pid = here.rpartition("|")
    if not pid.isdecimal():
        return False
    booted_again = here.split("|")[0] == _here().split("|")[0] and here != _here()
    return booted_again or (here == _here() and _started(int(pid)) != rest)


def _here() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id")
    return f"{socket.gethostname()}|{boot.read_text().strip() if boot.exists() else ''}"


def _started(pid: int) -> str:
    """When a process started, in ticks since boot (proc(5)); empty when there is none, or where nobody tells."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return "" if Path("/proc/self/stat").exists() else "unknown"
    # The command, in brackets, may have spaces and brackets in it.
    return status.rpartition(")")[2].split()[19]
