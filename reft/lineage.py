"""What a student was made from, as digests: to tell whether another run would make anything else."""

from collections.abc import Mapping

from reft.config import Settings
from reft.files import fingerprint
from reft.fingerprint import of_code, of_path, of_text
from reft.models.default_model import resolve_model

# Sections that say how a run is carried out, kept and judged, not what its student is.
BESIDE = {"tracking", "gate", "evaluation"}
# The code that decides; how a result is shown, compared or handed on does not.
CODE = ("config", "conversations", "distillation", "filtering", "models", "refusal", "teacher", "validation")
WORDS = {
    "user_data": "the user's rows",
    "base_model": "the base model",
    "alignment_data": "the alignment or calibration rows",
    "configuration": "the configuration",
    "code": "the code or its libraries",
}


def lineage(settings: Settings) -> dict[str, str]:
    """A digest of each thing that decides about the student."""
    data = settings.data
    teaching = [data.alignment_harmful, data.alignment_harmless, data.calibration_harmful, data.calibration_harmless]
    bases = dict.fromkeys([settings.model.name, settings.model.aligned or settings.model.name])
    return {
        "user_data": fingerprint(data.user),
        "base_model": of_text(*(of_path(resolve_model(name)) for name in bases)),
        "alignment_data": of_text(*map(of_path, teaching)),
        "configuration": of_text(settings.model_dump_json(exclude=BESIDE)),
        "code": of_code(*CODE),
    }


def changed(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What is not as it was, in words."""
    return [words for name, words in WORDS.items() if before.get(name) != now[name]]
