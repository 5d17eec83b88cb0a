"""A front for vLLM: it makes the tokens, we make the prompt.

The prompt goes there as token numbers, since vLLM's own chat route reads markers of the template out of what a user
wrote. Which adapters vLLM knows is not kept here: a model that it does not know (any more, after its restart) is
registered, and asked once more.

What takes long before vLLM is asked has threads of its own: those of the process answer every other request, too.
"""

import asyncio
import json
import threading
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from functools import lru_cache
from pathlib import Path
from typing import Any

import httpx2
from transformers import AutoConfig, PreTrainedTokenizerBase

from reft.conversations.tokenization import stop_tokens
from reft.models.default_model import resolve_model
from reft.models.layers import positions_of
from reft.models.loading import load_tokenizer
from reft.service.errors import NO_RETRY, ApiError
from reft.service.service import Service
from reft.service.serving.engine import Wanted
from reft.service.serving.folders import folder_of
from reft.service.serving.prompts import Prompt, prompt_of
from reft.service.serving.requests import Ask
from reft.service.serving.weights import tokenizer_of
from reft.service.serving.worker import RETRY_AFTER, Begun, Ended, Said, Turn, no_room, told, too_late

CONNECT = 5.0


class Front:
    """The way to one vLLM server, which serves the base models under their public names and takes adapters."""

    def __init__(self, service: Service) -> None:
        self._service, self._limits = service, service.chat_limits
        self.there = 0  # how many requests are being answered
        self._closing = threading.Event()
        self._tokenizing = ThreadPoolExecutor(1, "tokenizing")  # a fast tokenizer serves one thread at a time
        self._fetching = ThreadPoolExecutor(self._limits.requests, "fetching")
        self._coming: dict[str, asyncio.Future[Path]] = {}
        self._bases: dict[str, tuple[PreTrainedTokenizerBase, int | None]] = {}
        self._tokenizer_of = lru_cache(service.settings.adapters_in_memory)(tokenizer_of)

    async def answer(self, wanted: Wanted, ask: Ask) -> AsyncGenerator[Any]:
        """`Begun`, pieces of the answer, `Ended`.

        Raises:
            ApiError: the request is too long, there is no room or no time, or vLLM does not answer, or not so.
        """
        if self.there >= self._limits.requests:
            raise no_room(self.there)
        turn = Turn(self._limits.seconds, self._closing)
        # A task of its own: whoever reads his answer slowly, or not at all, keeps no place.
        work = asyncio.create_task(self._work(turn, wanted, ask))
        self.there += 1
        work.add_done_callback(self._leave)
        try:
            async with aclosing(turn.news()) as news:
                async for item in news:
                    yield item
        finally:
            work.cancel()

    def close(self) -> None:
        """Begin nothing more."""
        self._closing.set()
        for threads in (self._tokenizing, self._fetching):
            threads.shutdown(wait=False, cancel_futures=True)

    def _leave(self, _: asyncio.Task[None]) -> None:
        self.there -= 1

    async def _work(self, turn: Turn, wanted: Wanted, ask: Ask) -> None:
        try:
            async with asyncio.timeout(self._limits.seconds):
                async for news in self._asked(wanted, ask):
                    turn.tell(news)
        except TimeoutError:
            turn.tell(too_late(self._limits.seconds))
        except Exception as error:
            turn.tell(told(error))
        finally:
            turn.tell(None)

    async def _asked(self, wanted: Wanted, ask: Ask) -> AsyncGenerator[Any]:
        folder = await self._folder(wanted.folder) if wanted.folder else None
        loop = asyncio.get_running_loop()
        prompt, ends = await loop.run_in_executor(self._tokenizing, self._prompt, wanted.base, folder, ask)
        sent = _body(wanted.name, prompt, ask, ends=ends)
        timeout = httpx2.Timeout(self._limits.seconds, connect=CONNECT)
        try:
            async with httpx2.AsyncClient(base_url=self._service.settings.vllm, timeout=timeout) as client:
                for again in (False, True):
                    async with client.stream("POST", "/v1/completions", json=sent) as answer:
                        if answer.status_code == 404 and wanted.folder and not again:
                            await self._register(client, wanted)
                            continue
                        if answer.status_code != 200:
                            raise _refused(answer.status_code)
                        yield Begun(len(prompt.ids))
                        async for news in _news(answer):
                            yield news
                    return
        except httpx2.TimeoutException as error:
            raise ApiError(504, "The model's server took too long.", code="timeout", headers=NO_RETRY) from error
        except (httpx2.HTTPError, ValueError, LookupError, TypeError) as error:
            message = "The model's server cannot be reached, or broke off."
            raise ApiError(503, message, code="model_unavailable", headers=RETRY_AFTER) from error

    async def _register(self, client: httpx2.AsyncClient, wanted: Wanted) -> None:
        """Tell vLLM where the adapter lies. What it says to that shows when the model is asked again."""
        folder = await self._folder(wanted.folder)
        if not (folder / "adapter_config.json").is_file():
            message = "The model has weights of its own, which vLLM cannot load beside its base."
            raise ApiError(503, message, code="model_unavailable", headers=NO_RETRY)
        await client.post("/v1/load_lora_adapter", json={"lora_name": wanted.name, "lora_path": str(folder)})

    async def _folder(self, key: str) -> Path:
        """Where the adapter lies; fetched once for all who wait for it, and on where one of them goes away."""
        if key not in self._coming:
            loop = asyncio.get_running_loop()
            self._coming[key] = loop.run_in_executor(self._fetching, folder_of, self._service, key)
            self._coming[key].add_done_callback(lambda _: self._coming.pop(key))
        return await asyncio.shield(self._coming[key])

    def _prompt(self, base: str, folder: Path | None, ask: Ask) -> tuple[Prompt, list[int]]:
        tokenizer, positions = self._base(base)
        if folder:
            tokenizer = self._tokenizer_of(folder, tokenizer)
        longest = self._service.longest_prompt
        prompt = prompt_of(ask, tokenizer, longest=longest, positions=positions, limits=self._limits)
        return prompt, stop_tokens(tokenizer, None)

    def _base(self, name: str) -> tuple[PreTrainedTokenizerBase, int | None]:
        if name not in self._bases:
            settings, where = self._service.run_settings.model, resolve_model(self._service.models[name])
            tokenizer = load_tokenizer(where, settings.chat_template, settings.trust_remote_code)
            config = AutoConfig.from_pretrained(where, trust_remote_code=settings.trust_remote_code)
            self._bases[name] = tokenizer, positions_of(config)
        return self._bases[name]


