"""Keys follow imports: in a copy of the code, a change inside a closure is seen, and one outside is not."""

import ast
import shutil
from pathlib import Path

import pytest

from reft.config import parse_settings
from reft.keys import closure
from reft.keys.closure import LEFT_OUT, ROOT, code_of
from reft.keys.stages import STAGES, code_key, stage_keys

ENTRIES = {name: stage.entry for name, stage in STAGES.items()}
EVERYTHING = sorted(closure._below("reft", ROOT)) + sorted(closure._below("steps", ROOT))


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of our packages; the tests change it file by file and put each back."""
    root = tmp_path_factory.mktemp("copy")
    for package in closure.PACKAGES:
        shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
    return root


def digests(root):
    """Every stage's key, read anew."""
    closure.code_of.cache_clear()
    return {name: code_of(entry, root=root).digest for name, entry in ENTRIES.items()}


@pytest.mark.slow
def test_every_module_of_a_closure_changes_its_key_and_no_other_module_does(copy):
    """All of them: about two hundred changes, each held against all eight stages."""
    before = digests(copy)
    members = {name: set(code_of(entry, root=copy).modules) for name, entry in ENTRIES.items()}
    for module in EVERYTHING:
        path = closure._path(module, copy)
        text = path.read_text()
        path.write_text(f"{text}\nCHANGED = 1\n")
        after = digests(copy)
        path.write_text(text)
        changed = {name for name in ENTRIES if after[name] != before[name]}
        assert changed == {name for name in ENTRIES if module in members[name]}, module
    assert digests(copy) == before


@pytest.mark.parametrize(
    ("stage", "module"),
    [
        ("refusal_feature", "reft.teacher.preparation"),  # it is the step, though it lies in the teacher's package
        ("filtering", "reft.judges.refusal_matcher"),  # it decides which rows stay
        ("filtering", "reft.filtering.scorers.guard"),  # found by its file's name alone
        ("finetuning", "reft.finetuning.worker"),  # started by name in another process
        ("soft_labels", "reft.models.head"),
        ("validation", "reft.conversations.formats"),
        ("evaluation", "reft.evaluation.generation"),
    ],
)
def test_what_used_to_be_missed_is_in(stage, module):
    assert module in code_of(ENTRIES[stage]).modules


@pytest.mark.parametrize(
    ("entry", "module"),
    [
        ("reft.scan.scan", "reft.judges.refusal_matcher"),
        ("reft.comparison.cell", "reft.judges.refusal_matcher"),
        ("reft.comparison.cell", "reft.finetuning.worker"),
    ],
)
def test_a_scan_and_a_cell_follow_their_code_too(entry, module):
    assert module in code_of(entry).modules


def test_of_parts_that_are_found_by_name_only_the_chosen_ones_belong():
    """So that a new method, scorer or judge leaves results that it had no part in as they are."""
    methods = "reft.finetuning.methods"
    alone = set(code_of("reft.finetuning.worker", (f"{methods}.reft_from_aligned",)).modules)
    parts = {name.removeprefix(f"{methods}.") for name in alone if name.startswith(f"{methods}.")}
    assert parts == {"reft_from_aligned", "reft", "_losses"}
    assert f"{methods}.lisa" in code_of("reft.finetuning.worker").modules  # whichever it may be
    keys = stage_keys(parse_settings({}))
    scorers = {name for name in keys["filtering"].code if name.startswith("reft.filtering.scorers.")}
    assert scorers == {"reft.filtering.scorers.refusal_feature"}
    assert f"{methods}.sft" in keys["sft"].code
    assert f"{methods}.reft" not in keys["sft"].code
    for stage in ("filtering", "evaluation"):  # both ask whether an answer refused
        judges = {name for name in keys[stage].code if name.startswith("reft.judges.")}
        assert judges == {"reft.judges.refusal_matcher"}


def test_the_gates_digest_of_code_is_the_evaluations():
    assert code_key("evaluation") == code_of("steps.evaluation").digest != code_key("teacher")


def test_a_changed_rule_of_the_gate_judges_anew_and_does_nothing_else_again(copy):
    before, judged = digests(copy), code_of("steps.gate", root=copy).digest
    path = copy / "reft" / "gate" / "rules" / "limits.py"
    text = path.read_text()
    path.write_text(f"{text}\nCHANGED = 1\n")
    after, judges = digests(copy), code_of("steps.gate", root=copy).digest
    path.write_text(text)
    assert judges != judged
    assert after == before


def test_what_shows_or_stores_results_is_left_out():
    for entry in ENTRIES.values():
        modules = code_of(entry).modules
        assert not [m for m in modules if any(m == out or m.startswith(f"{out}.") for out in LEFT_OUT)]
    assert "reft.finetuning.worker" not in code_of(ENTRIES["validation"]).modules
    assert "reft.validation.rows" not in code_of(ENTRIES["teacher"]).modules


def test_whatever_is_left_out_is_there_and_has_its_reason():
    for name, why in LEFT_OUT.items():
        assert closure._path(name, ROOT), name
        assert why


def test_a_comment_or_docstring_is_no_change(copy):
    before = digests(copy)
    path = copy / "reft" / "teacher" / "loss.py"
    text = path.read_text()
    path.write_text(text.replace('"""', '"""Said otherwise. ', 1) + "\n# a remark\n")
    after = digests(copy)
    path.write_text(text)
    assert after == before


def test_imports_for_types_alone_do_not_count(tmp_path):
    (tmp_path / "reft").mkdir()
    (tmp_path / "reft" / "__init__.py").touch()
    (tmp_path / "reft" / "a.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import reft.b\n\ndef late():\n    import reft.c\n"
    )
    for name in "bc":
        (tmp_path / "reft" / f"{name}.py").write_text("x = 1\n")
    assert set(code_of("reft.a", root=tmp_path).modules) == {"reft", "reft.a", "reft.c"}


def test_libraries_are_those_that_the_closure_imports():
    teacher, validation = (code_of(ENTRIES[name]).libraries for name in ("teacher", "validation"))
    assert {"torch", "transformers", "tokenizers", "peft"} <= set(teacher)
    assert "great-expectations" in validation
    assert "great-expectations" not in teacher
    assert "deepspeed" in code_of(ENTRIES["finetuning"]).libraries
    assert not {"mlflow", "zenml", "psutil"} & set(teacher)


def test_an_entry_that_is_not_there_is_an_error():
    with pytest.raises(ModuleNotFoundError, match="no module under"):
        code_of("reft.nothing")


def test_no_key_is_kept_by_hand():
    """A call that names packages by text would be a list again: entries are modules where work begins, one each."""
    for path in [*Path("reft").rglob("*.py"), *Path("steps").glob("*.py"), *Path("pipelines").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("code_of", "digest_of_code"):
                assert len(node.args) <= 2, f"{path}:{node.lineno}"
