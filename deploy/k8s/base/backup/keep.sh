#!/bin/sh
# keep.sh FOLDER NAME COUNT: delete all but the newest COUNT dumps of one database.
# Their names hold the time in UTC, so the order of names is the order of time.
set -eu
ls -1 "$1" | grep "^$2-[0-9T]*Z\.dump\$" | sort -r | tail -n "+$(($3 + 1))" | while read -r old; do
  rm -f "$1/$old" "$1/$old.sha256"
  echo "deleted $old"
done
