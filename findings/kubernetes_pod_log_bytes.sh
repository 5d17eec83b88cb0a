#!/usr/bin/env bash
# The Kubernetes client for Python: a pod's log is the spelling of a bytes object, not text.
#
# Expected: `read_namespaced_pod_log` gives, as its documentation says, a string: the log, line by line. Found: the
# string begins with b' and ends with ', line breaks and everything beyond ASCII are backslash escapes, so that the log
# is one line. With `_preload_content=False` the bytes come as they are.
#
# Seen with kubernetes 36.0.3:
#   the server sends 2 lines; type: str, lines: 1
#   it begins with b' : True
#   with _preload_content=False, lines: 2
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "kubernetes==36.0.3"
cd "$folder"
cat > try.py <<'PYTHON'
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

from kubernetes import client

LOG = "step 1 of 2\nstep 2 of 2\n"


class ApiServer(BaseHTTPRequestHandler):
    """Answers as an API server does to GET .../pods/NAME/log."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(LOG)))
        self.end_headers()
        self.wfile.write(LOG.encode())

    def log_message(self, *ignored):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), ApiServer)
threading.Thread(target=server.serve_forever, daemon=True).start()
settings = client.Configuration()
settings.host = f"http://127.0.0.1:{server.server_port}"
api = client.CoreV1Api(client.ApiClient(settings))
text = api.read_namespaced_pod_log("pod", "default")
raw = api.read_namespaced_pod_log("pod", "default", _preload_content=False).data.decode()
print("kubernetes", version("kubernetes"))
print(f"the server sends 2 lines; type: {type(text).__name__}, lines: {len(text.splitlines())}")
print("it begins with b' :", text.startswith("b'"))
print("with _preload_content=False, lines:", len(raw.splitlines()))
if text != str(LOG.encode()) or raw != LOG:
    sys.exit("changed: a log is text")
PYTHON
"$folder/venv/bin/python" try.py
