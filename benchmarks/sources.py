"""The filter on public sets by source, beside what somebody would use instead, on the same rows.

    .venv/bin/python -m benchmarks.sources FOLDER            # with the last run's teacher (make run first)

Prints a table of AUROC for every harmful source against every harmless one, and recall at 1 % and 5 % false positives
over all harmless rows together, and writes it to `results/sources.md`. Seeds fix the rows; a source that other
prompts of were trained on is marked.
"""

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from benchmarks.public_sets import TRAINED_SOURCES, asked_for
from benchmarks.record import RESULTS
from benchmarks.rivals import Rival, rivals
from reft.config import Settings
from reft.filtering.inputs import DEFAULT_TEACHER, read_inputs
from reft.filtering.scorers import Scorer, load_scorer
from reft.filtering.scorers.refusal_feature import RefusalFeatureScorer
from reft.refusal_feature.extraction import LabelledPrompts, extract_refusal_feature
from reft.refusal_feature.feature import RefusalFeature
from reft.report.summary import percent
from reft.statistics import auroc, rate
from reft.teacher.artifact import Teacher
from reft.teacher.preparation import alignment_rows, calibration_prompts, load_start, load_teacher

Scores = dict[str, list[float]]
LOOKALIKES = ("CoCoNot contrast", "MITRE FRR")
# First turns of these are opening words or opinions as often as requests: harmful, if at all, by what follows.
OFTEN_HARMLESS = ("BeaverTails sample", "hh-rlhf harmless-base")


def main() -> None:
    rows, harmful, harmless = asked_for(__doc__, rows=100)
    settings = Settings()
    model, tokenizer = load_start(settings.model)
    teacher, inputs = Teacher.load(DEFAULT_TEACHER), read_inputs(DEFAULT_TEACHER)
    fitting, held_out = LabelledPrompts(*alignment_rows(settings.data)), calibration_prompts(settings.data)
    methods = {
        "ReFT teacher": deciding_scores(load_scorer("refusal_feature", inputs)),
        "untrained difference of means": deciding_scores(load_scorer("refusal_feature", inputs.without_training())),
        "linear probe on the teacher": _probe(*load_teacher(teacher, settings.model), fitting, held_out=held_out),
        "linear probe on the untrained model": _probe(model, tokenizer, fitting, held_out=held_out),
        **rivals(model, tokenizer, fitting),
    }
    scores: dict[str, tuple[Scores, Scores]] = {}
    for name, scores_of in methods.items():
        print(f"scoring with: {name}", flush=True)
        scores[name] = ({s: scores_of(r) for s, r in harmful.items()}, {s: scores_of(r) for s, r in harmless.items()})
    lines = [
        f"At most {rows} rows of each source, seed 0. * other prompts of this source were trained on.",
        "",
        *header("all sources together"),
        *(total(name, *found) for name, found in scores.items()),
    ]
    plain = {n: ({s: f for s, f in h.items() if s not in OFTEN_HARMLESS}, other) for n, (h, other) in scores.items()}
    lines += ["", *header(f"all but {' and '.join(OFTEN_HARMLESS)}"), *(total(n, *found) for n, found in plain.items())]
    for name in list(methods)[:2]:
        lines += ["", *_pairs(name, *scores[name])]
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "sources.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def deciding_scores(scorer: Scorer) -> Rival:
    """The deciding scores."""
    settings = Settings().filtering
    return lambda rows: [row.deciding.score for row in scorer.score(rows, settings)]


def _probe(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, fitting: LabelledPrompts, *, held_out: LabelledPrompts
) -> Rival:
    """A logistic regression on the features of all alignment rows, at the layer that the calibration rows choose."""
    feature = extract_refusal_feature(model, tokenizer, fitting, held_out=held_out, readouts=["probe"])
    return feature_scores(model, tokenizer, feature)


def feature_scores(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, feature: RefusalFeature) -> Rival:
    """The deciding scores under a feature."""
    nobody = LabelledPrompts([], [])  # scores alone are read, no threshold
    scorer = RefusalFeatureScorer(name="teacher", model=model, tokenizer=tokenizer, feature=feature, calibration=nobody)
    return deciding_scores(scorer)


def header(first: str) -> list[str]:
    """The head of a table of `total` lines."""
    columns = [first, "AUROC, tasks and instructions", "AUROC, benign look-alikes"]
    columns += ["recall at 1 % FPR", "recall at 5 % FPR"]
    return [f"| {' | '.join(columns)} |", "| --- | --- | --- | --- | --- |"]


def total(name: str, harmful: Scores, harmless: Scores) -> str:
    """One line: every source weighs by its rows; the thresholds are the quantiles of these harmless rows themselves."""
    positives = [score for found in harmful.values() for score in found]
    hard = [score for source in LOOKALIKES for score in harmless[source]]
    easy = [score for source, found in harmless.items() if source not in LOOKALIKES for score in found]
    cells = [f"{auroc(positives, easy):.3f}", f"{auroc(positives, hard):.3f}"]
    for fpr in (0.01, 0.05):
        threshold = np.quantile([*easy, *hard], 1 - fpr, method="higher")
        recall = rate([score > threshold for score in positives])
        cells.append(percent(recall and vars(recall)))
    return f"| {name} | {' | '.join(cells)} |"


def _pairs(name: str, harmful: Scores, harmless: Scores) -> list[str]:
    """AUROC of each harmful source (lines) against each harmless one (columns)."""
    lines = [f"| {name}: AUROC | {' | '.join(map(_marked, harmless))} |", "| --- |" + " --- |" * len(harmless)]
    for source, found in harmful.items():
        cells = [f"{auroc(found, other):.3f}" for other in harmless.values()]
        lines.append(f"| {_marked(source)} ({len(found)}) | {' | '.join(cells)} |")
    return lines


def _marked(source: str) -> str:
    return f"{source}*" if source in TRAINED_SOURCES else source


if __name__ == "__main__":
    main()
