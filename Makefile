# make help lists what there is. Everything installs what it needs first; Python 3.11 or newer and make are enough.

PYTHON ?= python3
VENV ?= .venv
PYTEST ?= -n auto --maxprocesses 8 --dist loadfile --durations 25 --durations-min 5

BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
# One stamp says that the package is installed as pyproject.toml and constraints.txt ask, one the same of the tools.
PACKAGE := $(VENV)/.vitral-package
TOOLS := $(VENV)/.vitral-tools

.DEFAULT_GOAL := help
.PHONY: help demo test slow lint format types check docs bench parity constraints clean

help:  ## show this list
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/^([a-z]+):.*## */\1|/' | awk -F'|' '{printf "  make %-12s %s\n", $$1, $$2}'
	@echo "  Variables: PYTHON=python3.12 (which Python), VENV=.venv (where it is installed), PYTEST='-x tests/images'"

demo: $(PACKAGE)  ## train a small Vision Transformer on real digits, evaluate, predict, explain, report
	$(BIN)/vitral demo $(DEMO)

test: $(TOOLS)  ## run the tests that take less than some ten seconds each
	$(BIN)/python -m pytest -m "not slow" $(PYTEST)

slow: $(TOOLS)  ## run the long tests, one at a time with all cores
	$(BIN)/python -m pytest -m slow

lint: $(TOOLS)  ## check formatting, style, and who may import whom
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

format: $(TOOLS)  ## put code into its form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

types: $(TOOLS)  ## check types
	$(BIN)/pyright --pythonpath $(BIN)/python

check: lint types test slow  ## all of these

docs: $(TOOLS)  ## build the guide in both languages, running every cell: build/docs/index.html
	$(BIN)/python docs/build.py $(DOCS)

bench: $(TOOLS)  ## measure speed side by side with the peers
	$(BIN)/python benchmarks/training.py

parity: $(TOOLS)  ## compare with other people's implementations, and write the table in docs/en/manual/weights.md
	$(BIN)/python -m pytest tests/parity $(PYTEST) --write-parity docs/en/manual/weights.md

# Where the newest of something differs from Python to Python, the oldest Python's is taken.
constraints: $(TOOLS)  ## renew constraints.txt: the newest version of everything, names and versions only
	$(BIN)/uv pip compile pyproject.toml --all-extras --group dev --group peers --group docs \
	  --universal --upgrade --no-header --no-annotate --quiet --output-file $(VENV)/resolved.txt
	{ grep '^#' constraints.txt; sed -E '/emscripten.$$/d; s/ *;.*//' $(VENV)/resolved.txt \
	  | LC_ALL=C sort -V | awk -F== '!seen[$$1]++'; } > $(VENV)/constraints.txt
	mv $(VENV)/constraints.txt constraints.txt

clean:  ## remove what was installed, built and cached; runs stay
	rm -rf $(VENV) dist build .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests benchmarks studies -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# uv installs in seconds what takes pip minutes, so it comes first, into the environment itself.
$(BIN)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "error: vitral needs Python 3.11 or newer, which $(PYTHON) is not; name one: make PYTHON=python3.12" >&2; \
	  exit 1; }
	@if uv --version >/dev/null 2>&1; then \
	  test -x $(BIN)/python || uv venv --quiet --python $(PYTHON) $(VENV); \
	  uv pip install --quiet --python $(BIN)/python --constraint constraints.txt uv; \
	else \
	  test -x $(BIN)/python || $(PYTHON) -m venv --without-pip $(VENV); \
	  if $(BIN)/python -m ensurepip >/dev/null 2>&1; then \
	    $(BIN)/python -m pip install --quiet --constraint constraints.txt uv; \
	  elif $(PYTHON) -m pip --version >/dev/null 2>&1; then \
	    $(PYTHON) -m pip --python $(BIN)/python install --quiet --constraint constraints.txt uv; \
	  else \
	    echo "error: $(PYTHON) has neither ensurepip nor pip; on Debian and Ubuntu: apt install python3-venv" >&2; \
	    exit 1; \
	  fi; \
	fi

$(PACKAGE): $(BIN)/uv pyproject.toml constraints.txt
	$(BIN)/uv pip install --python $(BIN)/python --constraint constraints.txt --editable .
	@touch $@

$(TOOLS): $(PACKAGE)
	$(BIN)/uv pip install --python $(BIN)/python --constraint constraints.txt --group dev --group peers --group docs
	@touch $@
