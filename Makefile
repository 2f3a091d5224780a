# Every target makes the virtual environment it needs: `make demo` and `make test` work first.
# A machine without CUDA: `make test TORCH_INDEX=https://download.pytorch.org/whl/cpu`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TORCH_INDEX ?=
PIP_INDEX := $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))

.PHONY: dev demo test lint wheel bench clean

dev: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet $(PIP_INDEX) -c constraints.txt -e '.[dev]'
	touch $@

.typecheck/minireranker:
	mkdir -p .typecheck
	ln -sfn .. .typecheck/minireranker

demo: dev
	$(BIN)/minireranker demo --out demo

test: dev
	$(BIN)/pytest

lint: dev .typecheck/minireranker
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

wheel: dev
	$(BIN)/python -m build --wheel

bench: dev
	$(BIN)/minireranker bench engine

clean:
	rm -rf build dist .typecheck demo *.egg-info .mypy_cache .ruff_cache .pytest_cache
