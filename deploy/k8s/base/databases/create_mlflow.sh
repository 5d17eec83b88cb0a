#!/bin/sh
# Run once by the postgres image, on an empty volume: MLflow's own role and its two databases.
set -eu
psql --set=ON_ERROR_STOP=1 --username="${POSTGRES_USER:-postgres}" --dbname=postgres \
  --set=password="$MLFLOW_DATABASE_PASSWORD" <<'SQL'
CREATE ROLE mlflow LOGIN PASSWORD :'password';
CREATE DATABASE mlflow OWNER mlflow;
CREATE DATABASE mlflow_users OWNER mlflow;
REVOKE ALL ON DATABASE mlflow, mlflow_users FROM PUBLIC;
SQL
