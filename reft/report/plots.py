"""The report's plots, as inline SVG: they need no network, scale with the page and take the colours of its scheme.

What is drawn here is small on purpose: at the width of a phone its words must still be read.
"""

import io
import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reft.evaluation.measures import label_of
from reft.filtering.decisions import Decision, Thresholds
from reft.refusal_feature.feature import Separation
from reft.report.summary import LABELS
from reft.statistics import Interval

WIDTH = 4.8  # inches
INK, HARMFUL, HARMLESS, STUDENT, GREY, SECOND = "#1c2430", "#b93426", "#23709f", "#1d7a3b", "#6f7885", "#8a5a00"
# What each colour is called in the page's style, which has another one for dark pages; outside of a page it stays.
NAMED = {INK: "ink", HARMFUL: "harmful", HARMLESS: "harmless", STUDENT: "student", GREY: "other", SECOND: "second"}
COLOURS = {"base": GREY, "aligned": HARMLESS, "sft": HARMFUL, "student": STUDENT}
# Lines differ by more than their colour.
LINES = ((STUDENT, "-"), (HARMFUL, "--"), (HARMLESS, ":"), (SECOND, "-."), (GREY, (0, (6, 2))), (INK, (0, (1, 1))))
STYLED, STYLE = re.compile(r'style="[^"]*"'), re.compile("|".join(NAMED))
plt.rcParams.update(
    {
        "font.size": 10, "axes.titlesize": 11, "axes.spines.top": False, "axes.spines.right": False,
        "svg.fonttype": "none", "figure.facecolor": "none", "axes.facecolor": "none", "savefig.facecolor": "none",
        "hatch.linewidth": 0.6, "font.family": "sans-serif", "text.parse_math": False,
        **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
    }
)  # fmt: skip


def axes_of(height: float) -> tuple[Figure, Axes]:
    """An empty figure of the common width, and its axes; the height in inches."""
    return plt.subplots(figsize=(WIDTH, height), layout="constrained")


def score_distribution(groups: Mapping[str, Sequence[float]], thresholds: Thresholds) -> str:
    """Histogram of scores per class, with both thresholds."""
    figure, axes = axes_of(3.4)
    for name, scores in groups.items():
        if scores:
            colour = HARMFUL if "harmful" in name else HARMLESS
            style: dict[str, Any] = {"histtype": "step", "linewidth": 1.5} if "calibration" in name else {"alpha": 0.5}
            axes.hist(
                scores, bins=40, range=(-1, 1), density=True, label=f"{name} ({len(scores)})", color=colour, **style
            )
    axes.axvline(thresholds.quarantine, color=INK, linestyle=":", label=f"quarantine above {thresholds.quarantine:.2f}")
    axes.axvline(thresholds.drop, color=INK, label=f"drop above {thresholds.drop:.2f}")
    axes.set(xlabel="score", ylabel="density")
    legend(figure)
    words = f"Histogram of scores; quarantine above {thresholds.quarantine:.2f}, drop above {thresholds.drop:.2f}"
    return svg(figure, words)


def layer_separation(untrained: Sequence[Separation], trained: Sequence[Separation]) -> str:
    """Held-out AUROC by layer, position and readout, before and after the teacher's training."""
    figure, axes = axes_of(3.4)
    series = ((untrained, "mean", GREY, "untrained"), (trained, "mean", STUDENT, "teacher, means"))
    for separations, readout, colour, name in (*series, (trained, "probe", HARMLESS, "teacher, probe")):
        for position, style in (("instruction", ":"), ("template", "-")):
            points = [(s.layer, s.auroc) for s in separations if (s.position, s.readout) == (position, readout)]
            if points:
                axes.plot(*zip(*points, strict=True), style, color=colour, label=f"{name}, {position} token")
    axes.axhline(0.5, color=INK, linewidth=0.5)
    axes.set(xlabel="layer", ylabel="held-out AUROC")
    legend(figure)
    best = max((s.auroc for s in trained), default=float("nan"))
    return svg(figure, f"Held-out AUROC by layer, before and after the teacher's training; at best {best:.3f}")


