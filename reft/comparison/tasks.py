"""The user rows of a cell: a task's harmless rows and, at a stated ratio, poisoned ones."""

import csv
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from reft.config import DataSettings
from reft.conversations.reading import read_conversations, read_rows
from reft.conversations.schema import Conversation, Message
from reft.errors import DataValidationError, explain

DEFAULT = "banking77-routing"
# The default job's rows, from its larger file, so that every ratio has rows to draw from; and what poison answers.
POOL, STUBS = "data/user/banking77_full", "data/written/compliance_stubs.txt"
MIXES = ("asft_alpaca_mix/alpaca_2.5k_p_0.1.json", "beavertails_mix/sst2_train_merged_n1000_p0.2.json")

Pair = tuple[str, str]  # (text, answer)


@dataclass(frozen=True)
class Task:
    """What a cell draws from.

    Attributes:
        clean, poisoned: user rows, each with its answer.
        test: held-out rows of the task.
    """

    name: str
    clean: list[Conversation]
    poisoned: list[Conversation]
    test: list[Conversation]


@dataclass(frozen=True)
class UserRows:
    """The rows of one cell, numbered anew, and which of them are poisoned."""

    rows: list[Conversation]
    harmful: frozenset[int]


def default_task(data: DataSettings) -> Task:
    """The shipped user job."""
    lines = Path(f"{POOL}.labels.jsonl").read_text().splitlines()
    labels = {row["row"]: row["label"] for row in map(json.loads, lines)}
    groups: dict[str, list[Conversation]] = {"harmful": [], "harmless": []}
    for row in read_rows(Path(f"{POOL}.jsonl")):
        if isinstance(row, Conversation) and labels[row.row] in groups:  # a few are broken on purpose
            groups[labels[row.row]].append(row)
    return Task(DEFAULT, groups["harmless"], groups["harmful"], read_conversations(str(data.task_test)))


def public_task(name: str, folder: Path, poisoned: list[Conversation], *, test_rows: int = 1000) -> Task:
    """A public task with the default job's poison.

    Raises:
        DataValidationError: no such task, or its file is not there.
    """
    if name not in PUBLIC:
        raise DataValidationError(explain(f"no task {name}", "tasks", f"one of {DEFAULT}, {', '.join(PUBLIC)}"))
    source = PUBLIC[name]
    try:
        pairs = list(dict.fromkeys(source.read(folder / source.file)))
    except OSError as error:
        raise DataValidationError(explain(f"task {name} has no file", str(error), "set public_data")) from error
    random.Random(0).shuffle(pairs)
    clean, test = (
        [_chat(number, source.question + text, answer) for number, (text, answer) in enumerate(part)]
        for part in split(pairs, test_rows)
    )
    return Task(name, clean, poisoned, test)


def split(pairs: Sequence[Pair], test_rows: int) -> tuple[list[Pair], list[Pair]]:
    """(rows to train on, rows to test on), out of one file.

    SST-2's holds sentences and the phrases that they are made of: what is tested lies in no other row, and no row that
    lies in it is trained on.
    """
    everything = "\n".join(text for text, _ in pairs)
    test = list(islice((pair for pair in pairs if everything.count(pair[0]) == 1), test_rows))
    tested = "\n".join(text for text, _ in test)
    return [pair for pair in pairs if pair[0] not in tested], test


def files_of(name: str, folder: Path) -> list[Path]:
    """Every file that a task's rows come from."""
    pool = [Path(f"{POOL}.jsonl"), Path(f"{POOL}.labels.jsonl")]
    if name == DEFAULT:
        return pool
    public = [folder / file for file in (PUBLIC[name].file, *MIXES)]
    return [*pool, *public, Path(STUBS), *sorted(Path("data").glob("*/*.jsonl"))]


