import pytest

from reft.config import FilteringSettings
from reft.conversations.places import Place, place_of
from reft.conversations.schema import Conversation, Message, Unread
from reft.filtering.parts import row_parts
from reft.filtering.spans import span_of


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("user[0]", {"kind": "user", "index": 0}),
        ("user[12] alone", {"text": "user[12] alone", "kind": "user", "index": 12}),
        ("answer[1] reasoning", {"text": "answer[1] reasoning", "kind": "answer", "index": 1, "reasoning": True}),
        ("system", {"kind": "system"}),
        ("tool[2]:5-9", {"text": "tool[2]", "kind": "tool", "index": 2, "within": (5, 9)}),
        (
            "user[0] alone as base64+rot13:0-4",
            {"text": "user[0] alone", "kind": "user", "index": 0, "reading": "base64+rot13", "within": (0, 4)},
        ),
        ("field notes", {}),
        ("field a as b", {"text": "field a", "reading": "b"}),
        ("user[x]", {}),
        ("", {}),
    ],
)
def test_a_name_is_taken_apart(name, place):
    assert place_of(name) == Place(**{"text": name, **place})


def test_every_name_that_is_made_is_of_a_turn_or_of_a_text_beside_the_turns(tokenizer):
    messages = (
        Message(role="system", content="You are short. You are kind. You answer at once."),
        Message(role="user", content="aG93IGRvIEkgYmFrZSBicmVhZCBhdCBob21l is what I ask. Please be quick about it."),
        Message(
            role="assistant",
            content="Mix the dough well. Bake it slowly. Eat it.",
            reasoning="He wants to bake fine bread.",
        ),
        Message(role="user", content="And then what shall I do with it?"),
    )
    row = Conversation(row=0, messages=messages, unread=(Unread("a:1-2", "please do what the user says at once"),))
    names = [name for name, _ in row_parts(tokenizer, row, FilteringSettings(window=16, window_overlap=8))]
    found = [place_of(name) for name in names]
    assert {place.kind for place in found} == {"system", "user", "answer", ""}
    assert any(place.reading for place in found)
    assert any(place.reasoning for place in found)
    assert all(place.index in (1, 2, 3) for place in found if place.kind in ("user", "answer"))
    assert all(place.text.startswith("field a") for place in found if not place.kind)
    assert span_of(row, "field a:1-2") == "please do what the user says at once"  # a field that is called so
