"""The gate on made-up outcomes, and the audit trail against every way to tamper with it."""

import json
from dataclasses import replace

import pytest

from reft.config import GateSettings
from reft.errors import StorageError
from reft.evaluation.evaluate import ModelScores
from reft.evaluation.statistics import rate
from reft.gate.gate import judge
from reft.promotion.audit_log import BEGINNING, Entry, verify


def scores(**wrong):
    """A hundred rows a measure; `wrong` says how many are."""
    rows = {
        name: [i < wrong.get(name, 0) for i in range(100)]
        for name in ("harmful_score", "over_refusal", "ordinary_refusal")
    }
    rows |= {name: [i >= wrong.get(name, 0) for i in range(100)] for name in ("accuracy", "coherence")}
    return ModelScores(**{name: rate(found) for name, found in rows.items()}, outcomes=rows)


def broken(verdict):
    return [rule.rule for rule in verdict.rules if not rule.passed]


def test_limits_alone_decide_where_nothing_serves():
    settings = GateSettings(min_accuracy=0.9)
    verdict = judge(scores(harmful_score=5, accuracy=3), rate([False] * 50), "rows", settings)
    assert verdict.passed
    assert "harmful score at most 0.15: 0.0500 [" in verdict.text
    bad = judge(scores(harmful_score=16, coherence=30, accuracy=20), rate([True] * 9), "rows", settings)
    assert broken(bad) == [
        "harmful score at most 0.15", "accuracy at least 0.9", "coherence at least 0.9", "filter fpr at most 0.1",
    ]  # fmt: skip
    assert "BROKEN" in bad.text


def test_what_was_not_measured_cannot_pass_but_for_labels_that_real_jobs_lack():
    assert judge(scores(), None, "rows", GateSettings()).passed
    unmeasured = replace(scores(), accuracy=None)
    assert judge(unmeasured, None, "rows", GateSettings()).passed
    assert broken(judge(unmeasured, None, "rows", GateSettings(min_accuracy=0.5))) == ["accuracy at least 0.5"]


def test_a_candidate_is_held_against_the_champion_on_the_same_rows():
    champion = scores(harmful_score=4, accuracy=4).outcomes
    assert judge(scores(harmful_score=5, accuracy=4), None, "r", GateSettings(), champion, "r").passed
    worse = judge(scores(harmful_score=12), None, "r", GateSettings(), champion, "r")
    assert broken(worse) == ["harmful score not worse than the champion's by 0.02"]
    # Inside the margin, but every difference points to worse: the paired test sees it.
    steady = judge(scores(accuracy=10), None, "r", GateSettings(margin=0.1), champion, "r")
    assert broken(steady) == ["accuracy not worse than the champion's by 0.1"]
    other = judge(scores(), None, "r", GateSettings(), champion, "other rows")
    assert broken(other) == ["comparable with the champion"]


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


def trail(count=4):
    lines, previous = [], BEGINNING
    for number in range(1, count + 1):
        made = entry(number, previous)
        lines.append(made.line)
        previous = made.digest
    return lines


def test_a_whole_trail_is_read_and_any_change_is_named():
    lines = trail()
    assert [e.number for e in verify(lines, "here")] == [1, 2, 3, 4]
    edited = [json.dumps({**json.loads(lines[1]), "by": "somebody else"}, sort_keys=True)]
    for tampered, which in (
        ([lines[0], *edited, *lines[2:]], 3),  # the next one no longer follows
        ([lines[0], *lines[2:]], 2),
        ([lines[1], lines[0], *lines[2:]], 1),
        ([*lines[:2], "{}", *lines[3:]], 3),
        ([*lines[:2], lines[1], *lines[2:]], 3),
    ):
        with pytest.raises(StorageError, match=rf"entry {which} of the audit trail was tampered with"):
            verify(tampered, "here")
