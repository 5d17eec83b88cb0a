#!/bin/sh
# restore_mysql.sh DATABASE [FILE]: put the database back as it was in FILE, the newest dump if not given.
# MySQL cannot undo a change of tables, so a failure half-way leaves it half-way: run it again, or with an older dump.
set -eu
database=$1
umask 077
access=$(mktemp)
trap 'rm -f "$access"' EXIT
printf '[client]\nhost=%s\nport=%s\nuser=%s\npassword="%s"\n' \
  "$MYSQL_HOST" "${MYSQL_PORT:-3306}" "$MYSQL_USER" "$MYSQL_PASSWORD" >"$access"
cd "$BACKUPS"
file=${2:-$(ls -1 | grep "^$database-[0-9T]*Z\.dump\$" | sort | tail -n 1)}
[ -n "$file" ] || { echo "no dump of $database in $BACKUPS" >&2; exit 1; }
sha256sum --check --quiet "$file.sha256"
mysql --defaults-extra-file="$access" --execute="DROP DATABASE IF EXISTS \`$database\`; CREATE DATABASE \`$database\`;"
mysql --defaults-extra-file="$access" "$database" <"$file"
echo "restored $database from $file"
