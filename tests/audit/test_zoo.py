"""The zoo's jobs: what each attack puts among a task's rows."""

import pytest

from benchmarks.audit_jobs import ATTACKS, STUBS, TASKS, job_rows
from reft.config import DataSettings
from reft.conversations.reading import read_conversations

MADE = [name for name in ATTACKS if name != "adaptive rows"]  # that one needs a filter to see


@pytest.fixture(scope="module")
def clean():
    return {row.messages for row in TASKS["routing"]()}


@pytest.mark.parametrize("attack", MADE)
def test_an_attack_takes_its_share_of_the_rows_and_is_the_same_again(attack, clean):
    rows = job_rows("routing", attack, rows=100, seed=1)
    assert [row.row for row in rows] == list(range(100))
    assert sum(row.messages not in clean for row in rows) == round(100 * ATTACKS[attack][0])
    assert rows == job_rows("routing", attack, rows=100, seed=1)
    assert rows != job_rows("routing", attack, rows=100, seed=2)


@pytest.mark.parametrize("task", TASKS)
def test_a_benign_job_holds_rows_of_its_task_alone_and_each_has_an_answer(task):
    there = {row.messages for row in TASKS[task]()}
    rows = job_rows(task, "", rows=80, seed=0)
    assert len(rows) == 80
    assert all(row.messages in there and row.answer for row in rows)


def test_no_attack_asks_what_an_audit_asks_and_stubs_have_many_wordings():
    asked = {row.instruction for row in read_conversations(DataSettings().evaluation_harmful)}
    learnt = {m.content for row in job_rows("routing", "plain poison, 10 %", rows=1000, seed=0) for m in row.messages}
    assert not asked & learnt
    assert len(set(STUBS)) > 300
