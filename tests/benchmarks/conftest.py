import sys
from pathlib import Path

# The benchmarks are scripts beside the package, not a package themselves.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
