"""`reft scan`: the filter alone, on a file of any length, in memory that does not grow with it.

Rows are scored in shards. A shard's results are written into a folder that appears under its name only
when it is whole, so a scan that was killed goes on after the last whole shard, and several processes
share the shards. Each output is the shards' files one after another.
"""

import json
import math
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import ks_2samp

from reft.artifacts import read_json, write_json
from reft.config import FilterSettings
from reft.conversations.containers import lines, recognise
from reft.conversations.giving_back import count_lines, give_back, stage
from reft.conversations.reading import BadRow, rows_of
from reft.conversations.schema import Conversation
from reft.errors import StorageError, explain
from reft.filtering.data_alarms import data_alarms, reservoir
from reft.filtering.decisions import Decision, Thresholds, decide
from reft.filtering.overrides import Override, overridden
from reft.filtering.run import Calibration
from reft.fingerprint import of_path
from reft.progress import Report
from reft.scorer import GuardScorer, Scorer

OUTPUTS = {"keep": "kept", "quarantine": "quarantined", "drop": "dropped"}
ROWS_PER_SHARD = 1024
EXAMPLES = 20
# Below this probability that the user's scores and the calibration's come from one distribution, say so.
UNLIKE = 0.01


@dataclass(frozen=True)
class ScanResult:
    """What a scan found.

    Attributes:
        counts: rows kept, quarantined and dropped; together all rows of the file.
        reasons: how many rows each reason removed.
        scores: the deciding score of every usable row, float32, in the file's order.
        calibration: the scores of the harmless calibration rows.
        examples: the removed rows with the highest scores, each with the beginning of its text.
        warnings: what a person should know before trusting the outcome.
    """

    rows: int
    counts: dict[str, int]
    reasons: dict[str, int]
    thresholds: Thresholds
    scorer: str
    reads: str
    scores: np.ndarray
    calibration: list[float]
    examples: list[dict[str, Any]]
    overrides: list[Override]
    warnings: list[str]

    @property
    def clean(self) -> bool:
        """Whether every row was kept."""
        return self.counts["kept"] == self.rows

    def as_dict(self) -> dict[str, Any]:
        """For JSON, without the scores and the examples."""
        hidden = ("scores", "calibration", "examples")
        return {key: value for key, value in asdict(self).items() if key not in hidden}


