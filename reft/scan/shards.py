"""The shards of a scan: each a folder that appears under its name only when it is whole."""

import json
import math
import os
import shutil
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from reft.conversations.reading import BadRow
from reft.conversations.schema import Conversation
from reft.filtering.decisions import Decision, unscored
from reft.filtering.overrides import Override, overridden
from reft.filtering.spans import span_of
from reft.scan.judging import Judging
from reft.storage.artifacts import write_json

OUTPUTS = {"keep": "kept", "quarantine": "quarantined", "drop": "dropped"}
# Whatever a scan leaves, without suffixes.
RESULTS = (*OUTPUTS.values(), "decisions", "scan", "report")
EXAMPLES = 20
BEGINNING = 400  # characters
# So many fields that nothing reads are named.
NAMED_FIELDS = 50


def write_shard(
    shard: Path, rows: Sequence[Conversation | BadRow], judging: Judging, *, overrides: Mapping[int, Override]
) -> None:
    """Score and sort these rows; the folder holds each output's lines, the decisions and what was counted."""
    usable = [row for row in rows if isinstance(row, Conversation) and _has_prompt(row)]
    scored, verdicts = judging.judge(usable)
    decided = {d.row: d for d in verdicts}
    partial = shard.with_name(f"{shard.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    decisions = [overridden(decided.get(row.row) or _unusable(row), overrides.get(row.row)) for row in rows]
    lines: dict[str, list[str]] = {name: [] for name in OUTPUTS.values()}
    for row, decision in zip(rows, decisions, strict=True):
        lines[OUTPUTS[decision.decision]].append(row.original + "\n")
    parts = {s.row: {part.where: part.score for part in s.parts} for s in scored}
    lines["decisions"] = [json.dumps({**_described(d), "parts": parts.get(d.row, {})}) + "\n" for d in decisions]
    for name, content in lines.items():
        # As read: bytes that are not UTF-8 travel as lone surrogates and leave as they came.
        (partial / f"{name}.jsonl").write_bytes("".join(content).encode("utf-8", "surrogateescape"))
    removed = [(row, d) for row, d in zip(rows, decisions, strict=True) if d.decision != "keep"]
    examples = ({**_described(d), "text": _deciding(row, d.where)} for row, d in removed)
    described = {
        "counts": {name: len(lines[name]) for name in OUTPUTS.values()},
        "reasons": Counter(d.reason for _, d in removed),
        "overridden": [row.row for row in rows if row.row in overrides],
        "unread": Counter(field for row in usable for field in row.unread_fields).most_common(NAMED_FIELDS),
        "scores": [d.score for d in decided.values() if d.scored],
        "examples": sorted(examples, key=by_score)[:EXAMPLES],
    }
    write_json(partial / "shard.json", described)
    os.replace(partial, shard)


def wait_for(shards: Sequence[Path]) -> Sequence[Path]:
    """The shards, once other processes have made theirs; torchrun ends this one if one of them dies."""
    while not all(shard.exists() for shard in shards):
        time.sleep(0.2)
    return shards


def merge(shards: Sequence[Path], out: Path) -> None:
    """Each output is the shards' files one after another, and is seen only when it is whole."""
    for name in (*OUTPUTS.values(), "decisions"):
        into = out / f"{name}.jsonl"
        partial = into.with_name(into.name + ".part")
        with partial.open("wb") as output:
            for shard in shards:
                with (shard / into.name).open("rb") as content:
                    shutil.copyfileobj(content, output)
        os.replace(partial, into)


def by_score(example: dict[str, Any]) -> float:
    """Sorts the highest scores first, rows without one last."""
    return math.inf if example["score"] is None else -example["score"]


def _described(decision: Decision) -> dict[str, Any]:
    """For JSON, which knows no NaN."""
    return {**asdict(decision), "score": decision.score if decision.scored else None}


def _has_prompt(row: Conversation) -> bool:
    """Whether a user says something; a scan reads rows as they come, and no rule has been asked about them."""
    return any(m.role == "user" and m.content.strip() for m in row.messages)


def _unusable(row: Conversation | BadRow) -> Decision:
    """A row that cannot be scored is for a person, never for training."""
    if not isinstance(row, BadRow):
        return unscored(row.row, "no user turn with a text")
    reason = f"cannot be read: {row.code} ({row.remedy})"
    return Decision(row=row.row, score=math.nan, decision="quarantine", reason=reason, where=row.field)


def _deciding(row: Conversation | BadRow, where: str) -> str:
    """The beginning of what a decision was made by; of a row without such a text, of the row."""
    text = span_of(row, where) if isinstance(row, Conversation) else ""
    return (text or row.original)[:BEGINNING].encode("utf-8", "replace").decode()
