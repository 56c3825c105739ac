"""What a run ran on: versions and machine, for `run.json`."""

import math
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from vitral import __version__

PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "pillow",
    "scikit-learn",
    "safetensors",
    "openvino",
    "onnxruntime",
)


def versions() -> dict[str, str]:
    """Versions of vitral, Python and the packages that figures depend on; absent where not installed.

    Nothing is imported for it.
    """
    found = {"vitral": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, str | int]:
    """System, name of the processor, and as many cores and bytes of memory as this process may use."""
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "cores": usable_cores(),
        "memory_bytes": usable_memory(),
    }


def usable_cores(control_group: Path = Path("/sys/fs/cgroup")) -> int:
    """Processor cores that this process may use: all, less what affinity or a container's quota takes."""
    if sys.version_info >= (3, 13):
        cores = os.process_cpu_count()
    elif hasattr(os, "sched_getaffinity"):  # Linux
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count()
    quota, _, period = _first_line(control_group / "cpu.max").partition(" ")
    if quota.isdecimal() and period.isdecimal():
        return min(cores or 1, math.ceil(int(quota) / int(period)))
    return cores or 1


def usable_memory(control_group: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes of memory that this process may use: the machine's, or the container's limit if that is less."""
    limit = _first_line(control_group / "memory.max")
    return min(_physical_memory(), int(limit)) if limit.isdecimal() else _physical_memory()


def _processor() -> str:
    """The name that the maker gives it, else the architecture."""
    if sys.platform == "win32":
        import winreg

        with winreg.OpenKey(
            winreg.HKEY_LOCAL_MACHINE, r"HARDWARE\DESCRIPTION\System\CentralProcessor\0"
        ) as key:
            return str(winreg.QueryValueEx(key, "ProcessorNameString")[0]).strip()
    if sys.platform == "darwin":
        command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        name = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
        return name or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _physical_memory() -> int:
    if sys.platform == "win32":
        import ctypes

        # MEMORYSTATUSEX: its own length (64) and the load share the first eight bytes, the total comes next.
        status = (ctypes.c_ulonglong * 8)(64)
        ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))
        return status[1]
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _first_line(path: Path) -> str:
    """Empty where there is no such file."""
    try:
        return path.read_text("ascii").strip()
    except OSError:
        return ""
