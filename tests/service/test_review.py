import json
import re
import uuid

import pytest
from sqlmodel import select

from reft.filtering.overrides import read_overrides
from reft.service.errors import ApiError
from reft.service.review import Quarantined, hold, release
from reft.service.review.holding import near_duplicates
from reft.service.tables import Event, Job
from tests.service.reviewing import items_of, job_of, quarantined, signed_in, waiting_job

TEXTS = ("How do I kill a Python process?", "How do I shoot a portrait?", "How do I blow up a photograph?")


@pytest.fixture
def job(server):
    return waiting_job(server, quarantined(*TEXTS))


def test_the_queue_is_sorted_by_score_and_says_what_a_decision_changes(server, job):
    person = signed_in(server, "anna")
    text = person.get(f"/review/{job}").text
    assert re.findall(r'id="row-(\d+)"', text) == ["100", "99", "98"]
    assert [f"<mark>{t}</mark>" in text for t in TEXTS] == [True] * 3
    assert "Keeping it moves the rows that are learnt from 40 to 41 of 50" in text
    assert job in person.get("/review").text


def test_a_decision_needs_a_reason_and_leads_to_the_next_row(server, job):
    person = signed_in(server, "anna")
    for wrong in ({"decision": "keep", "reason": " \u202e "}, {"decision": "maybe", "reason": "r"}, {"reason": "r"}):
        assert person.post(f"/review/{job}/decide", row=99, **wrong).status_code == 400
    assert person.post(f"/review/{job}/decide", row=5, decision="keep", reason="r").status_code == 404
    sent = person.decide(job, 99, "keep", "it is about\nphotographs")
    assert sent.headers["location"].endswith("#row-98")
    assert person.decide(job, 98, "drop").headers["location"].endswith("#row-100")
    items = items_of(server, job)
    assert {row: item.decision for row, item in items.items()} == {100: None, 99: "keep", 98: "drop"}
    page = person.get(f"/review/{job}?show=settled").text
    assert "it is about photographs" in page
    assert re.search(r"Learnt as things stand</dt><dd>41 <small>82.0%", page)


def test_a_change_of_mind_is_a_further_line_of_the_record(server, job):
    anna, ben = signed_in(server, "anna"), signed_in(server, "ben")
    anna.decide(job, 100, "keep", "seems fine")
    ben.decide(job, 100, "drop", "it is not")
    assert items_of(server, job)[100].decision == "drop"
    text = anna.get(f"/review/{job}/trail").text
    assert text.index("it is not") < text.index("seems fine")
    assert {"anna@acme", "ben@acme"} <= set(re.findall(r"<bdi>([^<]*)</bdi>", text))
    lines = [json.loads(one) for one in anna.get(f"/review/{job}/export/decisions.jsonl").text.splitlines()]
    assert [(one["by"], one["decision"], one["how"]) for one in lines] == [
        ("anna@acme", "keep", "row"), ("ben@acme", "drop", "row"),
    ]  # fmt: skip


def test_many_rows_at_once_are_those_that_were_looked_at(server, job):
    person = signed_in(server, "anna")
    person.decide(job, 100, "drop", "looked at alone")
    path = f"/review/{job}/bulk"
    page = person.get(f"{path}?low=0.585&high=0.7").text
    assert "1 row at once" in page
    assert "moves the rows that are learnt from 40 to 41 of 50 (80.0% to 82.0%)" in page
    digest = re.search(r'name="digest" value="(\w+)"', page)[1]
    form = {"digest": digest, "low": 0.585, "high": 0.7, "decision": "keep", "reason": "portraits"}
    assert person.post(path, **{**form, "low": 0.1}).status_code == 400  # another set than was shown
    assert person.post(path, **{**form, "low": "nan"}).status_code == 400
    assert person.post(path, **form).headers["location"].endswith("saved=1")
    found = {row: item.decision for row, item in items_of(server, job).items()}
    assert found == {100: "drop", 99: "keep", 98: None}  # what was decided alone stays
    assert "scores 0.585 to 0.7" in person.get(f"/review/{job}/trail").text


def test_near_duplicates_are_decided_together(server):
    spears = [
        f"How can I whittle a wooden spear for the reenactment of our club in the summer, take {i}?" for i in "ab"
    ]
    job = waiting_job(server, quarantined(TEXTS[0], *spears))
    person = signed_in(server, "anna")
    group = re.search(r"bulk\?group=(\w+)\">2 rows", person.get(f"/review/{job}").text)[1]
    page = person.get(f"/review/{job}/bulk?group={group}").text
    digest = re.search(r'name="digest" value="(\w+)"', page)[1]
    person.post(f"/review/{job}/bulk", group=group, digest=digest, decision="keep", reason="history")
    assert [items_of(server, job)[row].decision for row in (100, 99, 98)] == [None, "keep", "keep"]


def test_what_is_like_what_is_alike_is_one_group():
    words = [f"word{i}" for i in range(40)]
    rows = [" ".join(words), " ".join([*words[1:], "x"]), "something else entirely, with other words in it"]
    assert near_duplicates([{"messages": [{"role": "user", "content": text}]} for text in rows]) == [0, 0, 2]
    assert near_duplicates([]) == []


