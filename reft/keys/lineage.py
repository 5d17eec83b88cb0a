"""What a student was made from, as digests: to tell whether another run would make anything else."""

from collections.abc import Callable, Mapping

from reft.config import Settings
from reft.keys.closure import digest_of_code
from reft.keys.stages import IDENTITIES, PROVIDER, SCORER, STAGES, named_files
from reft.models.default_model import resolve_model
from reft.storage.files import fingerprint
from reft.storage.fingerprint import of_path, of_text

# Sections that say how a run is carried out, kept and judged, not what its student is.
APART = {"tracking", "gate", "evaluation", "until", "audit", "cluster"}
# The same of the finetuning's keys.
HOW = {"launcher", "work_folder", "checkpoint_every", "stalled_minutes", "timeout_minutes"}
# The stages that make the student; the others compare and judge it.
MAKING = ("validation", "refusal_feature", "teacher", "soft_labels", "calibration", "filtering", "finetuning")
WORDS = {
    "user_data": "the user's rows",
    "base_model": "the base model",
    "alignment_data": "the alignment or calibration rows",
    "configuration": "the configuration, or a file that it names",
    "code": "the code or its libraries",
}


def lineage(settings: Settings, digest: Callable[[str], str] = of_path) -> dict[str, str]:
    """A digest of each thing that decides about the student.

    Args:
        digest: of a path's content, as `reft.storage.fingerprint.remembered` gives one.
    """
    making = [STAGES[name] for name in MAKING]
    bases = dict.fromkeys([settings.model.name, settings.model.aligned or settings.model.name])
    return {
        "user_data": fingerprint(settings.data.user, digest),
        "base_model": of_text(*(digest(resolve_model(name)) for name in bases)),
        "alignment_data": of_text(
            *(digest(path) for name in (*PROVIDER, IDENTITIES) if (path := getattr(settings.data, name)))
        ),
        "configuration": _configuration(settings),
        "code": of_text(*(digest_of_code(stage.entry, stage.parts(settings)) for stage in making)),
    }


def _configuration(settings: Settings) -> str:
    """What is set, without where files lie; of those that no other digest holds their content."""
    named = named_files(settings, SCORER)
    places = {name for stage in STAGES.values() for name in stage.files}
    values = settings.model_dump_json(
        exclude={
            **dict.fromkeys(APART, True),
            "data": {*places, "task"},
            "model": {"name", "aligned", "chat_template"},
            "filtering": {"scorer_settings": set(named)},
            "finetuning": HOW,
        }
    )
    files = {"chat_template": settings.model.chat_template, "overrides": settings.data.overrides or "", **named}
    return of_text(values, *(f"{name}={of_path(path) if path else ''}" for name, path in files.items()))


def changed(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What is not as it was, in words."""
    return [words for name, words in WORDS.items() if before.get(name) != now[name]]
