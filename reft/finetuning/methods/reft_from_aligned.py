"""ReFT's finetuning, from the safety-aligned model instead of the base model; the loss is `reft`'s."""

from dataclasses import replace

from reft.finetuning.methods.reft import METHOD as REFT

METHOD = replace(REFT, words="the same from the aligned model", start="aligned")
