.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: help install demo test attack lint fast check format docs ui bench smoke zoo paper clean

help:  ## What there is
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

install: $(STAMP)  ## Make .venv with the tested versions of everything
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) -c constraints.txt -e '.[dev]'
	$(PIP) --no-deps aisfx==0.1.2  # weights for tests; its bounds exclude our numpy
	@touch $(STAMP)

demo: $(STAMP)  ## Train on synthetic fans, show the table per machine ID, compare with a committee (two minutes)
	$(BIN)/python train.py model=complex_ssl machine=fan dataset=synthetic experiment=demo
	$(BIN)/python train.py model=committee machine=fan dataset=synthetic dataset.train_clips=40
	$(BIN)/mimii compare machine=fan dataset=synthetic model=[complex_ssl,committee]

test: $(STAMP)  ## The whole test suite; three workers for two cores, as many tests wait for processes
	$(BIN)/python -m pytest -n 3 --dist worksteal

attack: $(STAMP)  ## 1,000 hostile inputs, 50 kills, and the counts of what came of them (SEED=7: others)
	$(BIN)/python -m pytest tests/attack --attacks $(or $(ATTACKS),1000) --kills $(or $(KILLS),50) --seed $(or $(SEED),0) -q --tb=short -n 2 --dist worksteal

lint: $(STAMP)  ## House style, types, and which room imports which
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports && $(BIN)/mypy

fast: $(STAMP)  ## The tests that neither train nor start processes
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

check: $(STAMP)  ## Lint and the fast tests beside one another (three minutes)
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target lint fast

format: $(STAMP)  ## Rewrite the code in the house style
	$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

docs: $(STAMP)  ## Build the site into site/, warnings as errors
	$(BIN)/python docs/make_detectors.py
	$(BIN)/zensical build --clean --strict

ui: $(STAMP)  ## MLflow on all runs: http://127.0.0.1:5000
	$(BIN)/mlflow ui --backend-store-uri $${MLFLOW_TRACKING_URI:-sqlite:///mlruns/mlflow.db}

bench: $(STAMP)  ## Measure speed and memory
	for script in benchmarks/[a-z]*.py; do $(BIN)/python $$script || exit 1; done

smoke: $(STAMP)  ## Every detector for seconds on synthetic sound
	$(BIN)/python train.py -m experiment=zoo trainer=smoke machine=fan dataset.train_clips=12 dataset.test_clips=4 dataset.clip_seconds=2

zoo: $(STAMP)  ## Every detector on all synthetic machines, half a minute of training each: a table (an hour)
	$(BIN)/python train.py -m experiment=zoo

paper: zoo  ## The zoo's table for a paper: LaTeX, PDF, HTML in outputs/compare
	$(BIN)/mimii compare sweep=latest

clean:  ## Remove what is not in git except outputs and mlruns
	rm -rf $(VENV) site data/synthetic data/cache .mypy_cache .pytest_cache .ruff_cache
