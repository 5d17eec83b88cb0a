"""Tables of the results pages about the teacher and the judge, each made of one file of recorded results."""

from collections.abc import Mapping
from pathlib import Path

from benchmarks import comparison_tables
from benchmarks.record import records
from reft.report.summary import percent


def compiled(path: Path) -> str:
    """The newest measurement of each number format."""
    newest = {x["dtype"]: x for x in records(path)}
    rows = [
        (
            kind.removeprefix("torch."), _times(x["times_as_fast"]),
            f"{x['mean_loss']['False']:.3f}", f"{x['mean_loss']['True']:.3f}", f"{x['compiling_seconds']:.0f}",
            f"{x['compiling_again_seconds']:.0f}", x["date"][:10],
        )
        for kind, x in newest.items()
    ]  # fmt: skip
    head = ("format", "times as fast, median of turns", "mean loss as it is", "compiled", "first compiling, s",
            "in a second process, s", "measured")  # fmt: skip
    return comparison_tables.markdown(head, rows)


def adapters(path: Path) -> str:
    """The newest measurement."""
    x = records(path)[-1]
    rows = [(name, _times(found), f"{x['mean_loss'][name]:.3f}") for name, found in x["times_as_fast"].items()]
    return comparison_tables.markdown(("adapter on", "times as fast, median of turns", "mean loss"), rows)


def judge(path: Path) -> str:
    """The newest measurement."""
    told = ("refusals", "going_along", "accuracy")
    rows = [(name, *(percent(x[rate]) for rate in told)) for name, x in records(path)[-1]["taught"].items()]
    head = ("taught", "right about refusals", "about answers that go along", "about people's labels, unseen questions")
    return comparison_tables.markdown(head, rows)


def _times(found: Mapping[str, float]) -> str:
    return "{median:.2f} ({least:.2f} to {most:.2f})".format(**found)


def sources_left_out(path: Path) -> str:
    """Every measurement, in the order of the record."""
    rows = []
    for x in records(path):
        means = [
            f"{100 * sum(found['value'] for found in kinds.values()) / len(kinds):.1f} %"
            for kinds in x["refused"].values()
        ]
        aurocs = (f"{value:.3f}" for value in x["auroc"].values())
        modules = (x["teacher"]["lora"] or {"target_modules": "none: every weight"})["target_modules"]
        where = modules if isinstance(modules, str) else ", ".join(modules)
        rows.append((" + ".join(map(str, x["rows"])), where, ", ".join(x["without"]) or "nothing", *means, *aurocs))
    last = records(path)[-1]
    refused = [f"{kind} refused" for kind in last["refused"]]
    return comparison_tables.markdown(
        (
            "alignment rows",
            "adapter on",
            "left out of the training",
            *refused,
            *(f"AUROC, {kind}" for kind in last["auroc"]),
        ),
        rows,
    )
