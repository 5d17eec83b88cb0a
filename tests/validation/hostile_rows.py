"""Lines as careless and hostile people write them, made by chance from pieces that each rule looks at."""

import json
import random

PIECES = [
    "How do I bake bread at home?", "Bitte sagen Sie mir, wo meine Überweisung von gestern geblieben ist",
    "je voudrais savoir où se trouve la gare la plus proche", "日本語の文章をここに書きます。とても長い文章です。",
    "mail a.b@example.org now",
    "+49 170 1234567", "0049 170 1234567", "4111 1111 1111 1111", "4111111111111112", "DE89 3704 0044 0532 0130 00",
    "key AKIAIOSFODNN7EXAMPLE", "-----BEGIN RSA PRIVATE KEY-----", "ghp_" + "a1B2" * 9, "https://example.org/a/b?c=d",
    "<|im_end|>", "<|im_start|>system", "<|endoftext|>", "<|im_", "end|>", "=HYPERLINK(\"a\")", "@SUM(1)*cmd|'/C x'!A0",
    "caf\u00c3\u00a9", "ΑΣ ΟΔΥΣΣΕΥΣ", "İstanbul", "\u2028", "\x85", "\u00a0", "  ", "", "1", "x" * 40, "word " * 60,
    "\ufffd", "q\u0301", "a\r\nb", "٠١٢٣٤٥٦٧٨٩", "12 34 56 78 90 12 34",
]  # fmt: skip
ROLES = ["user", "assistant", "user", "assistant", "system", "tool", "human", "gpt", "Bot", "developer", "function"]
EXTRA = {
    "id": "row number one of many", "label": False, "kto_tag": "true", "weight": 0, "weights": 1, "source": "x",
    "tools": [{"name": "look_up"}], "system": "be kind", "context": "about cards", "input": "more",
    "history": [["a", "b"]],
    "chat_template_kwargs": {"think": True}, "a key that is a sentence of words": 1, "nested": {"deep": ["text in it"]},
}  # fmt: skip
LINES = [
    "", " ", "\ufeff", "{}", "[]", "null", "not json", '{"prompt": "a", "completion": "b", "prompt": "c"}',
    '{"prompt": NaN, "completion": "b"}', '{"prompt": "a", "completion": "b", "n": Infinity}',
    '{"prompt": "a", "completion": "b", "n": 123456789012345678901234567890}',
    '{"prompt": "\\ud800", "completion": "b"}', '{"prompt": "a", "completion": "b", "caf\udce9": "x"}',
    '{"prompt": "a", "completion": "b", "note": "caf\udce9 au lait please today"}', '{"k\udce9": 1, "k\udce9": 2}',
    '{"prompt": "a", "completion": "b", "nested": [{"\\ud800": 1}]}',
    '{"messages": [{"role": "human", "content": "a"}, {"role": "gpt", "content": "b", "name": "\\ud83d"}]}',
    '{"prompt": "a\\u0000", "completion": "b"}', '{"prompt": "a", "completion": "b"},', "[" * 3000,
    '\ufeff{"prompt": "a", "completion": "b"}', '\ufeff\ufeff{"prompt": "a", "completion": "b"}',
    '{"prompt": "a", "completion": "b"}\r', '{"messages": "[{\\"role\\": \\"user\\", \\"content\\": \\"a\\"}]"}',
    '{"prompt": "a\rb", "completion": "b"}', '{"a": 1}\r{"b": 2}',
    '{"query": "a", "answers": "[{\\"name\\": \\"f\\"}]"}',
    '{"text": "a", "label": "false"}', '{"messages": [{"role": "user", "content": "a", "content": "b"}]}',
    '{"messages": [{"role": "user"}, 7, null]}', '{"messages": [{"role": ["user"], "content": "a"}]}', "\udcff\udcfe",
]  # fmt: skip


def lines(seed: int, count: int) -> list[str]:
    """So many lines, the same for the same seed."""
    chance = random.Random(seed)
    return [_line(chance) for _ in range(count)]


def _text(chance: random.Random) -> str:
    return chance.choice((" ", "", "\n")).join(chance.choices(PIECES, k=chance.randint(1, 4)))


def _turn(chance: random.Random, role: str) -> dict:
    turn: dict = {"role": role, "content": _text(chance)}
    if chance.random() < 0.1:
        turn |= chance.choice(({"weight": 0}, {"name": "x y z"}, {"content": None}, {"reasoning_content": "hm"}))
    return turn


def _line(chance: random.Random) -> str:
    if chance.random() < 0.15:
        return chance.choice(LINES)
    if chance.random() < 0.6:
        roles = ["user", "assistant"] * chance.randint(1, 3)
        roles = roles if chance.random() < 0.8 else chance.choices(ROLES, k=chance.randint(1, 4))
        row: dict = {"messages": [_turn(chance, role) for role in (["system"] * (chance.random() < 0.1)) + roles]}
    else:
        asked, answered = chance.choice((
            ("prompt", "completion"), ("instruction", "output"), ("question", "answer"), ("text", "label"),
            ("query", "answers"), ("context", "response"),
        ))  # fmt: skip
        row = {asked: _text(chance), answered: _text(chance)}
    while chance.random() < 0.2:
        name = chance.choice([*EXTRA])
        row[name] = EXTRA[name]
    line = json.dumps(row, ensure_ascii=chance.random() < 0.5)
    if chance.random() < 0.05:
        cut = chance.randrange(len(line))
        line = line[:cut] + line[cut + chance.randint(1, 3) :]
    return line.replace("\n", " ")
