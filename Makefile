# Sets up and checks a checkout. Needs Python >= 3.11 (with venv) and make; everything else it installs into .venv.

PYTHON ?= python3
# Package index with CPU builds of torch; empty: the index that pip is set up for.
TORCH_INDEX ?=
# Folder of songs (each with stems/ and mix.*) for the benchmark.
# Folder of songs to measure: each with stems/ and mix.*.
SONGS ?= ../shared/songs
# Tests that run at the same time.
JOBS ?= 2

VENV := .venv
BIN := $(VENV)/bin
DEMO := demo-song
TYPED := build/typed

# One thread per test process: more of them would only fight over the cores.
THREADS := OMP_WAIT_POLICY=PASSIVE OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 NUMBA_NUM_THREADS=1

.PHONY: help demo test lint types pytest format clean benchmark environment environment-dev programs
.DEFAULT_GOAL := help

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

environment:
	@$(PYTHON) scripts/bootstrap.py $(VENV) --torch-index "$(TORCH_INDEX)"

environment-dev:
	@$(PYTHON) scripts/bootstrap.py $(VENV) --extras dev --torch-index "$(TORCH_INDEX)"

demo: environment ## install, make the demo song and find its mix
	$(BIN)/mixbridge demo $(DEMO)
	$(BIN)/mixbridge analyze $(DEMO)/stems $(DEMO)/mix.flac --export reaper --out $(DEMO).mixbridge --overwrite

test: lint types pytest ## install, then run every check: ruff, mypy and pytest

lint: environment-dev ## check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# The checkout is the package: a link gives it the name that mypy must know it by.
types: environment-dev ## check types
	@mkdir -p $(TYPED) && ln -sfn ../.. $(TYPED)/mixbridge
	MYPYPATH=$(TYPED) $(BIN)/mypy -p mixbridge
	MYPYPATH=$(TYPED) $(BIN)/mypy scripts

programs: ## install what the tests run (Ardour, Chromium, SLURM ...) where apt-get and root are at hand
	@$(PYTHON) scripts/install_programs.py

pytest: environment-dev programs ## run the tests
	$(THREADS) $(BIN)/pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder --durations=15

format: environment-dev ## put the code into its form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

benchmark: environment-dev ## measure the songs in SONGS into benchmarks/results
	$(BIN)/python benchmarks/songs.py $(SONGS)

clean: ## remove what the other targets made
	rm -rf $(VENV) build dist *.egg-info $(DEMO) $(DEMO).mixbridge .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
