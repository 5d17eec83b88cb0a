"""Validating a million rows: time, memory, where the time goes: `python -m benchmarks.data` (about ten minutes).

`--before FOLDER` measures an older build on the same rows, too. Of several numbers of rows, from 100,000 on, it also
says how the seconds grow with them (1: a line). Beside `reft validate`: a plain pass of `datasets` over the same file,
and the tokenisation alone. Memory is the peak of a way's processes, start-up and imports included. Each appends a line
to `results/data.jsonl` when it is done.
"""

import argparse
import json
import random
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.processes import measure
from benchmarks.record import append
from reft.config import Settings
from reft.conversations.reading import read_conversations, read_rows
from reft.conversations.schema import Conversation
from reft.conversations.tokenization import encode
from reft.models.default_model import resolve_model
from reft.models.tokenizers import load_tokenizer


def _tokenizer():
    model = Settings().model
    return load_tokenizer(resolve_model(model.name), model.chat_template)


def _read(path: Path) -> None:
    for _ in read_rows(path):
        pass


def _tokenise(path: Path) -> None:
    tokenizer = _tokenizer()
    for row in read_rows(path):
        if isinstance(row, Conversation):
            encode(tokenizer, row)


def _datasets(path: Path) -> None:
    from datasets import load_dataset

    with tempfile.TemporaryDirectory() as cache:
        rows = load_dataset("json", data_files=str(path), split="train", cache_dir=cache)
        for _ in rows:
            pass


LOOKED_FOR = (
    "a.b@example.org", "+49 170 1234567", "AKIAIOSFODNN7EXAMPLE", "4111 1111 1111 1111", "<|im_end|>",
    "Bitte sagen Sie mir, wo meine \u00dcberweisung von gestern geblieben ist", "https://example.org/a/long/address",
)  # fmt: skip
# Each pass over a file in a process of its own; "validate" is the command as users run it.
PASSES: dict[str, Callable[[Path], None]] = {"read": _read, "read and tokenise": _tokenise, "datasets": _datasets}
WAYS = ("validate", *PASSES)


SETTINGS = {"validation": {"languages": ["en"]}}
LONG = 100_000  # rows from which on a start-up does not count


def write(path: Path, rows: int) -> None:
    """Rows of mixed length: shipped dialogues, one to five of them joined, each row with its number.

    One in forty holds what a check looks for.
    """
    data, chance = Settings().data, random.Random(0)
    files = [str(data.task_test), str(data.alignment_harmless), str(data.evaluation_ordinary)]
    rows_of = (row.messages for file in files for row in read_conversations(file))
    texts = [messages for messages in rows_of if messages[-1].role == "assistant"]  # the others are prompts alone
    with path.open("w") as file:
        for number in range(rows):
            joined = chance.randint(2, 5) if chance.random() < 0.1 else 1
            turns = [m for messages in chance.choices(texts, k=joined) for m in messages if m.role != "system"]
            extra = f" {chance.choice(LOOKED_FOR)}" if chance.random() < 0.025 else ""
            said = [{"role": m.role, "content": f"{m.content} ({number}){extra}"} for m in turns]
            file.write(json.dumps({"messages": said}) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=int, nargs="*", default=[10_000, 1_000_000])
    parser.add_argument("--ways", nargs="*", default=list(WAYS), choices=WAYS)
    parser.add_argument("--before", type=Path, help="folder of an older build: `validate` of both, side by side")
    parser.add_argument("--way", help="run one way on one file, for the benchmark itself")
    parser.add_argument("--file", type=Path)
    options = parser.parse_args()
    if options.way:
        PASSES[options.way](options.file)
        return
    taken: dict[tuple[str, str], dict[int, float]] = defaultdict(dict)
    for rows in options.rows:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "rows.jsonl"
            write(path, rows)
            for way, build in [(way, Path.cwd()) for way in options.ways] + [
                ("validate", before.resolve()) for before in [options.before] if before
            ]:
                found = _measured(way, path, build)
                which = {} if build == Path.cwd() else {"build": build.name}
                append("data", {"rows": rows, "way": way, **which, **found})
                if rows >= LONG:
                    taken[way, which.get("build", "")][rows] = found["seconds"]
    for (way, build), seconds in taken.items():
        if len(seconds) > 1:
            which = {"build": build} if build else {}
            append("data", {"way": way, **which, "sizes": list(seconds), "exponent": exponent(seconds)})


def validate_command(rows: Path, folder: Path, settings: Mapping[str, Any]) -> list[str]:
    """`reft validate` as users run it, on rows, with settings; what it writes and its profile go into the folder."""
    profile = folder / "profile.yaml"
    profile.write_text(yaml.safe_dump({"parameters": {"settings": settings}}))
    out = ["--out", str(folder / "validated"), "--config", str(profile)]
    return [sys.executable, "-m", "reft.cli", "validate", str(rows), *out]


def _measured(way: str, path: Path, build: Path) -> dict[str, float]:
    """Seconds, processor seconds and peak memory of one way with all its processes, with the code of a build."""
    command = [sys.executable, "-m", "benchmarks.data", "--way", way, "--file", str(path)]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if way == "validate":
            command = validate_command(path, folder, SETTINGS)
        return measure(command, {"PYTHONPATH": str(build)}, folder / "log", cwd=build)


def exponent(seconds: Mapping[int, float]) -> float:
    """The x of seconds ~ rows ** x, by least squares of the logarithms; `seconds` by number of rows, two or more."""
    return float(np.polyfit(np.log(list(seconds)), np.log(list(seconds.values())), 1)[0])


if __name__ == "__main__":
    main()
