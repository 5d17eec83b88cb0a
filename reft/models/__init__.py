"""Language models: loading, hardware, adapters, layers.

Everything that knows the shape of a transformers model. Safetensors only; a model's own code runs only where a setting
allows it.
"""

from lazy_loader import attach

# Names load their module when they are first asked for: the command line starts without torch.
__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "adapters": ["wrap_lora"],
        "hardware": ["Hardware", "choose_hardware"],
        "loading": ["load_model", "load_tokenizer", "load_trained"],
    },
)
