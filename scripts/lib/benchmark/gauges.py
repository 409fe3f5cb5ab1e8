"""What the system says of a process: from /proc where there is one, else from `ps`."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def resident(pid: int) -> int:
    """Resident memory in bytes, now."""
    if (fields := _proc(pid, "statm")) is not None:
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")
    return int(_ps(pid, "rss")) * 1024


def cpu_seconds(pid: int) -> float:
    """Processor time used so far, by all threads that there are; without the system's own figures to a hundredth of a second."""
    if (spent := [_scheduled(thread) for thread in Path(f"/proc/{pid}/task").glob("*")]) and any(spent):
        return sum(spent) / 1e9
    if (fields := _proc(pid, "stat")) is not None:
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return sum(float(part) * 60.0**n for n, part in enumerate(reversed(_ps(pid, "time").split(":"))))


def _scheduled(thread: Path) -> int:
    """Nanoseconds that a thread has run; https://docs.kernel.org/scheduler/sched-stats.html"""
    try:
        return int((thread / "schedstat").read_text().split()[0])
    except OSError:  # it has ended, or the system does not tell
        return 0


def _proc(pid: int, name: str) -> list[str] | None:
    """The fields of a file of the process, after its name; https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html"""
    file = Path(f"/proc/{pid}/{name}")
    return file.read_text().rpartition(")")[2].split() if file.exists() else None


def _ps(pid: int, field: str) -> str:
    command = ["ps", "-o", f"{field}=", "-p", str(pid)]
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout
