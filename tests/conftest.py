"""What every test may ask for, and surroundings that are the same on every machine."""

import os
import signal
from pathlib import Path

import pytest

# Before torch is imported: several test processes share the cores, one thread each.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["MPLBACKEND"] = "Agg"
os.environ["VITRAL_LANGUAGE"] = "en"

# Whoever starts the tests as a background job has them ignore Ctrl-C, and all that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder `shared` beside the checkout: photographs and foreign weights, no part of the project."""
    folder = REPOSITORY.parent / "shared"
    if not folder.is_dir():
        pytest.skip("needs the folder shared beside the checkout, which is not here")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tests neither fill the user's caches nor are helped by what lies there."""
    os.environ["VITRAL_CACHE"] = str(tmp_path_factory.mktemp("cache"))
