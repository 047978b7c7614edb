# make demo · make test · make test-all · make lint · make coverage · make docs · make bench · make peers · make screenshots · make venv · make test-online
# Another PyTorch build: make venv TORCH_INDEX=https://download.pytorch.org/whl/cpu
PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX ?=
WORKERS ?= 2
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest
PARALLEL := -n $(WORKERS) --dist worksteal
PEERS := .venv-peers
PEERS_LIST := Testing/bench/peers-requirements.txt
PEERS_OPTIONS ?=

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-slow test-all test-online coverage docs lint format bench peers screenshots clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

venv: $(STAMP)  ## the environment in .venv, from pyproject.toml and constraints.txt

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else "NeuroGen needs Python 3.11 to 3.13, this is %d.%d: call make PYTHON=python3.12" % v)'
	$(PYTHON) -m venv $(VENV)
	$(if $(TORCH_INDEX),$(BIN)/python -m pip install --quiet --index-url $(TORCH_INDEX) torch==$$(sed -n 's/^torch==//p' constraints.txt))
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(STAMP)  ## render the bundled atlas into demo-output
	$(BIN)/neurogen demo --out demo-output --overwrite

test: $(STAMP)  ## everything that matters, in minutes: no case of more than two CPU seconds
	$(PYTEST) --doctest-modules --doctest-ignore-import-errors NeuroGenLib
	$(PYTEST) -m "not slow and not online" $(PARALLEL) Testing

test-slow: $(STAMP)  ## the cases that make test leaves out
	$(PYTEST) -m "slow and not online" $(PARALLEL) Testing

test-all: test test-slow  ## every test that needs no GPU and no network

test-online: $(STAMP)  ## download what the hubs hold and check it
	$(BIN)/python -m pytest -m online Testing

coverage: $(STAMP)  ## which lines all tests reach, into coverage-html
	$(PYTEST) -m "not online" $(PARALLEL) --cov --cov-report=term --cov-report=html Testing

docs: $(STAMP)  ## the site of the documents and the Python API, into site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

lint: $(STAMP)  ## ruff, mypy and codespell
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/codespell $$(git ls-files)

format: $(STAMP)  ## let ruff rewrite
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP)  ## measured speed of drawing, fitting, the slider, registration and super-resolution
	$(BIN)/python Testing/bench/bench_atlas.py
	$(BIN)/python Testing/bench/bench_fit.py
	$(BIN)/python Testing/bench/bench_slider.py
	$(BIN)/python Testing/bench/bench_registration.py
	$(BIN)/python Testing/bench/bench_superresolution.py
	$(BIN)/python Testing/bench/bench_libraries.py

peers: $(STAMP) $(PEERS)/.installed  ## compare registration with ANTs, greedy and demons (two hours); PEERS_OPTIONS=--help
	$(BIN)/python Testing/bench/bench_peers.py --peers-python $(PEERS)/bin/python $(PEERS_OPTIONS)
	$(BIN)/python Testing/bench/registration_adult.py --out runs/adult
	$(BIN)/python Testing/bench/bench_peers.py --peers-python $(PEERS)/bin/python --data runs/adult \
		--pairs runs/adult/bench_pairs.tsv --out runs/peers-adult $(PEERS_OPTIONS)

$(PEERS)/.installed: $(PEERS_LIST)
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet -r $(PEERS_LIST)
	@touch $@

screenshots: $(STAMP)  ## photograph the panels into docs/images
	$(BIN)/python Testing/screenshots.py

clean:  ## remove the environments and what the demo made
	rm -rf $(VENV) $(PEERS) demo-output build dist site coverage-html .coverage*
