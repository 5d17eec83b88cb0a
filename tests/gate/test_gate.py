"""The gate on made-up outcomes, and the audit log against every way to tamper with it."""

import json
from dataclasses import replace

import pytest

from reft.config import GateSettings
from reft.errors import StorageError
from reft.evaluation.evaluate import ModelScores
from reft.evaluation.measures import MEASURES
from reft.gate.gate import Case, Champion, judge
from reft.promotion.audit_log import BEGINNING, Entry, verify
from reft.statistics import rate


def scores(**wrong):
    """A hundred rows a measure; `wrong` says how many are."""
    rows = {m.name: [(i >= wrong.get(m.name, 0)) is m.higher_is_better for i in range(100)] for m in MEASURES}
    return ModelScores(rates={name: rate(happened) for name, happened in rows.items()}, outcomes=rows)


def verdict(candidate, *, fpr=None, settings=None, champion=None, code="c"):
    """On rows "r"; `champion` is (outcomes, rows)."""
    served = champion and Champion(outcomes=champion[0], rows=champion[1], code="c")
    settings = settings or GateSettings()
    return judge(Case(candidate=candidate, filter_fpr=fpr, rows="r", code=code, settings=settings, champion=served))


def broken(verdict):
    return [rule.rule for rule in verdict.rules if not rule.passed]


def test_limits_alone_decide_where_nothing_serves():
    settings = GateSettings(min_accuracy=0.9)
    good = verdict(scores(harmful_score=5, accuracy=3), fpr=rate([False] * 50), settings=settings)
    assert good.passed
    assert "harmful score at most 0.2: 0.0500 [" in good.text
    bad = verdict(scores(harmful_score=21, coherence=30, accuracy=20), fpr=rate([True] * 9), settings=settings)
    assert broken(bad) == [
        "harmful score at most 0.2", "coherence at least 0.9", "accuracy at least 0.9", "filter fpr at most 0.1",
    ]  # fmt: skip
    assert "BROKEN" in bad.text


def test_every_limit_in_the_settings_is_of_a_measure_or_the_filters_error():
    limits = [name[4:] for name in GateSettings.model_fields if name.startswith(("max_", "min_"))]
    assert set(limits) == {m.name for m in MEASURES} | {"filter_fpr"}


def test_what_was_not_measured_cannot_pass_but_for_labels_that_real_jobs_lack():
    assert verdict(scores()).passed
    unmeasured = replace(scores(), rates={**scores().rates, "accuracy": None})
    assert verdict(unmeasured).passed
    assert broken(verdict(unmeasured, settings=GateSettings(min_accuracy=0.5))) == ["accuracy at least 0.5"]


def test_a_candidate_is_held_against_the_champion_on_the_same_rows():
    champion = scores(harmful_score=4, accuracy=4).outcomes, "r"
    assert verdict(scores(harmful_score=5, accuracy=4), champion=champion).passed
    worse = verdict(scores(harmful_score=12), champion=champion)
    assert broken(worse) == ["harmful score not worse than the champion's by 0.02"]
    # Inside the margin, but every difference points to worse: the paired test sees it.
    steady = verdict(scores(accuracy=10), settings=GateSettings(margin=0.1), champion=champion)
    assert broken(steady) == ["accuracy not worse than the champion's by 0.1"]


def test_a_champion_that_was_judged_on_other_rows_cannot_be_compared_and_the_remedy_is_named():
    other = verdict(scores(), champion=(scores().outcomes, "other rows"))
    assert broken(other) == ["the champion was judged on the same rows"]
    assert not other.passed
    assert "reft evaluate --version champion" in other.text


def test_other_code_or_libraries_are_noted_and_stop_nobody():
    """A new torch must not make every champion incomparable: the rows are what must be alike."""
    champion = scores(harmful_score=4).outcomes, "r"
    noted = verdict(scores(), champion=champion, code="other")
    assert broken(noted) == ["the champion was judged by the same code and libraries"]
    assert noted.passed
    assert "NOTE   the champion was judged by the same code and libraries: other code or libraries" in noted.text
    assert not verdict(scores(harmful_score=12), champion=champion, code="other").passed  # still compared


def entry(number, previous, **changed):
    found = Entry(
        number=number,
        time="2026",
        action="promote",
        alias="champion",
        version=str(number),
        before="",
        by="me",
        reason="",
        passed=True,
        forced=False,
        files="f",
        previous=previous,
    )
    return replace(found, **changed)


def log(count=4):
    lines, previous = [], BEGINNING
    for number in range(1, count + 1):
        made = entry(number, previous)
        lines.append(made.line)
        previous = made.digest
    return lines


def test_a_whole_log_is_read_and_any_change_is_named():
    lines = log()
    assert [e.number for e in verify(lines, "here")] == [1, 2, 3, 4]
    edited = [json.dumps({**json.loads(lines[1]), "by": "somebody else"}, sort_keys=True)]
    for tampered, which in (
        ([lines[0], *edited, *lines[2:]], 3),  # the next one no longer follows
        ([lines[0], *lines[2:]], 2),
        ([lines[1], lines[0], *lines[2:]], 1),
        ([*lines[:2], "{}", *lines[3:]], 3),
        ([*lines[:2], lines[1], *lines[2:]], 3),
    ):
        with pytest.raises(StorageError, match=rf"entry {which} of the audit log was tampered with"):
            verify(tampered, "here")
