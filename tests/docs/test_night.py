"""The how-to pages as a reader has them: their commands, one after the other, in a clone of their own."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import shown, typed
from tests.factories import BREAD, HARM, row, write_jsonl
from tests.pipelines.clone import Clone

pytestmark = [pytest.mark.slow, pytest.mark.night]
PAGES = sorted(Path("docs/howto").glob("*.md"))
BIN = Path(sys.executable).parent
# What is not run here, and where it is seen to work.
ELSEWHERE = {
    "--cluster": "tests/cluster, on an API server and a store of the tests' own",
    "benchmarks.audit": "tests/benchmarks; the whole takes hours",
    "mlflow models serve": "tests/tracking: the model is loaded and asked as that server does",
    "curl": "it asks that server",
    "reft serve": "tests/service",
    "reft keys": "tests/service",
    "OPENAI_API_KEY": "tests/service",
    "openai_client.py": "tests/service",
    "make run": "the same as zenml pipeline run, which is run here",
    "--model-size": "tests/plan; it needs nothing of a clone",
}
ROWS = ("data.jsonl", "my_rows.jsonl")
JUDGED = (0, 3)  # a scan or an audit that flags something has worked, too


def of(page: Path) -> list[str]:
    """The page's commands that are run here."""
    return [line.split(" #")[0].strip() for line in typed(page) if not any(mark in line for mark in ELSEWHERE)]


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """Where one student serves and another is a candidate, with what a reader brings: rows, decisions, a profile."""
    made = Clone.make(tmp_path_factory.mktemp("site") / "clone")
    folder = made.folder
    (folder / "data").symlink_to(Path("data").resolve())
    write_jsonl(folder / "many.jsonl", [row(BREAD.format(i), "Mix it well and bake it.") for i in range(120)])
    limits = dict.fromkeys(("max_harmful_score", "max_over_refusal", "max_ordinary_refusal", "max_filter_fpr"), 1.0)
    sections = {
        "data": {"calibration_harmless": "many.jsonl"},  # enough for the rates that a scan promises by itself
        "gate": {**limits, "min_coherence": 0.0},
        "tracking": {"runs_folder": "runs"},
    }
    first, profile = made.profile("first", seed=1, **sections), made.profile("run", **sections)
    shutil.copy(profile, folder / "zenml.yaml")
    rows = [row(BREAD.format(i), "Mix it well and bake it.") for i in range(40)] + [row(HARM.format(3), "Sure: ...")]
    for name in ROWS:
        write_jsonl(folder / name, rows)
    lines = [f'"{BREAD.format(i)}","Mix it well and bake it."' for i in range(40)]
    (folder / "data.csv").write_text("prompt,completion\n" + "\n".join(lines) + "\n")
    (folder / "overrides.jsonl").write_text(shown(Path("docs/howto/review.md"), "json"))
    assert made.run(first)[0] == 0
    promoted = run(made, ".venv/bin/reft promote reft-student --version 1 --by us --reason first")
    assert promoted.returncode == 0, promoted.stderr
    assert made.run(profile)[0] == 0
    return made


def run(clone: Clone, line: str) -> "subprocess.CompletedProcess[str]":
    """A command as a shell runs it."""
    chosen = line.replace(".venv/bin/", f"{BIN}/")
    return subprocess.run(
        chosen, shell=True, cwd=clone.folder, env=clone.environment, capture_output=True, text=True, check=False,
        timeout=900,
    )  # fmt: skip


@pytest.mark.parametrize("page", [page for page in PAGES if of(page)], ids=lambda page: page.stem)
def test_every_command_of_a_page_works_in_its_order(clone, page):
    (clone.folder / "mine.yaml").unlink(missing_ok=True)
    for line in of(page):
        done = run(clone, line)
        judged = line.split()[1] in ("scan", "audit")
        assert done.returncode in (JUDGED if judged else (0,)), (line, done.stdout[-1000:], done.stderr[-3000:])
        if "write-config" in line:  # then the reader changes it: here into what a tiny model can do
            assert "finetuning:" in (clone.folder / "mine.yaml").read_text()
            shutil.copy(clone.folder / "run.yaml", clone.folder / "mine.yaml")


def test_most_commands_are_run_here_and_the_others_are_elsewhere_for_a_reason():
    lines = [line for page in PAGES for line in typed(page)]
    here = [line for page in PAGES for line in of(page)]
    assert len(here) > 15
    assert all(any(mark in line for line in lines) for mark in ELSEWHERE)
