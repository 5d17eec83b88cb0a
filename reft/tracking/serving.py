"""A registered student as an MLflow model: `mlflow models serve` and `mlflow.pyfunc.load_model` take it as it is.

The folder holds what finetuning left and an `MLmodel` file that names this module as its loader: nothing is pickled,
and an adapter's base model is not uploaded but looked up where the model is served, and held against its fingerprint.
"""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.pyfunc import add_to_model
from mlflow.types import ParamSchema, ParamSpec

from reft.config import DEFAULT_MODEL
from reft.conversations.formats import RowError, messages_of
from reft.conversations.schema import Conversation
from reft.errors import ModelError, ReftError, explain
from reft.storage.fingerprint import of_path

BASE = "REFT_BASE_MODEL"
MAX_NEW_TOKENS = 256
# What a request may hold besides its messages or prompt: the rest would be ignored, and who sent it not know.
_LENGTHS = ("max_tokens", "max_completion_tokens")
_KNOWN = {"messages", "prompt", "tools", "functions", "model", *_LENGTHS}


def make_servable(folder: Path) -> None:
    """Write the folder's `MLmodel`."""
    adapter = folder / "adapter_config.json"
    base = json.loads(adapter.read_text(encoding="utf-8"))["base_model_name_or_path"] if adapter.is_file() else None
    lengths = ParamSchema([ParamSpec("max_new_tokens", "long", MAX_NEW_TOKENS)])
    metadata = {"base": base, "base_fingerprint": of_path(base)} if base else None
    model = Model(signature=ModelSignature(params=lengths), metadata=metadata)
    add_to_model(model, loader_module=__name__)
    model.save(str(folder / "MLmodel"))


def _load_pyfunc(path: str) -> "ChatModel":
    """What MLflow calls, by this name, to load the model in a folder."""
    return ChatModel(Path(path))


class ChatModel:
    """A student that answers: greedily, by its own chat template, reading no marker into what a user wrote."""

    def __init__(self, folder: Path) -> None:
        """Load it.

        Raises:
            ModelError: its base is not there, or is not the one that it was finetuned on.
        """
        from reft.models.hardware import choose_hardware
        from reft.models.loading import load_tokenizer, load_trained

        metadata = Model.load(str(folder / "MLmodel")).metadata or {}
        base = _base(metadata) if metadata.get("base") else ""
        self._tokenizer = load_tokenizer(str(folder))
        self._model = load_trained(base, folder, bool(base), dtype=choose_hardware().dtype)

    def predict(self, data: Any, params: Mapping[str, Any] | None = None) -> Any:
        """Answer.

        Args:
            data: rows with a column `messages` (OpenAI's form) or `prompt`, or texts, each a prompt: gives a list of
                answers. Or one request, `{"messages": ...}` or `{"prompt": ...}`: gives `{"choices": [...]}`.
            params: `max_new_tokens`.
        """
        limit = (params or {}).get("max_new_tokens", MAX_NEW_TOKENS)
        if not isinstance(data, Mapping):
            return self._answers(_rows(data), limit)
        if unknown := sorted(set(data) - _KNOWN):
            raise _refused(f"unknown keys {unknown}", "request", f"use {', '.join(sorted(_KNOWN))}; answers are greedy")
        limit = next((data[name] for name in _LENGTHS if data.get(name)), limit)
        (answer,) = self._answers([data], limit)
        if "messages" in data:
            return {"choices": [{"index": 0, "message": {"role": "assistant", "content": answer}}]}
        return {"choices": [{"index": 0, "text": answer}]}

    def _answers(self, rows: Iterable[Mapping[str, Any]], limit: Any) -> list[str]:
        from reft.evaluation.generation import generate

        if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
            raise _refused(f"{limit!r} is no number of tokens", "max_new_tokens", "give a whole number from 1 on")
        conversations = [_conversation(number, row) for number, row in enumerate(rows)]
        try:
            return generate(self._model, self._tokenizer, conversations, max_new_tokens=limit)
        except ReftError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error


def _base(metadata: Mapping[str, str]) -> str:
    """Where the base model lies on this machine: where the environment says, or under the name it had in training."""
    from reft.models.default_model import resolve_model

    name, given = metadata["base"], os.environ.get(BASE)
    if not given and Path(name).name == DEFAULT_MODEL:
        given = DEFAULT_MODEL  # another user's cache folder
    base, fingerprint = resolve_model(given or name), metadata["base_fingerprint"]
    if not fingerprint.startswith("name:") and of_path(base) != fingerprint:
        what = "the base model is not there" if of_path(base).startswith("name:") else "this is another base model"
        raise ModelError(explain(what, base, f"let {BASE} name a folder with a copy of {name}"))
    return base


def _rows(data: Any) -> list[Mapping[str, Any]]:
    """A data frame's rows, or each text as a row of its own."""
    if hasattr(data, "to_dict") and hasattr(data, "columns"):
        return data.to_dict("records")
    return [{"prompt": text} for text in (data.tolist() if hasattr(data, "tolist") else data)]


def _conversation(number: int, row: Mapping[str, Any]) -> Conversation:
    where = f"row {number}"
    if "messages" not in row and not isinstance(row.get("prompt"), str):
        raise _refused("neither 'messages' nor a text 'prompt'", where, "give one of the two")
    asked = dict(row) if "messages" in row else {"messages": [{"role": "user", "content": row["prompt"]}]}
    try:
        messages = messages_of({key: asked[key] for key in ("messages", "tools", "functions") if key in asked})
    except RowError as error:
        raise _refused(error.code, f"{where}, {error.field}", error.remedy) from error
    if messages[-1].role == "assistant":
        raise _refused("the last message is the assistant's", where, "end with what is to be answered")
    return Conversation(row=number, messages=messages)


def _refused(what: str, where: str, remedy: str) -> MlflowException:
    """MLflow's own error, which its server answers with status 400 and these words instead of a traceback."""
    return MlflowException.invalid_parameter_value(explain(what, where, remedy))
