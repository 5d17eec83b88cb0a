"""A front for vLLM: it makes the tokens, we make the prompt.

The prompt goes there as token numbers, since vLLM's own chat route reads markers of the template out of what a user
wrote. Which adapters vLLM knows is not kept here: a model that it does not know (any more, after its restart) is
registered, and asked once more.
"""

import json
import threading
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx2
from anyio import to_thread
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
from reft.service.serving.worker import RETRY_AFTER, Begun, Ended, Said

CONNECT = 5.0


class Front:
    """The way to one vLLM server, which serves the base models under their public names and takes adapters."""

    def __init__(self, service: Service) -> None:
        self._service, self._limits = service, service.chat_limits
        self._bases: dict[str, tuple[PreTrainedTokenizerBase, int | None]] = {}
        self._lock = threading.Lock()  # a fast tokenizer serves one thread at a time

    async def answer(self, wanted: Wanted, ask: Ask) -> AsyncGenerator[Any]:
        """`Begun`, pieces of the answer, `Ended`.

        Raises:
            ApiError: the request is too long, or vLLM does not answer, or not so.
        """
        prompt, ends = await to_thread.run_sync(self._prompt, wanted, ask)
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
        folder = await to_thread.run_sync(folder_of, self._service, wanted.folder)
        if not (folder / "adapter_config.json").is_file():
            message = "The model has weights of its own, which vLLM cannot load beside its base."
            raise ApiError(503, message, code="model_unavailable", headers=NO_RETRY)
        await client.post("/v1/load_lora_adapter", json={"lora_name": wanted.name, "lora_path": str(folder)})

    def _prompt(self, wanted: Wanted, ask: Ask) -> tuple[Prompt, list[int]]:
        with self._lock:
            tokenizer, positions = self._base(wanted.base)
            if wanted.folder:
                tokenizer = tokenizer_of(Path(folder_of(self._service, wanted.folder)), tokenizer)
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
    return {
        "model": name, "prompt": list(prompt.ids), "max_tokens": prompt.most, "temperature": ask.temperature,
        "top_p": ask.top_p, "stop": list(ask.stops), "stop_token_ids": ends, "skip_special_tokens": True,
        "add_special_tokens": False, "stream": True, "stream_options": {"include_usage": True}, **seed,
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
