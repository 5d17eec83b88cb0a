"""A registered student as an MLflow model: `mlflow models serve` and `mlflow.pyfunc.load_model` take it as it is.

The folder holds what finetuning left and an `MLmodel` file that names this module as its loader: nothing is pickled,
and an adapter's base model is not uploaded but looked up where the model is served, and held against its fingerprint.
What a request may ask for is bounded (`reft.tracking.limits`), before and while it is answered (`reft.tracking.guard`).
"""

import json
import os
import threading
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.pyfunc import add_to_model
from mlflow.types import ParamSchema, ParamSpec

from reft.config import DEFAULT_MODEL
from reft.config.serving import NEW_TOKENS, Limits, variable
from reft.conversations.formats import RowError, messages_of
from reft.conversations.schema import Conversation
from reft.errors import ModelError, ReftError, explain
from reft.moved import keep_old_names
from reft.storage.fingerprint import of_path
from reft.tracking.guard import current, stand_before_mlflows_server
from reft.tracking.limits import over, refused

BASE = "REFT_BASE_MODEL"
# What a request may hold besides its messages or prompt: the rest would be ignored, and who sent it not know.
_LENGTHS = ("max_tokens", "max_completion_tokens")
_KNOWN = {"messages", "prompt", "tools", "functions", "model", *_LENGTHS}


def make_servable(folder: Path, max_length: int | None = None) -> None:
    """Write the folder's `MLmodel`.

    Args:
        max_length: tokens of the longest row that it was trained on: no longer prompt is answered unless the server's
            environment says so. None: as long as the model has positions.
    """
    adapter = folder / "adapter_config.json"
    base = json.loads(adapter.read_text(encoding="utf-8"))["base_model_name_or_path"] if adapter.is_file() else None
    lengths = ParamSchema([ParamSpec("max_new_tokens", "long", NEW_TOKENS)])
    metadata = {"base": base, "base_fingerprint": of_path(base)} if base else {}
    if max_length:
        metadata["max_length"] = max_length
    model = Model(signature=ModelSignature(params=lengths), metadata=metadata or None)
    add_to_model(model, loader_module=__name__)
    model.save(str(folder / "MLmodel"))


def _load_pyfunc(path: str) -> "ChatModel":
    """What MLflow calls, by this name, to load the model in a folder."""
    limits = Limits.from_environment()
    stand_before_mlflows_server(limits)
    return ChatModel(Path(path), limits)


