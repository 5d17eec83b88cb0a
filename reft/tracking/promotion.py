"""Moving a version's aliases in the MLflow registry: one at a time, checked, written down first.

The log is part of the registry itself (tags of the registered model), so that it is the same for everybody who uses
the same server.
"""

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import mlflow
from mlflow.entities.model_registry import ModelVersion, RegisteredModel
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from reft.errors import PromotionError, explain
from reft.promotion.audit_log import BEGINNING, Entry, tampered, verify
from reft.storage.artifacts import scratch
from reft.tracking.lock import Claim, alone
from reft.tracking.server import MISSING, asking
from reft.tracking.version_files import require_files

CANDIDATE, CHALLENGER, CHAMPION = ALIASES = ("candidate", "challenger", "champion")
LOG = "reft.audit."
SAY = logging.getLogger(__name__)
FILES, PASSED, JUDGED = "reft.storage.files", "reft.gate_passed", "reft.judged_against"
NOBODY = "none"  # of JUDGED, where nothing served
Reason = tuple[str, str]  # what stands against a promotion, and the remedy


def digest_of_files(folder: Path) -> str:
    """SHA-256 over the names and contents of all files of a folder."""
    digest = hashlib.sha256()
    for file in sorted(f for f in folder.rglob("*") if f.is_file()):
        with file.open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()
        digest.update(f"{file.relative_to(folder).as_posix()}\0{content}\n".encode())
    return digest.hexdigest()


@asking("promote")
def promote(
    name: str, to: str, by: str, *, reason: str = "", version: str | None = None, force: bool = False
) -> tuple[Entry | None, str]:
    """Let an alias point to a version; returns the log's new entry (None: it was so already) and the version.

    Args:
        to: "challenger" or "champion".
        version: which one; None: the one that the alias a step below points to.
        force: overrule a gate that was not passed, or not against what serves now; needs a reason.

    Raises:
        PromotionError: no such model or version, the gate was not passed or knew another champion, the files are gone
            or not those that were registered, or somebody else is promoting.
        RegistryError: the server does not answer, or does not allow it.
        StorageError: the audit log was tampered with.
    """
    if to not in ALIASES[1:]:
        raise PromotionError(explain(f"{to!r} is no place to promote to", name, "use challenger or champion"))
    client = MlflowClient()
    given = {"--to": to, "--version": version or "", "--by": by, "--reason": reason}
    claim = Claim(
        by, f"promoting {f'version {version}' if version else 'a version'} to {to}", _words(name, given, force)
    )
    with alone(client, name, claim) as still_held:
        model = _model(client, name)
        found = _version(client, model, version or _below(model, to))
        if str(model.aliases.get(to, "")) == str(found.version):
            return None, str(found.version)
        log, passed = _log(client, model), found.tags.get(PASSED) == "true"
        against = _against(found, log, to=to, serving=str(model.aliases.get(CHAMPION, "")))
        if against and not (force and reason.strip()):
            what, remedy = against
            raise PromotionError(explain(what, f"{name} version {found.version}", remedy))
        entry = _move(
            client, model, found, log=log, action="promote", alias=to, by=by, reason=reason, passed=passed,
            forced=against is not None, still_held=still_held,
        )  # fmt: skip
        return entry, str(found.version)


def _against(version: ModelVersion, log: Sequence[Entry], *, to: str, serving: str) -> Reason | None:
    """What stands against a promotion: the gate, or that it knew nothing of the version that serves by now.

    What served before may serve again, and versions of earlier releases do not say whom they were held against.
    """
    if version.tags.get(PASSED) != "true":
        remedy = "read its verdict (gate.json beside the model); --force with a --reason overrules it, on record"
        return "it has not passed the gate", remedy
    judged = version.tags.get(JUDGED, serving)
    served = any(entry.alias == CHAMPION and entry.before == str(version.version) for entry in log)
    if to != CHAMPION or not serving or judged == serving or served:
        return None
    whom = "no champion" if judged == NOBODY else f"version {judged}"
    remedy = (
        "run the pipeline again (only the gate is done anew) and promote what it registers; --force with a --reason "
        "overrules it, on record"
    )
    return f"its gate held it against {whom}, and version {serving} serves now", remedy


@asking("rollback")
def rollback(name: str, by: str, reason: str = "") -> tuple[Entry, str]:
    """Let the champion before the present one serve again; returns the log's new entry and the version.

    Raises:
        PromotionError: there was none before, or its files are gone or not those that were registered.
        StorageError: the audit log was tampered with.
    """
    client = MlflowClient()
    command = ("rollback", name, "--by", by, *(("--reason", reason) if reason else ()))
    with alone(client, name, Claim(by, "rolling the champion back", command)) as still_held:
        model = _model(client, name)
        present = str(model.aliases.get(CHAMPION, ""))
        # The last promotion of the present champion tells whom it followed; a rollback is no promotion.
        log = _log(client, model)
        moves = [e for e in log if (e.alias, e.version, e.action) == (CHAMPION, present, "promote")]
        if not moves or not moves[-1].before:
            raise PromotionError(explain("no champion came before", name, "reft history shows what there was"))
        found = _version(client, model, moves[-1].before)
        passed = found.tags.get(PASSED) == "true"
        entry = _move(
            client, model, found, log=log, action="rollback", alias=CHAMPION, by=by, reason=reason, passed=passed,
            forced=False, still_held=still_held,
        )  # fmt: skip
        return entry, str(found.version)


