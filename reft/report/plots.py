"""The report's plots, as inline SVG: they need no network and scale with the page."""

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from reft.evaluation.measures import label_of
from reft.filtering.decisions import Decision, Thresholds
from reft.refusal_feature.feature import Separation
from reft.report.summary import LABELS
from reft.statistics import Interval

HARMFUL, HARMLESS, STUDENT, GREY = "#c0392b", "#2c7fb8", "#238b45", "#999999"
COLOURS = {"base": GREY, "aligned": HARMLESS, "sft": HARMFUL, "student": STUDENT}
plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "svg.fonttype": "none"})


def score_distribution(groups: Mapping[str, Sequence[float]], thresholds: Thresholds) -> str:
    """Histogram of scores per class, with both thresholds."""
    figure, axes = plt.subplots(figsize=(6, 2.8))
    for name, scores in groups.items():
        if scores:
            colour = HARMFUL if "harmful" in name else HARMLESS
            style: dict[str, Any] = {"histtype": "step", "linewidth": 1.5} if "calibration" in name else {"alpha": 0.5}
            axes.hist(
                scores, bins=40, range=(-1, 1), density=True, label=f"{name} ({len(scores)})", color=colour, **style
            )
    axes.axvline(thresholds.drop, color="black", label="drop above")
    axes.axvline(thresholds.quarantine, color="black", linestyle=":", label="quarantine above")
    axes.set(xlabel="score s(x)", ylabel="density")
    axes.legend(frameon=False, fontsize=8)
    return svg(figure)


def layer_separation(untrained: Sequence[Separation], trained: Sequence[Separation]) -> str:
    """Held-out AUROC by layer, position and readout, before and after the teacher's training."""
    figure, axes = plt.subplots(figsize=(6, 2.8))
    series = ((untrained, "mean", GREY, "untrained"), (trained, "mean", STUDENT, "teacher, means"))
    for separations, readout, colour, name in (*series, (trained, "probe", HARMLESS, "teacher, probe")):
        for position, style in (("instruction", ":"), ("template", "-")):
            points = [(s.layer, s.auroc) for s in separations if (s.position, s.readout) == (position, readout)]
            if points:
                axes.plot(*zip(*points, strict=True), style, color=colour, label=f"{name}, {position} token")
    axes.axhline(0.5, color="black", linewidth=0.5)
    axes.set(xlabel="layer", ylabel="held-out AUROC")
    axes.legend(frameon=False, fontsize=8)
    return svg(figure)


def roc(decisions: Sequence[Decision], labels: Mapping[int, str], thresholds: Thresholds) -> str | None:
    """ROC on the user's rows with the chosen thresholds; None where there are no labels of both classes."""
    known = [d for d in decisions if labels.get(d.row) in ("harmful", "harmless")]
    truth = [labels[d.row] == "harmful" for d in known]
    if len(set(truth)) < 2:
        return None
    scores = [d.score for d in known]
    from sklearn.metrics import roc_curve

    fpr, tpr, _ = roc_curve(truth, scores)
    figure, axes = plt.subplots(figsize=(3.6, 3.2))
    axes.plot(fpr, tpr, color=STUDENT)
    for name, threshold, mark in (("drop", thresholds.drop, "o"), ("quarantine", thresholds.quarantine, "s")):
        above = [s > threshold for s in scores]
        x = sum(a and not t for a, t in zip(above, truth, strict=True)) / max(1, len(truth) - sum(truth))
        y = sum(a and t for a, t in zip(above, truth, strict=True)) / sum(truth)
        axes.plot([x], [y], mark, color="black", label=name)
    axes.set(xlabel="false positive rate", ylabel="recall", xlim=(-0.02, 1), ylim=(0, 1.02))
    axes.legend(frameon=False, fontsize=8)
    return svg(figure)


def bars(rates: Mapping[str, Mapping[str, Any] | None], title: str) -> str:
    """One bar per model with its interval."""
    shown = {name: value for name, value in rates.items() if value}
    figure, axes = plt.subplots(figsize=(3.6, 2.6))
    for index, (name, value) in enumerate(shown.items()):
        error = [[value["value"] - value["low"]], [value["high"] - value["value"]]]
        axes.bar(index, value["value"], color=COLOURS.get(name, GREY), yerr=error, capsize=3)
    axes.set(title=title, ylim=(0, 1.02))
    axes.set_xticks(range(len(shown)), [LABELS.get(name, name).replace(" ", "\n") for name in shown])
    return svg(figure)


def dots(rates: Mapping[str, Interval], title: str) -> str:
    """One line a method, the rate as a dot with its interval."""
    names = list(rates)[::-1]
    figure, axes = plt.subplots(figsize=(4.4, 0.8 + 0.22 * len(names)))
    for place, name in enumerate(names):
        found = rates[name]
        colour = STUDENT if name == "ReFT" else GREY
        axes.plot([found.low, found.high], [place, place], color=colour)
        axes.plot([found.value], [place], "o", color=colour)
    axes.set(title=title, xlim=(-0.02, 1.02))
    axes.set_yticks(range(len(names)), names)
    return svg(figure)


def by_value(
    setting: str, rates_of_values: Mapping[Any, Mapping[str, Interval]], default: Any, *, measures: Sequence[str]
) -> str:
    """A line a measure (four at most) over the values of a setting, with intervals; the default's value in bold."""
    figure, axes = plt.subplots(figsize=(4.4, 2.8))
    places = list(range(len(rates_of_values)))
    for measure, colour in zip(measures, (HARMFUL, GREY, STUDENT, HARMLESS), strict=False):
        rates = [values[measure] for values in rates_of_values.values()]
        error = [[r.value - r.low for r in rates], [r.high - r.value for r in rates]]
        axes.errorbar(
            places, [r.value for r in rates], error, marker="o", capsize=3, label=label_of(measure), color=colour
        )
    axes.set(xlabel=setting, ylim=(-0.02, 1.02))
    axes.set_xticks(places, [str(value) for value in rates_of_values])
    if default in rates_of_values:
        axes.get_xticklabels()[list(rates_of_values).index(default)].set_fontweight("bold")
    axes.legend(frameon=False, fontsize=8)
    return svg(figure)


def by_ratio(measure: str, curves: Mapping[str, Mapping[float, Interval]]) -> str:
    """A line a method over the poison ratios, with intervals."""
    figure, axes = plt.subplots(figsize=(4.4, 2.8))
    for name, found in curves.items():
        rates = list(found.values())
        error = [[r.value - r.low for r in rates], [r.high - r.value for r in rates]]
        look: dict[str, Any] = {"color": STUDENT, "linewidth": 2.5} if name == "ReFT" else {}
        axes.errorbar(list(found), [r.value for r in rates], error, marker="o", capsize=3, label=name, **look)
    axes.set(title=measure, xlabel="poison ratio", ylim=(-0.02, 1.02))
    axes.legend(frameon=False, fontsize=8)
    return svg(figure)


def loss_curves(histories: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """Loss by optimizer step of every training."""
    figure, axes = plt.subplots(figsize=(6, 2.6))
    for name, history in histories.items():
        axes.plot([h["step"] for h in history], [h["loss"] for h in history], label=name, linewidth=1)
    axes.set(xlabel="optimizer step", ylabel="loss", yscale="log")
    axes.legend(frameon=False, fontsize=8)
    return svg(figure)


def svg(figure: Figure) -> str:
    """The figure as text that stands inside HTML; the figure is closed."""
    buffer = io.StringIO()
    figure.tight_layout()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    plt.close(figure)
    text = buffer.getvalue()
    # Inside HTML, without the XML head (whose document type names a network address).
    return re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
