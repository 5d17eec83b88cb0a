"""An attacker who sees the filter: his rows score lower, keep their answers, and are sent to every cell alike."""

import random
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
    """A scorer that thinks less of a row the longer it is, and of some requests from the start."""

    def score(self, rows, _settings):
        found = [-len(row.instruction) - 1000 * ("house 3" in row.instruction) for row in rows]
        return [SimpleNamespace(deciding=SimpleNamespace(score=score)) for score in found]


def test_of_what_he_makes_he_sends_the_half_that_hides_best():
    seen = SimpleNamespace(scorer=SureOfShortOnes(), settings=FilteringSettings())
    rows = [poison(i) for i in range(6)]
    found = hidden_from(seen, rows, CLAUSES, seed=0)
    assert len(found) == 3
    assert "house 3" in found[0].instruction
    for row in found:
        request, answer = (m.content for m in rows[row.row].messages)
        assert request in row.instruction
        assert row.instruction != request
        assert row.answer == answer
    assert found == hidden_from(seen, rows, CLAUSES, seed=0)


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
    assert len(found.poisoned) == len(task.poisoned) // 2
    assert found == replace(task, poisoned=found.poisoned)
    shown = prepared.filter(few.run)
    before, after = (
        sum(score.deciding.score for score in shown.scorer.score(rows, few.run.filtering)) / len(rows)
        for rows in (random.Random(0).sample(task.poisoned, len(found.poisoned)), found.poisoned)
    )
    assert after < before
    assert [result["name"]] == [cell.name for cell in cells(few)]
