# make up [APP=examples/visits]   a local cluster of three nodes running that service; Ctrl-C stops everything
# make up FAST=1                  the same with the message path compiled to machine code (needs a C compiler; a minute)
# make install                    the commands, in .venv/bin
# make test                       everything that must be green
# make test-slow                  the tests that take longer: Redis away for half a minute, 10,000 idle connections
# make test-fast                  what tests the message path, on a compiled copy
# make lint                       the part of it that runs nothing
# make simulate [SEEDS=10000]     the simulation with so many seeds
# make simulate-mutants           bugs planted one at a time: does the simulation find each within 2,000 seeds?
# make chaos [ROUNDS=200] [KINDS=kill,cut]  faults of all kinds at random moments, for so many rounds
# make soak [HOURS=2]             steady load, moves and kills: does anything grow?
# make prove-migration            20 migrations in a row at 2,000 requests/s: answers, counters, pauses
# make fuzz [MINUTES=5]           garbage for every parser, and whatever peers may say for every state
# make bench [BENCH=counter]      what is measured, with the figures that docs/PERFORMANCE.md has
# make bench-compare BASE=commit  two commits in turns, of [BENCH=counter] (all: of all)
# make equivalence CORPUS=folder  services as they are and compiled: the same answers
# make prove-balance              a skew on one node: even within 15 s, and quiet for five minutes
# make docker-check               what README.md says about Docker, tried on the engine that is there (four minutes)
# make clean                      remove what was made here, .venv and all
#
# Packages come from where pip finds them; without a network say so as pip wants it, with PIP_NO_INDEX=1 and
# PIP_FIND_LINKS=folder. What is installed already is not looked for again.

VENV := .venv
PY := $(VENV)/bin/python
# The build backend is installed beside the rest, so that no build has to fetch it.
PIP := $(PY) -m pip --disable-pip-version-check --no-input install --quiet
RUNTIME := $(VENV)/.runtime
DEV := $(VENV)/.dev

APP ?= examples/visits
SEEDS ?= 10000
ROUNDS ?= 200
HOURS ?= 2
NODES ?= 3
CORPUS ?= tests/equivalence/services

.PHONY: up install test test-slow lint simulate simulate-mutants fuzz chaos soak equivalence prove-migration prove-balance bench bench-compare docker-check clean
.DEFAULT_GOAL := help

.PHONY: help
help:
	@sed -n '/^# make/s/^# //p' Makefile

up: $(RUNTIME) $(if $(FAST),$(DEV))
	@$(if $(FAST),PYTHONPATH=$$($(PY) -m bench.compiled)) $(VENV)/bin/liquefy-ctl up $(APP) --nodes $(NODES)

install: $(RUNTIME)

lint: $(DEV)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" lint-imports

TESTS := $(wildcard tests/unit tests/compiler tests/simulation tests/cluster tests/equivalence)
test: lint
	$(PY) -m pytest -m "not slow" $(TESTS)

test-slow: $(DEV)
	$(PY) -m pytest -m slow $(TESTS)

# What is compiled is imported from the copy, the tests and what they share from this tree.
TEST_PATHS := tests $(addprefix tests/,unit cluster simulation equivalence compiler chaos)
FAST_TESTS ?= tests/unit tests/cluster/test_cluster.py
test-fast: $(DEV)
	PYTHONPATH=$$($(PY) -m bench.compiled):$(CURDIR) $(PY) -P -m pytest -m "not slow" -o pythonpath="$(TEST_PATHS)" $(FAST_TESTS)

simulate: $(DEV)
	$(PY) tests/simulation/run.py --seeds $(SEEDS)

simulate-mutants: $(DEV)
	$(PY) tests/simulation/run.py --seeds 2000 --mutants

chaos: $(DEV)
	$(PY) tests/chaos/run.py --rounds $(ROUNDS) --kinds "$(KINDS)"

soak: $(DEV)
	$(PY) tests/chaos/soak.py --hours $(HOURS)

equivalence: $(DEV)
	$(PY) tests/equivalence/equivalence.py $(CORPUS)

MINUTES ?= 5
fuzz: $(DEV)
	@$(PIP) --only-binary=:all: -e ".[fuzz]" || echo "no atheris: hypothesis searches"
	$(PY) tests/fuzz/run.py --minutes $(MINUTES) $(if $(TARGET),--target $(TARGET))

BENCH ?= all
bench: $(DEV)
	$(PY) -m bench $(BENCH)

bench-compare: $(DEV)
	$(if $(BASE),,$(error say which commit to compare with: make bench-compare BASE=commit))
	$(PY) -m bench.compare $(BASE) $(if $(filter file,$(origin BENCH)),counter,$(BENCH))

prove-migration: $(DEV)
	$(PY) tests/chaos/migration.py

prove-balance: $(DEV)
	$(PY) tests/chaos/balance.py

docker-check: $(RUNTIME)
	$(PY) deploy/check-compose

clean:
	@if [ -f .liquefy/cluster.json ] && [ -x $(VENV)/bin/liquefy-ctl ]; then $(VENV)/bin/liquefy-ctl down || true; fi
	rm -rf $(VENV) .liquefy .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Each candidate is run, not only looked for: a pyenv shim may exist for a version that is not installed.
$(PY):
	@for candidate in $(PYTHON) python3.12 python3.11 python3 python; do \
	  if "$$candidate" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' \
	      >/dev/null 2>&1; then \
	    echo "making $(VENV) with $$("$$candidate" --version)"; \
	    rm -rf $(VENV); exec "$$candidate" -m venv $(VENV); \
	  fi; \
	done; \
	echo "error: no Python 3.11 or 3.12 (with venv) was found"; \
	echo "  remedy: install one (on Debian: apt install python3.11-venv), or name it: make PYTHON=/path/to/python3.11"; \
	exit 1

$(RUNTIME): pyproject.toml | $(PY)
	@echo "installing what Liquefy needs"
	@$(PIP) 'hatchling>=1.24' 'editables>=0.5'
	@$(PIP) --no-build-isolation -e .
	@touch $@

$(DEV): pyproject.toml $(RUNTIME) | $(PY)
	@echo "installing what its tests need"
	@$(PIP) --no-build-isolation -e '.[dev]'
	@touch $@
