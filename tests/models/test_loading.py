import json

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from reft.config import LoraSettings
from reft.conversations.schema import Conversation, Message, from_prompt
from reft.conversations.templates import CHATML, PLAIN
from reft.conversations.tokenization import encode, encode_prompts
from reft.errors import ModelError
from reft.models import hardware
from reft.models.adapters import wrap_lora
from reft.models.default_model import resolve_model
from reft.models.hardware import choose_hardware, cpu_multiplies_bfloat16
from reft.models.layers import decoder_layers, layer_count, run_to_layer
from reft.models.loading import load_model, load_tokenizer
from reft.models.tokenizers import try_tokenizer
from reft.refusal_feature.features import collect_features
from tests.factories import build_model


def test_a_missing_folder_is_not_looked_up_on_a_hub():
    with pytest.raises(ModelError, match="no such model folder"):
        load_model("./nowhere")


def test_a_folder_without_tokenizer_is_refused(tmp_path, tiny_model):
    load_model(tiny_model).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="tokenizer"):
        load_tokenizer(str(tmp_path))


def test_pickled_weights_are_refused(tmp_path, tiny_model):
    model = load_model(tiny_model)
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="pickled"):
        load_model(str(tmp_path))


def test_a_missing_adapter_is_refused(tmp_path, tiny_model):
    with pytest.raises(ModelError, match="adapter_model"):
        load_model(tiny_model, adapter=tmp_path)


def test_chat_templates_by_choice(tmp_path):
    folder = str(build_model(tmp_path / "bare", "llama", chat_template=False))
    assert load_tokenizer(folder, "auto").chat_template == CHATML
    with pytest.raises(ModelError, match="no chat template"):
        load_tokenizer(folder, "own")
    with pytest.raises(ModelError, match="no such chat template"):
        load_tokenizer(folder, str(tmp_path / "missing.jinja"))
    (tmp_path / "mine.jinja").write_text("mine")
    assert load_tokenizer(folder, str(tmp_path / "mine.jinja")).chat_template == "mine"


def test_a_tokenizer_is_tried_as_it_is_loaded(tmp_path):
    folder = build_model(tmp_path / "bare", "llama", chat_template=False)
    try_tokenizer(folder)
    with pytest.raises(ModelError, match="no chat template"):
        try_tokenizer(folder, "own")
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(ModelError, match=r"tokenizer\.json and tokenizer_config\.json"):
        try_tokenizer(folder)


