#!/bin/sh
# Make the Secrets that the manifests refer to, with random values, where they are not there yet.
# Repeating it changes nothing: delete a Secret first to get a new one. Nothing secret is printed or kept.
#   deploy/k8s/make_secrets.sh            into namespace reft of the current cluster
#   DRY_RUN=1 deploy/k8s/make_secrets.sh  prints the Secrets instead, and needs no cluster
set -eu
umask 077
namespace=${NAMESPACE:-reft}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

random() { od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n'; } # hexadecimal: safe in a URL and in an INI file

wanted() { [ -n "${DRY_RUN:-}" ] || ! kubectl -n "$namespace" get secret "$1" >/dev/null 2>&1; }

# make NAME KEY...: a Secret of the files in $folder. Files, since arguments can be read by every process.
make() {
  secret=$1
  shift
  from=""
  for key in "$@"; do from="$from --from-file=$key=$folder/$key"; done
  if [ -n "${DRY_RUN:-}" ]; then
    # shellcheck disable=SC2086
    kubectl -n "$namespace" create secret generic "$secret" $from --dry-run=client --output=yaml
    echo ---
  else
    # shellcheck disable=SC2086
    kubectl -n "$namespace" create secret generic "$secret" $from
  fi
}

# One password is in two Secrets, so both are made together or not at all.
if wanted reft-postgres; then
  if [ -z "${DRY_RUN:-}" ] && ! wanted reft-mlflow; then
    echo "reft-mlflow is there, but reft-postgres, whose password it holds, is not." >&2
    echo "Restore reft-postgres, or delete reft-mlflow to have both made anew." >&2
    exit 1
  fi
  random 24 >"$folder/postgres-password"
  random 24 >"$folder/mlflow-password"
  random 24 >"$folder/admin-password"
  random 32 >"$folder/session-key"
  password=$(cat "$folder/mlflow-password")
  printf 'postgresql://mlflow:%s@postgres:5432/mlflow' "$password" >"$folder/backend-uri"
  cat >"$folder/basic_auth.ini" <<INI
[mlflow]
default_permission = READ
database_uri = postgresql://mlflow:$password@postgres:5432/mlflow_users
admin_username = admin
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
grant_default_workspace_access = false
INI
  make reft-mlflow admin-password session-key backend-uri basic_auth.ini
  make reft-postgres postgres-password mlflow-password
fi

if wanted reft-mysql; then
  random 24 >"$folder/root-password"
  random 24 >"$folder/zenml-password"
  make reft-mysql root-password zenml-password
fi

if wanted reft-zenml; then
  random 24 >"$folder/admin-password"
  random 32 >"$folder/token-key"
  random 32 >"$folder/encryption-key"
  make reft-zenml admin-password token-key encryption-key
fi

if wanted reft-store; then
  random 10 >"$folder/access-key"
  random 24 >"$folder/secret-key"
  make reft-store access-key secret-key
fi

# What the pods of a run get as their environment (envFrom): MLflow's ordinary user, never its administrator.
if wanted reft-run; then
  printf reft >"$folder/MLFLOW_TRACKING_USERNAME"
  random 24 >"$folder/MLFLOW_TRACKING_PASSWORD"
  make reft-run MLFLOW_TRACKING_USERNAME MLFLOW_TRACKING_PASSWORD
fi

# The finetuning service (components/service): its database, and the first operator's key, which it lets in.
if wanted reft-service; then
  random 24 >"$folder/database-password"
  printf 'postgresql+psycopg2://reft_service:%s@postgres:5432/reft_service' "$(cat "$folder/database-password")" \
    >"$folder/database-url"
  printf 'sk-reft-%s' "$(random 32)" >"$folder/operator-key"
  make reft-service database-password database-url operator-key
fi
