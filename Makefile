# Every command of the project. Each target sets up what it needs, inside this folder.

.SHELLFLAGS := -eu -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# 3.11 or 3.12 if there is one: docs/dependencies.md says what is missing from 3.13 on.
PYTHON ?= $(shell for p in python3.11 python3.12 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)

# A stamp carries the folder's name: a virtual environment does not survive being moved.
STAMP := .venv/ready$(subst /,-,$(subst $() ,_,$(CURDIR)))
SET_UP_FROM := requirements.lock package-lock.json .npmrc tools/bootstrap.py tools/environment.py

RUN := .venv/bin/python -m
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export NO_COLOR := 1

TESTS ?= tests
ARGS ?=
# All of them on two cores; a part on one, in its order. tests/conftest.py says what stays together.
WORKERS := $(if $(filter tests,$(TESTS)),-n 2 --dist loadgroup --no-loadscope-reorder)
N ?= 10000
SEED ?= 1
SCALE ?= 10
KILLS ?= 200
PYTHON_CODE := $(wildcard deltaroll scripts tools)
PYTHON_ALL := $(PYTHON_CODE) $(wildcard tests benchmarks examples)
SOLIDITY := $(wildcard contracts)

.PHONY: help setup compile sizes demo test lint lint-style lint-types lint-protocol lint-solidity \
	format fuzz adversary mutants crash totality vectors prove static margin-edge soak bench gas history \
	lock clean

help: ## Print this list
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(STAMP) ## Install everything into .venv and node_modules (the other targets do it themselves)
	@:

$(STAMP): $(SET_UP_FROM)
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed"; exit 1; }
	@$(PYTHON) tools/bootstrap.py
	@touch $@

compile: $(STAMP) ## Compile the contracts into build/contracts
	@$(RUN) tools.build

sizes: $(STAMP) ## Compile and list the contracts by deployed size
	@$(RUN) tools.build --sizes

demo: $(STAMP) ## Run the whole rollup on a local chain
	@echo "Compiling the contracts"
	@$(RUN) tools.build
	@.venv/bin/ape run demo --network ethereum:local:foundry

test: $(STAMP) ## Run the tests (TESTS=path, ARGS=pytest arguments)
	@echo "Compiling the contracts"
	@$(RUN) tools.build
	@echo "Running pytest over $(TESTS)"
	@$(RUN) pytest $(TESTS) $(WORKERS) $(ARGS)

lint: $(STAMP) ## Check style, types and the project's own rules
	@$(MAKE) --keep-going lint-style lint-types lint-protocol lint-solidity

lint-style:
	ruff check $(PYTHON_ALL)
	ruff format --check $(PYTHON_ALL)

lint-types:
	mypy $(PYTHON_CODE)

lint-protocol:
	python -m tools.lint.protocol_imports
	python -m tools.lint.twins

lint-solidity:
ifneq ($(SOLIDITY),)
	forge fmt --check contracts
	solhint --disc --noPoster --max-warnings 0 'contracts/**/*.sol'
endif

format: $(STAMP) ## Rewrite the sources in the project's style
	@ruff check --fix --exit-zero --quiet $(PYTHON_ALL)
	@ruff format $(PYTHON_ALL)
ifneq ($(SOLIDITY),)
	@forge fmt contracts
endif

fuzz: $(STAMP) ## Compare both implementations on N transactions; goes on where it was (N=, SEED=, FRESH=1)
	@$(RUN) tests.fuzz --n $(N) --seed $(SEED) $(if $(FRESH),--fresh)

adversary: $(STAMP) ## Attack our own rollup in every way we know; all zeros, or it fails (SCALE=, SEED=)
	@$(RUN) tools.build
	@$(RUN) tests.adversary.run --scale $(SCALE) --seed $(SEED)

mutants: N :=
mutants: $(STAMP) ## Plant mutants on both sides; none may survive without a reason (N=, 0 for all, SEED=)
	@$(RUN) tools.build
	@$(RUN) tests.mutation.run $(if $(N),--n $(N) --seed $(SEED)) $(ARGS)

crash: $(STAMP) ## Kill a sequencer under load; nothing acknowledged may be lost (KILLS=, SEED=)
	@$(RUN) tests.crash.run --kills $(KILLS) --seed $(SEED)

totality: $(STAMP) ## Replay the fuzzing corpus on both sides (SECONDS=: search first, with atheris)
	@$(RUN) tests.adversary.fuzz_targets $(if $(SECONDS),--atheris --seconds $(SECONDS) --seed $(SEED))

vectors: $(STAMP) ## Write the shared vectors anew
	@$(RUN) tests.vectors.write

prove: $(STAMP) ## Prove the theorems about the contracts (sets up .venv-prove)
	@$(RUN) tools.prove $(ARGS)

static: $(STAMP) ## Run Slither over the contracts (sets up .venv-prove)
	@.venv/bin/python -c 'from tools.prove import make_environment; make_environment()'
	@$(RUN) tools.static

margin-edge: $(STAMP) ## Trade N orders at the edge of margin; no accepted one may fail (N=, SEED=)
	@$(RUN) tests.margin_edge --n $(N) --seed $(SEED)

soak: MINUTES ?= 30
soak: $(STAMP) ## Run a whole venue of processes under mixed load; memory flat, roots equal (MINUTES=, SEED=)
	@$(RUN) tools.build
	@$(RUN) tests.soak.run --minutes $(MINUTES) --seed $(SEED)

bench: $(STAMP) ## Measure the node
	@$(RUN) benchmarks.run

gas: $(STAMP) ## Measure the contracts
	@$(RUN) tools.build
	@$(RUN) benchmarks.gas

history: $(STAMP) ## Replay real markets through the protocol (docs/history.md)
	@$(RUN) deltaroll.history

lock: $(STAMP) ## Resolve the dependencies again, after a change in pyproject.toml or package.json
	@$(RUN) tools.lock

clean: ## Remove everything that is not in the repository's history
	@rm -rf .venv .venv-prove node_modules .build build cache out contracts/.cache \
		.mypy_cache .pytest_cache .ruff_cache .hypothesis
	@# Keyfile accounts are not ours to delete.
	@test ! -d .ape || find .ape -mindepth 1 -maxdepth 1 ! -name accounts -exec rm -rf {} +
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
