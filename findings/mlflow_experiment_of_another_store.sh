#!/usr/bin/env bash
# MLflow: after `set_experiment` a run in another store goes to whatever experiment has the same number there.
#
# Expected: an experiment is chosen in the store that was asked for it; with another tracking address the default one of
# that store is used, or an error says that none is chosen. Found: `set_experiment` writes the number into the
# environment (MLFLOW_EXPERIMENT_ID) and keeps it in the process; after `set_tracking_uri` a run lands, without a word, in
# the other store's experiment of that number, and where there is none it fails. Processes that are started inherit it.
#
# Seen with mlflow 3.17.2:
#   chosen in the first store: 'mine', number 1; in the environment: 1
#   the run in the second store lies in: 'somebody else'
#   in a third store: No Experiment with id=1 exists
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "mlflow==3.17.2"
cd "$folder"
cat > try.py <<'PYTHON'
import logging
import os
import sys

os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_LOGGING_LEVEL": "ERROR"}
import mlflow
from mlflow.exceptions import MlflowException

logging.disable(logging.INFO)


def run_lies_in():
    with mlflow.start_run() as run:
        return mlflow.get_experiment(run.info.experiment_id).name


print("mlflow", mlflow.__version__)
mlflow.set_tracking_uri("sqlite:///second.db")
mlflow.create_experiment("somebody else")
mlflow.set_tracking_uri("sqlite:///first.db")
number = mlflow.set_experiment("mine").experiment_id
inherited = os.environ.get("MLFLOW_EXPERIMENT_ID")
print(f"chosen in the first store: 'mine', number {number}; in the environment: {inherited}")
mlflow.set_tracking_uri("sqlite:///second.db")
second = run_lies_in()
print("the run in the second store lies in:", repr(second))
mlflow.set_tracking_uri("sqlite:///third.db")
try:
    third = run_lies_in()
except MlflowException as error:
    third = error.message
print("in a third store:", third)
if inherited != number or second != "somebody else" or "No Experiment" not in third:
    sys.exit("changed: an experiment is chosen for its own store only")
PYTHON
"$folder/venv/bin/python" try.py
