# Thin: each target calls the real thing. The first one sets everything up, the next ones find it there.
.DEFAULT_GOAL := help
.PHONY: help setup demo test unit integration day differential fuzz lint bench clean

PYTHON ?= $(shell for candidate in python3.12 python3.11 python3.10 python3; do \
	$$candidate -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null \
	&& echo $$candidate && break; done)
BIN := .venv/bin
READY := .venv/ready
PYTEST := $(BIN)/python -m pytest

help: ## List the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

setup: $(READY) ## Make .venv and fetch what the local stack runs
	@$(BIN)/tillstream setup

demo: setup ## Watch changes go from one database to another, and see that none is missing
	@$(BIN)/tillstream demo --keep

# Counting what tests reach costs half as much again, and `make unit` is for between two edits.
test: COVERED = --cov --cov-report= --cov-fail-under=0
test: lint unit integration ## Check everything, as CI does
	$(BIN)/coverage report
	$(BIN)/coverage xml -q -o .coverage.xml

unit: $(READY) ## Run the tests that need no services
	$(PYTEST) -n auto tests/unit $(COVERED)

fuzz: $(READY) ## Spoil messages of every format, many of them, and see that none is lost
	TILLSTREAM_FUZZ_EXAMPLES=5000 $(PYTEST) tests/unit/io/codecs/test_fuzz.py

integration: setup ## Run the tests on the real local stack
	$(PYTEST) tests/integration $(COVERED) $(if $(COVERED),--cov-append)

day: setup ## Play a day of operations on two clients, with parts killed, and compare both sides
	@$(BIN)/python -m tests.day

differential: setup ## Change a source at random, restart every part, and compare the warehouse with it
	@$(BIN)/python -m tests.differential

lint: $(READY) ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup ## Measure, and write JSON to benchmarks/results
	$(BIN)/python -m benchmarks.run

clean: ## Stop the local stack and remove what was built
	@test ! -x $(BIN)/tillstream || $(BIN)/tillstream down --wipe
	rm -rf .venv .tillstream build dist benchmarks/results benchmarks/.venv-quix *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage*

$(READY): setup.py pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.10, 3.11 or 3.12 is missing: sudo apt-get install -y python3 python3-venv" >&2; exit 1; }
	@echo "setting up .venv with $(PYTHON): a few minutes the first time"
	$(PYTHON) -m venv .venv || { echo "cannot make a venv: sudo apt-get install -y python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --upgrade 'pip>=24'
	$(BIN)/python -m pip install -e '.[dev]'
	@touch $@
