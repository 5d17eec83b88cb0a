"""Validation as it once was, row by row and in the plainest words: what the fast way must find, too."""

import re
from collections import Counter
from functools import cache
from hashlib import blake2b

import numpy as np
import pandas as pd
import xxhash
from datasketch import MinHash
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from reft.conversations import formats
from reft.conversations.languages import ADDRESS
from reft.conversations.reading import BadRow, is_blank, read_row
from reft.conversations.templates import takes_system
from reft.conversations.tokenization import encode, special_tokens_in
from reft.errors import ModelError
from reft.validation.expectations import suite_results
from reft.validation.findings import CARD, EMAIL, IBAN, PHONE, _iban, _luhn, is_formula, is_mojibake, secrets_in
from reft.validation.mending import mended
from reft.validation.rows import FLAGS, LEFT_OUT, WARNED, Usable, _fault

EMPTY = MinHash(24, seed=1, hashfunc=xxhash.xxh32_intdigest)


def language_of_text(text):
    text = ADDRESS.sub(" ", text)
    if sum(map(str.isalpha, text)) < 20:
        return ""
    probabilities = dict(identifier().rank(text))
    probabilities["en"] += probabilities.pop("pcm")
    language = max(probabilities, key=lambda code: probabilities[code])
    return language if probabilities[language] >= 0.5 and language != "zxx" else ""


@cache
def identifier():
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def bands_of(row):
    words = " ".join(m.content for m in row.messages if m.role != "system").lower().split()
    sketch = EMPTY.copy()
    sketch.update_batch({" ".join(words[i : i + 3]).encode() for i in range(max(1, len(words) - 2))})
    return [xxhash.xxh64_intdigest(part.tobytes()) for part in sketch.hashvalues.reshape(4, 6)]


def personal_data_in(text):
    found = ["e-mail address"] if EMAIL.search(text) else []
    if not re.search(r"\d{2}", text):
        return found
    numbers = []
    for name, pattern, right in (("bank account number", IBAN, _iban), ("card number", CARD, _luhn)):
        if any(right(match[0]) for match in pattern.finditer(text)):
            numbers.append(name)
            text = pattern.sub(" ", text)
    return [*found, *(["telephone number"] if PHONE.search(text) else []), *numbers]


def digest_of(text):
    return int.from_bytes(blake2b(" ".join(text.lower().split()).encode(), digest_size=8).digest())


def check_row(row, tokenizer, settings, max_length):
    if isinstance(row, BadRow):
        return row

    def bad(code, where, remedy):
        return BadRow(row=row.row, code=code, field=where, remedy=remedy, original=row.original)

    if fault := _fault(row, settings):
        return bad(*fault)
    texts = [text for m in row.messages for text in m.texts] + [unread.text for unread in row.unread]
    text, warnings = "\n".join(texts), []
    for policy, kinds, rule in (
        (settings.secrets, secrets_in, "secret"), (settings.personal_data, personal_data_in, "personal_data"),
    ):  # fmt: skip
        found = kinds(text) if policy != "off" else []
        if found and policy == "quarantine":
            return bad(rule, "messages", f"remove the {', '.join(found)}")
        warnings += [(rule, kind) for kind in found]
    if any(map(is_formula, texts)):
        warnings.append(("formula", "text that a spreadsheet would run: never open the file in one"))
    asked = " ".join(m.content for m in row.messages if m.role == "user")
    if settings.languages and (language := language_of_text(asked)) and language not in settings.languages:
        warnings.append(("language", f"text in {language!r}"))
    try:
        tokens = len(encode(tokenizer, row))
    except ModelError as error:
        remedy = "reft validate --fix may mend it (it merges a system turn into the user's), or set model.chat_template"
        return bad("chat_template", "messages", f"{str(error).splitlines()[0][:160]}: {remedy}")
    if tokens > max_length:
        return bad("too_many_tokens", "messages", f"{tokens} tokens: keep a row under {max_length}")
    return Usable(tokens, tuple(warnings))


