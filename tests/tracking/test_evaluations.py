"""A registered version that is judged anew: the gate then compares like with like, and nobody has to force."""

import json
import shutil

import pytest
import yaml
from typer.testing import CliRunner

from reft.cli import app
from reft.config import parse_settings
from reft.errors import PromotionError, StorageError
from reft.evaluation.measures import MEASURES
from reft.evaluation.questions import evaluation_sets
from reft.gate.gate import Champion
from reft.keys.stages import code_key
from reft.tracking.evaluating import evaluate_version
from reft.tracking.evaluations import champion_of, newest_evaluation, record_evaluation
from reft.tracking.promotion import digest_of_files, promote
from reft.tracking.registry import files_of, register_candidate
from tests.factories import row, write_jsonl

SETS = ("evaluation_harmful", "evaluation_lookalikes", "evaluation_ordinary", "task_test")


@pytest.fixture
def settings(tiny_model, tmp_path):
    data = {
        name: str(write_jsonl(tmp_path / f"{name}.jsonl", [row(f"{name} {i}", "a") for i in range(4)])) for name in SETS
    }
    return parse_settings(
        {
            "model": {"name": tiny_model, "dtype": "float32"},
            "data": data,
            "evaluation": {"max_new_tokens": 2},
            "tracking": {"registered_name": "s"},
        }
    )


@pytest.fixture
def champion(store, tiny_model, tmp_path):  # noqa: ARG001
    """A version that serves and was judged, when it was registered, on rows of another day."""
    folder = shutil.copytree(tiny_model, tmp_path / "student")
    (folder / "gate.json").write_text(
        json.dumps({"passed": True, "rows": "old", "code": "old", "outcomes": {"accuracy": [True]}})
    )
    version = register_candidate(folder, "s", {}, passed=True).version
    promote("s", "champion", "me", version=version)
    return version


def test_a_version_is_judged_anew_on_todays_rows_and_its_files_stay_as_they_were(settings, champion):
    with files_of("s", champion) as folder:
        before = digest_of_files(folder)
    assert newest_evaluation("s", champion) == ""
    evaluated = evaluate_version(settings, "champion")
    rows = evaluation_sets(settings.data, settings.evaluation).digest(2)
    assert (evaluated.version, evaluated.rows) == (champion, rows)
    today = champion_of("s", champion, rows=rows)
    assert today == Champion(outcomes=evaluated.scores.outcomes, rows=rows, code=code_key("evaluation"))
    assert set(today.outcomes) == {m.name for m in MEASURES}
    assert newest_evaluation("s", champion)
    with files_of("s", champion) as folder:
        assert digest_of_files(folder) == before
    # On rows that nobody judged it on, what it was registered with.
    assert champion_of("s", champion, rows="other") == Champion(outcomes={"accuracy": [True]}, rows="old", code="old")


def test_a_later_evaluation_on_the_same_rows_counts(champion):
    states = set()
    for right in (True, False):
        record_evaluation("s", champion, Champion(outcomes={"accuracy": [right]}, rows="r", code="c"))
        assert champion_of("s", champion, rows="r").outcomes == {"accuracy": [right]}
        states.add(newest_evaluation("s", champion))
    assert len(states) == 2


def test_an_evaluation_that_was_edited_is_named(champion, tmp_path):
    record_evaluation("s", champion, Champion(outcomes={"accuracy": [False]}, rows="r", code="c"))
    (stored,) = tmp_path.rglob("models/*/artifacts/r.json")
    stored.write_text(json.dumps({"outcomes": {"accuracy": [True]}, "rows": "r", "code": "c"}))
    with pytest.raises(StorageError, match=r"not the one that was written down(.|\n)*reft evaluate"):
        champion_of("s", champion, rows="r")


def test_the_command(settings, champion, tmp_path):
    profile = {"parameters": {"settings": settings.model_dump(mode="json")}}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(profile))
    done = CliRunner().invoke(
        app, ["evaluate", "--config", str(tmp_path / "run.yaml"), "--version", "champion", "--json"]
    )
    assert done.exit_code == 0, done.output
    printed = json.loads(done.stdout)
    assert (printed["name"], printed["version"]) == ("s", champion)
    assert printed["rates"]["harmful_score"]["n"] == 4
    words = CliRunner().invoke(app, ["evaluate", "--config", str(tmp_path / "run.yaml")]).output
    assert "s version 1, kept with it:" in words
    assert "over-refusal" in words
    profile["parameters"]["settings"]["data"] |= {"evaluation_ordinary": "gone.jsonl", "user": "not read.jsonl"}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(profile))
    told = CliRunner().invoke(app, ["evaluate", "--config", str(tmp_path / "run.yaml")]).exception
    assert [problem[0] for problem in getattr(told, "problems", ())] == ["data.evaluation_ordinary"]
    with pytest.raises(PromotionError, match="no version is the challenger"):
        evaluate_version(settings, "challenger")
