"""How often a training passes over its user rows where nobody says it: a few rows often, many once."""

import pytest

from reft.audit.benign import training_of
from reft.audit.run import Finished
from reft.config import FinetuningSettings, ModelSettings, parse_settings
from reft.config.training import ENOUGH_ROWS, MOST_PASSES
from reft.finetuning.student import student_job
from reft.service.jobs.profile import effective
from reft.service.jobs.shown import PASSES, job_body
from reft.service.tables import Job
from tests.factories import chats


@pytest.mark.parametrize(
    ("rows", "passes"), [(0, 1), (1, 10), (10, 10), (100, 5), (200, 2), (333, 2), (334, 1), (100_000, 1)]
)
def test_few_rows_are_passed_over_more_often(rows, passes):
    assert FinetuningSettings().passes(rows) == passes
    assert FinetuningSettings().counted(rows).epochs == passes


def test_what_is_said_is_done():
    assert FinetuningSettings(epochs=3).passes(10) == 3


def test_a_job_passes_as_often_as_it_was_counted_or_else_as_its_rows_ask_for(tiny_model):
    settings, model = FinetuningSettings(method="sft", batch_size=1), ModelSettings(name=tiny_model, dtype="float32")
    rows = chats("where is my card", "card delivery", 90)
    alone = student_job(rows, model, settings, seed=0)
    assert alone.settings.epochs == round(ENOUGH_ROWS / 90) == 6
    assert len(alone.plan()) == 6 * 90
    of_more = student_job(rows, model, settings.counted(120), seed=0)
    assert of_more.settings.epochs == 4
    assert len(of_more.plan()) == 4 * 90
    assert student_job(rows[:3], model, settings, seed=0).settings.epochs == MOST_PASSES


def test_an_audit_says_how_often_the_rows_were_passed_over(tmp_path):
    rows = chats("where is my card", "card delivery", 90)
    assert Finished(weights=tmp_path, is_adapter=True, rows=rows).trained.epochs == 6
    scores = dict.fromkeys(range(120), 0.0)
    assert Finished(weights=tmp_path, is_adapter=True, rows=rows, scores=scores).trained.epochs == 4


def test_an_audit_that_knows_no_rows_says_nothing_of_passes(tmp_path):
    unknown = Finished(weights=tmp_path, is_adapter=True).trained
    assert "epochs" not in training_of(unknown)
    assert training_of(unknown.model_copy(update={"epochs": 2}))["epochs"] == 2


def test_a_services_job_is_run_with_auto_and_shows_what_that_came_to():
    """What is run again is told by its settings: a number in them would do finished work once more."""
    asked = {"n_epochs": "auto", "batch_size": "auto", "learning_rate_multiplier": "auto"}
    job = Job(
        organization_id="o", model="tiny", training_file="f", hyperparameters=effective(parse_settings({}), asked)
    )
    assert job_body(job)["hyperparameters"]["n_epochs"] == "auto"
    job.work = {PASSES: 5}
    shown = job_body(job)
    assert shown["hyperparameters"]["n_epochs"] == shown["method"]["supervised"]["hyperparameters"]["n_epochs"] == 5
    assert effective(parse_settings({}), job.hyperparameters)["n_epochs"] == "auto"
    job.hyperparameters = {**job.hyperparameters, "n_epochs": 2}
    assert job_body(job)["hyperparameters"]["n_epochs"] == 2
    assert effective(parse_settings({"finetuning": {"epochs": 4}}), asked)["n_epochs"] == 4
