"""The GitHub workflows: safe and well-formed by two auditors' word, and their own shell lines run for real.

Not run here: what releases (test_release runs it); the `uses:` steps, which are GitHub's; the set-up behind
`make setup` and the tests behind `make test`, inside of which this runs; the pipeline, which `reft retrain` starts
where anything has changed (tests/pipelines does).
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest
import yaml

from reft.config import parse_settings
from reft.keys.lineage import lineage
from reft.tracking.promotion import history, promote
from reft.tracking.registry import register_candidate
from tests.factories import row, write_jsonl

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted(Path(".github/workflows").glob("*.yml"))
SCRIPTS = [".ci/run", *(str(path) for path in sorted(Path("ci").iterdir()) if path.suffix != ".py")]
PROGRAMS = Path(sys.executable).parent
# All that the shell lines may call; apt-get is not among them, so that no test asks the network.
TOOLS = ("bash", "env", "cat", "dirname", "id", "make", "sed", "tee", "test", "touch")


def steps(path):
    jobs = yaml.safe_load(path.read_text())["jobs"]
    return [(name, step) for name, job in jobs.items() for step in job["steps"]]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.stem)
def test_actions_are_pinned_and_rights_are_few(path):
    found = yaml.safe_load(path.read_text())
    assert found["permissions"] == {"contents": "read"}
    assert found["concurrency"]
    for _, step in steps(path):
        if "uses" in step:
            assert re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", step["uses"])
        # What a caller names reaches a shell through the environment alone, never as part of its text.
        assert "${{" not in step.get("run", "")


@pytest.mark.slow
@pytest.mark.parametrize("auditor", [["zizmor", "--offline"], ["actionlint"]], ids=lambda a: a[0])
def test_an_auditor_finds_nothing(auditor):
    program = PROGRAMS / auditor[0]
    if not program.is_file():
        pytest.skip(f"{program.name} has no wheel for this machine")
    done = subprocess.run([program, *auditor[1:], *WORKFLOWS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_the_second_auditor_would_find_something(tmp_path):
    if not (PROGRAMS / "actionlint").is_file():
        pytest.skip("actionlint has no wheel for this machine")
    text = Path(".github/workflows/retrain.yml").read_text().replace("needs.retrain.outputs.version", "needs.gone.x", 1)
    (tmp_path / "wrong.yml").write_text(text)
    done = subprocess.run(
        [PROGRAMS / "actionlint", tmp_path / "wrong.yml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "gone" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("retraining\nversion 12 passed its gate: reft promote s --version 12\n", "version=12\n"),
        ("nothing to do\n", ""),
        ("version 3 has not passed its gate: harmful score at most 0.1\nversion 2 serves on\n", ""),
    ],
)
def test_the_version_is_read_from_what_retraining_said(runner, said, expected):
    (runner.clone / "retrain.txt").write_text(said)
    (step,) = [step for _, step in steps(Path(".github/workflows/retrain.yml")) if step.get("id") == "made"]
    assert runner.run({}, step, {}).returncode == 0
    assert runner.output.read_text() == expected


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
def test_the_scripts_are_bash(script):
    subprocess.run(["bash", "-n", script], check=True)


class Runner:
    """What GitHub's runner does with a `run:` step: bash, in a checkout, with the environment of job and step."""

    def __init__(self, folder):
        self.clone, self.output, self._tools = folder / "clone", folder / "output", folder / "tools"
        kept_out = shutil.ignore_patterns(
            ".git", ".venv", ".reft", ".zen", "runs", "*_cache", "__pycache__", "*.egg-info"
        )
        shutil.copytree(ROOT, self.clone, ignore=kept_out)
        (self.clone / ".venv" / "bin").mkdir(parents=True)
        for program in ("python", "pip", "reft", "ruff", "ty", "zenml"):
            (self.clone / ".venv" / "bin" / program).symlink_to(PROGRAMS / program)
        (self.clone / ".venv" / ".ready").touch()  # `make setup` finds everything done
        self._tools.mkdir()
        for tool in TOOLS:
            (self._tools / tool).symlink_to(shutil.which(tool))
        (self._tools / "chromium").symlink_to("/bin/true")  # there already: nothing to install
        self.output.touch()

    def run(self, job, step, values, **more):
        """Run a step; `values` gives what each expression of the environment stands for."""
        named = {**job.get("env", {}), **step.get("env", {})}
        environment = {
            name: re.sub(r"\$\{\{ (.*?) \}\}", lambda found: values[found[1]], text) for name, text in named.items()
        }
        environment |= {
            "PATH": str(self._tools), "HOME": str(self.output.parent), "GITHUB_OUTPUT": str(self.output),
            "GITHUB_STEP_SUMMARY": str(self.output.with_name("summary")), "HF_HUB_OFFLINE": "1",
            "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "false", "ZENML_CONFIG_PATH": str(self.output.with_name("zenml")),
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "2"), **more,
        }  # fmt: skip
        # As GitHub runs a step that names no shell.
        command = ["bash", "-e", "-c", step["run"]]
        return subprocess.run(
            command, cwd=self.clone, env=environment, capture_output=True, text=True, check=False, timeout=300
        )


