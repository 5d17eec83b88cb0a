"""Bad requests, generated: values of every kind, and how they are sent."""

import os

import httpx2
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

# `REFT_BAD_REQUESTS=2000` is the acceptance run.
EXAMPLES = int(os.environ.get("REFT_BAD_REQUESTS", "150"))
CHECKED = settings(
    max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)
TEXT = st.text(max_size=30) | st.sampled_from(
    ["auto", "\0", "\ud800", "..", "/", "x" * 5000, "\u202e", "tiny", "fine-tune"]
)
LEAF = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | TEXT
    | st.sampled_from(["supervised", "dpo", "created_at", "file-x", 0, 1, 3600, "https://example.org"])
)
VALUE = st.recursive(
    LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=8
)

CLIENT = httpx2.Client(timeout=20)


def send(server, method, address, **sent):
    headers = {"authorization": f"Bearer {server.key('fuzz', 'operator')}", **sent.pop("headers", {})}
    answer = CLIENT.request(method, server.url + address, headers=headers, **sent)
    assert answer.status_code < 500, (method, address, sent, answer.text)
    assert answer.headers["x-request-id"]
    if answer.status_code >= 400:
        error = answer.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert error["message"]
        assert error["type"]
        assert error["code"]
    return answer