def test_a_tokenizer_with_code_of_its_own_is_not_tried_without_it(tmp_path):
    folder = build_model(tmp_path / "own", "llama")
    described = folder / "tokenizer_config.json"
    own = {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": [None, "own.Own"]}}
    described.write_text(json.dumps(json.loads(described.read_text()) | own))
    (folder / "config.json").write_text('{"model_type": "own"}')
    with pytest.raises(ModelError, match="contains custom code"):
        try_tokenizer(folder)


def without_marks(folder, *, bos=False):
    """A model's folder whose tokenizer is of Llama's kind: no tokens of ChatML; with `bos`, one before every text."""
    built = Tokenizer(models.BPE())
    built.pre_tokenizer, built.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    built.train_from_iterator(
        ["im_start im_end user"] * 9, trainers.BpeTrainer(special_tokens=["<s>", "</s>"], initial_alphabet=alphabet)
    )
    if bos:
        built.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    PreTrainedTokenizerFast(tokenizer_object=built, bos_token="<s>", eos_token="</s>").save_pretrained(folder)
    return str(folder)


def test_chatml_is_refused_where_its_marks_would_be_ordinary_text(tmp_path, tiny_model):
    folder = without_marks(tmp_path)
    with pytest.raises(ModelError, match=r"(?s)no <\|im_start\|> and no <\|im_end\|>.*'auto'"):
        load_tokenizer(folder, "chatml")
    assert load_tokenizer(folder, "auto").chat_template == PLAIN
    assert load_tokenizer(tiny_model, "chatml").chat_template == CHATML


def test_turns_begin_as_the_tokenizer_begins_every_text(tmp_path):
    """Once, and not where the tokenizer knows such a token without using it."""
    row = Conversation(row=0, messages=(Message(role="user", content="a"), Message(role="assistant", content="b</s>")))
    begins = [
        encode(load_tokenizer(without_marks(tmp_path / str(bos), bos=bos)), row).input_ids for bos in (False, True)
    ]
    assert begins[1] == (0, *begins[0])
    assert 0 not in begins[0]


def test_layers_are_found_and_run_as_far_as_asked(any_model):
    model = load_model(any_model)
    ids = torch.tensor([[5, 6, 7]])
    expected = model(ids, output_hidden_states=True).hidden_states
    seen, later = {}, []
    decoder_layers(model)[2].register_forward_hook(lambda *_: later.append(1))
    run_to_layer(model, [1, 2], seen.__setitem__, input_ids=ids, attention_mask=torch.ones_like(ids))
    assert layer_count(model) == 3
    assert not later
    for layer in (1, 2):
        torch.testing.assert_close(seen[layer], expected[layer])


def test_hardware_is_chosen_with_a_reason():
    assert choose_hardware("float32", "cpu").dtype is torch.float32
    chosen = choose_hardware("auto", "cpu")
    assert chosen.dtype is (torch.bfloat16 if cpu_multiplies_bfloat16() else torch.float32)
    assert "bfloat16" in chosen.reason


def test_only_the_default_name_is_resolved(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert resolve_model("some/model") == "some/model"
    with pytest.raises(ModelError, match="fetch-model"):
        resolve_model("smollm2-135m-instruct")


def test_the_lowest_layers_get_no_adapter(any_model):
    wrapped = wrap_lora(load_model(any_model), LoraSettings(frozen_share=0.4))
    trained = [name for name, parameter in wrapped.named_parameters() if parameter.requires_grad]
    layers = decoder_layers(wrapped)
    having = [any("lora" in name for name, _ in layer.named_parameters()) for layer in layers]
    assert having == [False, True, True]
    assert trained
    assert all("lora" in name for name in trained)


def test_an_adapter_gives_the_same_answer_merged_or_not(tmp_path, tiny_model):
    torch.manual_seed(0)
    wrapped = wrap_lora(load_model(tiny_model), LoraSettings())
    for name, parameter in wrapped.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    wrapped.save_pretrained(tmp_path)
    ids = torch.arange(5, 25)[None]
    expected = wrapped.eval()(ids).logits
    torch.testing.assert_close(load_model(tiny_model, adapter=tmp_path)(ids).logits, expected, atol=1e-5, rtol=1e-4)
    load_model(tiny_model, torch.bfloat16).save_pretrained(tmp_path / "half")
    for stored, merged in ((tiny_model, True), (str(tmp_path / "half"), False)):
        model = load_model(stored, torch.bfloat16, adapter=tmp_path)
        assert hasattr(model, "peft_config") is not merged
        assert (model(ids).logits.float() - expected).abs().max() < 0.05 * expected.abs().max()


@pytest.mark.parametrize("frozen_share", [None, 0.0, 0.7])
def test_the_layers_above_are_not_loaded_and_the_features_stay_the_same(any_model, tmp_path, frozen_share):
    """Without an adapter, with one on every layer, and with one on none of the layers that are loaded."""
    adapter = None
    if frozen_share is not None:
        student = wrap_lora(load_model(any_model), LoraSettings(frozen_share=frozen_share))
        for name, parameter in student.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter)
        student.save_pretrained(adapter := tmp_path / "adapter")
    rows = encode_prompts(load_tokenizer(any_model), [from_prompt("How do I bake bread?")])
    whole, lowest = load_model(any_model, adapter=adapter), load_model(any_model, adapter=adapter, layers=2)
    assert (layer_count(whole), layer_count(lowest)) == (3, 2)
    tokenizer = load_tokenizer(any_model)
    torch.testing.assert_close(
        collect_features(whole, tokenizer, rows, layers=[2]), collect_features(lowest, tokenizer, rows, layers=[2])
    )


@pytest.mark.parametrize(("times_slower", "expected"), [(0.3, True), (5, True), (300, False)])
def test_a_busy_machine_does_not_change_the_number_format(monkeypatch, times_slower, expected):
    """Training beside other work once took float32 for it: other numbers, and several times slower."""
    seconds = {torch.bfloat16: times_slower, torch.float32: 1.0}
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"avx512_bf16": True})
    monkeypatch.setattr(hardware, "_multiplication_seconds", seconds.__getitem__)
    monkeypatch.setattr(hardware, "cpu_multiplies_bfloat16", cpu_multiplies_bfloat16.__wrapped__)
    assert hardware.cpu_multiplies_bfloat16() is expected