def noted_of(row, checked, tokenizer):
    """What the expectations see of a row, and what it is compared by."""
    noted = dict.fromkeys((*FLAGS, "turns", "tokens"), 0) | {"digest": None, "answer": None, "bands": []}
    noted["faulty"] = int(isinstance(checked, BadRow) and checked.code != LEFT_OUT)
    if isinstance(checked, Usable):
        text = "\n".join(m.content for m in row.messages)
        noted |= {name: int(any(rule == name for rule, _ in checked.warnings)) for name in WARNED}
        noted |= {"usable": 1, "special_tokens": int(bool(special_tokens_in(tokenizer, text)))}
        noted |= {"mojibake": int(is_mojibake(text)), "turns": len(row.messages), "tokens": checked.tokens}
        noted |= {"digest": digest_of(text), "answer": digest_of(row.answer or ""), "bands": bands_of(row)}
    return noted


def repeats_of(noted):
    """(first equal row, first row that is near) of every usable row that repeats another."""
    seen, near, found = {}, {}, {}
    for row, each in enumerate(noted):
        if each["usable"]:
            same = seen.setdefault(each["digest"], row)
            alike = min(near.setdefault((i, band), row) for i, band in enumerate(each["bands"]))
            if same < row or alike < row:
                found[row] = (same, "duplicate") if same < row else (alike, "near_duplicate")
    return found


def frame_of(noted):
    frame = pd.DataFrame([{name: each[name] for name in (*FLAGS, "turns", "tokens")} for each in noted])
    for name in ("duplicate", "near_duplicate"):
        rows = [row for row, (_, rule) in repeats_of(noted).items() if rule == name]
        frame[name] = np.isin(np.arange(len(frame)), rows).astype(np.int8)
    answers = Counter(each["answer"] for each in noted if each["usable"])
    commonest = round(100 * max(answers.values()) / answers.total()) if answers else 0
    return frame.assign(commonest_answer_percent=np.int8(commonest))


def validate(path, tokenizer, settings, max_length, fix=False):
    """The lines of each output, the findings, and what is counted, of a file of JSON lines."""
    lines = path.read_bytes().decode("utf-8", "surrogateescape").removesuffix("\n").split("\n")
    merge, out = not takes_system(tokenizer), {"usable": [], "quarantined": [], "left_out": []}
    findings, noted, blank, seen, plain = [], [], 0, 0, formats._plain
    formats._plain = lambda _row: None
    try:
        for number, line in enumerate(each.rstrip("\r") for each in lines):
            seen += 1
            if is_blank(line):
                blank += 1
                continue
            line, done = mended(line, merge_system=merge) if fix else (line, [])
            row = read_row(line, number, settings.max_row_characters)
            checked = check_row(row, tokenizer, settings, max_length)
            noted.append(noted_of(row, checked, tokenizer))
            group = "usable"
            findings += [("mended", number, fix, "fixed") for fix in done]
            findings += [
                (note, number, "nothing to do: it was taken off", "warning") for note in getattr(row, "notes", ())
            ]
            if isinstance(checked, BadRow):
                group = "left_out" if checked.code == LEFT_OUT else "quarantined"
                findings.append((checked.code, number, checked.remedy, group))
            else:
                findings += [(rule, number, f"look at the {what}", "warning") for rule, what in checked.warnings]
            out[group].append(row.original)
            bad = len(out["quarantined"])
            if bad > settings.max_findings and bad > settings.max_bad_share * len(lines):
                break
    finally:
        formats._plain = plain
    # The number of a row is its place among the rows here, blank lines aside.
    findings += [(rule, row, f"compare row {first}", "warning") for row, (first, rule) in repeats_of(noted).items()]
    kept, listed = [], Counter()
    for found in findings:
        listed[found[0], found[3]] += 1
        kept += [found] if listed[found[0], found[3]] <= settings.max_findings else []
    unseen = len(lines) - seen
    least = settings if settings.rules == "openai" else settings.model_copy(update={"min_rows": 1})
    checks = suite_results(frame_of(noted), least, lost=unseen > 0)
    return out, kept, {"rows": len(noted), "blank": blank, "unseen": unseen, "checks": checks}
