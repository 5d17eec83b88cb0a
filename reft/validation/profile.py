"""What can be wrong with a run configuration beside its keys: files, models and templates that it names."""

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import get_args

from jinja2 import TemplateSyntaxError
from transformers.utils.chat_template_utils import _compile_jinja_template

from reft import plugins
from reft.config import ModelSettings, Settings
from reft.conversations.formats import column_names
from reft.conversations.templates import TemplateChoice
from reft.errors import ConfigurationError, ModelError, ReftError, parts
from reft.models.default_model import resolve_model
from reft.models.folders import faults_of_folder
from reft.models.tokenizers import try_tokenizer
from reft.storage.files import is_hub_id
from reft.validation.faults import Fault
from reft.validation.validate import prompts_of

FILES = (
    "user", "user_labels", "task_test", "overrides", "alignment_harmful", "alignment_harmless", "calibration_harmful",
    "calibration_harmless", "evaluation_harmful", "evaluation_lookalikes", "evaluation_ordinary",
    "evaluation_fields", "alignment_identities", "audit_benign",
)  # fmt: skip
OPTIONAL = ("user_labels", "task_test", "overrides", "evaluation_fields", "alignment_identities", "audit_benign")
TRAINED_ON = ("user", "alignment_harmful", "alignment_harmless")


def faults_of(settings: Settings) -> list[Fault]:
    """Every fault of settings that are right by themselves; what lies elsewhere (s3://, the hub) is not looked up."""
    return [*missing(settings), *wrong_options(settings), *_leaks(settings)]


def missing(settings: Settings) -> list[Fault]:
    """Files, models and templates that are not there or cannot be used; reads no rows."""
    return [*_files(settings), *_models(settings.model), *_template(settings.model)]


def wrong_options(settings: Settings) -> Iterator[Fault]:
    """What the chosen scorer and the gate's rules do not take: they would say so hours later, when they are loaded."""
    chosen = settings.filtering
    given = [("reft.filtering.scorers", chosen.scorer, chosen.scorer_settings, "filtering.scorer_settings")]
    for rule, options in settings.gate.rule_settings.items():
        given.append(("reft.gate.rules", rule, options, f"gate.rule_settings.{rule}"))
    for package, name, options, where in given:
        try:
            plugins.require_options(package, name, options, where=where)
        except ConfigurationError as error:
            what, setting, remedy = parts(error)
            yield Fault(setting, what, remedy)


def _files(settings: Settings) -> Iterator[Fault]:
    for name in FILES:
        path = getattr(settings.data, name)
        if name == "audit_benign" and not settings.audit.enabled:
            continue  # nothing reads it, and profiles of before do not know it
        if path and not _is_elsewhere(path) and not Path(path).exists():
            remedy = "correct the path (it counts from the folder where the run starts)"
            if name in OPTIONAL:
                remedy += " or set it to null"
            yield Fault(f"data.{name}", f"no such file or folder: {path}", remedy)


def _models(model: ModelSettings) -> Iterator[Fault]:
    for setting, name in (("model.name", model.name), ("model.aligned", model.aligned)):
        if not name:
            continue
        try:
            folder = Path(resolve_model(name)).expanduser()
        except ModelError:
            yield Fault(setting, "the default model is not there yet", "run: reft fetch-model")
            continue
        if folder.is_dir():
            yield from (Fault(setting, what, remedy) for what, remedy in faults_of_folder(folder))
        elif folder.exists():
            yield Fault(setting, f"a file where a model's folder is wanted: {name}", "name the folder it lies in")
        elif name.startswith((".", "/", "~")) or name.count("/") > 1:  # anything else may be a hub id
            yield Fault(setting, f"no such model folder: {name}", "correct the path")


def _template(model: ModelSettings) -> Iterator[Fault]:
    choice = model.chat_template
    if choice in get_args(TemplateChoice):
        yield from _tokenizers(model)
        return
    if not Path(choice).is_file():
        remedy = f"name {', '.join(get_args(TemplateChoice))} or an existing Jinja file"
        yield Fault("model.chat_template", f"no such chat template: {choice}", remedy)
        return
    try:
        # transformers' own compiler: it knows tags, such as {% generation %}, that plain Jinja refuses.
        _compile_jinja_template(Path(choice).read_text(encoding="utf-8"))
    except TemplateSyntaxError as error:
        what = f"{choice}, line {error.lineno}, is not Jinja: {error.message}"
        yield Fault("model.chat_template", what, "mend the template")
    except (OSError, UnicodeDecodeError) as error:
        why = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror
        yield Fault("model.chat_template", f"{choice} cannot be read: {why}", "write it as UTF-8 text")


def _tokenizers(model: ModelSettings) -> Iterator[Fault]:
    """Of models that lie here: whether they can be spoken to by the named template."""
    for setting, name in (("model.name", model.name), ("model.aligned", model.aligned)):
        try:
            folder = Path(resolve_model(name)).expanduser() if name else None
        except ModelError:
            continue  # the default model, not fetched: said already
        if folder is None or not (folder / "tokenizer.json").is_file():
            continue
        try:
            try_tokenizer(folder, model.chat_template, model.trust_remote_code)
        except ModelError as error:
            what, where, remedy = parts(error)
            blamed = "model.chat_template" if "model.chat_template" in where else setting
            yield Fault(blamed, f"{what} ({folder})", remedy)


def _leaks(settings: Settings) -> Iterator[Fault]:
    """Rows that are both learnt and tested: the accuracy would be that of an exam whose questions were known."""
    tested = yield from _prompts(settings, "task_test")
    for name in TRAINED_ON if tested else ():
        trained = yield from _prompts(settings, name)
        if shared := len(tested & trained):
            what = f"shares {shared} of its {len(tested)} prompts with data.{name} ({getattr(settings.data, name)})"
            yield Fault("data.task_test", what, "take those rows out of one of the two")


def _prompts(settings: Settings, name: str) -> Generator[Fault, None, frozenset[int]]:
    path = getattr(settings.data, name)
    if not path or _is_elsewhere(path) or not Path(path).exists():
        return frozenset()
    try:
        columns = column_names(settings.data.columns) if name == "user" else None
        return prompts_of(Path(path), columns, limits=settings.validation)
    except ReftError as error:
        what, _, remedy = parts(error)
        yield Fault(f"data.{name}", f"{what} ({path})", remedy or "mend the file")
        return frozenset()


def _is_elsewhere(path: str) -> bool:
    return "://" in path or is_hub_id(path)
