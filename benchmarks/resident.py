"""How much memory a process has needed, by the system. No library is imported for it."""

from pathlib import Path


def peak_memory() -> int | None:
    """The most bytes that this process has had in memory; None where the system does not tell (it is Linux that does).

    Not `resource.getrusage`: its peak begins with that of the process that started this one.
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), None)
