"""Supervised finetuning of the safety-aligned model; the loss is `sft`'s."""

from dataclasses import replace

from reft.finetuning.methods.sft import METHOD as SFT

METHOD = replace(SFT, words="the same from the safety-aligned model", start="aligned")
