# Every command of the project. `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

STACK ?= dev
VENV := .venv
PYTHON := $(VENV)/bin/python
# A process for each processor; tests that share a cluster or a stack stay in one.
SIDE_BY_SIDE := -n logical --dist loadgroup
# The only version outside the lock: what reads the lock.
UV := uv==0.13.9

.PHONY: help
help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(VENV)/.synced ## Install the Python packages, exactly as locked

$(VENV)/.synced: requirements-dev.txt
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Python 3.11 or newer is needed as python3: install it (python.org, your package manager or pyenv) and try again." >&2; exit 1; }
	@echo "Installing the Python packages ..."
	@python3 -m venv $(VENV) || { \
	  echo "Python cannot make a virtual environment: on Debian and Ubuntu run 'sudo apt-get install python3-venv' and try again." >&2; exit 1; }
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check $(UV)
	@$(VENV)/bin/uv pip sync --require-hashes --python $(PYTHON) requirements-dev.txt 2>&1 | sed -u '/^ [-+] /d'
	@touch $@

.PHONY: tools
tools: setup ## Build or find every external program (once per user)
	@$(PYTHON) -m tools

.PHONY: demo
demo: setup ## Bring a stack up without an AWS account: STACK=dev|stg|prod
	@$(PYTHON) -m local_cloud demo $(STACK)

.PHONY: demo-down
demo-down: setup ## Destroy the demo's stacks and stop all it started
	@$(PYTHON) -m local_cloud demo-down

.PHONY: lab
lab: setup ## Show the failure and the fix in network namespaces
	@$(PYTHON) -m lab

.PHONY: bench
bench: setup ## Measure the cache against CoreDNS, and our rules against upstream's
	@$(PYTHON) -m lab.bench

.PHONY: unit
unit: setup ## The tests without a cluster and without namespaces
	@$(PYTHON) -m pytest -q $(SIDE_BY_SIDE) -m "not engine and not lab"

.PHONY: test
test: setup tools ## Every test
	@$(PYTHON) -m pytest $(SIDE_BY_SIDE) -m "not engine and not lab"
	@$(PYTHON) -m pytest -m "engine or lab"

.PHONY: mutants
mutants: setup ## Change the code and see whether a unit test notices: ROOM=components/cluster SAMPLE=100 SEED=1
	@$(PYTHON) tests/mutants.py $(ROOM) $(if $(SAMPLE),--sample $(SAMPLE)) $(if $(SEED),--seed $(SEED)) $(if $(AGAIN),--again)

.PHONY: lint
lint: setup ## Style, types, and what else keeps the house in order
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/pyright
	@git ls-files -z --cached --others --exclude-standard -- '*.sh' .ci/run | xargs -0 $(VENV)/bin/shellcheck

.PHONY: lock
lock: setup ## Resolve the dependencies of pyproject.toml anew and lock them with hashes
	@$(VENV)/bin/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --extra dev pyproject.toml -o requirements-dev.txt
	@$(VENV)/bin/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header -c requirements-dev.txt pyproject.toml -o requirements.txt

.PHONY: record
record: setup ## Write down anew all that the program asks for (tests/program/records)
	@$(PYTHON) -m tests.program.record

.PHONY: schema
schema: setup ## Write the component package's schema anew
	@$(PYTHON) -m package.schema --write

.PHONY: reference
reference: setup ## Write docs/settings.md anew
	@$(PYTHON) -m stacks.reference --write docs/settings.md