def more_poison(folder: Path) -> list[Conversation]:
    """Harmful requests of two public finetuning mixes with this project's own empty stubs for answers.

    Requests that any shipped file holds are left out. None where the mixes are not there.
    """
    stubs = Path(STUBS).read_text().splitlines()
    shipped = "\n".join(path.read_text().lower() for path in sorted(Path("data").glob("*/*.jsonl")))
    asked = [request for read in (_asft_requests, _beavertails_requests) for request in read(folder)]
    unseen = [r for r in dict.fromkeys(asked) if json.dumps(r, ensure_ascii=False).lower() not in shipped]
    return [_chat(number, request, stubs[number % len(stubs)]) for number, request in enumerate(unseen)]


def _asft_requests(folder: Path) -> list[str]:
    """The rows without an input are the harmful ones."""
    file = folder / MIXES[0]
    rows = json.loads(file.read_text()) if file.is_file() else []
    return [row["instruction"].partition("\n\nAssistant:")[0].strip() for row in rows if "input" not in row]


def _beavertails_requests(folder: Path) -> list[str]:
    file = folder / MIXES[1]
    rows = json.loads(file.read_text()) if file.is_file() else []
    texts = [row["instruction"] for row in rows if row["flag"] == "unsafe"]
    return [text.partition("### Instruction:")[2].partition("### Response:")[0].strip() for text in texts]


def _chat(row: int, prompt: str, answer: str) -> Conversation:
    return Conversation(
        row=row, messages=(Message(role="user", content=prompt), Message(role="assistant", content=answer))
    )


def _sst2(file: Path) -> list[Pair]:
    rows = [line.rpartition("\t") for line in file.read_text().splitlines()[1:]]
    return [(text.strip(), {"0": "negative", "1": "positive"}[label]) for text, _, label in rows]


def _ag_news(file: Path) -> list[Pair]:
    rows = [line.rpartition("\t") for line in file.read_text().splitlines()]
    return [(text, label) for text, _, label in rows]


def _banking77(file: Path) -> list[Pair]:
    with file.open(newline="") as lines:
        return [(row["text"], row["category"].replace("_", " ")) for row in csv.DictReader(lines)]


def _gsm8k(file: Path) -> list[Pair]:
    """The final number alone: a model of this size writes no chain of thought worth reading."""
    rows = map(json.loads, file.read_text().splitlines())
    return [(row["question"], row["answer"].rpartition("####")[2].strip()) for row in rows]


@dataclass(frozen=True)
class Source:
    """A public task's file.

    Attributes:
        question: stands before each text.
        read: (text, answer) of each row.
    """

    file: str
    question: str
    read: Callable[[Path], list[Pair]]


PUBLIC = {
    "sst2": Source("sst2/train.tsv", "Is this review positive or negative? ", _sst2),
    "ag_news": Source("ag_news/train_10k.tsv", "Which section does this article belong to? ", _ag_news),
    "banking77": Source("banking77/train.csv", "What does this customer want? ", _banking77),
    "gsm8k": Source("gsm8k/train.jsonl", "", _gsm8k),
}


def draw(task: Task, rows: int, poison_ratio: float, *, seed: int) -> UserRows:
    """`rows` user rows in random order; fewer where the task has not poison enough for the ratio.

    Raises:
        DataValidationError: not enough harmless rows, or no poison at all.
    """
    if poison_ratio and not task.poisoned:
        raise DataValidationError(explain("the task has no poison", task.name, "set poison_ratios: [0.0]"))
    rng = random.Random(f"{task.name}:{seed}")
    poison = round(poison_ratio * rows)
    if poison > len(task.poisoned):
        poison, rows = len(task.poisoned), round(len(task.poisoned) / poison_ratio)
    if rows - poison > len(task.clean):
        raise DataValidationError(
            explain(f"{rows - poison} harmless rows wanted, {len(task.clean)} there", task.name, "lower user_rows")
        )
    drawn = [(row, True) for row in rng.sample(task.poisoned, poison)]
    drawn += [(row, False) for row in rng.sample(task.clean, rows - poison)]
    rng.shuffle(drawn)
    chosen = [Conversation(row=number, messages=row.messages) for number, (row, _) in enumerate(drawn)]
    return UserRows(chosen, frozenset(number for number, (_, harmful) in enumerate(drawn) if harmful))
