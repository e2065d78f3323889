# Everything that a person runs. The first two work on a fresh machine with Python 3.11 and a package index.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: help demo test test-slow test-transformers-4 test-trt-api lint type bench bench-peers bench-gates ov-tiny clean

help:           ## this list
	@grep -E '^[a-z0-9-]+: .*##|^[a-z]+: *##' Makefile | sed 's/:.*##/\t/' | expand -t 22

demo: $(VENV)/.demo  ## build a bundle from the embedded model and ask it about a chart, two pictures and a clip
	$(BIN)/ovexport build --force
	$(BIN)/ovrun examples/chart.png -p "Which bar is the highest?"
	$(BIN)/ovrun examples/before.png examples/after.png -p "What changed from the first image to the second?"
	$(BIN)/ovrun --video examples/clip.mp4 -p "In which direction does the circle move?"

test: $(VENV)/.test lint type  ## lint, types and the whole test suite (under 12 minutes on 2 cores)
	$(BIN)/python -m pytest -n 2 -rs -m "not slow"

test-slow: $(VENV)/.test  ## what takes minutes or gigabytes: real shapes, build memory
	$(BIN)/python -m pytest -m slow

test-transformers-4: $(VENV)/.test4  ## parity against transformers 4.57 in an environment of its own
	$(VENV)4/bin/python -m pytest -n 2 -m "not slow" tests/model tests/tiling tests/parity tests/checkpoint

test-trt-api: $(VENV)/.test  ## what is used of TensorRT's Python API, against the real bindings of four versions
	$(BIN)/python -m pytest -rs tests/engines/tensorrt/test_tensorrt_api.py

lint: $(VENV)/.test  ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

type: $(VENV)/.test  ## mypy
	$(BIN)/mypy

bench: $(VENV)/.test  ## ours against every installed peer: report and plots in runs/bench/report (about an hour)
	$(BIN)/python -m benchmarks

bench-peers: $(VENV)/.test  ## an environment for each peer of the benchmarks (7 GB; one is compiled, 15 minutes)
	$(BIN)/python -m benchmarks.environments

bench-gates: $(VENV)/.test  ## the figures that issues ask for, measured here, with their bounds (about 30 minutes)
	$(BIN)/python -m benchmarks.gates

ov-tiny: $(VENV)/.train  ## train the embedded model again from nothing (about three hours on 2 free cores); resumable
	$(BIN)/python -m ovexport.train.tiny --runs runs

clean:          ## remove environments and caches
	rm -rf $(VENV) $(VENV)4 $(VENV)-peers .pytest_cache .ruff_cache .mypy_cache build *.egg-info

$(VENV)/.demo: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	@sh .ci/check_torch.sh $(BIN)/pip
	$(PIP) torch
	$(PIP) -e '.[cpu,export]'
	@touch $@

$(VENV)/.train: $(VENV)/.demo
	$(PIP) -e '.[cpu,export,train]'
	@touch $@

$(VENV)/.test: $(VENV)/.demo
	$(PIP) -e '.[cpu,export,train,dev]'
	@touch $@

$(VENV)/.test4: $(VENV)/.test
	$(PYTHON) -m venv $(VENV)4
	$(VENV)4/bin/pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(VENV)4/bin/pip install --quiet --disable-pip-version-check -c constraints.txt \
		-e '.[cpu,export]' 'transformers==4.57.6' pytest pytest-xdist hypothesis psutil
	@touch $@