@pytest.fixture
def runner(tmp_path):
    return Runner(tmp_path / "runner")


@pytest.fixture
def job():
    """The jobs of retrain.yml, and its shell steps by job."""
    jobs = yaml.safe_load(Path(".github/workflows/retrain.yml").read_text())["jobs"]
    return {name: (found, [step for step in found["steps"] if "run" in step]) for name, found in jobs.items()}


@pytest.fixture
def values(store, tmp_path):  # noqa: ARG001
    """What the expressions of retrain.yml stand for where no secret is set: GitHub then writes nothing."""
    return {
        **{f"secrets.{name}": "" for name in ("ZENML_STORE_URL", "ZENML_STORE_API_KEY")},
        **{f"secrets.MLFLOW_TRACKING_{name}": "" for name in ("USERNAME", "PASSWORD")},
        "vars.ZENML_STACK": "", "vars.MLFLOW_TRACKING_URI": mlflow.get_tracking_uri(),
        "inputs.profile || 'zenml.yaml'": str(tmp_path / "run.yaml"), "inputs.force && '1' || '0'": "0",
        "vars.REGISTERED_NAME || 'reft-student'": "s", "needs.retrain.outputs.version": "2",
        "github.triggering_actor": "o'hara; touch pwned", "github.server_url": "https://github.example",
        "github.repository": "team/models", "github.run_id": "17",
    }  # fmt: skip


@pytest.mark.slow
def register(tmp_path, tags):
    (tmp_path / "student").mkdir(exist_ok=True)
    (tmp_path / "student" / "gate.json").write_text(json.dumps({"passed": True, "rules": []}))
    return register_candidate(tmp_path / "student", "s", tags, passed=True).version


@pytest.mark.slow
def test_the_job_that_retrains_finds_nothing_to_do(runner, job, values, tmp_path, tiny_model):
    """Also with a stack to set: the local store of ZenML serves where no server is named."""
    files = ("user", "alignment_harmful", "alignment_harmless", "calibration_harmful", "calibration_harmless")
    data = {name: str(write_jsonl(tmp_path / f"{name}.jsonl", [row(name, "a")])) for name in files}
    settings = parse_settings({"model": {"name": tiny_model}, "data": data, "tracking": {"registered_name": "s"}})
    profile = {"parameters": {"settings": settings.model_dump(mode="json")}}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(profile))
    promote("s", "champion", "me", version=register(tmp_path, lineage(settings)))
    found, (retrains, made) = job["retrain"]
    done = runner.run(found, retrains, values | {"vars.ZENML_STACK": "default"})
    assert done.returncode == 0, done.stdout + done.stderr
    assert "default" in done.stdout + done.stderr  # the stack
    assert (runner.clone / "retrain.txt").read_text().splitlines()[-1] == "nothing to do"
    assert runner.run(found, made, values).returncode == 0
    assert runner.output.read_text() == ""
    assert found["outputs"] == {"version": "${{ steps.made.outputs.version }}"}
    assert job["promote"][0]["if"] == "${{ needs.retrain.outputs.version != '' }}"  # so that nothing is promoted


