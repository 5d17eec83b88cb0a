"""Validating a million rows: time, memory, where the time goes: `python -m benchmarks.data` (about ten minutes).

Rows are the default job's, over and over with a number each. Beside `reft validate`: a plain pass of `datasets` over
the same file, and the tokenisation alone. Memory is the peak of a process of its own. Each appends a line to
`results/data.jsonl` when it is done.
"""

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.development import append
from reft.config import Settings
from reft.conversations.reading import read_conversations, read_rows
from reft.conversations.schema import Conversation
from reft.conversations.tokenization import encode
from reft.models.default_model import resolve_model
from reft.models.tokenizers import load_tokenizer
from reft.runtime.cost import measured
from reft.runtime.progress import progress
from reft.validation.file import validate_file


def _tokenizer():
    model = Settings().model
    return load_tokenizer(resolve_model(model.name), model.chat_template)


def _validate(path: Path) -> None:
    with tempfile.TemporaryDirectory() as out:
        settings = Settings()
        validate_file(
            path,
            Path(out),
            _tokenizer(),
            settings=settings.validation,
            max_length=settings.model.max_length,
            report=progress("validating"),
        )


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


WAYS: dict[str, Callable[[Path], None]] = {
    "validate": _validate, "read": _read, "read and tokenise": _tokenise, "datasets": _datasets,
}  # fmt: skip


def write(path: Path, rows: int) -> None:
    """The default job's test rows, repeated, each with its number."""
    texts = [row.messages for row in read_conversations(str(Settings().data.task_test))]
    with path.open("w") as file:
        for number, messages in enumerate(itertools.islice(itertools.cycle(texts), rows)):
            turns = [{"role": m.role, "content": f"{m.content} ({number})"} for m in messages]
            file.write(json.dumps({"messages": turns}) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=int, nargs="*", default=[10_000, 1_000_000])
    parser.add_argument("--ways", nargs="*", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--way", help="run one way on one file, for the benchmark itself")
    parser.add_argument("--file", type=Path)
    options = parser.parse_args()
    if options.way:
        WAYS[options.way](options.file)
        return
    for rows in options.rows:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "rows.jsonl"
            write(path, rows)
            for way in options.ways:
                command = [sys.executable, "-m", "benchmarks.data", "--way", way, "--file", str(path)]
                started = time.monotonic()
                with measured(way) as cost:
                    subprocess.run(command, check=True)
                taken = time.monotonic() - started
                append("data", {"rows": rows, "way": way, "seconds": taken, "peak_mb": cost.peak_rss_mb})


if __name__ == "__main__":
    main()
