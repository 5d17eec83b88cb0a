import re

import pytest
from sqlmodel import select

from reft.service.clock import now
from reft.service.keys import caller_of, digest_of, revoke_key
from reft.service.sign_in import COOKIE
from reft.service.tables import PageSession
from tests.service.reviewing import key_of, quarantined, signed_in, token_of, visitor, waiting_job


def test_a_key_of_a_reviewer_or_operator_lets_in_and_no_other(server):
    for key in ("", "sk-reft-wrong", "ü", server.key("acme", "customer")):
        refused = visitor(server).post("/review/sign-in", seen="/review/sign-in", key=key)
        assert refused.status_code == 401
        assert "not known" in refused.text
        assert COOKIE not in refused.cookies
    for role in ("reviewer", "operator"):
        assert signed_in(server, "anna", role=role).get("/review").status_code == 200


def test_the_address_of_the_service_leads_to_its_pages_and_says_how_to_get_in(server):
    person = visitor(server)
    answer = person.get("/")
    assert (answer.status_code, answer.headers["location"]) == (303, "/review")
    assert "reft keys create --organization NAME --role reviewer" in person.get("/review/sign-in").text
    said = signed_in(server, "berta").get("/review").text
    assert ("service.review: wait" in said) == (server.service.settings.review != "wait" and "Nothing waits" in said)


def test_the_cookie_is_kept_from_scripts_and_other_sites_and_stored_as_a_digest(server):
    person = visitor(server)
    sent = person.post("/review/sign-in", seen="/review/sign-in", key=key_of(server, "cookie"))
    line = next(one for one in sent.headers.get_list("set-cookie") if one.startswith(COOKIE))
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(line.split("; "))
    assert "Max-Age=28800" in line
    cookie = person.http.cookies[COOKIE]
    with server.service.database.reading() as session:
        kept = [one.digest for one in session.exec(select(PageSession)).all()]
    assert digest_of(cookie) in kept
    assert cookie not in kept


def test_who_signs_out_is_out_on_the_server_too(server):
    person = signed_in(server, "leaving")
    cookie = person.http.cookies[COOKIE]
    assert person.post("/review/sign-out").headers["location"] == "/review/sign-in"
    answer = visitor(server).get("/review", headers={"cookie": f"{COOKIE}={cookie}"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/review/sign-in?back=%2Freview")


def test_a_session_ends_with_its_key_and_with_its_time(server):
    key = key_of(server, "short")
    person, other = visitor(server), signed_in(server, "late")
    person.post("/review/sign-in", seen="/review/sign-in", key=key)
    assert person.get("/review").status_code == other.get("/review").status_code == 200
    with server.service.database.writing() as session:
        revoke_key(session, caller_of(session, key).key_id)
        found = session.get_one(PageSession, digest_of(other.http.cookies[COOKIE]))
        found.expires_at = now()
        session.add(found)
    assert person.get("/review").status_code == other.get("/review").status_code == 303


def test_no_form_counts_without_its_token(server):
    job = waiting_job(server, quarantined("How do I kill a process?"))
    person, stranger = signed_in(server, "anna"), signed_in(server, "ben")
    foreign = token_of(stranger.get("/review").text)
    for token in ("", "x", "ü", foreign):
        for path in (f"/review/{job}/decide", f"/review/{job}/bulk", f"/review/{job}/release", "/review/sign-out"):
            form = {"token": token, "row": "100", "decision": "keep", "reason": "r"}
            assert person.http.post(path, data=form).status_code == 403, path
    assert visitor(server).http.post("/review/sign-in", data={"key": key_of(server, "x")}).status_code == 403
    assert person.get(f"/review/{job}").text.count("To decide (1)") == 1


@pytest.mark.parametrize(
    ("back", "led"),
    [
        ("/jobs/x", "/jobs/x"),
        *((b, "/review") for b in ("//evil.org", "https://evil.org", "/review//e", "/review/\\e")),
    ],
)
def test_signing_in_leads_to_our_pages_alone(server, back, led):
    sent = visitor(server).post("/review/sign-in", seen="/review/sign-in", key=key_of(server, "x"), back=back)
    assert sent.headers["location"] == led


def test_every_page_is_kept_to_itself(server):
    job = waiting_job(server, quarantined("How do I kill a process?"))
    person = signed_in(server, "olga", "ops", "operator")
    for path in (
        "/review/sign-in", "/review", f"/review/{job}", f"/review/{job}/trail", f"/review/{job}/rows/100.txt", "/jobs",
        f"/jobs/{job}", "/review/nothing", f"/review/{job}?page=x", f"/review/{job}/export/argilla.json",
    ):  # fmt: skip
        answer = person.get(path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        if answer.headers["content-type"].startswith("text/html"):
            nonces = set(re.findall(r'nonce="([^"]+)"', answer.text))
            assert len(nonces) == 1
            assert f"'nonce-{nonces.pop()}'" in policy
            assert not re.search(r"style=|\son\w+=|src=|@import|url\(", answer.text)
    assert person.get("/review").headers["content-security-policy"] != policy
