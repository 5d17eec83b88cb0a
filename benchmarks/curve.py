"""How the filter grows with the alignment rows: `python -m benchmarks.curve FOLDER` (ten minutes on two cores).

Trains a teacher on a quarter, a half and all of the default profile's alignment rows, one pass over each, and scores
the public sets by source with it. Writes `results/curve.md`. Seed 0, one training a line.
"""

from benchmarks.public_sets import asked_for
from benchmarks.record import RESULTS
from benchmarks.sources import feature_scores, header, total
from reft.config import Settings
from reft.models.hardware import choose_hardware
from reft.runtime.progress import progress
from reft.teacher.preparation import fit_teacher, untrained_feature

SHARES = (0.25, 0.5, 1.0)


def main() -> None:
    rows, harmful, harmless = asked_for(__doc__, rows=40)
    lines = [
        f"At most {rows} rows of each source, seed 0.",
        "",
        *header("alignment rows"),
    ]
    for share in SHARES:
        s = Settings()
        counts = {
            name: round(share * getattr(s.data, name)) for name in ("alignment_harmful_rows", "alignment_harmless_rows")
        }
        data = s.data.model_copy(update=counts)
        untrained, *_ = untrained_feature(s.model, data, s.refusal_feature)
        show = progress(f"training on {share:.0%}")
        model, tokenizer, own = fit_teacher(
            untrained,
            s.model,
            data,
            settings=s.teacher,
            selection=s.refusal_feature,
            seed=s.seed,
            report=lambda step, steps, _, show=show: show(step, steps),
        )
        scores = feature_scores(model.to(choose_hardware(s.model.dtype).dtype), tokenizer, own)
        found = [{source: scores(rows) for source, rows in sets.items()} for sets in (harmful, harmless)]
        lines.append(total(f"{counts['alignment_harmful_rows']} + {counts['alignment_harmless_rows']}", *found))
        print(lines[-1], flush=True)
    (RESULTS / "curve.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
