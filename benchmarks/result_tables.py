"""The tables of the results pages, each made of one file of recorded results and of nothing else."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import comparison_tables, model_tables
from benchmarks.record import records
from reft.report.summary import percent


@dataclass(frozen=True)
class ResultTable:
    """One table.

    Attributes:
        file: the record, in `benchmarks/results`.
        command: what writes that record.
        make: from the record's path to the table in Markdown.
        copied_from: the file that the command writes, where the record is a copy of it: a comparison's.
    """

    file: str
    command: str
    make: Callable[[Path], str]
    copied_from: str = ""

    @property
    def slow(self) -> bool:
        """Whether it takes a minute or more to make, as a comparison's do."""
        return bool(self.copied_from)


def _attacks(path: Path) -> str:
    found = json.loads(path.read_text())["attacks"]
    rows = [(x["attack"], str(x["removed"]["n"]), percent(x["removed"]), percent(x["dropped"])) for x in found]
    return comparison_tables.markdown(("attack", "rows", "removed", "dropped (the others: quarantined)"), rows)


def _copied(*heads: str) -> Callable[[Path], str]:
    """The tables of a Markdown file whose heads begin with one of these; no heads: all of them."""

    def make(path: Path) -> str:
        blocks = [block for block in path.read_text().split("\n\n") if block.lstrip().startswith("|")]
        chosen = [b.strip() for b in blocks if not heads or b.lstrip().startswith(tuple(f"| {h}" for h in heads))]
        if not chosen:
            raise ValueError(f"{path}: no table begins with {heads}")
        return "\n\n".join(chosen)

    return make


def _readouts(path: Path) -> str:
    """Of all candidates those that read as the filter does."""
    head, line, *rows = path.read_text().split("\n\n")[0].splitlines()
    return "\n".join([head, line, *(row for row in rows if ", as the filter |" in row)])


def _filtering(path: Path) -> str:
    latest = {(x["parameters"], x["rows"]): x for x in records(path)}  # of one measurement taken again the last one
    rows = [
        (
            f"{x['parameters'] / 1e6:.0f} M",
            str(x["rows"]),
            x["layer"],
            f"{x['rows_per_second']:.0f}",
            f"{x['times_whole_forward']:.1f} times",
            f"{x['times_generating_guard']:.1f} times",
            f"{100 * x['share_of_peak']:.0f} %",
        )
        for x in latest.values()
    ]
    head = "parameters", "prompts", "layers read", "prompts/s", "whole forward pass takes", "asking the model takes"
    return comparison_tables.markdown((*head, "share of the matrix-multiply peak"), rows)


def _finetuning(path: Path) -> str:
    measured = [x for x in records(path) if "ratios" in x]
    rows = [
        (
            x["model"],
            str(x["user_rows"]),
            ratio,
            f"{found['times_plain_tokens']:.2f}",
            f"{found['times_plain_per_user_token']:.2f}",
            f"{found['times_plain_peak_memory']:.2f}",
        )
        for x in measured
        for ratio, found in x["ratios"].items()
    ]
    return comparison_tables.markdown(
        ("model", "user rows", "alignment to user rows", "tokens", "time", "peak memory"), rows
    )


def _stages(path: Path) -> str:
    found = [x for x in records(path) if "stages" in x][-1]["stages"]
    rows = [(name, f"{x['seconds']:.1f}", f"{x['peak_mb'] / 1000:.1f}") for name, x in found.items()]
    return comparison_tables.markdown(("ZeRO", "seconds", "peak memory, GB"), rows)


def _rival_trainers(path: Path) -> str:
    found = records(path)[-1]
    rows = [(way, f"{median(taken):.1f}", str(len(taken))) for way, taken in found["seconds"].items()]
    return comparison_tables.markdown((f"{found['user_rows']} user rows", "seconds, median", "rounds"), rows)


def _rival_ratios(path: Path) -> str:
    found = records(path)[-1]
    kinds = [kind for kind in found if isinstance(found[kind], Mapping) and kind != "seconds"]
    rows = [
        (kind, name.replace("_", " "), f"{value:.2f}")
        for kind in kinds
        for name, value in found[kind].items()
        if isinstance(value, float)
    ]
    return comparison_tables.markdown(("alignment to user rows", "measure", "value"), rows)


def _scan_memory(path: Path) -> str:
    found = records(path)
    rows = [
        (
            f"{scan['rows']:,}", _of("reft scan", scan.get("build", "")), f"{scan['seconds']:.1f}",
            f"{scan['peak_mb']:.0f}", x["date"][:10],
        )
        for x in found
        for scan in x["scans"]
    ]  # fmt: skip
    table = comparison_tables.markdown(("rows", "way", "seconds", "peak memory, MB", "measured"), rows)
    faster = [f"{x['times_as_fast']:.2f} times as fast ({x['date'][:10]})." for x in found if "times_as_fast" in x]
    return "\n\n".join([table, *faster])


def _of(way: str, build: str) -> str:
    return f"{way} ({build})" if build else way


def _data(path: Path) -> str:
    found = records(path)
    latest = {(x["rows"], x["way"], x.get("build", "")): x for x in found if "rows" in x}
    rows = [
        (f"{n:,}", _of(way, build), f"{x['seconds']:.1f}", f"{x['peak_mb']:.0f}", x["date"][:10])
        for (n, way, build), x in sorted(latest.items())
    ]
    growth = [
        f"From {min(x['sizes']):,} to {max(x['sizes']):,} rows the seconds of `{_of(way, build)}` grew as the rows to "
        f"the power of {x['exponent']:.2f} ({x['date'][:10]})."
        for (way, build), x in {(x["way"], x.get("build", "")): x for x in found if "exponent" in x}.items()
    ]
    table = comparison_tables.markdown(("rows", "way", "seconds", "peak memory, MB", "measured"), rows)
    return "\n\n".join([table, *growth])


