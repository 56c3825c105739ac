"""Build the guide: python docs/build.py [--language en pt] [--only 05-equation-1,start] [--output build/docs].

Every cell of every page is executed, both languages side by side, each on its share of the processor's cores. What
pages need besides what scikit-learn ships, `food-vision-mini` and a pretrained network, is taken from the folder
`shared` beside the checkout, or fetched; where there is neither, the pages that need it say so and their cells stand
there unexecuted.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from notebooks import write_notebooks

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
SHARED = ROOT.parent / "shared"
LANGUAGES = {"en": "en", "pt": "pt_BR"}
NEEDS = ("food", "weights")


def main() -> int:
    """Build what the command line asks for; the exit status is 0 where no page had a warning."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--language", nargs="+", choices=LANGUAGES, default=list(LANGUAGES))
    parser.add_argument("--only", default="", help="these pages alone, by name, separated by commas")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "docs")
    parser.add_argument(
        "--without", nargs="+", choices=NEEDS, default=[], help="as where these cannot be had"
    )
    options = parser.parse_args()
    output = options.output.resolve()
    environment = {**os.environ, **prepare(ROOT / "build" / "guide", set(NEEDS) - set(options.without))}
    start = time.monotonic()
    builds = [
        Build(language, output, options.only, environment, cores)
        for language, cores in zip(options.language, shares(len(options.language)), strict=True)
    ]
    failed = [build.language for build in builds if not build.finish()]
    if not failed:
        shutil.copyfile(DOCS / "languages.html", output / "index.html")
    seconds = f"{time.monotonic() - start:.0f} s"
    print(
        f"\nfailed: {', '.join(failed)}" if failed else f"\n{output / 'index.html'}, in {seconds}", flush=True
    )
    return int(bool(failed))


def shares(count: int) -> list[set[int] | None]:
    """For each of so many builds side by side the processor cores it keeps to; None where cores cannot be shared out.

    Pages measure how fast networks are, so none may take cores from another's.
    """
    if not hasattr(os, "sched_setaffinity"):
        return [None] * count
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < count:
        return [None] * count
    return [
        set(cores[number * len(cores) // count : (number + 1) * len(cores) // count])
        for number in range(count)
    ]


class Build:
    """One language's pages on their way.

    Args:
        language: en or pt.
        output: the folder of the whole site.
        only: some pages' names, or all where empty.
        environment: what `prepare` found.
        cores: the processor cores that it keeps to.
    """

    def __init__(
        self, language: str, output: Path, only: str, environment: dict[str, str], cores: set[int] | None
    ) -> None:
        self.language, self.output = language, output
        self.work = output / "work" / language
        shutil.rmtree(self.work, ignore_errors=True)
        command = [
            sys.executable,
            "-m",
            "sphinx",
            "--builder",
            "html",
            "--conf-dir",
            DOCS,
            "--fail-on-warning",
        ]
        command += ["--keep-going", "--nitpicky", "--fresh-env", "--doctree-dir", self.work / "doctrees"]
        command += ["--define", f"language={LANGUAGES[language]}", DOCS / language, self.work / "site"]
        own = {"GUIDE_LANGUAGE": language, "GUIDE_ONLY": only, "VITRAL_LANGUAGE": language}
        self.process = subprocess.Popen(
            [str(part) for part in command],
            env=environment | own,
            preexec_fn=None if cores is None else partial(os.sched_setaffinity, 0, cores),
        )

    def finish(self) -> bool:
        """Wait for it, and put the pages where they belong; whether there was no warning and no error."""
        if self.process.wait() != 0:
            return False
        executed, site = self.work / "jupyter_execute", self.output / self.language
        if executed.exists():  # where MyST-NB leaves what it ran
            write_notebooks(self.language, DOCS / self.language, executed, self.work / "site" / "notebooks")
        shutil.rmtree(site, ignore_errors=True)
        (self.work / "site").rename(site)
        return True


def prepare(folder: Path, wanted: set[str]) -> dict[str, str]:
    """Put what the pages need into `folder`, and return the environment that leads them to it."""
    cache = folder / "cache"
    has = ["food"] if "food" in wanted and food(cache / "data" / "food-vision-mini") else []
    weights = pretrained(folder / "dinov2-small") if "weights" in wanted else None
    has += ["weights"] if weights is not None else []
    return (weights or {}) | {
        "GUIDE_HAS": " ".join(has),
        "MATPLOTLIBRC": str(DOCS / "matplotlibrc"),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        "VITRAL_CACHE": str(cache),
    }


def food(folder: Path) -> bool:
    """Whether food-vision-mini lies in the cache now: copied from `shared`, or fetched by vitral itself."""
    images, shared = folder / "images", SHARED / "data" / "food-vision-mini"
    if images.exists():
        return True
    if shared.exists():
        shutil.copytree(shared, images.with_name("images.part"), dirs_exist_ok=True)
        images.with_name("images.part").rename(images)
        return True
    fetch = "from vitral.data.sources.food import list_food_vision_mini as fetch; fetch()"
    return succeeds("-c", fetch, VITRAL_CACHE=str(folder.parent.parent))


def pretrained(folder: Path) -> dict[str, str] | None:
    """What leads pages to a pretrained ViT-S/14: the one that `shared` knows, or DINOv2's from the hub."""
    tool = SHARED / "tools" / "get_dinov2_small.py"
    if tool.exists():
        made = (folder / "model.safetensors").exists() or succeeds(str(tool), str(folder))
        return {"GUIDE_WEIGHTS": str(folder)} if made else None
    return {} if succeeds("-c", "import vitral; vitral.load_model('hf:facebook/dinov2-small')") else None


def succeeds(*words: str, **environment: str) -> bool:
    """Whether a Python program comes to its end; what it says is shown."""
    return subprocess.run([sys.executable, *words], env=os.environ | environment, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
