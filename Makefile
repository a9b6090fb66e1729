# The commands that people, hooks and CI use. `make help` lists them.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# One thread a process: two busy processes with two OpenMP threads each run 8-10 times slower.
export OMP_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM ?= false

.PHONY: help install demo lakefs test check docs format clean

help: ## List the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

install: ## Install hone; EXTRAS=qlora adds what QLoRA needs
	@PYTHON="$(PYTHON)" sh deployments/install.sh $(VENV) '.$(if $(EXTRAS),[$(EXTRAS)])'
	@touch $(VENV)/.installed

demo: $(VENV)/.installed ## Fine-tune the tiny model on the example data and publish it if it is better
	@$(BIN)/hone run tiny

lakefs: $(VENV)/.installed ## Serve lakeFS on this machine with the example data (PORT=8000)
	@$(BIN)/python -m deployments.lakefs $(if $(PORT),--port $(PORT))

test: $(VENV)/.installed-dev ## Run all tests
	$(BIN)/python -m pytest

check: $(VENV)/.installed-dev ## Format, lint, types, architecture, freshness of the generated docs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_architecture.py
	$(BIN)/python -m configs.documentation --check

docs: $(VENV)/.installed-dev ## Write the generated references anew
	$(BIN)/python -m configs.documentation

format: $(VENV)/.installed-dev ## Format the sources
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## Remove the environment and the tools' caches; never data, runs or models
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.installed: pyproject.toml constraints.txt
	@PYTHON="$(PYTHON)" sh deployments/install.sh $(VENV) .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt
	@PYTHON="$(PYTHON)" sh deployments/install.sh $(VENV) '.[dev]'
	@touch $(VENV)/.installed $@
