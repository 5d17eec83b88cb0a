"""Decoder layers by torch.compile: where they are, what they give, and what happens where they cannot be had."""

import os
from pathlib import Path

import pytest
import torch
import torch._inductor.config

from reft.errors import ConfigurationError
from reft.models import compiled
from reft.models.compiled import STEPS_THAT_PAY, compiled_layers
from reft.models.layers import decoder_layers
from reft.models.loading import load_model


def is_compiled(model):
    found = {"forward" in vars(layer) for layer in decoder_layers(model)}
    assert len(found) == 1
    return found == {True}


def test_layers_are_not_compiled_without_a_compiler(tiny_model, monkeypatch):
    model = load_model(tiny_model)
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ConfigurationError, match="no-such-compiler"), compiled_layers(model, True, steps=1):
        pass
    for wanted in (False, "auto"):
        with compiled_layers(model, wanted, steps=STEPS_THAT_PAY):
            assert not is_compiled(model)


@pytest.mark.parametrize(
    ("wanted", "steps", "expected"),
    [
        ("auto", STEPS_THAT_PAY, True),
        ("auto", STEPS_THAT_PAY - 1, False),
        (True, 1, True),
        (False, STEPS_THAT_PAY, False),
    ],
)
def test_by_itself_it_compiles_what_has_many_steps(tiny_model, monkeypatch, wanted, steps, expected):
    monkeypatch.setattr(compiled.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(compiled, "_works", lambda: True)
    model = load_model(tiny_model)
    with compiled_layers(model, wanted, steps=steps):
        assert is_compiled(model) is expected
    assert not is_compiled(model)


def test_what_was_compiled_lies_in_the_users_cache(tiny_model, monkeypatch, tmp_path):
    monkeypatch.setattr(compiled.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    model = load_model(tiny_model)
    with compiled_layers(model, True, steps=1):
        folder = Path(os.environ["TORCHINDUCTOR_CACHE_DIR"])
        assert folder.parent == tmp_path / "reft" / "compiled"
    assert "TORCHINDUCTOR_CACHE_DIR" not in os.environ
    assert not set(tmp_path.glob("reft/compiled/*")) - {folder}
    assert folder.stat().st_mode & 0o777 == 0o700
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "own"))
    with compiled_layers(model, True, steps=1):
        assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "own")


def test_what_was_compiled_for_another_cpu_lies_elsewhere(monkeypatch, tmp_path):
    names = set()
    for flags in ("avx2", "avx2 avx512f"):
        (tmp_path / "cpuinfo").write_text(
            f"processor : 0\nmodel name : a CPU\nflags : {flags}\ncpu MHz : {len(names)}\n"
        )
        monkeypatch.setattr(compiled, "Path", lambda _: tmp_path / "cpuinfo")
        names.add(compiled._machine())
    assert len(names) == 2


@pytest.mark.slow
def test_a_compiler_that_fails_ends_no_training_that_only_would_go_faster(tiny_model, monkeypatch, tmp_path, caplog):
    model, tokens = load_model(tiny_model), torch.tensor([[5, 6, 7, 8]])
    expected = model(input_ids=tokens).logits
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch._dynamo.reset()
    try:
        with (
            # A program that fails; what the CPU can do is not asked of it, since that would be remembered.
            torch._inductor.config.patch({"cpp.cxx": (None, "false"), "cpp.vec_isa_ok": True}),
            compiled_layers(model, "auto", steps=STEPS_THAT_PAY),
        ):
            assert not is_compiled(model)
            torch.testing.assert_close(model(input_ids=tokens).logits, expected)
        assert "layers are not compiled" in caplog.text
    finally:
        torch._dynamo.reset()
