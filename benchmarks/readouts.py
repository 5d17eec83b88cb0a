"""Ways to read a teacher's features as one number, on development sources that no readout is made from.

    .venv/bin/python -m benchmarks.readouts FOLDER                      # with the last run's teacher (make run first)
    .venv/bin/python -m benchmarks.readouts FOLDER --teacher FOLDER

FOLDER holds the public sets. Every candidate is made from the teacher's alignment rows, with the sentences of harmless
prompts among them, without, or with them for sentences and windows alone, and judges rows whole, by their highest part,
and as the filter does. A line holds the mean AUROC over all pairs of a harmful and a harmless source, with the standard
error over harmful sources; then every source in turn is left out, the candidate is chosen on the others by the
one-standard-error rule (candidates stand from the simplest on), and judged on it. Written to `results/readouts.md`.
"""

from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from benchmarks.development import Separated, prompts_alone, separated, teacher_and_sets
from benchmarks.leave_source_out import development_groups
from benchmarks.record import RESULTS
from reft.config import FilteringSettings, Settings
from reft.conversations.schema import Conversation
from reft.filtering.parts import row_parts
from reft.filtering.scorers.refusal_feature import of_piece
from reft.filtering.scoring import is_piece
from reft.refusal_feature.discriminant import FLOOR
from reft.refusal_feature.features import collect_features
from reft.teacher.preparation import alignment_rows, load_teacher

Readout = Callable[[torch.Tensor], np.ndarray]  # [texts, layers, positions, hidden] -> [texts]
WAYS = ("whole", "highest part", "as the filter")
ROLES = ("lookalikes", "ordinary")


class Texts:
    """The parts of some rows with their features, [parts, layers, positions, hidden]."""

    def __init__(self, rows: list[Conversation], read: Callable[[list], torch.Tensor], tokenizer: object) -> None:
        settings = FilteringSettings()
        parts = [
            (i, where, e)
            for i, row in enumerate(prompts_alone(rows))
            for where, e in row_parts(tokenizer, row, settings)
        ]
        self.features = read([encoded for *_, encoded in parts])
        self.rows = np.array([i for i, *_ in parts])
        self.pieces = np.array([is_piece(where) for _, where, _ in parts])
        self.whole = ~self.pieces & np.array([" as " not in where and "alone" not in where for _, where, _ in parts])

    def read(self, whole: Readout, pieces: Readout) -> np.ndarray:
        """One number a part, [parts]."""
        found = whole(self.features)
        return found if pieces is whole else np.where(self.pieces, pieces(self.features), found)

    def scores(self, found: np.ndarray, way: str) -> np.ndarray:
        """One score a row."""
        if way == "whole":
            return np.array([found[(self.rows == i) & self.whole].max() for i in range(self.rows.max() + 1)])
        if way == "as the filter":
            found = np.where(self.pieces, np.vectorize(of_piece)(found), found)
        return np.array([found[self.rows == i].max() for i in range(self.rows.max() + 1)])


def main() -> None:
    teacher, folder = teacher_and_sets(__doc__)
    settings = Settings()
    top = max(teacher.layered.layers) if teacher.layered else teacher.feature.layer
    model, tokenizer = load_teacher(teacher, settings.model, top)

    def read(encoded: list) -> torch.Tensor:
        return collect_features(model, tokenizer, encoded, layers=range(1, top + 1)).half()

    harmful, harmless = (Texts(rows, read, tokenizer) for rows in alignment_rows(settings.data))
    groups = {
        role: {source: Texts(rows, read, tokenizer) for source, rows in sources.items()}
        for role, sources in development_groups(folder).items()
    }
    table = {}
    for name, readouts in candidates(harmful, harmless):
        found = {role: {s: (t, t.read(*readouts)) for s, t in sources.items()} for role, sources in groups.items()}
        for way in WAYS:
            scored = {role: {s: t.scores(f, way) for s, (t, f) in own.items()} for role, own in found.items()}
            table[f"{name}, {way}"] = separated(scored)
            print(_line(f"{name}, {way}", table[f"{name}, {way}"]), flush=True)
    lines = ["| readout | " + " | ".join(f"AUROC, {role}" for role in ROLES) + " |", "| --- | --- | --- |"]
    lines += [_line(*row) for row in table.items()] + ["", _left_out(table)]
    (RESULTS / "readouts.md").write_text("\n".join(lines) + "\n")
    print(lines[-1])


