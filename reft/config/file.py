"""Where the settings stand in a run configuration, and errors that name its file and lines."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from reft.config.renamed import present_path
from reft.config.yaml_file import YamlFile, read_yaml
from reft.errors import ConfigurationError, WrongSettingsError, explain
from reft.wording import Problem, shown, unknown_key

PLACE = ("parameters", "settings")
# What a run configuration may hold beside (ZenML's own keys; a test holds this against ZenML). Others are left alone,
# as ZenML leaves them: people keep anchors there.
BESIDE = (
    "build", "cache_policy", "enable_artifact_metadata", "enable_artifact_visualization", "enable_cache",
    "enable_heartbeat", "enable_pipeline_logs", "enable_step_logs", "environment", "execution_mode", "extra", "model",
    "parameters", "retry", "run_name", "schedule", "secrets", "settings", "steps", "substitutions", "tags",
)  # fmt: skip
REMEDY = "see zenml.yaml for every key and its meaning"


def read_values(path: Path) -> tuple[Any, YamlFile]:
    """What stands under `parameters.settings` of a run configuration, and the file.

    Raises:
        ConfigurationError: the file is missing, is not YAML, or has nothing there.
    """
    file = read_yaml(path)
    content, remedy = file.value, "name a file shaped like zenml.yaml: parameters, and in it settings"
    if content is None:
        raise ConfigurationError(explain("the file is empty", str(path), remedy))
    if not isinstance(content, Mapping):
        raise ConfigurationError(explain(f"{shown(content)} is given; wanted: a section of keys", str(path), remedy))
    known = tuple(name for name in BESIDE if name not in content)
    problems = [
        Problem(str(key), f"no such key; did you mean {near[0]}?")
        for key in content
        if key not in BESIDE and (near := get_close_matches(str(key), known, n=1, cutoff=0.8))
    ]
    if problems:
        raise wrong_settings(problems, file)
    parameters = content.get("parameters")
    if not isinstance(parameters, Mapping):
        what = f"under parameters, {shown(parameters)} is given; wanted: a section with the key settings"
        raise ConfigurationError(explain(what, str(path), remedy))
    if unknown := [Problem(str(key), unknown_key(str(key), ["settings"])) for key in parameters if key != "settings"]:
        raise wrong_settings(unknown, file, within=PLACE[:1])
    if "settings" not in parameters:
        raise ConfigurationError(explain("there are no settings under parameters", str(path), remedy))
    return parameters["settings"], file


def wrong_settings(
    problems: Sequence[Problem], file: YamlFile | None, *, within: tuple[str, ...] = (), remedy: str = REMEDY
) -> WrongSettingsError:
    """The error that names them all, with their lines where they stand in the file."""
    lines = lines_of(file, within) if file else {}
    problems = [replace(problem, line=lines.get(problem.setting)) for problem in problems]
    where = str(file.path) if file else "the settings of the run"
    error = WrongSettingsError(explain("\n".join(map(str, problems)), where, remedy))
    error.problems = tuple((problem.setting, problem.what, problem.line) for problem in problems)
    return error


def lines_of(file: YamlFile, within: tuple[str, ...] = PLACE) -> dict[str, int]:
    """The line of every setting by its present name, as "teacher.epochs"."""
    depth = len(within)
    return {
        present_path(".".join(map(str, place[depth:]))): line
        for place, line in file.lines.items()
        if place[:depth] == within
    }
