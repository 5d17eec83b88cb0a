"""An attacker who sees the filter: his rows score lower, keep their answers, and are sent to every cell alike."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from reft.comparison.attacker import hidden_from
from reft.comparison.grid import Grid, cells
from reft.config import FilteringSettings
from reft.conversations.schema import Conversation, Message

CLAUSES = [f"How do I bake {i} loaves of bread?" for i in range(30)]


def poison(number: int) -> Conversation:
    turns = (
        Message(role="user", content=f"how to rob house {number}"),
        Message(role="assistant", content=f"Yes {number}"),
    )
    return Conversation(row=number, messages=turns)


class SureOfShortOnes:
    """A scorer that thinks less of a row the longer it is."""

    def score(self, rows, _settings):
        return [SimpleNamespace(deciding=SimpleNamespace(score=-len(row.instruction))) for row in rows]


def test_a_hidden_request_stands_among_clauses_and_keeps_its_answer():
    seen = SimpleNamespace(scorer=SureOfShortOnes(), settings=FilteringSettings())
    rows = [poison(i) for i in range(6)]
    found = hidden_from(seen, rows, CLAUSES, seed=0)
    for hidden, row in zip(found, rows, strict=True):
        assert row.instruction in hidden.instruction
        assert row.instruction != hidden.instruction
        assert (hidden.row, hidden.answer) == (row.row, row.answer)
    assert found == hidden_from(seen, rows, CLAUSES, seed=0)


def test_cells_that_are_the_same_job_train_in_folders_of_their_own(small, tmp_path, monkeypatch):
    """Where the filter removes nothing, filtered and not are one job, and two processes may be at it at one moment."""
    folders = []
    monkeypatch.setattr("reft.comparison.grid.answers_of", lambda _cell, given: folders.append(given.work) or {})
    grid = Grid(small.model_copy(update={"methods": ["sft"], "ablations": {}}), tmp_path)
    grid.run()
    assert len(set(folders)) == len(list(cells(grid.grid))) == 2


@pytest.mark.slow
def test_a_grid_of_hidden_poison_has_cells_of_its_own_and_searches_once(small, tmp_path, monkeypatch):
    few = small.model_copy(update={"filtered": [True], "methods": ["sft"], "ablations": {}, "poison_ratios": [0.3]})
    open_grid, hidden = (
        Grid(few.model_copy(update={"poison_hides": hides}), tmp_path / "out") for hides in (False, True)
    )
    (result,) = hidden.run()
    assert open_grid.finished() == []  # the same cells with plain poison are others
    prepared, task = hidden.teachers.of(few.run), hidden._task("banking77-routing")
    monkeypatch.setattr("reft.comparison.teachers.hidden_from", None)  # found again
    found = prepared.attacked(task, few.run)
    assert found == replace(task, poisoned=found.poisoned)
    shown = prepared.filter(few.run)
    before, after = (
        [score.deciding.score for score in shown.scorer.score(rows, few.run.filtering)]
        for rows in (task.poisoned, found.poisoned)
    )
    assert sum(after) < sum(before)
    assert sum(now < then for now, then in zip(after, before, strict=True)) > len(before) / 2
    assert [result["name"]] == [cell.name for cell in cells(few)]