@asking("history")
def history(name: str) -> tuple[list[Entry], dict[str, str]]:
    """The verified log, oldest first, and where the aliases stand.

    Raises:
        PromotionError: no such model.
        StorageError: the log was tampered with.
    """
    client = MlflowClient()
    model = _model(client, name)
    return _log(client, model), {alias: str(version) for alias, version in model.aliases.items()}


def astray(entries: Sequence[Entry], aliases: Mapping[str, str]) -> list[str]:
    """Aliases that are not where the log left them: a command was cut off, or somebody moved them past the log."""
    last = {entry.alias: entry for entry in entries}
    return [
        f"{alias} stands at {aliases.get(alias, 'none')}, but entry {entry.number} moved it to {entry.version}: the "
        "command was cut off (give it again), or somebody moved it by hand, or "
        "deleted that version"
        for alias, entry in sorted(last.items())
        if aliases.get(alias, "") != entry.version
    ]


def _move(
    client: MlflowClient, model: RegisteredModel, version: ModelVersion, *, log: Sequence[Entry], action: str,
    alias: str, by: str, reason: str, passed: bool, forced: bool, still_held: Callable[[], None],
) -> Entry:  # fmt: skip
    """Verify, write down, then move: a kill in between leaves an entry whose move the same command makes good."""
    before = str(model.aliases.get(alias, ""))
    files = _verified_files(version)
    entry = Entry(
        number=len(log) + 1, time=datetime.now(UTC).isoformat(timespec="seconds"), action=action, alias=alias,
        version=str(version.version), before=before, by=by, reason=reason, passed=passed, forced=forced, files=files,
        previous=log[-1].digest if log else BEGINNING,
    )  # fmt: skip
    still_held()  # verifying large files takes its time
    if log and _decision(log[-1]) == _decision(entry):
        entry = log[-1]  # cut off before its move
    else:
        key = f"{LOG}{entry.number:06d}"
        client.set_model_version_tag(model.name, entry.version, key, entry.digest)
        client.set_registered_model_tag(model.name, key, entry.line)
    client.set_registered_model_alias(model.name, alias, str(version.version))
    return entry


def _decision(entry: Entry) -> tuple[str, ...]:
    """Who decided what: another person, or another way to the same version, is another entry."""
    return entry.action, entry.alias, entry.version, entry.before, entry.by, str(entry.forced)


def _verified_files(version: ModelVersion) -> str:
    require_files(version)
    recorded = version.tags.get(FILES, "")
    with scratch("files") as folder:
        here = Path(mlflow.artifacts.download_artifacts(artifact_uri=str(version.source), dst_path=str(folder)))
        actual = digest_of_files(here)
    if actual != recorded:
        where, remedy = f"{version.name} version {version.version}", "do not serve it: register the student again"
        raise PromotionError(explain("its files are not those that were registered", where, remedy))
    return actual


def _log(client: MlflowClient, model: RegisteredModel) -> list[Entry]:
    """The verified entries. The newest one, which no other holds the digest of, is held against its version's tag."""
    where = f"registered model {model.name}"
    entries = verify([value for key, value in sorted(model.tags.items()) if key.startswith(LOG)], where)
    if entries:
        _require_kept(client, entries[-1], model.name)
    return entries


def _require_kept(client: MlflowClient, newest: Entry, name: str) -> None:
    """Hold an entry against its version, which people may delete in MLflow: that must not end all promotion.

    Raises:
        StorageError: the version holds another digest of it.
    """
    try:
        tags = client.get_model_version(name, newest.version).tags
    except MlflowException as error:
        if error.error_code != MISSING:
            raise
        SAY.warning(
            "entry %d of the audit log of %s cannot be held against its version %s, which is gone: if you kept the "
            "newest digest that reft history said, compare it with %s",
            newest.number, name, newest.version, newest.digest,
        )  # fmt: skip
        return
    if tags.get(f"{LOG}{newest.number:06d}") != newest.digest:
        raise tampered(newest.number, f"registered model {name}", "its version holds another digest of it")


def _model(client: MlflowClient, name: str) -> RegisteredModel:
    try:
        return client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != MISSING:
            raise
        remedy = "a run registers it under its tracking.registered_name; MLFLOW_TRACKING_URI names the server"
        raise PromotionError(explain(f"no such registered model ({error.error_code})", name, remedy)) from error


def _below(model: RegisteredModel, to: str) -> str:
    """The version a step below, as candidate, challenger, champion go up."""
    below = ALIASES[ALIASES.index(to) - 1]
    if version := model.aliases.get(below):
        return str(version)
    what = f"no version to promote: none is the {below}"
    if (candidate := model.aliases.get(CANDIDATE)) and below == CHALLENGER:
        remedy = (
            f"promote the candidate (version {candidate}) first with --to challenger, or name it with --version "
            f"{candidate}"
        )
    else:
        remedy = "run the pipeline, which registers a candidate, or name a version with --version"
    raise PromotionError(explain(what, model.name, remedy))


def _words(name: str, given: Mapping[str, str], force: bool) -> tuple[str, ...]:
    """The command that asks for the same promotion."""
    options = [word for option, value in given.items() if value for word in (option, value)]
    return ("promote", name, *options, *(("--force",) if force else ()))


def _version(client: MlflowClient, model: RegisteredModel, version: str) -> ModelVersion:
    try:
        return client.get_model_version(model.name, str(version))
    except MlflowException as error:
        if error.error_code not in (MISSING, "INVALID_PARAMETER_VALUE"):
            raise
        remedy = "see its versions in MLflow"
        raise PromotionError(explain(f"no version {version} ({error.error_code})", model.name, remedy)) from error
