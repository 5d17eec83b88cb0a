#!/bin/sh
# restore_postgres.sh DATABASE [FILE]: put the database back as it was in FILE, the newest dump if not given.
# What is there now is replaced. All or nothing: a failure leaves the database as it was.
set -eu
database=$1
cd "$BACKUPS"
file=${2:-$(ls -1 | grep "^$database-[0-9T]*Z\.dump\$" | sort | tail -n 1)}
[ -n "$file" ] || { echo "no dump of $database in $BACKUPS" >&2; exit 1; }
sha256sum --check --quiet "$file.sha256"
# The schema is dropped as a whole, so that tables made since the dump do not stay behind.
{
  echo 'DROP SCHEMA public CASCADE; CREATE SCHEMA public;'
  pg_restore --no-owner --file=- "$file" || echo 'THE DUMP COULD NOT BE READ;'
} | psql --quiet --set=ON_ERROR_STOP=1 --single-transaction --file=- --dbname="$database" >/dev/null
echo "restored $database from $file"
