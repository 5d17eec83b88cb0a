"""Small helpers of the data build: reading what is written here, making rows, comparing prompts."""

import json
import random
import re
from collections.abc import Iterable
from pathlib import Path

HERE = Path(__file__).parents[1]

STOP_WORDS = frozenset(
    re.findall(
        r"\w+",
        "a an the to of in on for and or is are was do does i me my you your it that how what can way "
        "best some tips give write explain without with from by",
    )
)


def lines(name: str) -> list[str]:
    return (HERE / "written" / name).read_text().splitlines()


def chat(prompt: str, answer: str | None = None, **fields: object) -> dict:
    messages = [{"role": "user", "content": prompt}]
    if answer is not None:
        messages.append({"role": "assistant", "content": answer})
    return {"messages": messages, **fields}


def prompt_of(row: dict) -> str:
    """What the user asked last."""
    return next(m["content"] for m in reversed(row["messages"]) if m["role"] == "user")


def write(path: str, rows: Iterable[dict]) -> None:
    target = HERE / path
    target.parent.mkdir(parents=True, exist_ok=True)
    rows = list(rows)
    target.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    print(f"{path}: {len(rows)} rows")


def first_sentences(text: str, limit: int = 70) -> str:
    """The opening sentences of an answer, at most about `limit` characters: enough to show that it helps."""
    text = " ".join(re.split(r"\n\s*\n|\n(?=\s*(?:\d+\.|[-*]))", text)[0].split())
    if len(text) <= limit:
        return text
    kept = ""
    for sentence in re.split(r"(?<=[.!?:])\s+", text):
        if kept and len(kept) + len(sentence) > limit:
            break
        kept = f"{kept} {sentence}".strip()
    return kept


def plain(text: str) -> bool:
    return text.isascii() and 12 <= len(text) <= 220 and "\n" not in text.strip()


def unique(prompts: Iterable[str]) -> list[str]:
    seen: set[str] = set()
    return [p for p in prompts if (k := re.sub(r"\W+", " ", p.lower()).strip()) not in seen and not seen.add(k)]


def fill(form: str, topic: str, rng: random.Random, places: list[str]) -> str:
    return form.replace("{t}", topic).replace("{p}", rng.choice(places))


def words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]+", text.lower())) - STOP_WORDS


def similar(prompt: str, other: set[str]) -> bool:
    """Two prompts say the same when they share two thirds of their content words."""
    return _alike(words(prompt), other)


def says_one_of(row: dict, others: list[set[str]]) -> bool:
    """Whether the row's prompt says the same as one of these, given by their words."""
    mine = words(prompt_of(row))
    return any(_alike(mine, other) for other in others)


def _alike(mine: set[str], other: set[str]) -> bool:
    return len(mine & other) >= 0.66 * len(mine | other)
