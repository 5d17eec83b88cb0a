#!/usr/bin/env bash
# py3langid: `classify` names a language for text that gives no evidence of one, and its score, which grows
# with length, does not tell.
#
# With `norm_probs=True` the probability does tell: below 0.5 for these, above it for a sentence; but "no linguistic
# content" (zxx) has high ones too.
#
# Seen with py3langid 0.4.0:
#   py3langid 0.4.0
#   '--------------------': af, score -3.4e+38, probability 0.014
#   '— — — — — — — — — — ': mg, score -36.9, probability 0.064
#   '1234567890 123456789': zxx, score -54.1, probability 0.419
#   'for(i=0;i<n;i++){x[i': is, score -46.7, probability 0.029
#   a sentence: de, probability 0.997
#   found: a language for each text without evidence
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "py3langid==0.4.0"
cd "$folder"
cat > try.py <<'PYTHON'
import sys
from importlib.metadata import version

import py3langid
from py3langid.langid import MODEL_FILE, LanguageIdentifier

normalised = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
print("py3langid", version("py3langid"))
named = []
for text in ("-" * 40, "\u2014 " * 40, "1234567890 " * 5, "for(i=0;i<n;i++){x[i]+=y[i]*2;} return x;"):
    language, score = py3langid.classify(text)
    probability = normalised.classify(text)[1]
    print(f"{text[:20]!r}: {language}, score {score:.3g}, probability {probability:.3f}")
    named.append((language, probability))
sure = normalised.classify("Wie backe ich ein einfaches Brot zu Hause?")
print(f"a sentence: {sure[0]}, probability {sure[1]:.3f}")
if any(language in ("", "und") for language, _ in named):
    sys.exit("changed: text without evidence has no language")
assert sure[0] == "de" and sure[1] > 0.5 > max(probability for _, probability in named)
print("found: a language for each text without evidence")
PYTHON
"$folder/venv/bin/python" try.py
