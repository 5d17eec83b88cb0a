"""What it takes to score rows: a model, its refusal feature, and the rows that calibrate it, from one folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from reft.artifacts import read_json, write_json, write_text
from reft.config import FilterSettings, ModelSettings, Settings
from reft.conversations.reading import read_conversations
from reft.conversations.schema import Conversation
from reft.errors import StorageError, explain
from reft.filtering.guards import Guard, load_guard
from reft.filtering.run import Calibration, calibrate, calibrated_on
from reft.filtering.scoring import RowScore, score_parts, score_rows
from reft.fingerprint import of_code, of_path
from reft.refusal.extraction import LabelledPrompts
from reft.refusal.feature import RefusalFeature
from reft.teacher.artifact import Teacher
from reft.teacher.preparation import calibration_prompts, load_start, load_teacher, untrained_feature

DEFAULT_TEACHER = Path("runs/latest/teacher")
SCORING = ("conversations", "models", "refusal", "filtering", "scan")


@dataclass(frozen=True)
class Scorer:
    """A loaded scorer; `name` is "teacher" or "untrained", `fingerprint` stands for all that decides a score."""

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    feature: RefusalFeature
    calibration: LabelledPrompts
    fingerprint: str

    @property
    def reads(self) -> str:
        """Where it looks, in words."""
        return f"layer {self.feature.layer}, {self.feature.position} token"

    @property
    def doubts(self) -> list[str]:
        """What a person should know about it."""
        return []

    def score(self, rows: Sequence[Conversation], settings: FilterSettings) -> list[RowScore]:
        """Scores of every part of every row, in the order given."""
        return score_rows(self.model, self.tokenizer, rows, self.feature, settings)

    def calibrate(self, settings: FilterSettings) -> Calibration:
        """The calibration rows' scores and the thresholds; raises as `reft.filtering.run.calibrate`."""
        return calibrate(self.model, self.tokenizer, self.feature, self.calibration, settings)


@dataclass(frozen=True)
class GuardScorer:
    """A guard model behind the same interface; its rows are read text by text, since its template knows few roles."""

    name: str
    guard: Guard
    calibration: LabelledPrompts
    fingerprint: str
    reads: str = "its verdict token"

    @property
    def doubts(self) -> list[str]:
        """Whether it answers as a guard of its kind does."""
        if self.guard.mass >= 0.5:
            return []
        return [
            f"the guard's two verdicts hold only {self.guard.mass:.1%} of the probability after a plain question: "
            f"is it a {self.name}, and of a version that answers with its verdict at once?"
        ]

    def score(self, rows: Sequence[Conversation], settings: FilterSettings) -> list[RowScore]:
        """Scores of every part of every row, in the order given."""
        return score_parts(self.guard.tokenizer, rows, settings, self.guard.read, in_context=False)

    def calibrate(self, settings: FilterSettings) -> Calibration:
        """The calibration rows' scores and the thresholds; raises as `reft.filtering.run.calibrated_on`."""
        prompts = [Conversation(c.row, c.prompt) for c in (*self.calibration.harmless, *self.calibration.harmful)]
        return calibrated_on(self.score(prompts, settings), self.calibration, settings)


def guard_scorer(name: str, kind: str, template: str | None, settings: Settings) -> GuardScorer:
    """The guard model in a folder or under a hub id, calibrated as the settings' own filter is."""
    guard, calibration = load_guard(name, kind, template), calibration_prompts(settings.data)
    rows = [of_path(settings.data.calibration_harmful), of_path(settings.data.calibration_harmless)]
    made_of = [of_path(name), kind, str(guard.tokenizer.chat_template), str(guard.model.dtype), *rows]
    return GuardScorer(kind, guard, calibration, ":".join([*made_of, of_code(*SCORING)]))


def save_scorer(folder: Path, teacher: Teacher, model: ModelSettings, calibration: LabelledPrompts) -> None:
    """Write everything that `load_scorer` needs, but for the base model itself."""
    teacher.save(folder)
    write_json(folder / "scorer.json", {"model": model.model_dump(), "weights": calibration.harmless_weights})
    for name, rows in (("harmful", calibration.harmful), ("harmless", calibration.harmless)):
        write_text(folder / f"{name}.jsonl", "".join(row.original + "\n" for row in rows))


def load_scorer(folder: Path, untrained: bool = False) -> Scorer:
    """The trained teacher, or the untrained start model where that was asked for or separates better.

    Raises:
        StorageError: the folder was not written by `save_scorer`.
        ModelError: the base model cannot be loaded.
    """
    if not (folder / "scorer.json").is_file():
        remedy = "make run leaves one in runs/latest/teacher; or name another with --teacher"
        raise StorageError(explain("no teacher to score with", str(folder), remedy))
    described, teacher = read_json(folder / "scorer.json"), Teacher.load(folder)
    settings = ModelSettings(**described["model"])
    harmful, harmless = (read_conversations(folder / f"{name}.jsonl") for name in ("harmful", "harmless"))
    calibration = LabelledPrompts(harmful, harmless, described["weights"])
    trained = teacher.beats_untrained and not untrained
    feature = teacher.feature if trained else teacher.untrained
    # The layers above the one that is read are never loaded.
    loaded = load_teacher(teacher, settings, feature.layer) if trained else load_start(settings, feature.layer)
    model, tokenizer = loaded
    fingerprint = f"{of_path(folder)}:{trained}:{model.dtype}:{of_code(*SCORING)}"
    return Scorer("teacher" if trained else "untrained", model, tokenizer, feature, calibration, fingerprint)


def untrained_scorer(settings: Settings) -> Scorer:
    """The untrained difference of means of the settings' model and rows, read anew (seconds)."""
    feature, _, _, calibration = untrained_feature(settings.model, settings.data, settings.feature)
    model, tokenizer = load_start(settings.model, feature.layer)
    rows = [of_path(path) if isinstance(path, str) else str(path) for _, path in settings.data]
    made_of = [settings.model.model_dump_json(), settings.feature.model_dump_json(), *rows, of_code(*SCORING)]
    return Scorer("untrained", model, tokenizer, feature, calibration, ":".join(made_of))
