"""ReFT: safe finetuning of language models on data nobody has vetted."""

__version__ = "0.1.0"
