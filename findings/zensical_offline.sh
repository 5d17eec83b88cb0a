#!/usr/bin/env bash
# zensical: with the plugin `offline`, which is for sites that are read from a disk, every page still takes a script from
# a CDN: the shim without which the search finds nothing there. Whoever is offline has no search, and whoever is not
# tells the CDN what is read. The strict build says nothing of it.
#
# Seen with zensical 0.0.73:
#   the strict build ends with 0
#   <script src="https://unpkg.com/iframe-worker/shim">
#   found: the offline page needs the network
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "zensical==0.0.73"
cd "$folder"
mkdir docs
printf '# A page\n\nSome text.\n' > docs/index.md
printf 'site_name: A site\nuse_directory_urls: false\nplugins: [search, offline]\ntheme: {font: false}\n' > mkdocs.yml
"$folder/venv/bin/pip" list 2>/dev/null | grep -i '^zensical'
"$folder/venv/bin/zensical" build --strict --clean --config-file mkdocs.yml >/dev/null
echo "the strict build ends with 0"
if ! grep -oE '<script[^>]*src="?https://unpkg.com[^>]*>' site/index.html; then
  echo "changed: the page takes no script from the CDN" >&2
  exit 1
fi
echo "found: the offline page needs the network"
