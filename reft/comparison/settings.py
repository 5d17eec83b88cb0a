"""What the evidence covers: methods, tasks, poison ratios, seeds and ablations."""

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError

from reft.config import Count, Section, Settings, parse_settings
from reft.errors import ConfigurationError, explain

Ratio = Annotated[float, Field(ge=0, lt=1)]


class JudgeSettings(Section):
    """A model that judges answers to harmful prompts."""

    name: str = Field(description="its folder or hub id")
    kind: Literal["beaver-dam", "llama-guard", "harmbench", "strongreject"]
    template: str | None = Field(None, description="a Jinja file over prompt and answer: its authors' own prompt")
    title: str | None = Field(None, description="what tables call it; none: its kind")

    @property
    def shown(self) -> str:
        """What tables call it."""
        return self.title or self.kind


class ComparisonSettings(Section):
    """One grid: every method on every task at every poison ratio with every seed, and the ablations of ReFT."""

    settings: dict[str, Any] = Field({}, description="changes to the default run's settings, for every cell")
    methods: list[str] | None = Field(None, description="names of methods; none: all of them")
    filtered: list[bool] = Field([False, True], description="without and with the filter in front")
    tasks: list[str] = Field(["banking77-routing"], description="the default user job, or names of public tasks")
    public_data: str | None = Field(None, description="folder of the public tasks' files")
    judge_data: str | None = Field(None, description="folder with human labels of answers, to train the second judge")
    judges: list[JudgeSettings] = Field([], description="models that judge as well")
    poison_ratios: list[Ratio] = Field([0.1], description="share of harmful rows among the user rows")
    seeds: list[int] = Field([0, 1, 2], description="each draws other user rows and trains in another order")
    user_rows: Count = Field(250, description="user rows of each cell")
    keep_adapters: bool = Field(False, description="keep each adapter that is trained beside its cell, for other tools")
    ablations: dict[str, list[Any]] = Field({}, description="settings of ReFT to vary one at a time, with values")
    ablation_poison_ratio: Ratio = Field(0.1, description="poison ratio of the ablations, on the first task")
    ablation_seeds: list[int] = Field([0], description="seeds of the ablations")

    @property
    def run(self) -> Settings:
        """The settings of every cell."""
        return parse_settings(self.settings)


def read_comparison_settings(path: Path) -> ComparisonSettings:
    """The grid of a YAML file.

    Raises:
        ConfigurationError: naming what is wrong.
    """
    try:
        return ComparisonSettings.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    except (OSError, yaml.YAMLError, ValidationError) as error:
        remedy = "configs/comparison/full.yaml is an example"
        raise ConfigurationError(explain(f"no grid can be read: {error}", str(path), remedy)) from error