def candidates(harmful: Texts, harmless: Texts) -> Iterator[tuple[str, tuple[Readout, Readout]]]:
    """From the simplest on: readouts of whole texts and of pieces, made from whole prompts, pieces too, or each so."""
    own, too = (
        dict(_readouts(harmful.features[harmful.whole], harmless.features[harmless.whole | (harmless.pieces & pieces)]))
        for pieces in (False, True)
    )
    ways = (("whole prompts", own, own), ("with sentences", too, too), ("each its own", own, too))
    for said, whole, pieces in ways:
        for name in own:
            yield f"{name}, {said}", (whole[name], pieces[name])


def _readouts(harmful: torch.Tensor, harmless: torch.Tensor) -> Iterator[tuple[str, Readout]]:
    """The direction of one layer, its mean over layers, the discriminant, a probe."""
    classes, top = (harmful, harmless), harmful.shape[1]
    for layer in (top - 1, top):
        yield f"direction, layer {layer}", _cosines(*classes, slice(layer - 1, layer))
    yield f"mean of directions, layers {top // 2} to {top}", _cosines(*classes, slice(top // 2 - 1, top))
    for first in (top // 2, 1):
        yield f"discriminant, layers {first} to {top}", _discriminant(*classes, slice(first - 1, top))
    for strength in (1e-5, 1e-4):
        half = slice(top // 2 - 1, top)
        yield f"probe, C = {strength:g}, layers {top // 2} to {top}", _probe(*classes, half, strength=strength)


def _cosines(harmful: torch.Tensor, harmless: torch.Tensor, layers: slice) -> Readout:
    """The mean over layers of the centred cosine, at the token before the answer."""
    a, b = (found[:, layers, 1].float().mean(0) for found in (harmful, harmless))

    def read(features: torch.Tensor) -> np.ndarray:
        centred = features[:, layers, 1].float() - (a + b) / 2
        return torch.cosine_similarity(centred, a - b, dim=-1).mean(1).numpy()

    return read


def _discriminant(harmful: torch.Tensor, harmless: torch.Tensor, layers: slice) -> Readout:
    """As `LayeredFeature`."""
    a, b = (found[:, layers].float().mean(0) for found in (harmful, harmless))
    variance = torch.cat([harmful[:, layers], harmless[:, layers]]).float().var(0, correction=0)
    weights = (a - b) / (variance + FLOOR * variance.mean(-1, keepdim=True))
    weights /= ((a - b) * weights).sum() / 2
    return lambda features: ((features[:, layers].float() - (a + b) / 2) * weights).sum((1, 2, 3)).numpy()


def _probe(harmful: torch.Tensor, harmless: torch.Tensor, layers: slice, *, strength: float) -> Readout:
    """Logistic regression, strongly shrunk, on standardised features; classes weigh alike."""
    both = torch.cat([harmful[:, layers], harmless[:, layers]]).float().flatten(1)
    mean, spread = both.mean(0), both.std(0) + 1e-3
    labels = [1] * len(harmful) + [0] * len(harmless)
    probe = LogisticRegression(C=strength, class_weight="balanced", max_iter=200)
    probe.fit(((both - mean) / spread).numpy(), labels)
    weights = torch.from_numpy(probe.coef_[0]).float()
    half_gap = float(((both[: len(harmful)].mean(0) - both[len(harmful) :].mean(0)) / spread @ weights) / 2)
    return lambda features: ((features[:, layers].float().flatten(1) - mean) / spread @ weights / half_gap).numpy()


def _line(name: str, separated: Separated) -> str:
    cells = [f"{np.mean(list(own.values())):.3f} +- {_error(list(own.values())):.3f}" for own in separated.values()]
    return f"| {name} | {' | '.join(cells)} |"


def _error(values: list[float]) -> float:
    return float(np.std(values, ddof=1) / len(values) ** 0.5)


def _left_out(table: dict[str, Separated]) -> str:
    """What is chosen without each harmful source, and how well that does on it."""
    names, sources = list(table), list(next(iter(table.values()))["ordinary"])
    means = {n: {s: np.mean([table[n][role][s] for role in ROLES]) for s in sources} for n in names}
    chosen, reached = Counter[str](), []
    for out in sources:
        values = {n: [float(m[s]) for s in sources if s != out] for n, m in means.items()}
        best = max(names, key=lambda n: np.mean(values[n]))
        # The error of the difference to the best, source by source: hard sources are hard for all.
        good = [n for n in names if np.mean(gap := np.subtract(values[best], values[n])) <= _error(list(gap))]
        chosen[good[0] if good else best] += 1
        reached.append(means[good[0] if good else best][out])
    said = ", ".join(f"{name} ({count} of {len(sources)})" for name, count in chosen.most_common())
    return f"Chosen with each source left out: {said}. Mean AUROC on the source left out: {np.mean(reached):.3f}."


if __name__ == "__main__":
    main()
