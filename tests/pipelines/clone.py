"""A clone of the product with stores of its own and a tiny model, so that whole runs take seconds."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Set
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml

from tests.factories import BREAD, HARM, build_model, hear_interrupts, row, write_jsonl

ZENML = Path(sys.executable).with_name("zenml")
CODE = ("reft", "steps", "pipelines", "reft_pipeline.py", "zenml.yaml", "pyproject.toml", "constraints.txt")
# As `python -m pipelines.stack`, without its line for every process of the virtual environment.
SET_UP = "from pipelines.stack import place_artifacts, register_stack; place_artifacts(); register_stack()"
SECONDS = 300


@dataclass
class Clone:
    """Its folder; runs in it are processes of their own."""

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> "Clone":
        """Copy the code, make a model and data, and set the stores up."""
        folder.mkdir(parents=True)
        for name in CODE:
            copy = shutil.copytree if Path(name).is_dir() else shutil.copy
            copy(name, folder / name)
        (folder / ".reft").mkdir()
        build_model(folder / "model", "llama")
        for name, text in (("harm", HARM), ("bread", BREAD)):
            write_jsonl(folder / f"{name}.jsonl", [row(text.format(i), "Mix it well and bake it.") for i in range(60)])
        clone = cls(folder)
        subprocess.run([sys.executable, "-c", SET_UP], cwd=folder, env=clone.environment, check=True, timeout=SECONDS)
        return clone

    @property
    def environment(self) -> dict[str, str]:
        """Stores and temporary files inside the folder."""
        state, temporary = self.folder / ".reft", self.folder / "tmp"
        temporary.mkdir(exist_ok=True)
        return os.environ | {
            "ZENML_CONFIG_PATH": str(state / "zenml"), "MLFLOW_TRACKING_URI": f"sqlite:///{state / 'mlflow.db'}",
            "PYTHONPATH": str(self.folder), "TMPDIR": str(temporary), "HF_HUB_OFFLINE": "1",
            "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "false", "OMP_NUM_THREADS": "1",
        }  # fmt: skip

    def profile(self, name: str, *, seed: int = 0, cache: bool = True, **sections: dict[str, Any]) -> Path:
        """A small run on the bread rows, with results in a folder of the profile's name; `sections` add to it."""
        harm, bread = "harm.jsonl", "bread.jsonl"
        data = {"user": bread}
        data |= dict.fromkeys(("user_labels", "task_test", "evaluation_fields", "alignment_identities"))
        data |= {f"{use}_harmful": harm for use in ("alignment", "calibration", "evaluation")}
        data |= {"alignment_harmless": bread, "calibration_harmless": bread, "evaluation_lookalikes": bread}
        settings: dict[str, dict[str, Any]] = {
            "model": {"name": "model", "dtype": "float32"},
            "data": data | {"evaluation_ordinary": bread, "alignment_harmful_rows": 16, "alignment_harmless_rows": 16},
            "refusal_feature": {"rows": 16},
            "filtering": {"fpr": 0.05, "quarantine_fpr": 0.1},
            "finetuning": {"least_alignment_rows": 0, "checkpoint_every": 20, "epochs": 40},
            "evaluation": {"sft": False, "harmful_rows": 4, "lookalike_rows": 4, "ordinary_rows": 4},
            "tracking": {"runs_folder": name},
        }
        for section, values in sections.items():
            settings[section] = settings.get(section, {}) | values
        path = self.folder / f"{name}.yaml"
        profile = {"enable_cache": cache, "parameters": {"settings": settings | {"seed": seed}}}
        path.write_text(yaml.safe_dump(profile))
        return path

    def start(self, profile: Path) -> "subprocess.Popen[str]":
        """As a user starts a run; its own session, so that all of it can be killed."""
        return subprocess.Popen(
            [str(ZENML), "pipeline", "run", "reft_pipeline", "--config", str(profile)], cwd=self.folder,
            env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
            preexec_fn=hear_interrupts,
        )  # fmt: skip

    def run(self, profile: Path) -> tuple[int, str]:
        """(exit status, what was said)."""
        return ended(self.start(profile))

    def metrics(self) -> set[Path]:
        """Of finetunings that are under way or were cut off."""
        return set(self.folder.rglob("metrics.jsonl"))

    def steps(self, besides: Set[Path] = frozenset()) -> int:
        """Of the finetuning that is under way, besides those that were cut off."""
        with suppress(FileNotFoundError):  # it has ended just now
            return max((len(path.read_bytes().splitlines()) for path in self.metrics() - besides), default=0)
        return 0

    def left(self) -> list[str]:
        """Temporary files but for ZenML's own, which an interrupt may leave."""
        return sorted(path.name for path in (self.folder / "tmp").iterdir() if not path.name.startswith("zenml-"))

    def processes(self) -> list[str]:
        """Those whose temporary files lie in the clone."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get("TMPDIR", "").startswith(str(self.folder)):
                    found.append(" ".join(process.cmdline()))
        return found


def ended(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """(exit status, what was said) of a started run."""
    said, _ = process.communicate(timeout=SECONDS)
    return process.returncode, said


def kill_all(process: "subprocess.Popen[str]") -> str:
    """The whole session at once, without a chance to tidy up."""
    os.killpg(process.pid, signal.SIGKILL)
    return process.communicate(timeout=60)[0]


def wait_for(happened: Callable[[], object], seconds: float = SECONDS) -> None:
    """Until it has happened; fails after so many seconds."""
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until
        time.sleep(0.05)
