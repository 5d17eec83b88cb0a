#!/bin/sh
# dump_mysql.sh DATABASE...: one dump each into $BACKUPS, as SQL; the newest $KEEP stay.
# Who and where: MYSQL_HOST, MYSQL_USER, MYSQL_PASSWORD.
set -eu
here=$(dirname "$0")
umask 077
# A file, since a password among the arguments can be read by every process.
access=$(mktemp)
trap 'rm -f "$access" "$BACKUPS"/.*.dump' EXIT # and half a dump, if one failed
printf '[client]\nhost=%s\nport=%s\nuser=%s\npassword="%s"\n' \
  "$MYSQL_HOST" "${MYSQL_PORT:-3306}" "$MYSQL_USER" "$MYSQL_PASSWORD" >"$access"
mkdir -p "$BACKUPS"
for database in "$@"; do
  name="$database-$(date -u +%Y%m%dT%H%M%SZ).dump"
  mysqldump --defaults-extra-file="$access" --single-transaction --no-tablespaces --hex-blob "$database" >"$BACKUPS/.$name"
  # The last line says that it is whole; a dump cut short lacks it.
  tail -n 1 "$BACKUPS/.$name" | grep -q 'Dump completed'
  (cd "$BACKUPS" && mv ".$name" "$name" && sha256sum "$name" >"$name.sha256")
  echo "dumped $database to $name"
  sh "$here/keep.sh" "$BACKUPS" "$database" "$KEEP"
done
