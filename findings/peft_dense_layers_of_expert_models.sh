#!/usr/bin/env bash
# PEFT: in a model type that has experts, linear modules outside the experts get no LoRA matrices when they are named.
#
# Expected: `target_modules` adapts every linear module that has one of the names. Found: for DeepSeek-V3 the names
# gate_proj, up_proj and down_proj are turned into the experts' fused tensors, and into nothing else: the dense first
# layer and the shared experts, whose linear modules have these very names, are left out without a word, by name and by
# "all-linear" alike. `up_proj` alone, which is a module of its own in both, is refused for the experts' sake.
#
# Seen with peft 0.21.2, transformers 5.23.0, torch 2.13.0:
#   linear modules of these names: 6, adapted: 0 by name, 0 by all-linear
#   up_proj alone: Cannot convert PEFT target(s) up_proj without also targeting gate_proj because they are fused into gate_up_proj.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "torch==2.13.0" "transformers==5.23.0" "peft==0.21.2"
cd "$folder"
cat > try.py <<'PYTHON'
import sys

import peft
import torch
import transformers

NAMES = ["gate_proj", "up_proj", "down_proj"]
CONFIG = transformers.AutoConfig.for_model(
    "deepseek_v3", vocab_size=128, hidden_size=64, intermediate_size=128, moe_intermediate_size=32,
    num_hidden_layers=2, first_k_dense_replace=1, num_attention_heads=4, num_key_value_heads=4, q_lora_rank=16,
    kv_lora_rank=16, qk_rope_head_dim=8, qk_nope_head_dim=16, v_head_dim=16, n_routed_experts=8, n_shared_experts=1,
    num_experts_per_tok=2, n_group=2, topk_group=1,
)


def adapted(targets):
    """How many of the linear modules of these names there are, and how many of them get LoRA matrices."""
    model = transformers.AutoModelForCausalLM.from_config(CONFIG)
    modules = dict(model.named_modules())
    there = {n for n, m in modules.items() if isinstance(m, torch.nn.Linear) and n.rpartition(".")[2] in NAMES}
    wrapped = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=targets, task_type="CAUSAL_LM"))
    found = {name.partition("base_model.model.")[2].partition(".lora_A")[0] for name, _ in wrapped.named_parameters()
             if ".lora_A" in name}
    return len(there), len(there & found)


print("peft", peft.__version__, "transformers", transformers.__version__, "torch", torch.__version__)
(there, named), (_, everything) = adapted(NAMES), adapted("all-linear")
print(f"linear modules of these names: {there}, adapted: {named} by name, {everything} by all-linear")
try:
    alone = f"adapted: {adapted(['up_proj'])[1]}"
except ValueError as error:
    alone = str(error)
print("up_proj alone:", alone)
if (there, named, everything) != (6, 0, 0) or not alone.startswith("Cannot convert"):
    sys.exit("changed: linear modules outside the experts are adapted when they are named")
PYTHON
"$folder/venv/bin/python" try.py
