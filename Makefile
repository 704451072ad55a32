# Two commands: `make demo` and `make test`. Each sets up what it needs in .venv and uses it again the next time.
# Needed beforehand: make and Python 3.11 to 3.14, and Node.js 20 with npm for the tests of Azure, which are skipped without.
# Which package indexes and certificates pip and npm use is the environment's business.

.DEFAULT_GOAL := help
.PHONY: help demo test lint types layers tests bare base bench lock clean
MAKEFLAGS += --no-print-directory

# The first Python on the path that can make a virtual environment and that the locked packages have wheels for (orjson has
# none for 3.15); PYTHON=… chooses another.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null && { echo $$python; break; }; done)

VENV := .venv
BIN = $(VENV)/bin

# The extras that the tests use. The lock holds the versions of all extras and groups; pip gets it as constraints, so that
# only what is asked for is installed, in the locked versions (all extras together take 1.5 GB).
EXTRAS := dask,aws,azure,gcp,delta,emulators,kubernetes,dbt,databricks,spark,airflow

help:
	@echo "make demo    run the flight example over real data"
	@echo "make test    lint, types, layers and all tests"
	@echo "also: lint, types, layers, tests, bare (base tests without any extra, on pyenv's newest Python), bench, lock, clean"

demo: $(VENV)/.demo
	@echo "== preparing the flights of New York 2013"
	@$(BIN)/python examples/flight_delays/prepare.py
	@echo "== running examples/flight_delays/flow.py"
	@$(BIN)/python examples/flight_delays/flow.py

test: lint types layers tests bare
	@echo "== all checks passed"

lint: $(VENV)/.dev
	@echo "== ruff"
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check

types: $(VENV)/.dev
	@echo "== mypy"
	@$(BIN)/mypy

layers: $(VENV)/.dev
	@echo "== import layers"
	@$(BIN)/lint-imports --no-logo --cache-dir .cache/import-linter

# Tests start hundreds of processes, and where PYTHONDONTWRITEBYTECODE is set each would compile the package anew.
COMPILED = $(BIN)/python -m compileall -q glacier_prefect action tests

# Three are no faster on two cores, and ask more of the one Prefect server than its SQLite has time for.
WORKERS := 2

tests: $(VENV)/.dev
	@echo "== pytest on $$($(BIN)/python --version)"
	@$(COMPILED)
	@$(BIN)/python -m pytest -n $(WORKERS)

# Where none of the extras is, so that nothing but an extra's own tests may need it; on the newest of these Pythons that pyenv
# has as a final release (3.13.0, not 3.14.0b1 or 3.13.0t), or on that of .venv where none is newer.
# The folder of pyenv follows from its command, so that an empty HOME does not hide it.
PYENV_ROOT ?= $(shell command -v pyenv >/dev/null && dirname "$$(dirname "$$(command -v pyenv)")")
bare: | $(BIN)/python
	@here=$$($(BIN)/python -c 'import platform; print(platform.python_version())'); \
	newest=$$({ ls '$(PYENV_ROOT)/versions' 2>/dev/null | grep -E '^3\.1[1-4]\.[0-9]+$$'; echo $$here; } | sort -V | tail -1); \
	python=$(BIN)/python; \
	[ $$newest = $$here ] || python="$(PYENV_ROOT)/versions/$$newest/bin/python"; \
	$(MAKE) VENV=.cache/bare-$$newest PYTHON="$$python" base

base: $(VENV)/.test
	@echo "== base tests on $$($(BIN)/python --version), without any extra"
	@$(COMPILED)
	@$(BIN)/python -m pytest -n $(WORKERS) tests/base

# Six minutes; fails nothing. On a machine that does nothing else.
bench: $(VENV)/.dev
	@$(BIN)/python tests/benchmarks $(BENCH)

# Versions that are in the lock stay as long as they fit; `make lock LOCK_OPTIONS=--upgrade` takes the newest.
lock: $(VENV)/.dev
	@$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --all-extras --group dev --quiet $(LOCK_OPTIONS) \
		--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" --output-file requirements.lock

clean:
	rm -rf .venv .cache dist

# What is installed is noted in a file, which is remade when the project's requirements change. Of pip, errors only.
PIP = $(BIN)/python -m pip -qq --disable-pip-version-check install --constraint requirements.lock
$(VENV)/.demo: WANTED = --editable . --group demo
$(VENV)/.test: WANTED = --editable . --group test
$(VENV)/.dev: WANTED = --editable ".[$(EXTRAS)]" --group dev
$(VENV)/.demo $(VENV)/.test $(VENV)/.dev: pyproject.toml requirements.lock | $(BIN)/python
	@echo "== installing into $(VENV) (about a minute, once)"
	@$(PIP) --upgrade pip
	@$(PIP) $(WANTED)
	@touch $@

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 to 3.14 with venv on the path. Install one, or name it: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "== creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)
