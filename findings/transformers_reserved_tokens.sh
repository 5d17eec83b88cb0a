#!/usr/bin/env bash
# transformers: `all_special_tokens` does not name all special tokens, and `all_special_ids` not all their ids.
#
# Expected: a token that the tokenizer's own file marks as special, that text turns into one id and that
# `skip_special_tokens` leaves out, is listed. Found: only tokens that have a role (eos, pad, additional) are; reserved
# ones, of which chat models have hundreds, are marked special and are missing, so that whoever asks this list which
# texts become markers gets a part of them. `added_tokens_decoder` has them all.
#
# Seen with transformers 5.23.0, tokenizers 0.23.3:
#   listed: ['<|end|>']
#   marked special: ['<|end|>', '<|reserved|>']
#   'a <|reserved|> b' holds the reserved id: True
#   decoded without special tokens: 'a  b'
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "transformers==5.23.0" "tokenizers==0.23.3"
cd "$folder"
cat > try.py <<'PYTHON'
import os
import sys
from importlib.metadata import version

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

print("transformers", version("transformers"), "tokenizers", version("tokenizers"))
made = Tokenizer(models.BPE())
made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
letters = pre_tokenizers.ByteLevel.alphabet()
special = ["<|end|>", "<|reserved|>"]
made.train_from_iterator(["a b"], trainers.BpeTrainer(vocab_size=300, initial_alphabet=letters, special_tokens=special))
PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<|end|>").save_pretrained("saved")
tokenizer = AutoTokenizer.from_pretrained("saved")
marked = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
ids = tokenizer("a <|reserved|> b")["input_ids"]
left = tokenizer.decode(ids, skip_special_tokens=True)
held = tokenizer.convert_tokens_to_ids("<|reserved|>") in ids
print("listed:", tokenizer.all_special_tokens)
print("marked special:", marked)
print("'a <|reserved|> b' holds the reserved id:", held)
print("decoded without special tokens:", repr(left))
if tokenizer.all_special_tokens != ["<|end|>"] or marked != special or not held or "reserved" in left:
    sys.exit("changed: reserved tokens are listed, or are no special ones any more")
PYTHON
"$folder/venv/bin/python" try.py
