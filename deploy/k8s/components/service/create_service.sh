#!/bin/sh
# The service's own role and database, in the server that base has. Repeating it is harmless, and sets the password anew.
# Who and where by libpq's own variables: PGHOST, PGUSER, PGPASSWORD of the administrator.
set -eu
psql --quiet --set=ON_ERROR_STOP=1 --dbname=postgres --set=password="$SERVICE_DATABASE_PASSWORD" <<'SQL'
SELECT 'CREATE ROLE reft_service LOGIN' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'reft_service') \gexec
ALTER ROLE reft_service PASSWORD :'password';
SELECT 'CREATE DATABASE reft_service OWNER reft_service'
  WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'reft_service') \gexec
REVOKE ALL ON DATABASE reft_service FROM PUBLIC;
SQL
echo 'database reft_service is ready'
