# The commands that people, hooks and CI use. `make help` lists them.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# One thread a process: two busy processes with two OpenMP threads each run 8-10 times slower.
export OMP_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM ?= false

.PHONY: help install demo lakefs up down pools deploy automations notifications guard workers remote-init remote-run \
	remote-evaluate remote-worker remote-up remote-down remote-logs remote-stop remote-fetch \
	test test-all check docs format clean

help: ## List the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'

install: ## Install hone; EXTRAS=qlora adds what QLoRA needs
	@PYTHON="$(PYTHON)" sh deployments/install.sh $(VENV) '.$(if $(EXTRAS),[$(EXTRAS)])'
	@touch $(VENV)/.installed

demo: $(VENV)/.installed ## Fine-tune the tiny model on the example data and publish it if it is better
	@$(BIN)/hone run tiny

lakefs: $(VENV)/.installed ## Serve lakeFS on this machine with the example data (PORT=8000)
	@$(BIN)/python -m deployments.lakefs $(if $(PORT),--port $(PORT))

up: $(VENV)/.installed ## Start Prefect, MLflow, lakeFS and workers here (PREFECT_PORT= MLFLOW_PORT= LAKEFS_PORT=)
	@$(BIN)/python -m deployments.local_stack up $(if $(PREFECT_PORT),--prefect-port $(PREFECT_PORT)) \
		$(if $(MLFLOW_PORT),--mlflow-port $(MLFLOW_PORT)) $(if $(LAKEFS_PORT),--lakefs-port $(LAKEFS_PORT))

down: $(VENV)/.installed ## Stop exactly what `make up` started
	@$(BIN)/python -m deployments.local_stack down

pools: $(VENV)/.installed ## Make the work pools on the Prefect server (TYPE=process, docker, kubernetes)
	@$(BIN)/python -m deployments.pools $(if $(TYPE),--type $(TYPE))

deploy: pools ## Make the work pools, and deploy prefect.yaml
	@$(BIN)/prefect --no-prompt deploy --all

automations: $(VENV)/.installed ## Have silent runs ended and crashed ones run again (ON_DRIFT=retrain/nightly)
	@$(BIN)/python -m deployments.automations $(if $(ON_DRIFT),--on-drift $(ON_DRIFT))

notifications: $(VENV)/.installed ## Tell people what is published, declined, waiting, drifted or broken (HONE_NOTIFY_*)
	@$(BIN)/python -m deployments.notifications

guard: $(VENV)/.installed ## Refuse merges of broken rows into the lakeFS branch of a preset (PRESET= PORT=8010)
	@$(BIN)/python -m deployments.merge_guard $(or $(PRESET),$(error PRESET= is missing)) $(if $(PORT),--port $(PORT))

workers: $(VENV)/.installed ## Run this host's workers, one for each GPU (POOLS="gpu cpu")
	@$(BIN)/python -m deployments.workers $(POOLS)

remote-init: $(VENV)/.installed ## Send the sources to a GPU host and install them (REMOTE_USER= REMOTE_HOST= REMOTE_DIR=)
	@$(BIN)/python -m deployments.remote init

remote-run: $(VENV)/.installed ## Run a preset there, through cut connections (PRESET= SET="--set k=v")
	@$(BIN)/python -m deployments.remote run $(or $(PRESET),$(error PRESET= is missing)) $(SET)

remote-evaluate: $(VENV)/.installed ## Score a model there (MODEL= PRESET=)
	@$(BIN)/python -m deployments.remote evaluate $(or $(MODEL),$(error MODEL= is missing)) $(if $(PRESET),--preset $(PRESET)) $(SET)

remote-worker: $(VENV)/.installed ## Start workers there that stay when you leave (POOLS="gpu cpu")
	@$(BIN)/python -m deployments.remote worker $(POOLS)

remote-up: $(VENV)/.installed ## Start Prefect, MLflow, lakeFS and workers there
	@$(BIN)/python -m deployments.remote up

remote-down: $(VENV)/.installed ## Stop what remote-up started
	@$(BIN)/python -m deployments.remote down

remote-logs: $(VENV)/.installed ## Follow what goes on there (NAME=run, evaluate or workers)
	@$(BIN)/python -m deployments.remote logs $(NAME)

remote-stop: $(VENV)/.installed ## Stop it; a run saves first (NAME=run, evaluate or workers)
	@$(BIN)/python -m deployments.remote stop $(NAME)

remote-fetch: $(VENV)/.installed ## Bring published models and the newest report to HONE_HOME/remote
	@$(BIN)/python -m deployments.remote fetch

test: $(VENV)/.installed-dev ## Run the tests, on two cores, but for the few that take minutes
	$(BIN)/python -m pytest -n 2 --dist loadgroup --no-loadscope-reorder -m "not long"

test-all: $(VENV)/.installed-dev ## Run all tests, on two cores
	$(BIN)/python -m pytest -n 2 --dist loadgroup --no-loadscope-reorder

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
