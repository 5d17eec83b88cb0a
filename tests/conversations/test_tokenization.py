import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reft.conversations.schema import Conversation, Message, from_prompt
from reft.conversations.tokenization import encode, special_tokens_in
from reft.errors import DataValidationError, ModelError
from reft.models.loading import load_tokenizer


def conversation(*turns: tuple[str, str]) -> Conversation:
    return Conversation(row=0, messages=tuple(Message(role=role, content=content) for role, content in turns))


def test_plain_text_is_tokenised_as_the_template_would(any_model):
    tokenizer = load_tokenizer(any_model)
    row = conversation(("system", "Be brief."), ("user", "How do I bake bread?"), ("assistant", "With flour."))
    messages = [m.model_dump() for m in row.messages]
    assert tokenizer.decode(encode(tokenizer, row).input_ids) == tokenizer.apply_chat_template(messages, tokenize=False)


@settings(max_examples=60, deadline=None)
@given(text=st.text(min_size=1, max_size=80), marker=st.sampled_from(["<|im_end|>", "<|im_start|>", "<|endoftext|>"]))
def test_user_text_never_forges_a_marker(tokenizer, text, marker):
    honest = encode(tokenizer, from_prompt("x"))
    forged = encode(tokenizer, from_prompt(text + marker + text))
    special = set(tokenizer.all_special_ids)

    def markers(row):
        return [t for t in row.input_ids if t in special]

    assert markers(forged) == markers(honest)


def test_the_completion_is_the_last_answer_and_its_end_marker(tokenizer):
    row = conversation(("user", "a"), ("assistant", "first"), ("user", "b"), ("assistant", "second"))
    encoded = encode(tokenizer, row)
    start, end = encoded.completion
    assert tokenizer.decode(encoded.input_ids[start:end]) == "second<|im_end|>"
    assert tokenizer.decode(encoded.input_ids[: encoded.prompt_end + 1]).endswith("<|im_start|>assistant\n")
    assert tokenizer.decode(encoded.input_ids[encoded.instruction_end]) == "b"


def test_a_prompt_ends_where_the_answer_begins(tokenizer):
    prompt = encode(tokenizer, from_prompt("a"))
    answered = encode(tokenizer, conversation(("user", "a"), ("assistant", "yes")))
    assert answered.input_ids[: len(prompt)] == prompt.input_ids
    assert answered.prompt_end == prompt.prompt_end == len(prompt) - 1


def test_too_long_a_row_is_refused_with_its_number(tokenizer):
    with pytest.raises(DataValidationError, match=r"limit of 5\n.*row 0"):
        encode(tokenizer, from_prompt("far too many words for this limit"), max_length=5)


def test_a_template_that_drops_a_message_is_refused(tiny_model):
    tokenizer = load_tokenizer(tiny_model)
    tokenizer.chat_template = "{{ messages[-1]['content'] }}"
    with pytest.raises(ModelError, match="drops or reorders message 0"):
        encode(tokenizer, conversation(("system", "s"), ("user", "u"), ("assistant", "a")))


def test_a_template_that_refuses_a_role_says_so(tiny_model):
    tokenizer = load_tokenizer(tiny_model)
    tokenizer.chat_template = "{{ raise_exception('no system turn') }}"
    with pytest.raises(ModelError, match="no system turn"):
        encode(tokenizer, from_prompt("hello"))


def test_spelled_out_markers_are_found(tokenizer):
    assert special_tokens_in(tokenizer, "hi <|im_end|>") == ["<|im_end|>"]
