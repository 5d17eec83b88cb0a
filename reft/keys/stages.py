"""The key of every stage of a run: what its result depends on, part by part, so that a change can be named."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from reft.config import FilteringSettings, Settings
from reft.keys.closure import Code, code_of
from reft.models.default_model import resolve_model
from reft.storage.files import fingerprint
from reft.storage.fingerprint import of_text, remembered

ALIGNMENT = ("alignment_harmful", "alignment_harmless")
CALIBRATION = ("calibration_harmful", "calibration_harmless")
EVALUATION = ("evaluation_harmful", "evaluation_lookalikes", "evaluation_ordinary")
AUDIT = ("evaluation_harmful", "evaluation_ordinary", "calibration_harmful")
PROVIDER = (*ALIGNMENT, *CALIBRATION)
IDENTITIES = "alignment_identities"
SCORER = "filtering.scorer_settings"
COUNTS = ("alignment_harmful_rows", "alignment_harmless_rows", "lookalike_share")


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What a stage reads beside the results of the stages before it.

    Attributes:
        entry: the module where its code begins.
        settings: sections, or `section.key`.
        files: fields of the data settings that name files.
        models: "base", or "start", the model that the teacher starts from.
        options: sections of a part's own settings, whose values may name files or folders.
        after: stages whose results it takes.
        parts: modules that are found by name, of which the settings choose these.
    """

    entry: str
    settings: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    parts: Callable[[Settings], tuple[str, ...]] = lambda _: ()


def method_part(method: str) -> str:
    """The module of a method of finetuning."""
    return f"reft.finetuning.methods.{method}"


def scorer_parts(settings: FilteringSettings) -> tuple[str, ...]:
    """The modules of the chosen scorer, and of the untrained feature that every filter is held against."""
    return tuple(f"reft.filtering.scorers.{name}" for name in dict.fromkeys((settings.scorer, "refusal_feature")))


