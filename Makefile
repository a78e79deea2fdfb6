# make all: set-up, the default experiment, results/report.html
# make test: set-up, the tests
# make docs: set-up, the documentation, docs/_build/html/index.html
.PHONY: all test setup check docs clean
.DELETE_ON_ERROR:

PYTHON ?= python3
BIN := .venv/bin
CORES ?= 8
# The rules call unitlens; tests and rules find it without activating the environment.
export PATH := $(CURDIR)/$(BIN):$(PATH)

all: setup
	snakemake --cores $(CORES) all

test: setup
	pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

setup: .venv/installed

.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

check: setup
	ruff check .
	ruff format --check .
	mypy
	lint-imports
	snakefmt --check Snakefile workflow
	snakemake --lint

docs: setup
	sphinx-build -W --keep-going --quiet -b html docs docs/_build/html

clean:
	rm -rf results .snakemake docs/_build docs/api