def _body(name: str, prompt: Prompt, ask: Ask, *, ends: list[int]) -> dict[str, Any]:
    seed = {} if ask.seed is None else {"seed": ask.seed}
    # What is not said vLLM takes from the model's own generation configuration, of which this process takes nothing,
    # either. -1 is all tokens to every vLLM; 0 to newer ones alone.
    plain = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
    return {
        "model": name, "prompt": list(prompt.ids), "max_tokens": prompt.most, "temperature": ask.temperature,
        "top_p": ask.top_p, "stop": list(ask.stops), "stop_token_ids": ends, "skip_special_tokens": True,
        "add_special_tokens": False, "stream": True, "stream_options": {"include_usage": True}, **plain, **seed,
    }  # fmt: skip


async def _news(answer: httpx2.Response) -> AsyncGenerator[Any]:
    reason, tokens = None, 0
    async for line in answer.aiter_lines():
        if not line.startswith("data:") or (text := line[5:].strip()) == "[DONE]":
            continue
        piece = json.loads(text)
        if "error" in piece:
            raise ValueError(piece["error"])
        for choice in piece["choices"]:
            if choice["text"]:
                yield Said(choice["text"])
            reason = choice.get("finish_reason") or reason
        if piece.get("usage"):
            tokens = piece["usage"]["completion_tokens"]
    if reason is None:
        raise ValueError("the stream ended without a reason")
    yield Ended("length" if reason == "length" else "stop", tokens)


def _refused(status: int) -> ApiError:
    if status == 429 or status >= 500:
        return ApiError(503, "The model's server has no room or failed.", code="server_busy", headers=RETRY_AFTER)
    message = f"The model's server refused the request ({status}); ask the operator."
    return ApiError(503, message, code="model_unavailable", headers=NO_RETRY)
