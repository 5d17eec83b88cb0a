# ruff: noqa: RUF001 (letters of other scripts are the point)
"""A language is said where the text gives evidence of one, and nowhere else."""

import pytest

from reft.conversations.languages import language_of, language_of_text
from reft.conversations.schema import Conversation, Message

SPOKEN = [
    ("en", "How do I bake a simple loaf of bread at home?"),
    ("en", "HOW DO I BAKE A SIMPLE LOAF OF BREAD?"),
    ("en", "Explain like I am five: why do countries go to war?"),  # Nigerian Pidgin, says the classifier
    ("en", "Fix this bug: for(i=0;i<=n;i++){x[i]+=1;} It crashes at the end, why does it do so?"),
    ("en", "Please summarise https://example.com/de/artikel/wie-backe-ich-brot for me in two sentences"),
    ("de", "Wie backe ich ein einfaches Brot zu Hause?"),
    ("de", "Was ist die Hauptstadt von Frankreich?"),
    ("fr", "Quelle est la capitale de l'Allemagne ?"),
    ("es", "¿Cuál es la capital de Francia y por qué?"),
    ("it", "Come posso fare il pane in casa facilmente?"),
    ("pt", "Como posso fazer pão em casa de maneira simples?"),
    ("nl", "Hoe bak ik thuis een eenvoudig brood, alsjeblieft?"),
    ("pl", "Jak upiec prosty chleb w domu? Proszę o przepis."),
    ("tr", "Evde basit bir ekmek nasıl yapılır, anlatır mısın?"),
    ("ru", "Как испечь простой хлеб дома? Расскажи, пожалуйста."),
    ("uk", "Як спекти простий хліб удома? Розкажи, будь ласка."),
    ("zh", "请用简单的语言解释一下量子力学的基本概念，谢谢。法国的首都是哪里？"),
    ("ja", "家で簡単にパンを焼く方法を教えてください。お願いします。"),
    ("ko", "집에서 간단하게 빵을 굽는 방법을 알려 주세요. 감사합니다."),
    ("ar", "كيف يمكنني خبز رغيف بسيط في المنزل؟"),
    ("hi", "घर पर साधारण रोटी कैसे बनाएं? कृपया बताइए।"),
    ("th", "ฉันจะทำขนมปังง่ายๆที่บ้านได้อย่างไร ช่วยบอกหน่อย"),
]
UNSAID = [
    "",
    "ok",
    "Hallo, wie geht's?",
    "-" * 400,
    "1234567890 " * 50,
    "— " * 40,
    "😀" * 40,
    "!!!??? ... ;;; ,,, ((( )))  [[[ ]]] {{{ }}}",
    "3.14159 2.71828 1.41421 1.61803 = ?",
    "x^2 + y^2 = z^2, (a+b)^2 = a^2+2ab+b^2, sin(x)",
    "for(i=0;i<n;i++){x[i]+=y[i]*2;} return x;",
    "def f(x):\n    return [y**2 for y in range(x)]\nprint(f(10))",
    "import numpy as np\nimport pandas as pd\ndf = pd.read_csv('a.csv')",
    '#include <stdio.h>\nint main(void){printf("%d\\n", 3);return 0;}',
    "SELECT id, name FROM users WHERE age > 30 ORDER BY name;",
    '{"a": 1, "b": [2, 3], "c": null, "d": true}',
    "npm install --save-dev eslint prettier && npm run lint",
    "0xdeadbeef 0xcafebabe 0xffff 0x1234abcd",
    "f47ac10b-58cc-4372-a567-0e02b2c3d479",
    "https://www.example.com/die/hauptstadt/von/frankreich/ist/paris#und-die-von-spanien",
    "foo@example.com, bar@example.org, baz@example.net",
    "John Smith, Maria Garcia, Chen Wei, Ivan Petrov",
    "xkcd qwrt zxcv bnm asdf ghjk lpoi uytr",
    "A" * 60,
]


@pytest.mark.parametrize(("language", "text"), SPOKEN)
def test_a_sentence_has_its_language(language, text):
    assert language_of_text(text) == language


@pytest.mark.parametrize("text", UNSAID)
def test_what_is_no_sentence_has_none(text):
    assert language_of_text(text) == ""


def test_a_row_has_the_language_of_its_users():
    said = [("user", "Wie backe ich ein Brot"), ("assistant", "Take flour, water and salt."), ("user", "zu Hause?")]
    row = Conversation(row=0, messages=tuple(Message(role=role, content=content) for role, content in said))
    assert language_of(row) == "de"
