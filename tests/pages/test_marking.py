import pytest

from reft.pages.marking import LONGEST, pieces_of, turns_of


def said(pieces, kind):
    return [piece.text for piece in pieces if piece.kind == kind]


def row(*texts, **more):
    return {"messages": [{"role": "user", "content": text} for text in texts], **more}


def test_the_span_is_marked_in_the_turn_that_holds_it():
    first, second = turns_of(row("a question", "how to rob a bank, then how to rob a bank"), "user[1]", "rob a bank")
    assert not first.decides
    assert second.decides
    assert said(second.pieces, "mark") == ["rob a bank"] * 2


def test_a_window_of_characters_is_marked_where_it_lies_and_nowhere_else():
    (turn,) = turns_of(row("bank and bank"), "user[0] alone:9-13", "bank")
    assert [(p.kind, p.text) for p in turn.pieces] == [("text", "bank and "), ("mark", "bank")]


@pytest.mark.parametrize("place", ["user[0]:5-99", "user[0] as base64:0-4", "nonsense", ""])
def test_a_place_that_cannot_be_counted_out_is_looked_for(place):
    (turn,) = turns_of(row("the bank"), place, "bank")
    assert said(turn.pieces, "mark") == ["bank"]


def test_another_reading_of_a_turn_and_the_thoughts_before_it_are_not_counted_out_in_the_turn():
    content = {"messages": [{"role": "user", "content": "YmFuaw== and more"}, {"role": "assistant", "content": "Yes."}]}
    first, second = turns_of(content, "user[0] as base64:0-4", "bank")
    assert (first.decides, said(first.pieces, "mark"), second.decides) == (True, [], False)
    first, second = turns_of(content, "answer[1] reasoning:0-2", "thought")
    assert (first.decides, second.decides, said(second.pieces, "mark")) == (False, True, [])


def test_a_system_turn_decides_by_its_name():
    content = {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]}
    assert [turn.decides for turn in turns_of(content, "system", "")] == [True, False]


def test_characters_without_a_form_are_written_out():
    pieces = pieces_of("a\u202e\u202e\u2066b\tc\nd\x07\ud800", [])
    assert said(pieces, "sign") == ["U+202E \u00d72", "U+2066", "U+0007", "U+D800"]
    assert "".join(said(pieces, "text")) == "ab\tc\nd"
    assert pieces[1].title == "right-to-left override"


def test_a_long_text_is_cut_but_never_at_what_decided():
    text = "x" * 500_000 + "the span" + "y" * 500_000
    pieces = pieces_of(text, [(500_000, 500_008)])
    assert said(pieces, "mark") == ["the span"]
    assert len(said(pieces, "gap")) == 2
    assert sum(len(p.text) for p in pieces if p.kind != "gap") < LONGEST
    assert pieces_of("x" * LONGEST, []) == [*pieces_of("x" * LONGEST, [])]
    assert said(pieces_of("x" * (LONGEST + 1), []), "gap") == ["1 characters are not shown here"]
    assert sum(len(p.text) for p in pieces_of(text, [(0, len(text))]) if p.kind != "gap") < 2 * LONGEST


def test_a_row_of_another_shape_is_shown_as_it_is():
    (turn,) = turns_of({"prompt": "<b>"}, "", "")
    assert '"prompt": "<b>"' in turn.pieces[0].text
    roles = [turn.role for turn in turns_of({"messages": [{"role": 1, "content": [{"x": 1}], "n": 2}], "k": 3}, "", "")]
    assert roles == ["1", "other fields", "other fields of turn 1"]
    assert turns_of({"messages": "no list"}, "", "")[0].role == "row"
