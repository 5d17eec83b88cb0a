"""What answers in an HTTP process: its own models, or vLLM. All of it can be lost: nothing here is state."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reft.conversations.schema import Conversation
from reft.service.errors import ApiError
from reft.service.service import Service
from reft.service.serving.folders import folder_of
from reft.service.serving.moderation import Moderator, Verdict
from reft.service.serving.requests import Ask
from reft.service.serving.worker import Begun, Turn, Worker

if TYPE_CHECKING:
    from reft.service.serving.vllm import Front
    from reft.service.serving.weights import Residents, Source


@dataclass(frozen=True)
class Wanted:
    """A model that the caller may use: its name, its base's public name, and the key of its files (empty: the base)."""

    name: str
    base: str
    folder: str = ""


class Engine:
    """Made with the app; loads nothing before it is asked."""

    def __init__(self, service: Service) -> None:
        self._service, self._limits = service, service.chat_limits
        self.worker = Worker(self._limits.requests)
        self._moderator = Moderator(service)
        self.residents: Residents | None = None
        self.front: Front | None = None

    def answer(self, wanted: Wanted, ask: Ask) -> AsyncGenerator[Any]:
        """`Begun`, pieces of the answer, `Ended`.

        Raises:
            ApiError: the request is too long, there is no room, or the model cannot answer.
        """
        if not self._service.settings.vllm:
            return self._news(partial(self._speak, wanted, ask), bounded=True)
        if self.front is None:
            from reft.service.serving.vllm import Front

            self.front = Front(self._service)
        return self.front.answer(wanted, ask)

    async def verdicts(self, rows: Sequence[Conversation], *, bounded: bool = True) -> list[Verdict]:
        """What the refusal feature says of each row.

        Raises:
            ApiError: there is no teacher, no room, or a text is too long.
        """
        found: list[Verdict] = []

        def moderate(turn: Turn) -> None:
            turn.tell(self._moderator.verdicts(rows))

        async with aclosing(self._news(moderate, bounded=bounded)) as news:
            async for told in news:
                found = told
        return found

    def close(self) -> None:
        """Stop answering."""
        self.worker.close()
        if self.front is not None:
            self.front.close()

    async def _news(self, work: Callable[[Turn], None], *, bounded: bool) -> AsyncGenerator[Any]:
        turn = self.worker.take(work, self._limits.seconds, bounded=bounded)
        async with aclosing(turn.news()) as news:
            async for item in news:
                yield item

    def _speak(self, wanted: Wanted, ask: Ask, turn: Turn) -> None:
        from reft.models.layers import positions_of
        from reft.models.memory import return_freed_memory
        from reft.service.serving.generation import speak
        from reft.service.serving.prompts import prompt_of

        try:
            with self._loaded().speaking(self._source(wanted)) as (model, tokenizer):
                positions = positions_of(model.config)
                longest = self._service.longest_prompt
                prompt = prompt_of(ask, tokenizer, longest=longest, positions=positions, limits=self._limits)
                turn.tell(Begun(len(prompt.ids)))
                speak(model, tokenizer, prompt=prompt, ask=ask, turn=turn)
        finally:
            return_freed_memory()

    def _loaded(self) -> "Residents":
        from reft.service.serving.weights import Residents

        if self.residents is None:
            settings = self._service.settings
            self.residents = Residents(
                self._service.run_settings.model,
                models=settings.models_in_memory,
                adapters=settings.adapters_in_memory,
            )
        return self.residents

    def _source(self, wanted: Wanted) -> "Source":
        from reft.service.serving.weights import Source

        base = self._service.models.get(wanted.base)
        if base is None:
            raise ApiError(503, f"The base model {wanted.base} is not served any more.", code="model_unavailable")
        folder: Path | None = folder_of(self._service, wanted.folder) if wanted.folder else None
        return Source(base, folder)
