"""Imports of the first release still work, each with a warning; what is gone for good is named here."""

import json
import sys
from importlib import import_module
from pathlib import Path

import pytest

import reft.moved

OLD: dict[str, list[str]] = json.loads(Path("tests/old_names.json").read_text())
# Without a successor of the same kind; CHANGELOG.md says what does their work now.
GONE = {
    # The lock's maker is looked for.
    "reft.distillation.launch": {"COMPILING_SECONDS", "forget_dead_builds"},
    # The checks have a page of our own.
    "reft.validation.expectations": {"FOREIGN", "STYLE"},
    # Settings: `validation.max_expansion`, `validation.max_line_mb`.
    "reft.conversations.containers": {"HIGHEST_EXPANSION", "LONGEST_LINE"},
    # Formats are told by pairs of keys; a language by its letters and how sure the classifier is.
    "reft.conversations.forms": {"FORMS"},
    "reft.conversations.languages": {"ENOUGH_CHARACTERS"},
    # Commands are a module each.
    "reft.cli": {"COLUMNS", "attacks", "check_config", "evidence", "fetch_model", "write_config"},
    # Keys follow imports.
    "reft.evidence.grid": {"CODE", "WITHOUT"},
    "reft.fingerprint": {"of_code"},
    "reft.lineage": {"BESIDE", "CODE"},
    # Everything loops over the table of measures.
    "reft.evidence.harness_format": {"BETTER_HIGH", "Metrics", "OURS"},
    "reft.evidence.outcomes": {"FAULTS", "worse"},
    "reft.evidence.page": {"COLUMNS"},
    "reft.promotion.gate": {"COMPARED", "FAULTS"},
    # Judges, methods and scorers are files, and one path trains.
    "reft.evidence.judging": {"train_classifier"},
    "reft.evidence.losses": {"mean_cross_entropy"},
    "reft.evidence.methods": {
        "CONSTRAINT", "LISA_RHO", "LISA_STEPS", "METHODS", "SAFE_LORA_SHARE", "project_adapter",
    },
    "reft.evidence.model_judges": {"JUDGE_KINDS"},
    "reft.evidence.training": {"train"},
    "reft.filtering.run": {"calibrate"},
    "reft.filtering.scoring": {"score_rows"},
    "reft.scorer": {"GuardScorer", "SCORING", "guard_scorer", "untrained_scorer"},
    # Rows are checked many at once.
    "reft.validation.rows": {"check_row"},
    # Its value is what it was, under the name LOG.
    "reft.tracking.promotion": {"TRAIL"},
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("module", sorted(OLD))
def test_every_old_name_is_found(module):
    found = import_module(module)
    missing = {name for name in OLD[module] if not hasattr(found, name)}
    assert missing == GONE.get(module, set())


def test_an_old_module_is_the_new_one_and_warns():
    sys.modules.pop("reft.artifacts", None)
    with pytest.warns(FutureWarning, match=r"reft\.artifacts is reft\.storage\.artifacts now"):
        from reft.artifacts import read_json  # ty: ignore[unresolved-import]
    from reft.storage.artifacts import read_json as present

    assert read_json is present


def test_an_old_name_in_a_module_that_stayed_warns():
    import reft.config

    with pytest.warns(FutureWarning, match="FilterSettings is reft.config.FilteringSettings now"):
        old = reft.config.FilterSettings  # ty: ignore[unresolved-attribute]
    assert old is reft.config.FilteringSettings


def test_what_never_was_is_an_error_as_ever():
    with pytest.raises(ModuleNotFoundError):
        import_module("reft.nothing_of_the_kind")
    with pytest.raises(AttributeError, match="CHANGELOG"):
        _ = import_module("reft.fingerprint").of_code
    with pytest.raises(ImportError):
        from reft.config import Nothing  # noqa: F401 # ty: ignore[unresolved-import]


def test_no_module_of_ours_uses_an_old_name():
    old = {f"reft.{name}" for name in reft.moved.MOVED}
    for path in [p for root in ("reft", "steps", "pipelines", "benchmarks") for p in Path(root).rglob("*.py")]:
        for line in path.read_text().splitlines():
            if line.startswith(("from reft.", "import reft.")):
                assert line.split()[1] not in old, path
