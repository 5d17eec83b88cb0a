#!/usr/bin/env bash
# PEFT: loading a second adapter that is not trained ends training mode, of the first adapter and the whole model too.
#
# Expected: `load_adapter(..., is_trainable=False)` freezes the adapter that it loads. Found: it puts the whole model
# into evaluation mode, so that whoever loads a frozen adapter (a teacher, a reference) beside one in training trains on
# without dropout, of the first adapter and of the model, and nothing says so. `is_trainable=True` leaves the mode alone.
#
# Seen with peft 0.21.2, transformers 5.23.0, torch 2.13.0:
#   training before: True
#   training after a frozen second adapter: False
#   the first adapter's dropout works: False
#   training after a trainable second adapter: True
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "peft==0.21.2" "transformers==5.23.0" "torch==2.13.0"
cd "$folder"
cat > try.py <<'PYTHON'
import os
import sys
from importlib.metadata import version

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

print("peft", version("peft"), "transformers", version("transformers"), "torch", version("torch").split("+")[0])
sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 32}
model = get_peft_model(LlamaForCausalLM(LlamaConfig(**sizes)), LoraConfig(lora_dropout=0.5, target_modules=["q_proj"]))
model.save_pretrained("saved")
model.train()
before = model.training
model.load_adapter("saved", "frozen", is_trainable=False)
frozen = model.training
drops = [m for name, m in model.named_modules() if isinstance(m, nn.Dropout) and name.endswith("lora_dropout.default")]
works = any(drop.training for drop in drops)
model.train()
model.load_adapter("saved", "trainable", is_trainable=True)
trainable = model.training
print("training before:", before)
print("training after a frozen second adapter:", frozen)
print("the first adapter's dropout works:", works)
print("training after a trainable second adapter:", trainable)
if not drops or (before, frozen, works, trainable) != (True, False, False, True):
    sys.exit("changed: a frozen adapter leaves the training mode alone, or a trainable one no longer does")
PYTHON
"$folder/venv/bin/python" try.py
