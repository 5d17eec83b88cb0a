#!/usr/bin/env bash
# Builds and tries the CPU image where no registry can be reached: its base is made from Debian packages.
# As root, with buildah and debootstrap: deploy/k8s/images/build_without_registry.sh [folder for big files]
set -euo pipefail
cd "$(dirname "$0")/../../.."
work=${1:-$(mktemp -d)}
export BUILDAH_ISOLATION=chroot STORAGE_DRIVER=${STORAGE_DRIVER:-vfs} TMPDIR="$work"
root="--root $work/storage --runroot $work/run"

if ! buildah $root inspect --type image localhost/debian:local >/dev/null 2>&1; then
  debootstrap --variant=minbase --include=ca-certificates bookworm "$work/debian" >/dev/null
  # How pip finds its packages here is part of this base, which is for a trial alone.
  for place in /etc/pip.conf /etc/ssl/certs ${PIP_FIND_LINKS:-}; do
    if [ -e "$place" ]; then rm -rf "$work/debian$place"; mkdir -p "$work/debian$(dirname "$place")"; cp -rL "$place" "$work/debian$(dirname "$place")"; fi
  done
  printf '\n[install]\nfind-links = %s\n' "${PIP_FIND_LINKS:-}" >>"$work/debian/etc/pip.conf"
  base=$(buildah $root from scratch)
  buildah $root add -q "$base" "$work/debian" / >/dev/null
  buildah $root commit -q "$base" localhost/debian:local >/dev/null
  buildah $root rm "$base" >/dev/null
  rm -rf "$work/debian"
fi

options=(--build-arg BASE=localhost/debian:local --build-arg TORCH_INDEX= --network host --pull-never)
buildah $root build "${options[@]}" -f deploy/k8s/images/Containerfile.cpu -t reft:cpu .

echo "image: $(buildah $root images --format '{{.Size}}' reft:cpu)"
container=$(buildah $root from localhost/reft:cpu)
trap 'buildah $root rm "$container" >/dev/null' EXIT
run() { buildah $root run --user 10001:10001 "$container" -- "$@"; }
run reft check-config zenml.yaml
run reft plan --model-size 135m --tokens 64
run python -c "import os, torch, mlflow, zenml, psycopg2, kubernetes; assert os.getuid() == 10001; print('imports work as user', os.getuid())"
run python -c "import json; print('bill of materials:', len(json.load(open('/opt/reft/sbom.cdx.json'))['components']), 'components')"
for gone in apt-get dpkg perl pip curl; do
  if run which "$gone" >/dev/null 2>&1; then echo "$gone is still there" >&2; exit 1; fi
done
if run touch /app/written 2>/dev/null; then echo "/app can be written" >&2; exit 1; fi
echo "tried: runs as nobody, without package manager, and cannot change itself"
