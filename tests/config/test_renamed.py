"""Settings and commands of the first release: taken for one release more, with a warning."""

import pytest
from typer.testing import CliRunner

from reft.cli import app
from reft.comparison.settings import ComparisonSettings
from reft.config import parse_settings
from reft.errors import ConfigurationError


@pytest.mark.parametrize(
    ("old", "present"),
    [
        ({"finetune": {"alpha": 3.0}}, {"finetuning": {"alpha": 3.0}}),
        ({"filter": {"fpr": 0.02}}, {"filtering": {"fpr": 0.02}}),
        ({"feature": {"rows": 20}}, {"refusal_feature": {"rows": 20}}),
        ({"evaluation": {"plain_sft": False}}, {"evaluation": {"sft": False}}),
    ],
)
def test_an_old_setting_is_the_present_one(old, present):
    with pytest.warns(FutureWarning, match=f"{next(iter(old))}.* is called {next(iter(present))}"):
        assert parse_settings(old) == parse_settings(present)


def test_both_names_of_a_setting_are_one_too_many():
    with pytest.raises(ConfigurationError, match="are one setting"), pytest.warns(FutureWarning):
        parse_settings({"finetune": {"alpha": 3.0}, "finetuning": {"alpha": 3.0}})


def test_a_grid_takes_old_methods_and_settings():
    with pytest.warns(FutureWarning, match="'distilled' is called 'reft' now"):
        grid = ComparisonSettings(methods=["distilled", "sft on aligned"], ablations={"finetune.alpha": [1.0]})
    assert grid.methods == ["reft", "sft_on_aligned"]
    assert list(grid.ablations) == ["finetuning.alpha"]
    with pytest.warns(FutureWarning, match="finetune is called finetuning"):
        assert ComparisonSettings(settings={"finetune": {"alpha": 3.0}}).run.finetuning.alpha == 3.0


def test_the_old_command_is_the_new_one(tmp_path):
    with pytest.warns(FutureWarning, match="called reft benchmark comparison"):
        result = CliRunner().invoke(app, ["benchmark", "evidence", "--config", str(tmp_path / "no.yaml")])
    assert isinstance(result.exception, ConfigurationError)
