# make run: set up, then the main job.  make test: set up, then every check and test.
PYTHON ?= python3.11
BIN := .venv/bin
CONFIG ?= zenml.yaml
OVERLAY ?= local-kind
RUN ?= configs/k8s/8b-one-gpu.yaml

.PHONY: setup run test test-fast test-night check docs docs-serve mlflow zenml k8s-up k8s-check k8s-run clean

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

check: setup
	$(BIN)/ruff check .
	$(BIN)/ty check reft steps pipelines
	$(BIN)/python -m benchmarks.result_pages --check

# Files of tests beside one another, two at a time or as many as BESIDE says; the tests of a file share what it made.
BESIDE ?= 2
# A test process that dies ends the run: xdist would start another and wait for ever for the dead one's tests.
PYTEST := $(BIN)/python -m pytest --numprocesses=$(BESIDE) --dist=loadfile --no-loadscope-reorder --max-worker-restart=0

# A few minutes: no processes, no training, no waiting. A test that needs one of them is marked slow.
test-fast: setup
	$(PYTEST) -q -m "not slow"

test: check
	$(PYTEST) -m "not night" --durations=25 --cov=reft --cov-report=term:skip-covered --cov-fail-under=85

# What `make test` leaves out: trainings, runs and servers that are killed, stopped and started again, up to an hour.
test-night: setup
	$(PYTEST) -m night

# The site, from docs/ and mkdocs.yml, strictly; site/index.html reads without a network.
docs: setup
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[docs]'
	$(BIN)/python ci/reference.py
	ci/docs

docs-serve: docs
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory site 8322

mlflow:
	$(BIN)/mlflow server --backend-store-uri sqlite:///$(CURDIR)/.reft/mlflow.db --port 5000

zenml:
	$(BIN)/zenml login --local --blocking

# On Kubernetes: deploy/k8s/README.md. All three may be repeated.
k8s-up:
	kubectl apply -f deploy/k8s/base/namespace.yaml
	deploy/k8s/make_secrets.sh
	kubectl -n reft delete job mlflow-run-user service-database --ignore-not-found
	kubectl apply -k deploy/k8s/overlays/$(OVERLAY)
	for server in statefulset/postgres statefulset/mysql deployment/mlflow deployment/zenml; do \
	  kubectl -n reft rollout status $$server --timeout=15m || exit 1; done
	kubectl -n reft wait --for=condition=complete job/mlflow-run-user --timeout=15m

k8s-check: setup
	kubectl kustomize deploy/k8s/overlays/$(OVERLAY) >/dev/null
	$(BIN)/python -m pytest tests/deploy
	@if kubectl --request-timeout=5s get namespace reft >/dev/null 2>&1; \
	then kubectl apply --dry-run=server -k deploy/k8s/overlays/$(OVERLAY); \
	else echo "no cluster with a namespace reft is reached: the API server was not asked"; fi

k8s-run: setup
	$(BIN)/python deploy/k8s/register_stack.py --registry "$(REGISTRY)" $(STACK)
	$(BIN)/zenml pipeline run reft_pipeline --config $(RUN)

clean:
	rm -rf .venv .reft .zen runs