STAGES: dict[str, Stage] = {
    "validation": Stage(
        entry="steps.validation", settings=("model", "validation", "data.columns"), files=("user", "task_test"),
        models=("base",),
    ),
    "refusal_feature": Stage(
        entry="steps.refusal_feature", settings=("model", "refusal_feature", *(f"data.{name}" for name in COUNTS)),
        files=PROVIDER, models=("start",),
    ),
    "teacher": Stage(
        entry="steps.teacher",
        settings=("model", "teacher", "refusal_feature", "seed", *(f"data.{name}" for name in COUNTS)),
        files=(*PROVIDER, IDENTITIES), models=("start",), after=("refusal_feature",),
    ),
    "soft_labels": Stage(
        entry="steps.soft_labels", settings=("model", "soft_labels", *(f"data.{name}" for name in COUNTS)),
        files=ALIGNMENT, models=("start",), after=("teacher",),
    ),
    "calibration": Stage(
        entry="steps.calibration", settings=("model", "filtering", "evaluation", "data.lookalike_share"),
        files=(*CALIBRATION, *EVALUATION, "evaluation_fields"), models=("start",), options=(SCORER,),
        after=("teacher",),
        parts=lambda settings: scorer_parts(settings.filtering),
    ),
    "filtering": Stage(
        entry="steps.filtering", settings=("model", "filtering", "evaluation", "data.lookalike_share"),
        files=(*CALIBRATION, "task_test", "user_labels", "overrides"), models=("start",), options=(SCORER,),
        after=("validation", "teacher", "calibration"),
        parts=lambda settings: scorer_parts(settings.filtering),
    ),
    "finetuning": Stage(
        entry="steps.finetuning",
        settings=("model", "finetuning", "seed", "cluster", *(f"data.{name}" for name in COUNTS)),
        files=ALIGNMENT, models=("base",), options=("finetuning.method_settings",), after=("filtering", "soft_labels"),
        parts=lambda settings: (method_part(settings.finetuning.method),),
    ),
    "sft": Stage(
        entry="steps.sft", settings=("model", "finetuning", "seed", "cluster"), models=("base",), after=("validation",),
        parts=lambda _: (method_part("sft"),),
    ),
    "baselines": Stage(
        entry="steps.baselines", settings=("model", "evaluation"), files=EVALUATION, models=("base", "start"),
        after=("teacher",),
    ),
    "evaluation": Stage(
        entry="steps.evaluation", settings=("model", "evaluation"), files=(*EVALUATION, "task_test"), models=("base",),
        after=("finetuning", "sft", "baselines"),
    ),
    "audit_reference": Stage(
        entry="steps.audit_reference", settings=("model", "audit"), files=AUDIT, models=("base", "start"),
        after=("teacher",),
    ),
    "audit": Stage(
        entry="steps.audit", settings=("model", "audit", "finetuning"), files=(*AUDIT, "audit_benign"),
        models=("base",), after=("finetuning", "evaluation", "audit_reference"),
    ),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class StageKey:
    """The key of one stage, by what it is made of: each part maps names to digests, versions or values."""

    settings: dict[str, Any]
    files: dict[str, str]
    code: dict[str, str]
    libraries: dict[str, str]

    def as_dict(self) -> dict[str, dict[str, Any]]:
        """For JSON, and for a step's parameter."""
        return {"settings": self.settings, "files": self.files, "code": self.code, "libraries": self.libraries}

    @property
    def digest(self) -> str:
        """One digest of all parts."""
        return of_text(repr(self.as_dict()))[:16]


def stages_of(settings: Settings) -> list[str]:
    """The stages that a run under these settings has, in its order."""
    absent = set() if settings.evaluation.sft else {"sft"}
    absent |= set() if settings.audit.enabled else {"audit_reference", "audit"}
    absent |= set() if settings.finetuning.distillation == "stored" else {"soft_labels"}
    return [stage for stage in STAGES if stage not in absent]


def stage_keys(settings: Settings, digest: Callable[[str], str] | None = None) -> dict[str, StageKey]:
    """The key of every stage under these settings, in the order of a run.

    Args:
        digest: `remembered()`, where the same files are asked about again.

    Raises:
        DataFormatError: the user's file is at an address where nothing is.
    """
    digest = digest or remembered()  # the base model and most files belong to several stages
    return {name: _key(stage, settings, digest) for name, stage in STAGES.items()}


def code_key(stage: str) -> str:
    """A digest of a stage's code and libraries alone."""
    return code_of(STAGES[stage].entry).digest


def named_files(settings: Settings, options: str) -> dict[str, str]:
    """The files and folders that a part's own settings name, by their keys: the part alone knows which of them do."""
    found = {key: value for key, value in _value(settings, options).items() if isinstance(value, str)}
    return {key: path for key, path in found.items() if os.path.exists(os.path.expanduser(path))}


def changes(before: Mapping[str, Any], now: Mapping[str, Any], path: str = "") -> list[str]:
    """What differs between two keys as `as_dict` gives them: one `part.name: old -> new` a difference."""
    found = []
    for name in dict.fromkeys([*before, *now]):
        old, new = before.get(name), now.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += changes(old, new, f"{path}{name}.")
        elif old != new:
            found.append(f"{path}{name}: {_shown(old)} -> {_shown(new)}")
    return found


def why_again(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, list[str]]:
    """For each stage why it would run again since a run: its own parts that changed, or the stages before it.

    A stage that the run did not have (it failed earlier) runs for the first time.
    """
    reasons: dict[str, list[str]] = {}
    for name in (stage for stage in STAGES if stage in now):
        old = before.get(name)
        found = ["it was not part of that run"] if old is None else changes(old, now[name])
        found += [f"{stage} runs again" for stage in STAGES[name].after if reasons.get(stage)]
        reasons[name] = found
    return reasons


def _shown(value: Any) -> str:
    return "absent" if value is None else f"{value}"[:60]


def _key(stage: Stage, settings: Settings, digest: Callable[[str], str]) -> StageKey:
    code: Code = code_of(stage.entry, stage.parts(settings))
    models = {"base": settings.model.name, "start": settings.model.aligned or settings.model.name}
    files = {
        name: fingerprint(path, digest) if name == "user" else digest(path)
        for name in stage.files
        if (path := getattr(settings.data, name))
    }
    files |= {f"model ({name})": digest(resolve_model(models[name])) for name in stage.models}
    files |= {"chat_template": digest(settings.model.chat_template)}
    for options in stage.options:
        files |= {f"{options}.{key}": digest(path) for key, path in named_files(settings, options).items()}
    return StageKey(
        settings={name: _value(settings, name) for name in stage.settings},
        files=files,
        code=dict(code.modules),
        libraries=dict(code.libraries),
    )


def _value(settings: Settings, name: str) -> Any:
    value: Any = settings
    for part in name.split("."):
        value = getattr(value, part)
    # What a training on this machine does not read must not miss its cache.
    if name == "cluster" and settings.finetuning.launcher == "local":
        return {}
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else value
