#!/usr/bin/env bash
# MLflow: a model version in an SQL store forgets which logged model it is of, from its creation on.
#
# Expected: `create_model_version(..., model_id=...)` keeps the id, which the version's `model_id` gives back. Found: the
# id is taken and is None in what the call itself returns, in `get_model_version` and in a search; only the source
# (`models:/ID`), where the version was made from such an address, still tells it. A tag of one's own keeps it.
#
# Seen with mlflow 3.17.2, SQLite:
#   the logged model has an id: True
#   the version's model_id when it is created: None; read back: None; found: None
#   its source still names the model: True
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
from mlflow.tracking import MlflowClient

logging.disable(logging.INFO)
print("mlflow", mlflow.__version__)
mlflow.set_tracking_uri("sqlite:///store.db")
client = MlflowClient()
model = client.create_logged_model(client.create_experiment("one"), name="m")
client.finalize_logged_model(model.model_id, "READY")
client.create_registered_model("registered")
made = client.create_model_version("registered", f"models:/{model.model_id}", model_id=model.model_id)
read = client.get_model_version("registered", made.version)
found = client.search_model_versions("name='registered'")[0]
ids = (made.model_id, read.model_id, found.model_id)
print("the logged model has an id:", bool(model.model_id))
print(f"the version's model_id when it is created: {ids[0]}; read back: {ids[1]}; found: {ids[2]}")
named = model.model_id in read.source
print("its source still names the model:", named)
if not model.model_id or ids != (None, None, None):
    sys.exit("changed: the version knows its model")
PYTHON
"$folder/venv/bin/python" try.py