@pytest.mark.slow
def test_the_job_that_retrains_fails_where_retraining_does(runner, job, values, tmp_path):
    """Its output passes through a pipe, which must not swallow the exit status."""
    (tmp_path / "run.yaml").write_text(yaml.safe_dump({"parameters": {"settings": {"model": {"nmae": "x"}}}}))
    found, (retrains, _) = job["retrain"]
    done = runner.run(found, retrains, values | {"inputs.force && '1' || '0'": "1"})
    assert done.returncode == 2, done.stdout + done.stderr
    assert "nmae" in done.stderr
    assert (runner.clone / "retrain.txt").read_text() == ""


@pytest.mark.slow
def test_the_job_that_promotes_does_so_in_the_reviewers_name(runner, job, values, tmp_path):
    register(tmp_path, {})
    second = register(tmp_path, {})
    found, (promotes,) = job["promote"]
    done = runner.run(found, promotes, values)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 entries, the chain is whole" in done.stdout
    entries, aliases = history("s")
    assert (aliases["challenger"], aliases["champion"]) == (second, second)
    assert {entry.by for entry in entries} == {"o'hara; touch pwned"}
    assert entries[1].reason == "approved in https://github.example/team/models/actions/runs/17"
    assert not (runner.clone / "pwned").exists()
    again = runner.run(found, promotes, values | {"needs.retrain.outputs.version": "9"})
    assert again.returncode == 2
    assert "no version 9" in again.stderr


@pytest.mark.slow
def test_the_job_that_checks_asks_for_what_is_there(runner):
    """`make` and `pip` say what they would do: the tests cannot run themselves."""
    pytest.importorskip("bitsandbytes", reason="the extra that .ci/run installs")
    ((_, step),) = [found for found in steps(Path(".github/workflows/check.yml")) if "run" in found[1]]
    # pip reads a variable of a "no" option as the option without its "no".
    dry = {
        "MAKEFLAGS": "n",
        "PIP_DRY_RUN": "1",
        "PIP_NO_INDEX": "1",
        "PIP_NO_BUILD_ISOLATION": "0",
        "NPM_CONFIG_DRY_RUN": "true",
    }
    done = runner.run({}, step, {}, **dry)
    assert done.returncode == 0, done.stdout + done.stderr
    (tests,) = [line for line in done.stdout.splitlines() if "-m pytest" in line]
    assert "--cov=reft" in tests


def test_every_shell_step_is_run_in_a_test(job):
    """Above, or of the release's in test_release; three of those need a network, a container engine or GitHub."""
    shell = [step["run"] for path in WORKFLOWS for _, step in steps(path) if "run" in step]
    here = [step["run"] for _, found in job.values() for step in found]
    assert len(here) == 3
    released = ['ci/build "$TAG"', "ci/try-wheel dist/*.whl fresh"]
    not_here = ["ci/sbom fresh dist/refusal_feature_teacher.cdx.json", "ci/image", 'ci/publish "$TAG" "$REPOSITORY"']
    tests = [".ci/run", "make test-night"]
    assert sorted(shell) == sorted([*here, *tests, *released, *not_here])


def test_a_release_is_published_from_a_tag_alone_after_a_persons_word():
    jobs = yaml.safe_load(Path(".github/workflows/release.yml").read_text())["jobs"]
    writers = {name for name, found in jobs.items() if "permissions" in found}
    assert writers == {"publish"}
    publish = jobs["publish"]
    assert publish["environment"] == "release"
    assert publish["if"] == "${{ github.ref_type == 'tag' }}"
    assert set(publish["needs"]) == set(jobs) - {"publish"}