def roc(decisions: Sequence[Decision], labels: Mapping[int, str], thresholds: Thresholds) -> str | None:
    """ROC on the user's rows with the chosen thresholds; None where there are no labels of both classes."""
    known = [d for d in decisions if d.scored and labels.get(d.row) in ("harmful", "harmless")]
    truth = [labels[d.row] == "harmful" for d in known]
    if len(set(truth)) < 2:
        return None
    scores = [d.score for d in known]
    from sklearn.metrics import roc_curve

    fpr, tpr, _ = roc_curve(truth, scores)
    figure, axes = axes_of(3.4)
    axes.plot(fpr, tpr, color=STUDENT, label="ROC on the labelled rows")
    for name, threshold, mark in (("quarantine", thresholds.quarantine, "s"), ("drop", thresholds.drop, "o")):
        above = [s > threshold for s in scores]
        x = sum(a and not t for a, t in zip(above, truth, strict=True)) / max(1, len(truth) - sum(truth))
        y = sum(a and t for a, t in zip(above, truth, strict=True)) / sum(truth)
        axes.plot([x], [y], mark, color=INK, label=f"{name}: recall {y:.2f}, false positives {x:.3f}")
    axes.set(xlabel="false positive rate", ylabel="recall", xlim=(-0.02, 1), ylim=(0, 1.02))
    legend(figure)
    return svg(figure, "Receiver operating characteristic of the filter on the user's labelled rows")


def bars(rates: Mapping[str, Mapping[str, Any] | None], title: str) -> str:
    """One bar per model with its interval, in the order of `LABELS`, as tables have them."""
    shown = {name: value for name in LABELS if (value := rates.get(name))}
    figure, axes = axes_of(0.9 + 0.36 * len(shown))
    for place, (name, value) in enumerate(shown.items()):
        error = [[value["value"] - value["low"]], [value["high"] - value["value"]]]
        axes.barh(place, value["value"], 0.7, color=COLOURS[name], xerr=error, capsize=3, ecolor=INK)
    axes.set(title=title, xlim=(0, 1.02), ylim=(len(shown) - 0.4, -0.6))
    axes.set_yticks(range(len(shown)), [LABELS[name] for name in shown])
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "50 %", "75 %", "100 %"])
    said = ", ".join(f"{LABELS[name]} {100 * value['value']:.1f} %" for name, value in shown.items())
    return svg(figure, f"{title}: {said or 'not measured'}")


def seconds_by_stage(costs: Mapping[str, Mapping[str, float]], reused: Sequence[str] = ()) -> str:
    """One bar a stage, in their order; of reused ones the outline, hatched."""
    figure, axes = axes_of(0.8 + 0.32 * len(costs))
    for place, (stage, cost) in enumerate(costs.items()):
        style: dict[str, Any] = {"color": HARMLESS}
        if stage in reused:
            style = {"facecolor": "none", "edgecolor": GREY, "hatch": "///"}
        bar = axes.barh(place, cost["seconds"], 0.7, **style)
        axes.bar_label(bar, [f"{cost['seconds']:,.0f} s"], padding=3)
    axes.set(xlabel="seconds", ylim=(len(costs) - 0.4, -0.6))
    axes.margins(x=0.15)
    axes.set_yticks(range(len(costs)), [stage.replace("_", " ") for stage in costs])
    said = ", ".join(f"{stage.replace('_', ' ')} {cost['seconds']:.0f} s" for stage, cost in costs.items())
    return svg(figure, f"Seconds by stage: {said}")


def dots(rates: Mapping[str, Interval], title: str) -> str:
    """One line a method, from the top in the order that is given, the rate as a dot with its interval."""
    figure, axes = axes_of(0.8 + 0.24 * len(rates))
    for place, (name, found) in enumerate(rates.items()):
        colour = STUDENT if name == "ReFT" else GREY
        axes.plot([found.low, found.high], [place, place], color=colour)
        axes.plot([found.value], [place], "o", color=colour)
    axes.set(title=title, xlim=(-0.02, 1.02), ylim=(len(rates) - 0.4, -0.6))
    axes.set_yticks(range(len(rates)), list(rates))
    return svg(figure, f"{title}: " + ", ".join(f"{name} {found.value:.2f}" for name, found in rates.items()))


