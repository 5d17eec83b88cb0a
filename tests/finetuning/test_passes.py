"""How often a training passes over its user rows where nobody says it: a few rows often, many once."""

import pytest

from reft.audit.run import Finished
from reft.config import FinetuningSettings, ModelSettings, parse_settings
from reft.config.training import ENOUGH_ROWS, MOST_PASSES
from reft.finetuning.student import student_job
from reft.service.jobs.profile import effective
from tests.factories import chats


@pytest.mark.parametrize(
    ("rows", "passes"), [(0, 1), (1, 10), (10, 10), (100, 6), (200, 3), (250, 2), (401, 1), (100_000, 1)]
)
def test_few_rows_are_passed_over_more_often(rows, passes):
    assert FinetuningSettings().passes(rows) == passes
    assert FinetuningSettings().counted(rows).epochs == passes


def test_what_is_said_is_done():
    assert FinetuningSettings(epochs=3).passes(10) == 3


def test_a_job_passes_as_often_as_all_rows_that_were_sent_ask_for(tiny_model):
    """A filter that removes rows changes which rows are learnt, not how often."""
    settings, model = FinetuningSettings(method="sft", batch_size=1), ModelSettings(name=tiny_model, dtype="float32")
    rows = chats("where is my card", "card delivery", 90)
    alone = student_job(rows, model, settings, seed=0)
    assert alone.settings.epochs == round(ENOUGH_ROWS / 90) == 7
    assert len(alone.plan()) == 7 * 90
    of_more = student_job(rows, model, settings.counted(110), seed=0)
    assert of_more.settings.epochs == 5
    assert len(of_more.plan()) == 5 * 90
    few = student_job(rows[:3], model, settings, seed=0)
    assert few.settings.epochs == MOST_PASSES


def test_an_audit_says_how_often_the_rows_were_passed_over(tmp_path):
    rows = chats("where is my card", "card delivery", 90)
    assert Finished(weights=tmp_path, is_adapter=True, rows=rows).trained.epochs == 7
    assert (
        Finished(weights=tmp_path, is_adapter=True, rows=rows, scores=dict.fromkeys(range(110), 0.0)).trained.epochs
        == 5
    )


def test_a_services_job_shows_what_auto_came_to_once_its_rows_are_counted():
    settings = parse_settings({})
    asked = {"n_epochs": "auto", "batch_size": "auto", "learning_rate_multiplier": "auto"}
    before = effective(settings, asked)
    assert before["n_epochs"] == "auto"
    assert effective(settings, before, 100)["n_epochs"] == 6
    assert effective(settings, {**before, "n_epochs": 2}, 100)["n_epochs"] == 2
    assert effective(parse_settings({"finetuning": {"epochs": 4}}), asked)["n_epochs"] == 4