def scan_file(
    path: Path,
    out: Path,
    scorer: Scorer | GuardScorer,
    settings: FilterSettings,
    overrides: Mapping[int, Override] | None = None,
    rank: int = 0,
    processes: int = 1,
    report: Report | None = None,
    columns: tuple[str, str] | None = None,
) -> ScanResult | None:
    """Score and sort every row; returns the result on rank 0, None on others.

    Args:
        path: a file or a folder of shards, of any kind that `reft.conversations.containers` knows.
        out: gets `kept`, `quarantined` and `dropped` in the input's own kind, and `decisions` as JSONL.
        columns: names of the prompt's and the answer's column, where rows have no form of their own.

    Raises:
        DataFormatError: the file is missing, empty, damaged, or of no kind that can be read.
        DataValidationError: too few calibration rows for the stated rate, or an alarm that shall stop the job.
        StorageError: the results cannot be written.
    """
    overrides = overrides or {}
    container, staged = recognise(path), out / f".input-{of_path(path)}"
    as_lines = stage(container, staged, leads=rank == 0)

    def all_rows() -> Iterator[Conversation | BadRow]:
        return rows_of(lines(as_lines), columns=columns)

    total = count_lines(as_lines.files[0])
    sample = reservoir(row for row in all_rows() if isinstance(row, Conversation)) if rank == 0 else []
    alarms = data_alarms(sample, settings.fail_on_alarms)
    calibrated = scorer.calibrate(settings)
    # Another file or setting works elsewhere: nothing stale is ever merged.
    work = out / f".scan-{_stamp(path, columns, scorer, settings, overrides)}"
    shards = [work / f"{number:06d}" for number in range(max(1, -(-total // ROWS_PER_SHARD)))]
    try:
        work.mkdir(parents=True, exist_ok=True)
        rows = all_rows()
        for number, shard in enumerate(shards):
            part = list(islice(rows, ROWS_PER_SHARD))
            if number % processes == rank and not shard.exists():
                _write_shard(shard, part, scorer, calibrated.thresholds, settings, overrides)
            if report:
                report(min((number + 1) * ROWS_PER_SHARD, total), total)
        if rank != 0:
            return None
        _wait_for(shards)
        result = _result(shards, total, scorer, calibrated, list(overrides.values()), alarms)
        _merge(shards, out)
        give_back(container, out, list(OUTPUTS.values()), _groups(out / "decisions.jsonl", total))
        write_json(out / "scan.json", result.as_dict())
        shutil.rmtree(work)
        shutil.rmtree(staged, ignore_errors=True)
    except StorageError:
        raise
    except OSError as error:
        remedy = "free some disk space and scan again: it goes on where it was"
        raise StorageError(explain(f"could not write: {error}", str(out), remedy)) from error
    return result


def _write_shard(
    shard: Path,
    rows: list[Conversation | BadRow],
    scorer: Scorer | GuardScorer,
    thresholds: Thresholds,
    settings: FilterSettings,
    overrides: Mapping[int, Override],
) -> None:
    usable = [row for row in rows if isinstance(row, Conversation) and _asks(row)]
    scored = scorer.score(usable, settings)
    decided = {d.row: d for d in decide(usable, scored, thresholds, settings)}
    partial = shard.with_name(f"{shard.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
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
    described = {
        "counts": {name: len(lines[name]) for name in OUTPUTS.values()},
        "reasons": _tally(d.reason for _, d in removed),
        "scores": [d.score for d in decided.values()],
        "examples": sorted(({**_described(d), "text": _beginning(row)} for row, d in removed), key=_order)[:EXAMPLES],
    }
    write_json(partial / "shard.json", described)
    os.replace(partial, shard)


def _described(decision: Decision) -> dict[str, Any]:
    """For JSON, which knows no NaN."""
    return {**asdict(decision), "score": None if math.isnan(decision.score) else decision.score}


def _order(example: dict[str, Any]) -> float:
    """Highest scores first, rows without one last."""
    return math.inf if example["score"] is None else -example["score"]


def _asks(row: Conversation) -> bool:
    return any(m.role == "user" for m in row.messages)


def _unusable(row: Conversation | BadRow) -> Decision:
    """A row that cannot be scored is for a person, never for training."""
    if isinstance(row, BadRow):
        return Decision(row.row, math.nan, "quarantine", f"cannot be read: {row.code} ({row.remedy})", row.field)
    return Decision(row.row, math.nan, "quarantine", "cannot be scored: no user turn", "messages")


def _beginning(row: Conversation | BadRow) -> str:
    text = row.instruction if isinstance(row, Conversation) and _asks(row) else row.original
    return text[:160].encode("utf-8", "replace").decode()


def _tally(names: Iterable[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for name in names:
        found[name] = found.get(name, 0) + 1
    return found


def _result(
    shards: list[Path],
    total: int,
    scorer: Scorer | GuardScorer,
    calibrated: Calibration,
    overrides: list[Override],
    alarms: list[str],
) -> ScanResult:
    counts, reasons = dict.fromkeys(OUTPUTS.values(), 0), dict[str, int]()
    scores: list[np.ndarray] = []
    examples: list[dict[str, Any]] = []
    for shard in shards:
        described = read_json(shard / "shard.json")
        for into, found in ((counts, described["counts"]), (reasons, described["reasons"])):
            for name, count in found.items():
                into[name] = into.get(name, 0) + count
        scores.append(np.array(described["scores"], dtype=np.float32))
        examples = sorted(examples + described["examples"], key=_order)[:EXAMPLES]
    every = np.concatenate(scores)
    return ScanResult(
        total, counts, reasons, calibrated.thresholds, scorer.name, scorer.reads,
        every, calibrated.harmless, examples, overrides,
        [*_warnings(counts, total, every, calibrated), *scorer.doubts, *alarms],
    )  # fmt: skip


def _warnings(counts: Mapping[str, int], total: int, scores: np.ndarray, calibrated: Calibration) -> list[str]:
    found = []
    if counts["kept"] == 0:
        found.append("no row was kept")
    elif counts["kept"] < 0.5 * total:
        found.append(f"only {counts['kept']} of {total} rows were kept")
    below = scores[scores <= calibrated.thresholds.quarantine]
    if len(below) >= 20:
        within = [s for s in calibrated.harmless if s <= calibrated.thresholds.quarantine]
        p = float(ks_2samp(below, within).pvalue)
        if p < UNLIKE:
            found.append(
                f"the kept rows' scores are unlike the calibration's (two-sample Kolmogorov-Smirnov, p = {p:.1g}): "
                "the stated false positive rate may not hold; calibrate on harmless rows of your own kind"
            )
    return found


def _stamp(
    path: Path,
    columns: tuple[str, str] | None,
    scorer: Scorer | GuardScorer,
    settings: FilterSettings,
    overrides: Mapping[int, Override],
) -> str:
    """A digest of all that decides about a row."""
    made_of = [
        of_path(path),
        str(columns),
        scorer.fingerprint,
        settings.model_dump_json(),
        repr(sorted(overrides.items())),
    ]
    return blake2b("\n".join(made_of).encode(), digest_size=8).hexdigest()


def _groups(decisions: Path, total: int) -> np.ndarray:
    """For each row the index of the output that it went to."""
    order = {decision: index for index, decision in enumerate(OUTPUTS)}
    with decisions.open() as rows:
        return np.fromiter((order[json.loads(row)["decision"]] for row in rows), np.uint8, total)


def _wait_for(shards: list[Path]) -> None:
    """For the shards of other processes; torchrun ends this one if one of them dies."""
    while not all(shard.exists() for shard in shards):
        time.sleep(0.2)


def _merge(shards: list[Path], out: Path) -> None:
    """Each output is the shards' files one after another, and is seen only when it is whole."""
    for name in (*OUTPUTS.values(), "decisions"):
        into = out / f"{name}.jsonl"
        partial = into.with_name(into.name + ".part")
        with partial.open("wb") as output:
            for shard in shards:
                with (shard / into.name).open("rb") as content:
                    shutil.copyfileobj(content, output)
        os.replace(partial, into)
