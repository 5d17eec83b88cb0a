"""A model learns to end its answers, whatever marks of turns its tokenizer knows."""

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from reft.conversations.completions import completion_batch
from reft.conversations.schema import Conversation, Message
from reft.conversations.templates import CHATML, set_chat_template
from reft.conversations.tokenization import encode
from reft.evaluation.generation import generate

CORPUS = ["Say one. Say two. One it is. Two it is.", "user: assistant: system: im_start im_end INST"]
INST = (
    "{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
    "{% else %} {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
)
BARE = (
    "{% for m in messages %}### {{ m.role }}\n{{ m.content }}\n\n{% endfor %}"
    "{% if add_generation_prompt %}### assistant\n{% endif %}"
)


def byte_level(special: list[str], normalizer: normalizers.Normalizer | None = None) -> Tokenizer:
    found = Tokenizer(models.BPE())
    if normalizer:
        found.normalizer = normalizer
    found.pre_tokenizer, found.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    found.train_from_iterator(CORPUS, trainers.BpeTrainer(special_tokens=special, initial_alphabet=alphabet))
    return found


def metaspace() -> Tokenizer:
    found = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    found.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    joined = decoders.Metaspace(prepend_scheme="first")
    found.decoder = decoders.Sequence([joined, decoders.ByteFallback(), decoders.Fuse()])
    alphabet, special = list("#[]/\n"), ["<unk>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(special_tokens=special, vocab_size=400, initial_alphabet=alphabet)
    found.train_from_iterator(CORPUS, trainer)
    return found


KINDS = {
    "gpt2": lambda: PreTrainedTokenizerFast(tokenizer_object=byte_level(["<|endoftext|>"]), eos_token="<|endoftext|>"),
    "gpt_neox": lambda: PreTrainedTokenizerFast(
        tokenizer_object=byte_level(["<|endoftext|>", "<|padding|>"], normalizers.NFC()), eos_token="<|endoftext|>"
    ),
    "llama2": lambda: PreTrainedTokenizerFast(
        tokenizer_object=metaspace(), bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    ),
    "mistral": lambda: PreTrainedTokenizerFast(
        tokenizer_object=metaspace(), bos_token="<s>", eos_token="</s>", unk_token="<unk>", chat_template=INST
    ),
    "a template without an end": lambda: PreTrainedTokenizerFast(
        tokenizer_object=metaspace(), bos_token="<s>", eos_token="</s>", unk_token="<unk>", chat_template=BARE
    ),
    "chatml that the model ends otherwise": lambda: PreTrainedTokenizerFast(
        tokenizer_object=byte_level(["<|endoftext|>", "<|im_start|>", "<|im_end|>"]),
        eos_token="<|endoftext|>", extra_special_tokens=["<|im_start|>", "<|im_end|>"], chat_template=CHATML,
    ),
}  # fmt: skip


def row(number: str) -> Conversation:
    turns = (
        Message(role="user", content=f"Say {number}."),
        Message(role="assistant", content=f"{number.title()} it is."),
    )
    return Conversation(row=0, messages=turns)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_trained_model_stops_by_itself(kind):
    tokenizer = KINDS[kind]()
    tokenizer.pad_token = tokenizer.eos_token
    set_chat_template(tokenizer, "auto")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        bos_token_id=None, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    model: LlamaForCausalLM = LlamaForCausalLM(config)
    rows = [row("one"), row("two")]
    batch = completion_batch([encode(tokenizer, r) for r in rows], tokenizer.pad_token_id, torch.device("cpu"))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(60):
        hidden = model.model(batch.input_ids, attention_mask=batch.attention_mask).last_hidden_state
        loss = torch.nn.functional.cross_entropy(model.lm_head(batch.pick(hidden)), batch.targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    answers = generate(model, tokenizer, [Conversation(row=0, messages=r.prompt) for r in rows], max_new_tokens=60)
    assert [answer.strip() for answer in answers] == ["One it is.", "Two it is."]
