#!/bin/sh
# dump_postgres.sh DATABASE...: one dump each into $BACKUPS, in pg_dump's custom format; the newest $KEEP stay.
# Who and where by libpq's own variables: PGHOST, PGPORT, PGUSER, PGPASSWORD.
set -eu
here=$(dirname "$0")
umask 077
mkdir -p "$BACKUPS"
trap 'rm -f "$BACKUPS"/.*.dump' EXIT # half a dump, if one failed
for database in "$@"; do
  name="$database-$(date -u +%Y%m%dT%H%M%SZ).dump"
  # Under another name until it is whole and readable: a dump that stopped half-way is no backup.
  pg_dump --format=custom --file="$BACKUPS/.$name" "$database"
  pg_restore --list "$BACKUPS/.$name" >/dev/null
  (cd "$BACKUPS" && mv ".$name" "$name" && sha256sum "$name" >"$name.sha256")
  echo "dumped $database to $name"
  sh "$here/keep.sh" "$BACKUPS" "$database" "$KEEP"
done