def by_value(
    setting: str, rates_of_values: Mapping[Any, Mapping[str, Interval]], default: Any, *, measures: Sequence[str]
) -> str:
    """A line a measure over the values of a setting, with intervals; the default's value in bold."""
    figure, axes = axes_of(3.2)
    places = list(range(len(rates_of_values)))
    for measure, (colour, line) in zip(measures, LINES, strict=False):
        rates = [values[measure] for values in rates_of_values.values()]
        axes.errorbar(
            places, [r.value for r in rates], _errors(rates), marker="o", capsize=3, label=label_of(measure),
            color=colour, linestyle=line,
        )  # fmt: skip
    axes.set(xlabel=setting, ylim=(-0.02, 1.02))
    axes.set_xticks(places, [str(value) for value in rates_of_values])
    if default in rates_of_values:
        axes.get_xticklabels()[list(rates_of_values).index(default)].set_fontweight("bold")
    legend(figure)
    return svg(figure, f"Rates by {setting}: {', '.join(map(label_of, measures))}")


def by_ratio(measure: str, curves: Mapping[str, Mapping[float, Interval]]) -> str:
    """A line a method over the poison ratios, with intervals."""
    figure, axes = axes_of(3.6)
    others = 0
    for name, found in curves.items():
        rates = list(found.values())
        look: dict[str, Any] = {"color": STUDENT, "linewidth": 2.5}
        if name != "ReFT":
            others += 1
            colour, line = LINES[1 + (others - 1) % (len(LINES) - 1)]
            look = {"color": colour, "linestyle": line, "linewidth": 1 + 0.5 * ((others - 1) // (len(LINES) - 1))}
        axes.errorbar(list(found), [r.value for r in rates], _errors(rates), marker="o", capsize=3, label=name, **look)
    axes.set(title=measure, xlabel="poison ratio", ylim=(-0.02, 1.02))
    legend(figure)
    return svg(figure, f"{measure} by poison ratio, of {', '.join(curves)}")


def loss_curves(histories: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """Loss by optimizer step of every training."""
    figure, axes = axes_of(3.2)
    for (name, history), (colour, line) in zip(histories.items(), LINES, strict=False):
        steps, losses = [h["step"] for h in history], [h["loss"] for h in history]
        axes.plot(steps, losses, label=name, linewidth=1.2, color=colour, linestyle=line)
    axes.set(xlabel="optimizer step", ylabel="loss", yscale="log")
    legend(figure)
    said = [f"{name} {history[0]['loss']:.3g} to {history[-1]['loss']:.3g}" for name, history in histories.items()]
    return svg(figure, f"Loss by optimizer step: {', '.join(said)}")


def legend(figure: Figure) -> None:
    """What lines and bars stand for, above the axes: never over what is drawn."""
    handles, labels = figure.axes[0].get_legend_handles_labels()
    columns = 2 if len(labels) > 1 and max(map(len, labels)) <= 24 else 1
    figure.legend(handles, labels, loc="outside upper left", frameon=False, fontsize=9, ncols=columns)


def svg(figure: Figure, words: str) -> str:
    """The figure as text that stands inside HTML, in the page's colours; the figure is closed.

    Args:
        words: what it shows, for who does not see it.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": words}):  # parts are named alike each time, and otherwise by figure
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    plt.close(figure)
    text = buffer.getvalue()
    # Inside HTML, without the XML head (whose document type names a network address).
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    # Names that nothing refers to would be there twice where a page has two figures.
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = STYLED.sub(lambda style: STYLE.sub(lambda hexes: f"var(--{NAMED[hexes[0]]}, {hexes[0]})", style[0]), text)
    return text.replace("<svg ", f'<svg role="img" aria-label="{escape(words)}" ', 1)


def _errors(rates: Sequence[Interval]) -> list[list[float]]:
    return [[r.value - r.low for r in rates], [r.high - r.value for r in rates]]
