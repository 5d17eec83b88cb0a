"""Whether a new student is needed: has anything changed that it would be made from, or have the rows drifted?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scipy.stats import fisher_exact, ks_2samp

from reft.config import Settings
from reft.conversations.formats import column_names
from reft.conversations.reading import read_conversations, read_rows
from reft.conversations.schema import Conversation
from reft.evaluation.generation import generate
from reft.evaluation.measures import same_answer
from reft.filtering.data_alarms import reservoir
from reft.filtering.filter import Filter
from reft.filtering.inputs import read_inputs
from reft.filtering.scorers import load_scorer
from reft.keys.lineage import changed, lineage
from reft.models.default_model import resolve_model
from reft.models.hardware import choose_hardware
from reft.models.loading import load_tokenizer, load_trained
from reft.storage.artifacts import scratch_folder
from reft.storage.files import local_copy

# Below this probability that new rows score as the champion's rows did, they have drifted.
DRIFTED = 0.01
SAMPLE = 500
LEAST = 20  # rows, before as now: of fewer, only scores that hardly overlap would be told from chance


@dataclass(frozen=True)
class Decision:
    """Whether to retrain, and every reason that was looked at."""

    needed: bool
    reasons: tuple[str, ...]


def decide_retraining(settings: Settings, champion: Mapping[str, Any] | None, scorer: Path | None = None) -> Decision:
    """Compare what the next student would be made from with what the champion was made from.

    Args:
        champion: its registered tags, with its `scores` and `removed` share where it has them; None: nothing serves.
        scorer: folder of the champion's teacher, to see whether the new rows score as the old ones did.
    """
    if champion is None:
        return Decision(True, ("nothing serves yet",))
    different = changed(champion, lineage(settings))
    reasons = [f"changed since the champion: {words}" for words in different]
    if "the user's rows" in different and scorer is not None and champion.get("scores"):
        reasons += _drift(settings, champion, scorer)
    return Decision(bool(different), tuple(reasons) or ("nothing has changed since the champion was made",))


def _drift(settings: Settings, champion: Mapping[str, Any], folder: Path) -> list[str]:
    """How the new rows differ under the champion's own filter; said, since changed rows alone decide."""
    file = local_copy(settings.data.user, scratch_folder("input"))
    data, limits = settings.data, settings.validation
    found = read_rows(file, columns=column_names(data.columns), split=data.split or "", limits=limits)
    rows = reservoir((row for row in found if isinstance(row, Conversation)), SAMPLE)
    rows = [row for row in rows if row.asks]
    scorer = load_scorer("refusal_feature", read_inputs(folder))
    scored, verdicts = Filter.calibrated(scorer, settings.filtering).judge(rows)
    return drift_between(
        champion["scores"],
        champion["removed"],
        [s.deciding.score for s in scored if s.parts],
        removed_now=[d.decision != "keep" for d in verdicts],
    )


def drift_between(
    before: Sequence[float], removed_before: float, now: Sequence[float], *, removed_now: Sequence[bool]
) -> list[str]:
    """Two-sample tests on the scores, and on the share that the filter would remove: before as now a sample's."""
    if min(len(before), len(now)) < LEAST:
        return [f"scores of the new rows: too few to judge ({len(before)} before, {len(now)} now; {LEAST} are needed)"]
    p = float(ks_2samp(before, now).pvalue)
    said = [f"scores of the new rows: {'DRIFTED' if p < DRIFTED else 'as before'} (Kolmogorov-Smirnov p = {p:.2g})"]
    # Only a sample's scores of the rows of before are known: the share counts as one of as many rows.
    gone, share = round(removed_before * len(before)), sum(removed_now) / len(removed_now)
    table = [[sum(removed_now), len(removed_now) - sum(removed_now)], [gone, len(before) - gone]]
    p_share = float(fisher_exact(table).pvalue)
    word = "DRIFTED" if p_share < DRIFTED else "as before"
    return [*said, f"the filter would remove {share:.1%}, before {removed_before:.1%}: {word} (p = {p_share:.2g})"]


def canary_accuracy(settings: Settings, champion: Path, canary: str) -> list[bool]:
    """Whether the champion still answers right: one verdict for each row of a file that is newer than its training.

    Args:
        champion: folder of its weights.
        canary: a file of rows with right answers.
    """
    rows = read_conversations(canary)
    is_adapter = (champion / "adapter_config.json").is_file()
    base, dtype = resolve_model(settings.model.name), choose_hardware(settings.model.dtype).dtype
    model = load_trained(base, champion, is_adapter, dtype=dtype, trust_remote_code=settings.model.trust_remote_code)
    tokenizer = load_tokenizer(str(champion), settings.model.chat_template, settings.model.trust_remote_code)
    said = generate(model, tokenizer, rows, max_new_tokens=settings.evaluation.max_new_tokens)
    return [same_answer(answer, row.answer or "") for answer, row in zip(said, rows, strict=True)]


def canary_drift(before: Sequence[bool], now: Sequence[bool]) -> str:
    """The accuracy on new rows against that on the held-out rows of its own time (Fisher's exact test, one-sided)."""
    table = [[sum(found), len(found) - sum(found)] for found in (now, before)]
    p = float(fisher_exact(table, alternative="less").pvalue)
    word = "DRIFTED: new rows are needed, not another training on the old ones" if p < DRIFTED else "as before"
    shares = [sum(found) / max(1, len(found)) for found in (now, before)]
    return (
        f"the champion is right on {shares[0]:.1%} of {len(now)} canary rows, before {shares[1]:.1%}: {word} "
        f"(p = {p:.2g})"
    )