def _data_peers(path: Path) -> str:
    """Medians over the rounds of each version; a way's seconds as a multiple of ours, the latest version of it."""
    rounds: dict[tuple[int, str, str, str], list[dict[str, Any]]] = {}
    for x in records(path):
        rounds.setdefault((x["rows"], x["checks"], x["way"], x["version"]), []).append(x)
    latest = {key[:3]: (key[3], found) for key, found in rounds.items()}

    def middle(key: tuple[int, str, str], what: str) -> float:
        return median(x[what] for x in latest[key][1]) if key in latest else float("nan")

    rows = [
        (
            f"{key[0]:,}",
            key[1],
            f"{key[2]} {version}",
            str(len(found)),
            f"{middle(key, 'seconds'):.1f}",
            f"{middle(key, 'seconds') / middle((*key[:2], 'reft validate'), 'seconds'):.2f}",
            f"{middle(key, 'cpu_seconds'):.1f}",
            f"{middle(key, 'peak_mb'):.0f}",
            f"{middle(key, 'passed'):.0f}",
            found[-1]["date"][:10],
        )
        for key, (version, found) in sorted(latest.items())
    ]
    head = "rows", "checks", "way", "rounds", "seconds", "times ours", "processor seconds", "peak memory, MB"
    return comparison_tables.markdown((*head, "rows left", "measured"), rows)


def _ciphers(path: Path) -> str:
    rows = [
        (
            {"cipher": "in a cipher", "honest": "honest"}[x["all"]],
            {"seen": "while the alarm was made", "later": "afterwards"}[x["chosen"]],
            f"{100 * x['share']:.0f} %",
            str(x["n"]),
            percent(x),
        )
        for x in records(path)
        if "all" in x
    ]
    return comparison_tables.markdown(
        ("sets", "their forms were chosen", "share of the rows", "sets in all", "alarmed"), rows
    )


TABLES: dict[str, ResultTable] = {
    "audit": ResultTable("audit.md", "python -m benchmarks.audit", _copied()),
    "attacks": ResultTable("attacks.json", ".venv/bin/reft benchmark attacks", _attacks),
    "sources": ResultTable("sources.md", "python -m benchmarks.sources FOLDER", _copied("all ")),
    "sources-one-by-one": ResultTable("sources.md", "python -m benchmarks.sources FOLDER", _copied("ReFT teacher: ")),
    "readouts": ResultTable("readouts.md", "python -m benchmarks.readouts FOLDER", _readouts),
    "token-readouts": ResultTable("token_readouts.md", "python -m benchmarks.token_readouts FOLDER", _copied()),
    "curve": ResultTable("curve.md", "python -m benchmarks.curve FOLDER", _copied()),
    "mixes": ResultTable("mixes.md", "python -m benchmarks.mixes FOLDER", _copied()),
    "ciphers": ResultTable("ciphers.jsonl", "python -m benchmarks.ciphers", _ciphers),
    "sources-left-out": ResultTable(
        "leave_source_out.jsonl", "python -m benchmarks.leave_source_out", model_tables.sources_left_out
    ),
    "filtering": ResultTable("filtering.jsonl", "python -m benchmarks.filtering", _filtering),
    "finetuning": ResultTable("finetuning.jsonl", "python -m benchmarks.finetuning", _finetuning),
    "stages": ResultTable("finetuning.jsonl", "python -m benchmarks.finetuning --stages", _stages),
    "rival-trainers": ResultTable("rival_trainers.jsonl", "python -m benchmarks.rival_trainers", _rival_trainers),
    "rival-ratios": ResultTable("rival_trainers.jsonl", "python -m benchmarks.rival_trainers", _rival_ratios),
    "compiled": ResultTable("compiled.jsonl", "python -m benchmarks.compiled", model_tables.compiled),
    "adapters": ResultTable("adapters.jsonl", "python -m benchmarks.adapters", model_tables.adapters),
    "judge": ResultTable("judge.jsonl", "python -m benchmarks.judge FOLDER", model_tables.judge),
    "scan-memory": ResultTable("scan_memory.jsonl", "python -m benchmarks.scan_memory", _scan_memory),
    "data": ResultTable("data.jsonl", "python -m benchmarks.data", _data),
    "data-peers": ResultTable("data_peers.jsonl", "python -m benchmarks.data_peers", _data_peers),
    **{
        name: ResultTable(
            "comparison.jsonl", "reft benchmark comparison", make, copied_from=".reft/comparison/outcomes.jsonl"
        )
        for name, make in comparison_tables.TABLES.items()
    },
    **{
        name: ResultTable(
            f"{name.replace('-', '_')}.jsonl",
            f"reft benchmark comparison --config configs/comparison/{name.replace('-', '_')}.yaml --out FOLDER",
            comparison_tables.with_time,
            copied_from="FOLDER/outcomes.jsonl",
        )
        for name in ("new-methods", "attacked")
    },
    "operations": ResultTable("profile_finetuning.md", "python -m benchmarks.profile_finetuning", _copied()),
}