class ChatModel:
    """A student that answers: greedily, by its own chat template, reading no marker into what a user wrote."""

    def __init__(self, folder: Path, limits: Limits | None = None) -> None:
        """Load it.

        Args:
            limits: None: those of the environment.

        Raises:
            ConfigurationError: the environment sets a limit that is none.
            ModelError: its base is not there, or is not the one that it was finetuned on.
        """
        from reft.conversations.tokenization import longest_token
        from reft.models.hardware import choose_hardware
        from reft.models.layers import positions_of
        from reft.models.loading import load_tokenizer, load_trained

        metadata = Model.load(str(folder / "MLmodel")).metadata or {}
        base = _base(metadata) if metadata.get("base") else ""
        self._tokenizer = load_tokenizer(str(folder))
        self._model = load_trained(base, folder, bool(base), dtype=choose_hardware().dtype)
        self._limits, self._turn = limits or Limits.from_environment(), threading.Lock()
        self._positions = positions_of(self._model.config)
        self._longest = self._limits.prompt_tokens or metadata.get("max_length") or self._positions
        self._token = longest_token(self._tokenizer)

    def predict(self, data: Any, params: Mapping[str, Any] | None = None) -> Any:
        """Answer.

        Args:
            data: rows with a column `messages` (OpenAI's form) or `prompt`, or texts, each a prompt: gives a list of
                answers. Or one request, `{"messages": ...}` or `{"prompt": ...}`: gives `{"choices": [...]}`.
            params: `max_new_tokens`.

        Raises:
            MlflowException: a wrong request, or one that asks for more than the limits (status 400); one that is
                wanted no more, or out of time, stops where it is (503, 504).
        """
        limit = (params or {}).get("max_new_tokens", NEW_TOKENS)
        if not isinstance(data, Mapping):
            return self._answers(_rows(data), limit)
        if unknown := sorted(set(data) - _KNOWN):
            raise refused(f"unknown keys {unknown}", "request", f"use {', '.join(sorted(_KNOWN))}; answers are greedy")
        limit = next((data[name] for name in _LENGTHS if data.get(name) is not None), limit)
        (answer,) = self._answers([data], limit)
        if "messages" in data:
            return {"choices": [{"index": 0, "message": {"role": "assistant", "content": answer}}]}
        return {"choices": [{"index": 0, "text": answer}]}

    def _answers(self, rows: Iterable[Mapping[str, Any]], limit: Any) -> list[str]:
        from reft.conversations.tokenization import encode_prompts
        from reft.evaluation.generation import answers_to
        from reft.models.memory import return_freed_memory

        if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
            raise refused(f"{limit!r} is no number of tokens", "max_new_tokens", "give a whole number from 1 on")
        if limit > self._limits.new_tokens:
            raise over(f"{limit} tokens of an answer", "max_new_tokens", "new_tokens", limit=self._limits.new_tokens)
        request, rows = current.get(), list(rows)
        if request and len(rows) > self._limits.rows:
            raise over(f"{len(rows)} rows", "request", "rows", limit=self._limits.rows)
        conversations = [_conversation(number, row) for number, row in enumerate(rows)]
        for conversation in conversations:
            self._check_size(conversation)
        with self._in_turn():
            try:
                encoded = encode_prompts(self._tokenizer, conversations)
                self._check_tokens([len(row) for row in encoded], limit)
                answers = answers_to(
                    self._model, self._tokenizer, encoded, max_new_tokens=limit,
                    stopped=(lambda: request.stopped) if request else None,
                )  # fmt: skip
                if request:
                    request.check()
                return answers
            except ReftError as error:
                raise MlflowException.invalid_parameter_value(str(error)) from error
            finally:
                return_freed_memory()

    @contextmanager
    def _in_turn(self) -> Generator[None]:
        """One request at a time is worked on; one that is wanted no more waits no longer."""
        request = current.get()
        while not self._turn.acquire(timeout=0.1 if request else -1):
            if request:
                request.check()
        try:
            if request:
                request.check()
            yield
        finally:
            self._turn.release()

    def _check_size(self, conversation: Conversation) -> None:
        """Refuse what cannot but be too long before it is made tokens: that takes seconds for a megabyte."""
        from reft.conversations.tokenization import fewest_tokens

        least = fewest_tokens(conversation, self._token)
        if self._longest and least > self._longest:
            raise self._too_long(f"at least {least} tokens", conversation.row)

    def _check_tokens(self, lengths: Sequence[int], limit: int) -> None:
        for number, length in enumerate(lengths):
            if self._longest and length > self._longest:
                raise self._too_long(f"{length} tokens", number)
            if self._positions and length + limit > self._positions:
                what = f"{length} tokens and {limit} of an answer, more than the model's {self._positions} positions"
                raise refused(what, f"row {number}", "shorten the prompt, or ask for less with max_tokens")

    def _too_long(self, tokens: str, number: int) -> MlflowException:
        remedy = f"shorten it, or set {variable('prompt_tokens')} (the model has {self._positions} positions)"
        return refused(f"{tokens}, more than the limit of {self._longest}", f"row {number}", remedy)


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
    texts = data.tolist() if hasattr(data, "tolist") else data
    return [{"prompt": text} for text in ([texts] if isinstance(texts, str) else texts)]


def _conversation(number: int, row: Mapping[str, Any]) -> Conversation:
    where = f"row {number}"
    if "messages" not in row and not isinstance(row.get("prompt"), str):
        raise refused("neither 'messages' nor a text 'prompt'", where, "give one of the two")
    asked = dict(row) if "messages" in row else {"messages": [{"role": "user", "content": row["prompt"]}]}
    try:
        messages = messages_of({key: asked[key] for key in ("messages", "tools", "functions") if key in asked})
    except RowError as error:
        raise refused(error.code, f"{where}, {error.field}", error.remedy) from error
    if messages[-1].role == "assistant":
        raise refused("the last message is the assistant's", where, "end with what is to be answered")
    return Conversation(row=number, messages=messages)


keep_old_names(__name__)
