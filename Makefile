# Two commands do everything: `make demo` runs the main job on embedded defaults, `make test` passes the tests.
# Every pip call is held to constraints.txt, or a later one would pull another torch.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt

# One thread per process: two spinning OpenMP pools on one box are twenty times slower than one thread each.
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1
export OMP_WAIT_POLICY ?= PASSIVE
export YOLO_OFFLINE ?= true
export YOLO_AUTOINSTALL ?= false
# Bytecode is worth its 13 seconds: without it every process of ours compiles everything again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test lint protos clean

demo: $(VENV)/.base            ## play the simulated shop: live baskets, receipts, books
	$(BIN)/walkout demo

test: $(VENV)/.full lint       ## lint, types and every test
	$(BIN)/python -m pytest -n 2

lint: $(VENV)/.full
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

protos: $(VENV)/.full          ## regenerate walkout/v1 from protos/walkout/v1
	$(BIN)/python -m grpc_tools.protoc -I protos --python_out=. --pyi_out=. --grpc_python_out=. protos/walkout/v1/*.proto

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip

$(VENV)/.base: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo 'installing the base into $(VENV) (about half a minute) ...'
	$(PIP) -e .
	touch $@

$(VENV)/.full: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo 'installing everything into $(VENV) (about two minutes, 6 GB with torch) ...'
	$(PIP) -e '.[train,dev]'
	touch $@ $(VENV)/.base

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache
