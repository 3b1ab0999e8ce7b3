# One door for a new machine: `make setup`, `make run`, `make test`.
VENV   := .venv
PYTHON := $(VENV)/bin/python
STAMP  := $(VENV)/.installed

.PHONY: setup run test check unit native clean

setup: $(STAMP)

$(STAMP): pyproject.toml $(wildcard native/*)
	./setup.sh $(VENV)
	touch $@

run: setup
	./run.sh

# Format, lint, types, import order and unit tests: before every commit, and the first thing CI does.
check: setup
	$(VENV)/bin/ruff format --check src tests bench
	$(VENV)/bin/ruff check src tests bench
	$(VENV)/bin/mypy
	$(PYTHON) -m pytest tests/unit

unit: setup
	$(PYTHON) -m pytest tests/unit

native:
	$(MAKE) -C native

# Every ring. As root; a ring that cannot run here fails and says what it lacks.
test: check
	tests/install_packages.sh
	$(PYTHON) -m pytest tests/contract tests/kernel tests/engine tests/conformance

clean:
	$(MAKE) -C native clean
	rm -rf $(VENV) build dist .cache
