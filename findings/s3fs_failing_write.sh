#!/usr/bin/env bash
# s3fs: a `with` block around an opened object that raises half way commits what was written so far. The object appears
# under its own name, cut off, and where a whole one lay before, that one is gone. An upload to S3 is all or nothing by
# itself, so that nobody looks for half an object there; `autocommit=False` with `discard()` keeps it so.
#
# Seen with s3fs 2026.9.0, moto 5.2.5:
#   before: b'the whole content'
#   after the block raised: b'first half'
#   with autocommit=False and discard: b'the whole content'
#   found: half an object took the place of the whole one
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "s3fs==2026.9.0" "moto[server]==5.2.5"
cd "$folder"
cat > try.py <<'PYTHON'
import os
import sys
from importlib.metadata import version

from moto.server import ThreadedMotoServer

server = ThreadedMotoServer(port=0)
server.start()
host, port = server.get_host_and_port()
os.environ |= {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "word", "AWS_DEFAULT_REGION": "us-east-1"}
import s3fs

print("s3fs", version("s3fs"), "moto", version("moto"))
fs = s3fs.S3FileSystem(endpoint_url=f"http://{host}:{port}", use_listings_cache=False)
fs.mkdir("bucket")
whole = b"the whole content"


def content() -> bytes:
    fs.invalidate_cache()
    return fs.cat_file("bucket/object")


fs.pipe_file("bucket/object", whole)
print("before:", content())
try:
    with fs.open("bucket/object", "wb") as out:
        out.write(b"first half")
        raise RuntimeError("the source broke off")
except RuntimeError:
    pass
left = content()
print("after the block raised:", left)
fs.pipe_file("bucket/object", whole)
out = fs.open("bucket/object", "wb", autocommit=False)
out.write(b"first half")
out.discard()
out.closed = True
print("with autocommit=False and discard:", content())
if left != b"first half" or content() != whole:
    sys.exit("changed: a block that raises commits nothing, or discard does not keep the whole object")
print("found: half an object took the place of the whole one")
server.stop()
PYTHON
"$folder/venv/bin/python" try.py 2>/dev/null || { echo "failed"; exit 1; }
