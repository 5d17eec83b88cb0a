"""From cells to a table: pooled over seeds, with intervals over seeds and rows, and tests of paired differences."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from scipy.stats import false_discovery_control

from reft.comparison.variants import label
from reft.evaluation.measures import JUDGED, is_fault, label_of
from reft.report.summary import percent
from reft.statistics import Interval, rate

RESAMPLES = 2000
# Differences count where false discoveries make up at most so much of them.
NOISE = 0.05
REFERENCE = "ReFT"
FILTER = ("recall", "false_positives")
# What is done for every job, and what is done once for all of them.
EACH_JOB, ONCE = ("filtering", "finetuning"), ("teacher", "soft_labels")


def pooled(outcomes: Sequence[Sequence[bool]], seed: int = 0) -> Interval:
    """A rate over seeds (outer) and rows (inner), with a 95 % bootstrap interval over both.

    Where every outcome is the same, resampling knows no doubt: Wilson's interval over the rows of one seed stands.
    """
    found = np.array(outcomes, float)
    value = float(found.mean())
    if found.min() == found.max():
        alike = rate([bool(value)] * found.shape[1])
        assert alike
        return Interval(value, alike.low, alike.high, found.size)
    rng = np.random.default_rng(seed)
    seeds, rows = found.shape
    means = [
        found[np.ix_(rng.integers(seeds, size=seeds), rng.integers(rows, size=rows))].mean() for _ in range(RESAMPLES)
    ]
    return Interval(value, *map(float, np.quantile(means, [0.025, 0.975])), found.size)


def paired_p(one: Sequence[Sequence[bool]], other: Sequence[Sequence[bool]]) -> float:
    """Two-sided p of the difference, by flipping the sign of each row's difference (averaged over the seeds)."""
    differences = np.array(one, float).mean(0) - np.array(other, float).mean(0)
    observed = abs(differences.mean())
    signs = np.random.default_rng(0).choice([-1.0, 1.0], size=(10_000, len(differences)))
    extreme = (np.abs((signs * differences).mean(1)) >= observed - 1e-12).sum()
    return float((extreme + 1) / (len(signs) + 1))


