# Two commands do everything, from a fresh clone with Python >= 3.11, git and make:
#   make repro   environment, then the pipeline: twins, training, notebooks, scorecard
#   make test    environment, then every check, the smoke pipeline in a temporary clone among them
# And: make lab (JupyterLab) · make report (pages to read) · make figures (figures and pages from what git keeps, a minute)
# · make bench (speed) · make clean · make constraints (new pins)
# · make test-ray (training on a Ray cluster: installs the extra `cluster`, then its tests)
#
# PYTHON=/path/to/python3.12 chooses the interpreter of .venv (default: the first of python3, python3.13 ... that is new enough).
# On Linux without a GPU, TORCH_INDEX=https://download.pytorch.org/whl/cpu saves 2 GB of CUDA libraries.
SHELL := /bin/sh
PYTHON ?=
TORCH_INDEX ?=
WORKERS ?= 2
PIP := .venv/bin/python -m pip --disable-pip-version-check
STAMP := .venv/installed-by-make
# pip compiles each module on one core, most of them never imported: leaving it to the first import is half a minute faster.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help env filter repro test test-ray check lab report figures bench clean constraints
help:
	@sed -n '/^#/!q;s/^# \{0,1\}//p' Makefile

env: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@[ -x .venv/bin/pip ] || { \
	  for python in $(if $(PYTHON),"$(PYTHON)",python3 python3.13 python3.12 python3.11 python3.14); do \
	    "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && found="$$python" && break; \
	  done; \
	  [ "$$found" ] || { echo "fewscans needs Python 3.11 or newer, and $(or $(PYTHON),python3) is not." \
	    "Install one, or name it: make PYTHON=/path/to/python3.12" >&2; exit 1; }; \
	  echo "making .venv with $$("$$found" --version)" && "$$found" -m venv .venv; }
	@.venv/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "The Python of .venv is older than 3.11: remove .venv and call make again." >&2; exit 1; }
	@echo "installing the pinned packages into .venv (2 GB; a minute or two)"
	@$(PIP) install -q --no-compile $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) "$$(grep '^torch==' constraints.txt)"
	@$(PIP) install -q --no-compile -c constraints.txt -e '.[workbook,dev]'
	@touch $@

# Git then takes a notebook without its outputs: saving after Run all leaves no difference. Outside a clone, nothing is set.
filter: $(STAMP)
	@if git rev-parse --git-dir >/dev/null 2>&1; then \
	  git config filter.fewscans-notebook.clean '.venv/bin/python -m fewscans.notebook'; fi

repro: filter
	. .venv/bin/activate && dvc repro

test: check
	. .venv/bin/activate && python -m pytest -n $(WORKERS) --dist worksteal

test-ray: $(STAMP)
	@$(PIP) install -q --no-compile -c constraints.txt -e '.[cluster]'
	. .venv/bin/activate && python -m pytest -m ray

check: $(STAMP)
	. .venv/bin/activate && ruff check .

lab: filter
	. .venv/bin/activate && jupyter lab notebooks/00_start_here.ipynb

report: repro
	@echo "open reports/index.html"

figures: $(STAMP)
	. .venv/bin/activate && python -m fewscans.figures.kept && python -m fewscans.site --cards

bench: $(STAMP)
	. .venv/bin/activate && for file in benchmarks/*.py; do python "$$file" || exit 1; done

# Keeps what costs hours or cannot be made again: build/store (finished runs), runs, data, .venv and all that is in git.
clean:
	rm -rf build/source build/failed build/patches build/twins build/ipython reports/notebooks reports/metrics reports/headline
	rm -rf reports/index.html reports/pages
	rm -rf .pytest_cache .ruff_cache .hypothesis

# The exact versions that the tests passed with, for every platform: no build tags, nor this project itself.
constraints: $(STAMP)
	@$(PIP) install -q --no-compile -e '.[cluster]'
	{ echo "# The tested versions; make constraints writes this file."; \
	  $(PIP) freeze --exclude-editable | sed 's/+cpu$$//'; } > constraints.new && mv constraints.new constraints.txt
