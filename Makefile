# make demo   a running service with a synthetic library        make test   the tests
# make check  lint, types, import floors, container files       make openapi  renew openapi/openapi.json
# make test-reference   our encoders beside their authors' own code, in .venv-reference

PYTHON ?= python3.11
VENV ?= .venv
REFERENCE ?= .venv-reference
BIN := $(VENV)/bin
DEMO := .demo
# Tests run in that many processes, whole files each, and each computes on one thread.
WORKERS ?= 2
PORT ?= 8000
# An index that carries CPU builds of torch, for machines where plain pip would take CUDA's.
TORCH_INDEX ?=
TORCH := $(shell sed -n 's/^torch==/torch==/p' constraints.txt)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test test-reference check openapi clean

demo: $(VENV)/.serving
	@SONOSEEK_DATA=$(DEMO)/data BIN=$(BIN) DEMO=$(DEMO) PORT=$(PORT) ONCE=$(ONCE) sh deploy/demo.sh

test: $(VENV)/.dev
	@sh deploy/test_packages.sh
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

test-reference: $(REFERENCE)/.built
	$(REFERENCE)/bin/python -m pytest tests/reference

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/hadolint Dockerfile
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml

openapi: $(VENV)/.dev
	$(BIN)/sonoseek openapi > openapi/openapi.json

clean:
	rm -rf $(VENV) $(REFERENCE) $(DEMO)

$(VENV)/.serving: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing, a few minutes the first time (about 1.9 GB with a CPU build of torch)"
	$(PIP) $(if $(TORCH_INDEX),--no-deps --index-url $(TORCH_INDEX)) $(TORCH)
	$(PIP) --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.serving
	$(PIP) --editable '.[dev]'
	@touch $@

$(REFERENCE)/.built: $(VENV)/.dev tests/reference/build.sh tests/reference/constraints.txt
	sh tests/reference/build.sh $(PYTHON) $(VENV) $(REFERENCE)
	@touch $@