def summarise(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One line a method, task and poison ratio, ablations apart: every measure pooled, costs as medians.

    `p` holds the paired test of each measure against ReFT on the same task and ratio, over the seeds that both have,
    `beyond` the measures that differ beyond the noise: false discoveries among all tests of the grid are held to 5 %;
    and `reference` ReFT's own values on those seeds.
    """
    groups: dict[tuple, list[dict[str, Any]]] = defaultdict(list)
    for result in results:
        groups[result["task"], result["poison_ratio"], result["name"]].append(result)
    lines = [
        _line(cells, [] if name == REFERENCE else groups.get((task, ratio, REFERENCE), []))
        for (task, ratio, name), cells in groups.items()
    ]
    tests = [(line, measure) for line in lines for measure in line["p"]]
    if tests:
        adjusted = false_discovery_control([line["p"][measure] for line, measure in tests])
        for (line, measure), p in zip(tests, adjusted, strict=True):
            if p <= NOISE:
                line["beyond"].append(measure)
    return lines


def _line(cells: Sequence[dict[str, Any]], reference: Sequence[dict[str, Any]]) -> dict[str, Any]:
    line = {key: cells[0][key] for key in ("task", "poison_ratio", "name", "changed")}
    line |= {"seeds": len(cells), "user_rows": cells[0]["user_rows"], "p": {}, "beyond": [], "reference": {}}
    common = {c["seed"] for c in cells} & {c["seed"] for c in reference}
    mine, theirs = ([c for c in found if c["seed"] in common] for found in (cells, reference))
    for measure in cells[0]["rows"]:
        line[measure] = pooled([c["rows"][measure] for c in cells])
        if common:
            other = [c["rows"][measure] for c in theirs]
            line["p"][measure] = paired_p([c["rows"][measure] for c in mine], other)
            line["reference"][measure] = pooled(other)
    for measure in FILTER:
        line[measure] = rate(_filtered(cells, measure))
        other = _filtered(theirs, measure)
        if other and all(c["filter"] for c in mine):  # the same user rows, others in each seed
            line["p"][measure] = paired_p([_filtered(mine, measure)], [other])
            line["reference"][measure] = rate(other)
    line["costs"] = {
        stage: {
            key: float(np.median([c["costs"][stage][key] for c in cells]))
            for key in set.intersection(*(set(c["costs"][stage]) for c in cells))  # some may have run without a GPU
        }
        for stage in cells[0]["costs"]
    }
    return line


def _filtered(cells: Sequence[dict[str, Any]], measure: str) -> list[bool]:
    return [flag for c in cells if c["filter"] for flag in c["filter"][measure]]


def agreement(results: Sequence[dict[str, Any]]) -> Interval | None:
    """How often the first two judges say the same of an answer to a harmful prompt."""
    same: list[bool] = []
    for result in results:
        judged = [found for measure, found in result["rows"].items() if measure.partition("/")[0] == JUDGED.name]
        if len(judged) > 1:
            same += [a == b for a, b in zip(*judged[:2], strict=True)]
    return rate(same)


def between_seeds(results: Sequence[dict[str, Any]], measure: str) -> tuple[int, int]:
    """(how many, of how many) pairs of seeds of one method the paired test calls different, at p of at most .05.

    What a test on one seed cannot know: how another training would have come out.
    """
    groups: dict[tuple, list[dict[str, Any]]] = defaultdict(list)
    for result in results:
        groups[result["name"], result["task"], result["poison_ratio"]].append(result)
    pairs = [pair for there in groups.values() for pair in combinations(there, 2)]
    different = [paired_p([one["rows"][measure]], [other["rows"][measure]]) <= NOISE for one, other in pairs]
    return sum(different), len(pairs)


def claims(lines: Sequence[dict[str, Any]]) -> list[str]:
    """What was claimed of ReFT, and whether this grid shows it, by task and poison ratio."""
    found = []
    for line in (line for line in lines if line["name"] == REFERENCE):
        same = [o for o in lines if (o["task"], o["poison_ratio"]) == (line["task"], line["poison_ratio"])]
        where = f"{line['task']} at a poison ratio of {line['poison_ratio']:g}, seeds: {line['seeds']}"
        sft = next((o for o in same if o["name"] == label("sft", filtered=False)), None)
        if sft and sft["p"]:  # they have seeds in common
            found += [f"{where}: {claim}" for claim in _against_sft(line, sft)]
        found += [f"{other['name']}: {_differences(other)}" for other in same if other["changed"]]
    return found


def _against_sft(line: dict[str, Any], sft: dict[str, Any]) -> Iterator[str]:
    """Harm by every judge, accuracy and cost beside SFT's."""
    for harm in (measure for measure in line if measure.partition("/")[0] == JUDGED.name):
        tenth = sft[harm].value / 10
        doubt = ", but its interval reaches above" if line[harm].high > tenth else ""
        yield (
            f"{label_of(harm)} {percent(vars(line[harm]))} against {percent(vars(sft[harm]))} of SFT; "
            f"at most a tenth: {f'yes{doubt}' if line[harm].value <= tenth else 'NO'}"
        )
    difference, p = line["accuracy"].value - sft["accuracy"].value, sft["p"].get("accuracy", 1.0)
    verdict = "inside the noise" if "accuracy" not in sft["beyond"] else "better" if difference > 0 else "WORSE"
    yield f"accuracy {difference:+.3f} against SFT (paired p = {p:.2g}): {verdict}"
    each = seconds(line, EACH_JOB) / max(seconds(sft, EACH_JOB), 1e-9)
    once = seconds(line, ONCE) / max(seconds(sft, EACH_JOB), 1e-9)
    yield (
        f"filtering and finetuning take {each:.1f} times as long as SFT, for every job; "
        f"teacher and soft labels {once:.1f} times, once for all jobs"
    )


def seconds(line: dict[str, Any], stages: Sequence[str]) -> float:
    """What these stages took together."""
    return sum(line["costs"][stage]["seconds"] for stage in stages if stage in line["costs"])


def _differences(line: dict[str, Any]) -> str:
    """In what an ablation is worse or better than ReFT beyond the noise."""
    worse = [m for m in line["beyond"] if _worse(m, line[m].value, line["reference"][m].value)]
    better = [m for m in line["beyond"] if m not in worse]
    parts = [
        f"{how} in {', '.join(map(label_of, there))}" for how, there in (("worse", worse), ("better", better)) if there
    ]
    return "; ".join(parts) or "no difference beyond the noise"


def _worse(measure: str, value: float, reference: float) -> bool:
    """Whether a value of a measure, or of the filter, is worse than another."""
    return value > reference if is_fault(measure) else value < reference
