# Two commands on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test fmt lint docs bench oldest release clean

help: ## show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(STAMP) ## create .venv and install the package with its development tools

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "waveglow needs Python 3.10 or newer; this is $$($(PYTHON) --version). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $@

demo: setup ## train briefly on seven recordings, synthesize, write runs/demo/report.html
	PATH="$(CURDIR)/$(BIN):$$PATH" recipes/ljspeech/train.sh --demo
	@echo "Listen and look: runs/demo/report.html"

test: setup ## run the tests (under 8 minutes on two cores)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto

fmt: setup ## sort imports, format, and fix what ruff can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lint: setup ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python .ci/check_files.py

docs: setup ## build the site, docs/_build/html; a warning is an error
	$(BIN)/pip install --quiet --editable '.[docs]'
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

bench: setup ## measure speed and memory on this machine, in some ten minutes
	$(BIN)/waveglow bench

oldest: setup ## the library's tests with the oldest versions that pyproject.toml allows, in .oldest
	PYTHON=$(PYTHON) .ci/oldest

release: setup ## build and check what goes to PyPI, in dist/, and print what a person does next
	.ci/release

clean: ## remove .venv, caches and runs
	rm -rf $(VENV) .oldest build packaging/onnx/build dist docs/_build docs/reference/generated *.egg-info .pytest_cache .mypy_cache .ruff_cache runs
