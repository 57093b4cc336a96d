# `make demo` and `make test` are all a newcomer needs; both prepare the environment themselves.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DGL := .venv-dgl
PIP := $(BIN)/python -m pip --disable-pip-version-check
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt

.PHONY: install demo test check bench wheel dgl-check clean

install: $(VENV)/.installed

demo: $(VENV)/.installed
	$(BIN)/python examples/demo.py --out demo_output

test: $(VENV)/.tested check wheel
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto -m "not slow" --ignore=tests/conformance

check: $(VENV)/.tested
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	mkdir -p .check/fieldcast
	for part in meshes solvers surrogates pipelines; do ln -sfn ../../$$part .check/fieldcast/$$part; done
	MYPYPATH=.check $(BIN)/mypy -p fieldcast.meshes -p fieldcast.solvers -p fieldcast.surrogates -p fieldcast.pipelines
	$(BIN)/lint-imports

bench: $(VENV)/.installed
	@test -n "$(NAME)" || { echo "say which: make bench NAME=plate (see benchmarks/)"; exit 1; }
	$(BIN)/python benchmarks/$(NAME).py $(ARGS)

# The wheel in an environment of its own: the command answers and the contract tests pass there (they
# run there alone).
wheel: $(VENV)/.tested
	sh tests/check_wheel.sh $(VENV)

# dgl needs Python 3.11 and a torch of its time (5 GB). The modules that may run beside it do so alone.
dgl-check: $(DGL)/.installed
	mkdir -p $(DGL)/alone/fieldcast/surrogates
	for part in graph attention attention_dgl; do \
	  ln -sfn $(CURDIR)/surrogates/$$part.py $(DGL)/alone/fieldcast/surrogates/$$part.py; done
	$(DGL)/bin/python -c "import dgl.sparse"
	PYTHONPATH=$(DGL)/alone $(DGL)/bin/python -m pytest -q --noconftest -p no:cacheprovider -o addopts= \
	  -o filterwarnings= tests/surrogates/test_attention_dgl.py

$(DGL)/.installed: benchmarks/dgl-requirements.txt
	@command -v python3.11 >/dev/null || { echo "dgl-check needs python3.11"; exit 1; }
	python3.11 -m venv $(DGL)
	PIP_CONSTRAINT= $(DGL)/bin/python -m pip --disable-pip-version-check install -q -r $<
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "fieldcast needs Python 3.11 or newer, $(PYTHON) is older: make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install -q torch
	$(PIP) install -q -e '.[solvers]'
	@touch $@

$(VENV)/.tested: $(VENV)/.installed
	$(PIP) install -q -e '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) $(DGL) build dist *.egg-info .check demo_output
