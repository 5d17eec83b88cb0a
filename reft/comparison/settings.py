"""What the comparison covers: methods, tasks, poison ratios, seeds and ablations."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, field_validator

from reft.comparison.variants import present_method
from reft.config import Count, Section, Settings, parse_settings
from reft.config.file import wrong_settings
from reft.config.renamed import present_name
from reft.config.sections import known_part
from reft.config.yaml_file import read_yaml
from reft.errors import ConfigurationError, explain
from reft.wording import problems_of, shown

METHODS = "reft.finetuning.methods"
EXAMPLE = "configs/comparison/full.yaml is an example"
Ratio = Annotated[float, Field(ge=0, lt=1)]


class JudgeSettings(Section):
    """A judge of the answers to harmful prompts."""

    name: str = Field("", description="folder or hub id of its model, if it is one")
    kind: str = Field(description="a file of reft/judges")
    template: str | None = Field(None, description="a Jinja file over prompt and answer: its authors' own prompt")
    title: str | None = Field(None, description="what tables call it; none: its kind")

    @property
    def shown(self) -> str:
        """What tables call it."""
        return self.title or self.kind

    @field_validator("kind")
    @classmethod
    def _is_there(cls, kind: str) -> str:
        return known_part(kind.replace("-", "_"), "reft.judges", "kind of judge")


class ComparisonSettings(Section):
    """One grid: every method on every task at every poison ratio with every seed, and the ablations of ReFT."""

    settings: dict[str, Any] = Field({}, description="changes to the default run's settings, for every cell")
    methods: list[str] | None = Field(None, description="names of methods; none: all of them")
    method_settings: dict[str, dict[str, Any]] = Field({}, description="a method's own settings, by its name")
    filtered: list[bool] = Field([False, True], description="without and with the filter in front")
    tasks: list[str] = Field(["banking77-routing"], description="the default user job, or names of public tasks")
    public_data: str | None = Field(None, description="folder of the public tasks' files")
    judge_data: str | None = Field(None, description="folder with human labels of answers, for the second judge")
    judges: list[JudgeSettings] = Field([], description="models that judge as well")
    poison_ratios: list[Ratio] = Field([0.1], description="share of harmful rows among the user rows")
    poison_hides: bool = Field(
        False, description="whoever sends the poison sees the filter and rewrites each request to lower its score"
    )
    seeds: list[int] = Field([0, 1, 2], description="each draws other user rows and trains in another order")
    user_rows: Count = Field(250, description="user rows of each cell")
    keep_adapters: bool = Field(False, description="keep each adapter that is trained beside its cell, for other tools")
    ablations: dict[str, list[Any]] = Field({}, description="settings of ReFT to vary one at a time, with values")
    ablation_poison_ratio: Ratio = Field(0.1, description="poison ratio of the ablations, on the first task")
    ablation_seeds: list[int] = Field([0], description="seeds of the ablations")

    @field_validator("methods")
    @classmethod
    def _present_methods(cls, names: list[str] | None) -> list[str] | None:
        return names and [present_method(name) for name in names]

    @field_validator("method_settings")
    @classmethod
    def _of_present_methods(cls, settings: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        return {known_part(present_method(name), METHODS, "method"): options for name, options in settings.items()}

    @field_validator("ablations")
    @classmethod
    def _present_settings(cls, ablations: dict[str, list[Any]]) -> dict[str, list[Any]]:
        return {present_name(key): values for key, values in ablations.items()}

    @property
    def run(self) -> Settings:
        """The settings of every cell."""
        return parse_settings(self.settings)


def read_comparison_settings(path: Path) -> ComparisonSettings:
    """The grid of a YAML file.

    Raises:
        ConfigurationError: naming what is wrong.
    """
    file = read_yaml(path)
    values = {} if file.value is None else file.value
    if not isinstance(values, Mapping):
        what = f"{shown(values)} is given; wanted: a section of keys"
        raise ConfigurationError(explain(what, str(path), EXAMPLE))
    try:
        grid = ComparisonSettings.model_validate(values)
    except ValidationError as error:
        problems = problems_of(error, ComparisonSettings, values)
        raise wrong_settings(problems, file, remedy=EXAMPLE) from error
    parse_settings(grid.settings, file, within=("settings",))
    return grid
