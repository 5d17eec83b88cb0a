"""One answer, token by token, by transformers' own `generate`."""

import secrets
from collections.abc import Callable
from typing import Any

import torch
from tokenizers.decoders import DecodeStream
from transformers import GenerationConfig, PreTrainedTokenizerBase, StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer

from reft.evaluation.generation import Stopped, stop_ids
from reft.service.serving.prompts import Prompt
from reft.service.serving.requests import Ask
from reft.service.serving.stops import StopTexts
from reft.service.serving.worker import Ended, Said, Turn


class Teller(BaseStreamer):
    """Makes text of the tokens as they come, and tells it."""

    def __init__(self, tokenizer: Any, stops: StopTexts, *, ends: list[int], say: Callable[[str], None]) -> None:
        self._tokenizer, self._stops, self._ends, self._say = tokenizer.backend_tokenizer, stops, ends, say
        self._decoded = DecodeStream(skip_special_tokens=True)
        self._prompt_seen = False
        self._ids: list[int] = []
        self._made = 0  # characters that the tokens have become so far
        self.tokens, self.ended = 0, False

    def put(self, value: torch.Tensor) -> None:
        """Take the prompt, which comes first, or a token."""
        if not self._prompt_seen:
            self._prompt_seen = True
            return
        for token in value.flatten().tolist():
            self.tokens += 1
            self.ended = token in self._ends
            if not self.ended:
                self._ids.append(token)
                self._add(self._decoded.step(self._tokenizer, token) or "")

    def end(self) -> None:
        """Tell what was held back: the beginning of a stop text that never came, of a character that broke off."""
        self._add(self._tokenizer.decode(self._ids, skip_special_tokens=True)[self._made :])
        self._tell(self._stops.rest())

    def _add(self, text: str) -> None:
        self._made += len(text)
        self._tell(self._stops.feed(text))

    def _tell(self, text: str) -> None:
        if text:
            self._say(text)


@torch.inference_mode()
def speak(model: Any, tokenizer: PreTrainedTokenizerBase, *, prompt: Prompt, ask: Ask, turn: Turn) -> None:
    """Tell the answer.

    Raises:
        ApiError: out of time, or the server ends.
    """
    stops, ends = StopTexts(ask.stops), stop_ids(model, tokenizer)
    teller = Teller(tokenizer, stops, ends=ends, say=lambda text: turn.tell(Said(text)))
    ids = torch.tensor([prompt.ids], device=model.device)
    # Without a seed of its own, a request after a seeded one would get what that one left of its chance.
    with torch.random.fork_rng(devices=[model.device] if model.device.type == "cuda" else []):
        torch.manual_seed(secrets.randbits(63) if ask.seed is None else ask.seed)
        model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            generation_config=_sampling(ask, prompt.most, ends, pad=tokenizer.pad_token_id),
            stopping_criteria=StoppingCriteriaList([Stopped(lambda: turn.over or stops.found)]),
            streamer=teller,
        )
    turn.check()
    turn.tell(Ended("stop" if stops.found or teller.ended else "length", teller.tokens))


def _sampling(ask: Ask, most: int, ends: list[int], *, pad: Any) -> GenerationConfig:
    """As asked, and nothing of what the model's own generation configuration would add."""
    chance: dict[str, Any] = {"do_sample": False}
    if ask.temperature > 0:
        # Below this the logits overflow in half precision; it is as good as greedy.
        temperature = max(ask.temperature, 1e-3)
        chance = {"do_sample": True, "temperature": temperature, "top_p": ask.top_p, "top_k": 0}
    return GenerationConfig(
        max_new_tokens=most, eos_token_id=ends, pad_token_id=pad, num_beams=1, repetition_penalty=1.0,
        no_repeat_ngram_size=0, **chance,
    )  # fmt: skip
