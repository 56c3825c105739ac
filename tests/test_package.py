"""Does the package install, import and introduce itself as it should?"""

import email
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

import vitral

REPOSITORY = Path(__file__).resolve().parents[1]


def python(code: str) -> str:
    """What a fresh interpreter prints for some code."""
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return answer.stdout.strip()


def test_import_vitral_brings_no_heavy_library() -> None:
    heavy = python(
        "import sys, vitral; print({'torch', 'numpy', 'PIL', 'rich', 'matplotlib'} & {*sys.modules})"
    )
    assert heavy == "set()"


@pytest.mark.parametrize("name", [name for name in vitral.__all__ if name != "__version__"])
def test_every_public_name_is_there_when_used(name: str) -> None:
    assert name in dir(vitral)
    assert getattr(vitral, name).__name__ == name


def test_a_public_name_is_imported_when_first_used() -> None:
    before_and_after = python(
        "import sys, vitral; before = 'vitral.errors' in sys.modules; vitral.VitralError;"
        "print(before, 'vitral.errors' in sys.modules)"
    )
    assert before_and_after == "False True"


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'create_modell'"):
        _ = vitral.create_modell


def test_installed_version_is_the_one_in_the_source() -> None:
    assert version("vitral") == vitral.__version__


def test_the_wheel_holds_the_whole_package_and_tells_who_it_is(tmp_path: Path) -> None:
    build = f"import hatchling.build; print(hatchling.build.build_wheel({str(tmp_path)!r}))"
    subprocess.run([sys.executable, "-c", build], cwd=REPOSITORY, check=True, capture_output=True)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        held = {name for name in wheel.namelist() if name.startswith("vitral/")}
        about = {Path(name).name: name for name in wheel.namelist() if ".dist-info/" in name}
        metadata = email.message_from_bytes(wheel.read(about["METADATA"]))
        scripts = wheel.read(about["entry_points.txt"]).decode()

    source = REPOSITORY / "src"
    written = {
        file.relative_to(source).as_posix()
        for file in (source / "vitral").rglob("*")
        if file.is_file() and "__pycache__" not in file.parts and not file.name.startswith(".")
    }
    assert held == written
    assert "vitral/py.typed" in held
    assert "LICENSE" in about
    assert (metadata["Name"], metadata["Version"]) == ("vitral", vitral.__version__)
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert "vitral = vitral.cli.app:main" in scripts
    needed = " ".join(metadata.get_all("Requires-Dist") or [])
    assert "torch>=2.10" in needed
    assert not any(peer in needed for peer in ("timm", "transformers", "vit-pytorch"))