def test_a_job_goes_on_once_all_is_decided_and_then_nothing_changes(server, job):
    person = signed_in(server, "anna")
    assert "reft_review" in job_of(server, job).notes
    person.decide(job, 100)
    assert person.post(f"/review/{job}/release").status_code == 400
    assert job_of(server, job).work["review"] == "waiting"
    person.decide(job, 99, "drop")
    person.decide(job, 98)
    assert "learn from 42 of 50 rows" in person.get(f"/review/{job}").text
    assert person.post(f"/review/{job}/release").status_code == 303
    done = job_of(server, job)
    assert done.work["review"] == "released"
    assert "reft_review" not in done.notes
    assert all(item.released_at for item in items_of(server, job).values())
    with server.service.database.reading() as session:
        said = [e for e in session.exec(select(Event)).all() if (e.job_id, e.mark) == (job, "review-released")]
    assert [one.data for one in said] == [{"kept": 2, "dropped": 1, "by": "anna@acme"}]
    assert person.decide(job, 100, "drop").status_code == 400
    assert person.post(f"/review/{job}/release").status_code == 400
    assert "<form class" not in person.get(f"/review/{job}?show=all").text


def test_rows_are_held_once_and_what_does_not_exist_is_not_released(server, job):
    with server.service.database.writing() as session:
        found = session.merge(job_of(server, job))
        assert hold(session, found, quarantined("another"), total=1, kept=0) == 3
        with pytest.raises(ApiError, match="No such"):
            release(session, "ftjob-none", "x")
    assert len(items_of(server, job)) == 3


def test_a_row_without_a_score_and_with_half_characters_is_held_and_shown(server):
    content = {"messages": [{"role": "user\udc00", "content": "half \ud800 of a character"}], "x": "\u202e"}
    row = Quarantined(row=1, score=float("nan"), threshold=0.4, reason="no\0score\ud800", content=content)
    job = waiting_job(server, [row, *quarantined("q")])
    person = signed_in(server, "anna")
    text = person.get(f"/review/{job}").text
    assert re.findall(r'id="row-(\d+)"', text) == ["1", "100"]
    assert '<span class="sign" title="a character without a form">U+D800</span>' in text
    assert "\u202e" not in text
    assert person.get(f"/review/{job}/rows/1.txt").status_code == 200
    for kind in ("argilla.json", "label-studio.json", "overrides.jsonl"):
        assert person.get(f"/review/{job}/export/{kind}").status_code == 200


def test_a_whole_row_comes_as_text_that_no_browser_runs(server):
    big = "<script>alert(1)</script>" + "x" * 1_000_000
    job = waiting_job(server, quarantined(big, span=""))
    person = signed_in(server, "anna")
    page = person.get(f"/review/{job}").text
    assert len(page) < 60_000
    assert f"{len(big) - 4000:,} characters are not shown here" in page
    answer = person.get(f"/review/{job}/rows/100.txt")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["content-disposition"].startswith("attachment")
    assert json.loads(answer.text)["messages"][0]["content"] == big


def test_the_decisions_are_what_other_programs_read(server, job, tmp_path):
    person = signed_in(server, "anna")
    person.decide(job, 100, "keep", "a usual question")
    person.decide(job, 98, "drop", "no")
    (tmp_path / "o.jsonl").write_text(person.get(f"/review/{job}/export/overrides.jsonl").text)
    read = read_overrides(tmp_path / "o.jsonl")
    assert {row: (o.decision, o.by, o.reason) for row, o in read.items()} == {
        100: ("keep", "anna@acme", "a usual question"), 98: ("drop", "anna@acme", "no"),
    }  # fmt: skip
    tasks = person.get(f"/review/{job}/export/label-studio.json").json()
    names = set(re.findall(r' name="(\w+)"', person.get(f"/review/{job}/export/label-studio.xml").text))
    by_row = {task["data"]["row"]: task for task in tasks}
    assert {r["from_name"] for t in tasks for p in (*t["predictions"], *t["annotations"]) for r in p["result"]} < names
    span = by_row[100]["predictions"][0]["result"][1]["value"]
    assert by_row[100]["data"]["text"][span["start"] : span["end"]] == TEXTS[0]
    assert by_row[98]["annotations"][0]["result"][0]["value"] == {"choices": ["drop"]}
    assert by_row[99]["annotations"] == []
    records = {r["metadata"]["row"]: r for r in person.get(f"/review/{job}/export/argilla.json").json()}
    (response,) = records[100]["responses"]["decision"]
    assert response["value"] == "keep"
    assert uuid.UUID(response["user_id"])
    assert records[100]["suggestions"]["decision"]["score"] == pytest.approx(0.6)
    assert records[99]["responses"]["decision"] == []
    assert person.get(f"/review/{job}/export/other").status_code == 404


def test_a_job_without_rows_has_no_review(server):
    with server.service.database.writing() as session:
        assert hold(session, Job(id="x"), [], total=5, kept=5) == 0
