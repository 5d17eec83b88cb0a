import pytest

from reft.service.review.decisions import agreements, standing
from reft.service.tables import ReviewDecision
from tests.service.reviewing import items_of, quarantined, signed_in, waiting_job
from tests.service.serving import served, settings_for

SECRET = "a reason that nobody else should read"


@pytest.fixture(scope="module")
def server(tiny_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    with served(settings_for(folder, tiny_model, reviewers=2), checks=False) as running:
        yield running


@pytest.fixture
def job(server):
    return waiting_job(server, quarantined("one question", "another one", "a third"))


PAGES = ("", "?show=all", "?show=settled", "/trail", *(f"/export/{kind}" for kind in (
    "overrides.jsonl", "decisions.jsonl", "label-studio.json", "argilla.json")))  # fmt: skip


def test_nobody_sees_the_others_decision_before_an_own_one(server, job):
    anna, ben = signed_in(server, "anna"), signed_in(server, "ben")
    anna.decide(job, 100, "drop", SECRET)
    assert SECRET in anna.get(f"/review/{job}?show=waits").text
    for page in PAGES:
        text = ben.get(f"/review/{job}{page}").text
        assert SECRET not in text, page
        assert "anna" not in text, page
        assert '"value": "drop", "user_id"' not in text, page
    assert "1 decision is hidden" in ben.get(f"/review/{job}/trail").text
    assert "To decide (3)" in ben.get(f"/review/{job}").text
    ben.decide(job, 100, "drop", "no")
    assert SECRET in ben.get(f"/review/{job}?show=settled").text
    assert items_of(server, job)[100].decision == "drop"


def test_one_person_with_two_keys_is_one(server, job):
    first, second = signed_in(server, "anna"), signed_in(server, "anna")
    first.decide(job, 100)
    second.decide(job, 100)
    assert items_of(server, job)[100].decision is None


def test_two_who_differ_reconsider_or_a_third_decides(server, job):
    people = {name: signed_in(server, name) for name in ("anna", "ben", "cleo")}
    for row in (100, 99):
        people["anna"].decide(job, row, "keep")
        people["ben"].decide(job, row, "drop")
        assert items_of(server, job)[row].decision is None
    assert "Disputed (2)" in people["ben"].get(f"/review/{job}").text
    assert "ben@acme" not in people["cleo"].get(f"/review/{job}?show=all").text
    people["ben"].decide(job, 100, "keep", "on second thoughts")
    people["cleo"].decide(job, 99, "drop")
    assert [items_of(server, job)[row].decision for row in (100, 99)] == ["keep", "drop"]
    override = people["cleo"].get(f"/review/{job}/export/overrides.jsonl").text.splitlines()[0]
    assert '"by": "ben@acme, cleo@acme"' in override


def test_agreement_counts_what_was_decided_unseen(server, job):
    anna, ben = signed_in(server, "anna"), signed_in(server, "ben")
    for row, (one, other) in zip((100, 99, 98), (("keep", "keep"), ("drop", "drop"), ("keep", "drop")), strict=True):
        anna.decide(job, row, one)
        ben.decide(job, row, other)
    ben.decide(job, 98, "keep", "persuaded")
    text = anna.get(f"/review/{job}?show=all").text
    assert "2 of 3 rows, Cohen&#39;s kappa 0.400" in text or "2 of 3 rows, Cohen's kappa 0.400" in text


def made(*given):
    common = {"organization_id": "o", "created_at": 1, "job_id": "j", "key_id": "k"}
    return [
        ReviewDecision(id=str(i), item_id="i", reviewer=who, decision=what, seq=i, **common)
        for i, (who, what) in enumerate(given)
    ]


@pytest.mark.parametrize(
    ("given", "one", "two"),
    [
        ("", None, None),
        ("ak", "keep", None),
        ("ak ad", "drop", None),
        ("ak bk", "keep", "keep"),
        ("ak bd", "drop", None),
        ("ak bd ad", "drop", "drop"),
        ("ak bk cd", "drop", "keep"),
        ("ak bk cd dd", "drop", None),
        ("ak bk bd", "drop", None),
    ],
)
def test_what_stands(given, one, two):
    names = {"k": "keep", "d": "drop"}
    decisions = made(*((who, names[what]) for who, what in given.split()))
    assert (standing(decisions, 1), standing(decisions, 2)) == (one, two)


def test_kappa_of_known_tables_and_of_none():
    table = [("keep", "keep")] * 20 + [("keep", "drop")] * 5 + [("drop", "keep")] * 10 + [("drop", "drop")] * 15
    (found,) = agreements([made(("a", one), ("b", other)) for one, other in table])
    assert (found.people, found.rows, found.same) == (("a", "b"), 50, 35)
    assert found.kappa == pytest.approx(0.4)  # 0.7 seen, 0.5 by chance
    (same,) = agreements([made(("a", "keep"), ("b", "keep"))])
    assert same.kappa is None
    assert agreements([made(("a", "keep"))]) == []
