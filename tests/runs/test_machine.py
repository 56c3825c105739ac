"""Does run.json name the versions and the machine that were really there?"""

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from vitral.runs import machine, versions
from vitral.runs.machine import usable_cores, usable_memory

NO_GROUP = Path("no control group")


def test_versions_are_those_of_the_imported_packages():
    import numpy
    import sklearn
    import torch

    found = versions()
    assert found["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert (found["numpy"], found["scikit-learn"]) == (numpy.__version__, sklearn.__version__)
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["vitral"][0].isdigit()


def test_what_is_not_installed_is_absent(monkeypatch):
    def absent(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", absent)
    assert versions().keys() == {"vitral", "python"}


def test_the_room_and_its_versions_import_no_torch_and_no_scikit_learn():
    code = (
        "import sys, vitral.runs as runs; runs.versions(); runs.machine()\n"
        "print([name for name in ('torch', 'sklearn', 'scipy', 'pandas') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_the_machine_can_stand_in_run_json():
    found = json.loads(json.dumps(machine()))
    assert found.keys() == {"system", "processor", "cores", "memory_bytes"}
    assert found["system"]
    assert found["processor"]
    assert 1 <= found["cores"] <= os.cpu_count()
    assert found["memory_bytes"] > 100 * 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="affinity and /proc are Linux's")
def test_a_process_bound_to_one_core_says_one():
    code = (
        "import os, vitral.runs as runs\n"
        "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); print(runs.machine()['cores'])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "1"


@pytest.mark.skipif(sys.platform != "linux", reason="affinity and /proc are Linux's")
def test_memory_is_what_the_kernel_says():
    lines = Path("/proc/meminfo").read_text("utf-8").splitlines()
    kibibytes = next(int(line.split()[1]) for line in lines if line.startswith("MemTotal"))
    assert usable_memory(NO_GROUP) == pytest.approx(kibibytes * 1024, rel=0.01)


def test_a_container_has_what_it_was_given(tmp_path):
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    (tmp_path / "memory.max").write_text("134217728\n")
    assert usable_cores(tmp_path) == 1
    assert usable_memory(tmp_path) == 134217728


def test_a_container_without_limits_has_the_machine(tmp_path):
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert usable_cores(tmp_path) == usable_cores(NO_GROUP)
    assert usable_memory(tmp_path) == usable_memory(NO_GROUP)
