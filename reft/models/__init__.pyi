from .adapters import wrap_lora as wrap_lora
from .hardware import Hardware as Hardware
from .hardware import choose_hardware as choose_hardware
from .loading import load_model as load_model
from .loading import load_tokenizer as load_tokenizer
from .loading import load_trained as load_trained
