# make run: set up, then the main job.  make test: set up, then every check and test.
PYTHON ?= python3.11
BIN := .venv/bin
CONFIG ?= zenml.yaml

.PHONY: setup run test check mlflow zenml clean

setup: .venv/.ready

.venv/.ready: pyproject.toml constraints.txt pipelines/stack.py
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/reft fetch-model
	$(BIN)/python -m pipelines.stack
	touch $@

run: setup
	$(BIN)/zenml pipeline run reft_pipeline --config $(CONFIG)
	@$(BIN)/reft show

check: setup
	$(BIN)/ruff check .
	$(BIN)/ty check reft steps pipelines

test: check
	$(BIN)/python -m pytest --cov=reft --cov-report=term:skip-covered --cov-fail-under=85

mlflow:
	$(BIN)/mlflow server --backend-store-uri sqlite:///$(CURDIR)/.reft/mlflow.db --port 5000

zenml:
	$(BIN)/zenml login --local --blocking

clean:
	rm -rf .venv .reft .zen runs
