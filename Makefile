# make run      sets up .venv if needed and runs the main job on the bundled model
# make test     sets up .venv if needed and runs the tests, but for those that take long (make test-slow)
# make check    all tests, lint, types, layers, docs: what .ci/run runs
.DELETE_ON_ERROR:
.PHONY: install run test test-slow check lint format types layers docs clean
SHELL := /bin/sh

VENV := .venv
BIN := $(VENV)/bin

# The stamp carries a digest of what was installed from, so that only a real change installs again.
STAMP := $(VENV)/.installed-$(shell cat pyproject.toml constraints.txt | cksum | tr -c '0-9\n' '-')

# The first interpreter that works and is new enough; `make PYTHON=...` chooses another.
NEW_ENOUGH := import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3; do \
	if $$python -c '$(NEW_ENOUGH)' >/dev/null 2>&1; then echo $$python; break; fi; done)

install: $(STAMP)

# torch goes first and alone: it is the largest, and its exact pin decides which build the rest sees.
$(STAMP):
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer with venv is needed; install it or set PYTHON=..." >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install $(shell grep '^torch==' constraints.txt) -c constraints.txt
	$(BIN)/python -m pip install -c constraints.txt -e '.[torch,openvino,dev]'
	rm -f $(VENV)/.installed-*
	touch $@

run: install
	$(BIN)/autocompress run

test: install
	$(BIN)/python -m pytest

test-slow: install
	$(BIN)/python -m pytest -m slow -p no:cacheprovider

check: test test-slow lint types layers docs

lint: install
	$(BIN)/ruff check
	$(BIN)/ruff format --check

format: install
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

types: install
	$(BIN)/mypy

layers: install
	$(BIN)/lint-imports

docs: install
	$(BIN)/python -m autocompress.cli.reference --check docs/cli.md

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
