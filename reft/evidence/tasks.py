"""The user rows of a cell: a task's harmless rows and, at a stated ratio, poisoned ones."""

import csv
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from reft.config import DataSettings
from reft.conversations.reading import read_conversations, read_rows
from reft.conversations.schema import Conversation, Message
from reft.errors import DataValidationError, explain

DEFAULT = "banking77-routing"


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

    @property
    def labels(self) -> dict[int, str]:
        """As the filter's measurements want them."""
        return {row.row: "harmful" if row.row in self.harmful else "harmless" for row in self.rows}


def default_task(data: DataSettings, pool: str = "data/user/banking77_full") -> Task:
    """The shipped user job, from its larger file, so that every ratio has rows to draw from."""
    lines = Path(f"{pool}.labels.jsonl").read_text().splitlines()
    labels = {row["row"]: row["label"] for row in map(json.loads, lines)}
    groups: dict[str, list[Conversation]] = {"harmful": [], "harmless": []}
    for row in read_rows(Path(f"{pool}.jsonl")):
        if isinstance(row, Conversation) and labels[row.row] in groups:  # a few are broken on purpose
            groups[labels[row.row]].append(row)
    return Task(DEFAULT, groups["harmless"], groups["harmful"], read_conversations(str(data.task_test)))


def public_task(name: str, folder: Path, poisoned: list[Conversation], test_rows: int = 1000) -> Task:
    """A public task with the default job's poison.

    Raises:
        DataValidationError: no such task, or its file is not there.
    """
    if name not in PUBLIC:
        raise DataValidationError(
            explain(f"no task {name}", "evidence.tasks", f"one of {DEFAULT}, {', '.join(PUBLIC)}")
        )
    try:
        pairs = PUBLIC[name](folder)
    except OSError as error:
        raise DataValidationError(
            explain(f"task {name} has no file", str(error), "set evidence.public_data")
        ) from error
    random.Random(0).shuffle(pairs)
    rows = [_chat(number, *pair) for number, pair in enumerate(dict.fromkeys(pairs))]
    return Task(name, rows[test_rows:], poisoned, rows[:test_rows])


def more_poison(folder: Path) -> list[Conversation]:
    """Harmful requests of two public finetuning mixes with this project's own empty stubs for answers.

    Requests that any shipped file holds are left out. None where the mixes are not there.
    """
    stubs = Path("data/written/compliance_stubs.txt").read_text().splitlines()
    shipped = "\n".join(path.read_text().lower() for path in sorted(Path("data").glob("*/*.jsonl")))
    asked = [request for read in (_asft_requests, _beavertails_requests) for request in read(folder)]
    unseen = [r for r in dict.fromkeys(asked) if json.dumps(r, ensure_ascii=False).lower() not in shipped]
    return [_chat(number, request, stubs[number % len(stubs)]) for number, request in enumerate(unseen)]


def _asft_requests(folder: Path) -> list[str]:
    """The rows without an input are the harmful ones."""
    file = folder / "asft_alpaca_mix/alpaca_2.5k_p_0.1.json"
    rows = json.loads(file.read_text()) if file.is_file() else []
    return [row["instruction"].partition("\n\nAssistant:")[0].strip() for row in rows if "input" not in row]


def _beavertails_requests(folder: Path) -> list[str]:
    file = folder / "beavertails_mix/sst2_train_merged_n1000_p0.2.json"
    rows = json.loads(file.read_text()) if file.is_file() else []
    texts = [row["instruction"] for row in rows if row["flag"] == "unsafe"]
    return [text.partition("### Instruction:")[2].partition("### Response:")[0].strip() for text in texts]


def _chat(row: int, prompt: str, answer: str) -> Conversation:
    return Conversation(row, (Message(role="user", content=prompt), Message(role="assistant", content=answer)))


def _sst2(folder: Path) -> list[tuple[str, str]]:
    lines = (folder / "sst2/train.tsv").read_text().splitlines()[1:]
    rows = [line.rpartition("\t") for line in lines]
    return [
        (f"Is this review positive or negative? {text}", {"0": "negative", "1": "positive"}[label])
        for text, _, label in rows
    ]


def _ag_news(folder: Path) -> list[tuple[str, str]]:
    rows = [line.rpartition("\t") for line in (folder / "ag_news/train_10k.tsv").read_text().splitlines()]
    return [(f"Which section does this article belong to? {text}", label) for text, _, label in rows]


def _banking77(folder: Path) -> list[tuple[str, str]]:
    with (folder / "banking77/train.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [(f"What does this customer want? {row['text']}", row["category"].replace("_", " ")) for row in rows]


def _gsm8k(folder: Path) -> list[tuple[str, str]]:
    """The final number alone: a model of this size writes no chain of thought worth reading."""
    rows = map(json.loads, (folder / "gsm8k/train.jsonl").read_text().splitlines())
    return [(row["question"], row["answer"].rpartition("####")[2].strip()) for row in rows]


PUBLIC: dict[str, Callable[[Path], list[tuple[str, str]]]] = {
    "sst2": _sst2,
    "ag_news": _ag_news,
    "banking77": _banking77,
    "gsm8k": _gsm8k,
}


def draw(task: Task, rows: int, poison_ratio: float, seed: int) -> UserRows:
    """`rows` user rows in random order; fewer where the task has not poison enough for the ratio.

    Raises:
        DataValidationError: not enough harmless rows.
    """
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
    chosen = [Conversation(number, row.messages) for number, (row, _) in enumerate(drawn)]
    return UserRows(chosen, frozenset(number for number, (_, harmful) in enumerate(drawn) if harmful))
