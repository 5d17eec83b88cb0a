"""What requests for answers and for moderation bring."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import Field

from reft.service.bodies import Body, Str
from reft.service.errors import invalid

# What OpenAI's protocol has and nothing here would heed, with the values that ask for nothing.
NOTHING: dict[str, tuple[Any, ...]] = {
    "audio": (), "frequency_penalty": (0,), "function_call": ("none", "auto"), "functions": ([],), "logit_bias": ({},),
    "logprobs": (False,), "modalities": (["text"],), "n": (1,), "prediction": (), "presence_penalty": (0,),
    "reasoning_effort": ("none",), "response_format": ({"type": "text"},), "service_tier": ("auto", "default"),
    "store": (False,), "tool_choice": ("none", "auto"), "tools": ([],), "top_logprobs": (0,),
    "verbosity": ("medium",), "web_search_options": (),
}  # fmt: skip
Stop = Annotated[Str, Field(min_length=1, max_length=1000)]
Name = Annotated[Str, Field(min_length=1, max_length=512)]
Tokens = Annotated[int, Field(ge=1, le=2**31, strict=True)]


class StreamOptions(Body):
    """How a stream looks; there is no obfuscation to leave out."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class Policy(Body):
    """What a flagged text leads to: a score alone, or no answer."""

    mode: Literal["score", "block"]


class Policies(Body):
    """One for what is asked, one for what is answered."""

    input: Policy | None = None
    output: Policy | None = None


class Moderated(Body):
    """A wish for moderation; whatever model it names, the refusal feature scores."""

    model: Name
    policy: Policies | None = None

    def blocks(self, what: Literal["input", "output"]) -> bool:
        """Whether a flagged text is held back."""
        policy = getattr(self.policy, what) if self.policy else None
        return policy is not None and policy.mode == "block"


class ChatCreate(Body):
    """A request for an answer; fields of type Any are refused by `refuse_unsupported`, unless they ask for nothing."""

    model: Name
    messages: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=4096)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=4)] | None = None
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63, strict=True)] | None = None
    moderation: Moderated | None = None
    # What concerns OpenAI's own bookkeeping is taken and left.
    user: Any = None
    safety_identifier: Any = None
    metadata: Any = None
    prompt_cache_key: Any = None
    prompt_cache_retention: Any = None
    parallel_tool_calls: Any = None
    audio: Any = None
    frequency_penalty: Any = None
    function_call: Any = None
    functions: Any = None
    logit_bias: Any = None
    logprobs: Any = None
    modalities: Any = None
    n: Any = None
    prediction: Any = None
    presence_penalty: Any = None
    reasoning_effort: Any = None
    response_format: Any = None
    service_tier: Any = None
    store: Any = None
    tool_choice: Any = None
    tools: Any = None
    top_logprobs: Any = None
    verbosity: Any = None
    web_search_options: Any = None

    @property
    def stops(self) -> tuple[str, ...]:
        """The texts that end the answer."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    def refuse_unsupported(self) -> None:
        """Nothing that was asked for is silently left out.

        Raises:
            ApiError: 400, with the field in `param`.
        """
        for name, allowed in NOTHING.items():
            value = getattr(self, name)
            if value is not None and value not in allowed:
                fine = f" (allowed: {', '.join(map(repr, allowed))})" if allowed else ""
                raise invalid(f"'{name}' is not supported by this server{fine}.", name, "unsupported_parameter")
        if self.stream_options and not self.stream:
            raise invalid("'stream_options' goes with 'stream': true.", "stream_options")


class ModerationCreate(Body):
    """Texts to score."""

    input: Str | list[Any]
    model: Name | None = None

    def texts(self) -> list[str]:
        """One text for each result; a list of parts is one text, as with OpenAI.

        Raises:
            ApiError: there is none, or something that is no text.
        """
        if isinstance(self.input, str):
            return [self.input]
        if not self.input:
            raise invalid("'input' is an empty list.", "input")
        if all(isinstance(item, str) for item in self.input):
            return [*self.input]
        return ["\n".join(_parts(self.input))]


def _parts(items: Iterable[Any]) -> Iterable[str]:
    for index, item in enumerate(items):
        if not isinstance(item, dict) or item.get("type") != "text" or not isinstance(item.get("text"), str):
            raise invalid("Only text is moderated: give texts, or parts of type 'text'.", f"input.{index}")
        yield item["text"]
