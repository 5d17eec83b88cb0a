"""Imports of an earlier release: they work for one release more, each with a warning that names the present place."""

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

GOES = "goes with 0.3"
# Old module, then where its names are looked for now, in this order.
MOVED: dict[str, tuple[str, ...]] = {
    "artifacts": ("storage.artifacts",),
    "cli_plan": ("cli.plan",),
    "cli_registry": ("cli.promotion", "cli.evaluate", "cli.retrain"),
    "cluster.finetune": ("cluster.finetuning",),
    "conversations.forms": ("conversations.formats", "conversations.turns"),
    "conversations.giving_back": ("conversations.writer",),
    "cost": ("runtime.cost",),
    "distillation": ("finetuning",),
    "distillation.artifact": ("finetuning.artifact",),
    "distillation.checkpoints": ("finetuning.checkpoints",),
    "distillation.deepspeed_config": ("finetuning.deepspeed_config",),
    "distillation.following": ("finetuning.monitoring",),
    "distillation.job": ("finetuning.job",),
    "distillation.launch": ("finetuning.launch",),
    "distillation.loss": ("finetuning.kl", "models.head", "finetuning.methods._losses"),
    "distillation.online": ("finetuning.online_teacher",),
    "distillation.saving": ("finetuning.saving",),
    "distillation.schedule": ("finetuning.schedule",),
    "distillation.soft_labels": ("soft_labels.labels",),
    "distillation.student_loss": ("finetuning.student_loss", "finetuning.methods._losses"),
    "distillation.worker": ("finetuning.worker",),
    "evaluation.asking": ("evaluation.questions",),
    "evaluation.judges": ("judges.refusal_matcher",),
    "evaluation.statistics": ("statistics",),
    "evidence": ("comparison",),
    "evidence.ablations": ("comparison.ablations",),
    "evidence.cell": ("comparison.cell",),
    "evidence.grid": ("comparison.grid",),
    "evidence.harness_format": ("comparison.harness_format", "comparison.harness_tasks"),
    "evidence.judging": ("judges", "judges._labels", "judges.compliance_classifier", "judges.refusal_matcher"),
    "evidence.losses": (
        "finetuning.methods._losses", "finetuning.methods.constrained_sft", "finetuning.methods.lisa",
        "finetuning.methods.safe_lora",
    ),
    "evidence.methods": ("finetuning.methods", "finetuning.methods._losses", "comparison.variants"),
    "evidence.model_judges": ("judges._model", "judges"),
    "evidence.outcomes": ("evaluation.measures",),
    "evidence.page": ("comparison.page",),
    "evidence.panel": ("comparison.panel",),
    "evidence.ratios": ("comparison.ratios",),
    "evidence.run": ("comparison.run",),
    "evidence.settings": ("comparison.settings",),
    "evidence.table": ("comparison.table",),
    "evidence.tasks": ("comparison.tasks",),
    "evidence.teachers": ("comparison.teachers", "teacher.preparation"),
    "evidence.training": ("finetuning.student",),
    "files": ("storage.files",),
    "filtering.guards": ("filtering.scorers.guard",),
    "fingerprint": ("storage.fingerprint",),
    "lineage": ("keys.lineage",),
    "processes": ("runtime.processes",),
    "profile": ("config.profile",),
    "progress": ("runtime.progress",),
    "promotion.gate": ("gate.gate", "gate.rules.champion", "gate.rules.limits"),
    "promotion.trail": ("promotion.audit_log",),
    "refusal": ("refusal_feature",),
    "refusal.calibration": ("refusal_feature.calibration",),
    "refusal.extraction": ("refusal_feature.extraction",),
    "refusal.feature": ("refusal_feature.feature",),
    "refusal.features": ("refusal_feature.features",),
    "refusal.readouts": ("refusal_feature.readouts",),
    "scorer": ("filtering.scorers", "filtering.inputs", "filtering.scorers.refusal_feature", "filtering.filter"),
}  # fmt: skip
# Modules that are still there, and where names that they lost are looked for.
STAYED: dict[str, tuple[str, ...]] = {
    "cluster.trainjob": ("cluster.manifest",),
    "config": ("config",),
    "config.sections": ("config",),
    "config.training": ("config",),
    "conversations.containers": ("conversations.limits",),
    "evaluation.evaluate": ("evaluation.measures",),
    "filtering.parts": ("conversations.sentences",),
    "filtering.run": ("filtering.calibration",),
    "report.html": ("report.html",),
    "tracking.serving": ("config.serving",),
    "validation.file": ("validation.outputs",),
}
# Names that were called otherwise, in any of these modules.
RENAMED: dict[str, str] = {
    "EvidenceSettings": "ComparisonSettings",
    "FeatureSettings": "RefusalFeatureSettings",
    "FilterSettings": "FilteringSettings",
    "FinetuneSettings": "FinetuningSettings",
    "JudgeKind": "Question",
    "MAX_NEW_TOKENS": "NEW_TOKENS",
    "ReportInputs": "RunResult",
    "form_of": "format_of",
    "read_evidence_settings": "read_comparison_settings",
    "run_evidence": "run_comparison",
    "save_scorer": "save_inputs",
    "write_evidence": "write_comparison",
}


class _OldModule(Loader):
    """An empty module that looks each name up where it is now."""

    def __init__(self, name: str, places: Sequence[str]) -> None:
        self._name, self._places = name, [f"reft.{place}" for place in places]

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:  # noqa: ARG002 (the interface's)
        """The usual one."""
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Warn, and leave the names to `__getattr__`."""
        warnings.warn(f"{self._name} is {self._places[0]} now; the old name {GOES}", FutureWarning, stacklevel=2)

        def find(name: str) -> Any:
            return look_up(name, module.__name__, self._places)

        vars(module)["__getattr__"] = find


class _Finder(MetaPathFinder):
    """Asked last, for what is not there."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The old module of that name, if it is one."""
        del path, target
        name = fullname.removeprefix("reft.")
        if name == fullname or name not in MOVED:
            return None
        package = any(other.startswith(f"{name}.") for other in MOVED)
        return ModuleSpec(fullname, _OldModule(fullname, MOVED[name]), is_package=package)


def look_up(name: str, module: str, places: Sequence[str]) -> Any:
    """What an old module's name is now.

    Raises:
        AttributeError: it has no successor.
    """
    if not name.startswith("__"):
        for place in places:
            found = import_module(place)
            if hasattr(found, RENAMED.get(name, name)):
                return getattr(found, RENAMED.get(name, name))
    raise AttributeError(f"{module}.{name} is gone; CHANGELOG.md says what took its place")


def keep_old_names(module: str) -> None:
    """Give a module that is still there the names that it lost, each with a warning.

    Set from here and not by an assignment of its own, so that type checkers still know a name that never was.
    """
    places = [f"reft.{place}" for place in STAYED[module.removeprefix("reft.")]]

    def find(name: str) -> Any:
        if name.startswith("__") or (places == [module] and name not in RENAMED):
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        present = f"{places[0]}.{RENAMED.get(name, name)}"
        warnings.warn(f"{module}.{name} is {present} now; the old name {GOES}", FutureWarning, 2)
        return look_up(name, module, places)

    vars(sys.modules[module])["__getattr__"] = find


FINDER = _Finder()
