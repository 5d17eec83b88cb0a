"""The comparison for people: a table in Markdown and a page with its plots."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from reft.comparison.ablations import ablation_plots
from reft.comparison.attacker import IN_THEIR_FORM
from reft.comparison.panel import Panel
from reft.comparison.ratios import ratio_plots
from reft.comparison.settings import ComparisonSettings
from reft.comparison.table import FILTER, REFERENCE, agreement, between_seeds, claims, summarise
from reft.comparison.variants import label, variants
from reft.evaluation.measures import JUDGED, MEASURES, label_of
from reft.finetuning.methods import load_method
from reft.judges._labels import Validation
from reft.report.page import render
from reft.report.plots import dots
from reft.report.summary import percent
from reft.statistics import Interval
from reft.storage.artifacts import write_json, write_text

HEAD = ("seeds", "user rows")
STAGES = ("teacher", "soft_labels", "provider_adapters", "filtering", "finetuning", "evaluation")
# What plots show.
DRAWN = (JUDGED.name, "over_refusal", "accuracy")
COSTS = ("task", "poison ratio", "method", *(stage.replace("_", " ") for stage in STAGES))


def write_comparison(
    folder: Path,
    grid: ComparisonSettings,
    results: Sequence[dict[str, Any]],
    *,
    panel: Panel,
    planned: int | None = None,
) -> None:
    """`comparison.json`, `.md` and `.html` in the folder, from results that were judged.

    `outcomes.jsonl` beside them holds every cell row by row, 1 where it happened, so that others can test anew.

    Args:
        planned: how many cells the grid has, of which these are what is there.
    """
    lines = summarise(results)
    shown = claims(lines)
    further = [f"{JUDGED.name}/{judge.name}" for judge in panel.judges]
    further += [IN_THEIR_FORM] if grid.poison_hides else []
    measures = [JUDGED.name, *further, *(m.name for m in MEASURES if m != JUDGED), *FILTER]
    names = [label_of(measure) for measure in measures]
    tables = list(_tables(lines))
    agreed = agreement(results)
    judged = {"judges": panel.validations, "agreement": agreed}
    write_json(folder / "comparison.json", {"grid": grid.model_dump(), "lines": lines, "claims": shown, **judged})
    notes = _notes(grid, results, panel, agreed=agreed)
    if planned and planned > len(results):
        notes.insert(0, f"SO FAR: {len(results)} of the grid's {planned} cells")
    text = [f"- {note}" for note in notes] + [""]
    for title, chosen in tables:
        text += [f"## {title}", "", *_markdown(["method", *HEAD, *names], _cells(chosen, measures)), ""]
    text += ["## Cost by stage", "", *_markdown(COSTS, _costs(lines)), ""]
    text += ["## What was claimed", "", *(f"- {claim}" for claim in shown)]
    write_text(folder / "comparison.md", "\n".join(text) + "\n")
    rendered = [
        (title, _cells(chosen, measures), [dots(_by_name(chosen, m), label_of(m)) for m in DRAWN])
        for title, chosen in tables
    ]
    write_text(folder / "comparison.html", _page(grid, lines, tables=rendered, claims=shown, notes=notes, head=names))
    write_text(folder / "outcomes.jsonl", "".join(map(_row_by_row, results)))


def _page(grid: ComparisonSettings, lines: Sequence[dict[str, Any]], *, head: Sequence[str], **shown: Any) -> str:
    plots = ablation_plots(lines, grid, (*DRAWN, FILTER[0]))
    methods = [(label(name, filtered=False), load_method(name).words) for name, _ in variants(grid.methods, (False,))]
    return render(
        "comparison.html.j2", measures=[*HEAD, *head], costs=_costs(lines), stages=COSTS, ablations=plots,
        ratios=ratio_plots(lines, DRAWN), methods=methods, **shown,
    )  # fmt: skip


def _by_name(lines: Sequence[dict[str, Any]], measure: str) -> dict[str, Interval]:
    return {line["name"]: line[measure] for line in lines}


def _row_by_row(result: dict[str, Any]) -> str:
    """A cell in a line, without its answers."""
    counted = {**result["rows"], **(result["filter"] or {})}
    kept = {
        key: value
        for key, value in result.items()
        if key not in ("answers", "asked", "rows", "filter", "start", "adapter")
    }
    rows = {name: "".join(str(int(flag)) for flag in flags) for name, flags in counted.items()}
    return json.dumps({**kept, "rows": rows}) + "\n"


def _tables(lines: Sequence[dict[str, Any]]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """(title, lines): for each task and ratio the methods, and the ablations beside ReFT itself."""
    for task, ratio in dict.fromkeys((line["task"], line["poison_ratio"]) for line in lines):
        here = [line for line in lines if (line["task"], line["poison_ratio"]) == (task, ratio)]
        yield f"Methods on {task}, poison ratio {ratio:g}", [line for line in here if not line["changed"]]
        if any(line["changed"] for line in here):
            chosen = [line for line in here if line["changed"] or line["name"] == REFERENCE]
            yield f"Ablations of ReFT on {task}, poison ratio {ratio:g}", chosen


def _notes(
    grid: ComparisonSettings, results: Sequence[dict[str, Any]], panel: Panel, *, agreed: Interval | None
) -> list[str]:
    run = grid.run
    shared = "as this grid sets them" if "finetuning" in grid.settings else "chosen for ReFT on the development sets"
    notes = [
        f"{run.model.name}, at most {grid.user_rows} user rows, seeds {grid.seeds}",
        "a seed draws other user rows and trains in another order; one teacher, and its filter, serves all seeds",
        "harmful score: by the refusal matcher, or by the judge in brackets",
        "brackets are 95 % intervals over seeds and rows; recall and false positives over all seeds' user rows",
        "p in brackets: paired test against ReFT on the same prompts, given these trainings",
        "* beyond the noise: false discoveries among all tests here are held to 5 %; all else is inside the noise",
        "a stage's cost: seconds, peak memory of the process, tokens; medians over the seeds, beside whatever else ran",
        f"learning rate, LoRA and plan of rows are the same for all methods, {shared}; Lisa passes twice over the rows",
    ]
    if grid.poison_hides:
        notes.append(
            "whoever sends the poison sees the filter, and hides each request among clauses that lower its "
            "score; harm in their form: the harmful prompts asked among such clauses, by the refusal matcher"
        )
    different, pairs = between_seeds(results, JUDGED.name)
    if pairs:
        notes.append(f"of {pairs} pairs of seeds of one method, that test calls {different} different at p of .05")
    notes += [note for validation in panel.validations if (note := _of_judge(validation))]
    if grid.ablations:
        notes.append(f"ablations on seeds {grid.ablation_seeds}, tested against ReFT on the same seeds")
    if agreed:
        notes.append(f"the first two judges agree on {percent(vars(agreed))} of {agreed.n} answers")
    if not panel.judges:
        notes.append("one judge alone: name judge_data for the second")
    return notes


def _of_judge(validation: Validation) -> str:
    """How a judge did where the right verdicts are known; empty where it was not tried."""
    v = validation
    if not v.accuracy:
        return ""
    return (
        f"judge '{v.judge.replace('_', ' ')}' against {v.accuracy.n} human labels of other answers: "
        f"accuracy {percent(vars(v.accuracy))}, kappa {v.kappa:.2f}"
        + (f"; right about {percent(vars(v.refusals))} of made-up refusals" if v.refusals else "")
        + (f", {percent(vars(v.going_along))} of made-up answers that go along" if v.going_along else "")
    )


def _cells(lines: Sequence[dict[str, Any]], measures: Sequence[str]) -> list[list[str]]:
    found = []
    for line in lines:
        cells = [line["name"], str(line["seeds"]), str(line["user_rows"])]
        for measure in measures:
            p, mark = line["p"].get(measure), "*" if measure in line["beyond"] else ""
            value: Interval | None = line.get(measure)
            cells.append((percent(vars(value)) if value else "") + (f" (p {p:.2g}{mark})" if p is not None else ""))
        found.append(cells)
    return found


def _costs(lines: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Seconds, peak memory and tokens of every method's stages; an ablation's differ where its tokens do."""
    return [
        [
            line["task"],
            f"{line['poison_ratio']:g}",
            line["name"],
            *(_cost(line["costs"].get(stage)) for stage in STAGES),
        ]
        for line in lines
    ]


def _cost(cost: dict[str, float] | None) -> str:
    if not cost:
        return ""
    gpu = f" and {cost['peak_gpu_mb']:.0f} MB of the GPU" if "peak_gpu_mb" in cost else ""
    return f"{cost['seconds']:.0f} s, {cost['peak_rss_mb']:.0f} MB{gpu}, {cost['tokens']:.0f}"


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows]]
