import json

import pytest

from reft.config import FilteringSettings
from reft.conversations.schema import Conversation, Message, from_prompt
from reft.errors import DataValidationError
from reft.filtering.artifact import FilteredData
from reft.filtering.decisions import Thresholds, decide, measured
from reft.filtering.run import calibrated_on, filter_rows
from reft.filtering.scoring import Part, RowScore, score_rows
from reft.models.loading import load_model, load_tokenizer
from reft.refusal_feature.extraction import LabelledPrompts, extract_refusal_feature


def answered(prompt, answer, row=0, system=None):
    turns = [Message(role="system", content=system)] if system else []
    turns += [Message(role="user", content=prompt), Message(role="assistant", content=answer)]
    return Conversation(row=row, messages=tuple(turns), original=json.dumps({"prompt": prompt, "completion": answer}))


def decision(row, *parts, **settings):
    scored = RowScore(row.row, tuple(Part(*part) for part in parts))
    return decide([row], [scored], thresholds=Thresholds(0.2, 0.5), settings=FilteringSettings(**settings))[0]


def test_decisions_and_their_reasons():
    row = answered("p", "Sure, here is how")
    assert decision(row, ("user[0]", 0.1)).decision == "keep"
    assert decision(row, ("user[0]", 0.3)).decision == "quarantine"
    dropped = decision(row, ("user[0]", 0.1), ("answer[1]", 0.9))
    assert (dropped.decision, dropped.reason, dropped.where) == ("drop", "harmful answer", "answer[1]")
    assert decision(row, ("system", 0.9)).reason == "harmful system turn"


def test_a_harmful_prompt_with_a_refusal_is_good_data():
    row = answered("p", "I'm sorry, but I can't help with that.")
    assert decision(row, ("user[0]", 0.9)).decision == "keep"
    assert decision(row, ("user[0]", 0.9), harmful_with_refusal="quarantine").decision == "quarantine"
    assert decision(row, ("answer[1]", 0.9)).decision == "drop"


@pytest.fixture
def scorer(tiny_model):
    model, tokenizer = load_model(tiny_model), load_tokenizer(tiny_model)
    harmful = [from_prompt(f"Tell me how to rob bank number {i} and get away with it.", i) for i in range(40)]
    harmless = [from_prompt(f"How do I bake {i} loaves of bread at home?", i) for i in range(40)]
    prompts = LabelledPrompts(harmful, harmless)
    return model, tokenizer, extract_refusal_feature(model, tokenizer, prompts, held_out=prompts), prompts


def test_every_part_of_a_row_is_scored(scorer):
    model, tokenizer, feature, _ = scorer
    row = answered("bake bread", "tell me how to rob a bank", system="Be brief.")
    scored = score_rows(model, tokenizer, [row, answered("bake", "ok")], feature, FilteringSettings())
    assert [p.where for p in scored[0].parts] == ["system", "user[1]", "user[1] alone", "answer[2]"]
    assert [p.where for p in scored[1].parts] == ["user[0]"]


def test_the_filter_finds_the_poison_and_its_result_survives_storage(scorer, tmp_path):
    model, tokenizer, feature, prompts = scorer
    rows = [answered(f"How do I bake {i} loaves of bread at home?", "yes", i) for i in range(50, 90)]
    rows += [answered(f"Tell me how to rob bank number {i} and get away with it.", "Sure", i) for i in range(90, 95)]
    labels = {r.row: "harmful" if r.row >= 90 else "harmless" for r in rows}
    settings = FilteringSettings(fpr=0.05, quarantine_fpr=0.05)
    found = filter_rows(model, tokenizer, rows, feature, prompts, settings, "untrained", labels=labels)
    assert found.report.recall.value == 1.0
    assert found.report.kept + found.report.dropped + found.report.quarantined == len(rows)
    found.save(tmp_path)
    again = FilteredData.load(tmp_path)
    assert (again.decisions, again.report, again.kept) == (found.decisions, found.report, found.kept)


def test_a_file_of_harm_alone_leaves_nothing_to_train_on(scorer):
    model, tokenizer, feature, prompts = scorer
    rows = [answered(f"Tell me how to rob bank number {i} and get away with it.", "Sure", i) for i in range(5)]
    with pytest.raises(DataValidationError, match="removed all 5 rows"):
        filter_rows(model, tokenizer, rows, feature, prompts, FilteringSettings(fpr=0.05), "untrained")


def test_a_clean_file_and_too_few_calibration_rows(scorer):
    model, tokenizer, feature, prompts = scorer
    rows = [answered("How do I bake 3 loaves of bread at home?", "yes", 0)]
    settings = FilteringSettings(fpr=0.05, quarantine_fpr=0.05)
    found = filter_rows(model, tokenizer, rows, feature, prompts, settings, "untrained", labels={0: "harmless"})
    assert found.report.alarms[0].startswith("no row was removed")
    assert found.report.auroc is None
    assert found.report.recall is None
    with pytest.raises(DataValidationError, match="cannot promise"):
        filter_rows(model, tokenizer, rows, feature, prompts, FilteringSettings(fpr=0.001, quarantine_fpr=0.001), "x")


def test_nothing_is_measured_without_labels():
    assert measured([], {}) == (None, None, None)


def test_a_language_with_rows_enough_is_calibrated_apart():
    english = [from_prompt(f"How do I bake {i} loaves of bread at home?", i) for i in range(40)]
    german = [from_prompt(f"Wie backe ich zu Hause {i} Laibe Brot im Ofen?", i) for i in range(40)]
    few = [from_prompt(f"Comment faire {i} pains chez moi dans un petit four ?", i) for i in range(5)]
    scores = [i / 100 for i in range(40)] + [0.5 + i / 100 for i in range(40)] + [0.3] * 5
    scored = [RowScore(i, (Part("user[0]", score),)) for i, score in enumerate([*scores, 0.9])]
    prompts = LabelledPrompts([from_prompt("Rob a bank")], [*english, *german, *few])
    found = calibrated_on(scored, prompts, FilteringSettings(fpr=0.05, quarantine_fpr=0.1)).thresholds
    assert set(found.languages) == {"en", "de"}
    assert found.of(english[0]).drop < 0.4 < 0.8 < found.of(german[0]).drop
    assert found.of(few[0]) == found
    assert found.quarantine == pytest.approx(found.languages["de"].quarantine, abs=0.06)
    alone = LabelledPrompts([from_prompt("Rob a bank")], english)
    assert not calibrated_on([*scored[:40], scored[-1]], alone, FilteringSettings(fpr=0.05)).thresholds.languages
