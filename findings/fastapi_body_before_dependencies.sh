#!/usr/bin/env bash
# FastAPI: a JSON body is read and parsed before any dependency runs, one that turns strangers away included.
#
# Expected: a route whose dependency answers 401 says 401 to whoever has no key, whatever he sends, since the body's
# checks come after the dependency's (a body of a wrong shape is indeed answered with 401). Found: a body that is no JSON
# is answered with 422 before the dependency is asked, and a body of any size is taken into memory first: signing in as a
# dependency neither hides which routes exist nor spares the server a stranger's upload. A middleware does.
#
# Seen with fastapi 0.138.2, starlette 1.10.0:
#   a whole body without a key: 401, the dependency was asked
#   a body of a wrong shape without a key: 401, the dependency was asked
#   half a body without a key: 422, the dependency was not asked
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "fastapi==0.138.2" "starlette==1.10.0" "httpx==0.28.1"
cd "$folder"
cat > try.py <<'PYTHON'
import sys
from importlib.metadata import version

from fastapi import Depends, FastAPI, HTTPException
from fastapi.testclient import TestClient
from pydantic import BaseModel

app = FastAPI()
asked = []


def signed_in():
    asked.append(True)
    raise HTTPException(401, "no key")


class Order(BaseModel):
    count: int


@app.post("/orders", dependencies=[Depends(signed_in)])
def order(body: Order):
    return body


def answer(name, text):
    asked.clear()
    status = client.post("/orders", content=text, headers={"content-type": "application/json"}).status_code
    print(f"{name} without a key: {status}, the dependency was {'asked' if asked else 'not asked'}")
    return status, bool(asked)


print("fastapi", version("fastapi"), "starlette", version("starlette"))
client = TestClient(app)
whole, wrong = answer("a whole body", '{"count": 1}'), answer("a body of a wrong shape", '{"count": "many"}')
half = answer("half a body", '{"count": ')
if whole != (401, True) or wrong != (401, True) or half != (422, False):
    sys.exit("changed: who has no key is turned away before his body is read, or in another order")
PYTHON
"$folder/venv/bin/python" -W ignore try.py
