from pathlib import Path

import pytest
import yaml

from reft.config import Settings, parse_settings, read_profile
from reft.config.profile import render_profile
from reft.errors import ConfigurationError


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"teachr": {}}, r"^teachr: no such setting; did you mean teacher\?\n"),
        ({"teacher": {"lamda": 1}}, r"^teacher\.lamda: no such setting; did you mean lam\?\n"),
        ({"teacher": {"epochs": 0}}, r"^teacher\.epochs: 0 is given; wanted: a whole number, at least 1\n"),
        ({"teacher": {"depth": 0.3}}, r"teacher.*depth 0\.3 lies in the frozen lowest 0\.35"),
        ({"filtering": {"fpr": "often"}}, r"filtering\.fpr.*number"),
        ({"finetuning": {"zero_stage": 7}}, r"finetuning\.zero_stage"),
    ],
)
def test_a_wrong_setting_is_refused_with_its_path(values, words):
    with pytest.raises(ConfigurationError, match=words):
        parse_settings(values)


def test_the_shipped_profiles_are_right():
    assert read_profile(Path("zenml.yaml")) == Settings()
    assert read_profile(Path("configs/full.yaml")).data.alignment_harmful_rows > Settings().data.alignment_harmful_rows
    read_profile(Path("configs/smoke.yaml"))


def test_the_default_profile_is_the_schema_with_a_line_of_why_for_every_knob():
    assert Path("zenml.yaml").read_text() == render_profile(), "run: reft write-config zenml.yaml (after removing it)"
    assert render_profile().count("#") > 80


@pytest.mark.parametrize("content", [None, "a: [", "parameters: {}", "just text"])
def test_a_file_that_is_no_profile_is_refused(tmp_path, content):
    path = tmp_path / "x.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigurationError, match=r"x\.yaml"):
        read_profile(path)


def test_profiles_are_plain_yaml():
    assert set(yaml.safe_load(Path("zenml.yaml").read_text())) == {"parameters"}
