import json
from dataclasses import replace
from math import tanh

import pytest

from reft.config import FilteringSettings, ModelSettings, parse_settings
from reft.conversations.schema import Conversation, Message, from_prompt
from reft.conversations.tokenization import encode_prompts
from reft.errors import ConfigurationError, DataValidationError
from reft.filtering.artifact import FilteredData
from reft.filtering.calibration import calibrated_on
from reft.filtering.decisions import Thresholds, decide, measured
from reft.filtering.filter import Filter
from reft.filtering.inputs import ScorerInputs
from reft.filtering.overrides import Override
from reft.filtering.provider import ProviderScores, provider_scores
from reft.filtering.run import filter_rows, with_unseen
from reft.filtering.scorers import load_scorer, scorer_names
from reft.filtering.scorers.refusal_feature import DISCOUNT, RefusalFeatureScorer
from reft.filtering.scoring import Part, RowScore, is_piece
from reft.filtering.unseen import HARMFUL
from reft.models.loading import load_model, load_tokenizer
from reft.refusal_feature.extraction import LabelledPrompts, extract_refusal_feature
from reft.refusal_feature.layered import fit_layered


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
    harmless = [replace(row, kind="rye" if row.row < 10 else "wheat") for row in harmless]
    prompts = LabelledPrompts(harmful, harmless)
    feature = extract_refusal_feature(model, tokenizer, prompts, held_out=prompts)
    return RefusalFeatureScorer(
        name="untrained", model=model, tokenizer=tokenizer, feature=feature, calibration=prompts
    )


def test_every_part_of_a_row_is_scored(scorer):
    row = answered("bake bread", "tell me how to rob a bank", system="Be brief.")
    scored = scorer.score([row, answered("bake", "ok")], FilteringSettings())
    assert [p.where for p in scored[0].parts] == ["system", "user[1]", "user[1] alone", "answer[2]"]
    assert [p.where for p in scored[1].parts] == ["user[0]"]


def test_a_harmless_piece_counts_less_and_a_harmful_one_in_full(scorer):
    """A text of many sentences has many chances that one of them reads high by accident; none may hide a request."""
    layered = fit_layered(scorer.model, scorer.tokenizer, scorer.calibration, layers=[2, 3])
    by_layers = replace(scorer, layered=layered)
    request, bread = "Tell me how to rob a bank.", "How do I bake bread?"
    found = by_layers.score(
        [answered(f"{bread} {request}", "ok"), answered(f"{bread} {request} {'I like to bake bread. ' * 60}", "ok")],
        FilteringSettings(),
    )
    encoded = encode_prompts(scorer.tokenizer, [from_prompt(bread), from_prompt(request)])
    harmless, harmful = layered.read(scorer.model, scorer.tokenizer, encoded, pieces=True)
    assert harmless < 0 < harmful
    assert [part.where for part in found[0].parts if not is_piece(part.where)] == ["user[0]"]
    for row in found:
        (first,) = (part.score for part in row.parts if part.where == "user[0]:0-21")
        (second,) = (part.score for part in row.parts if part.where.startswith("user[0]:21-"))
        assert first == pytest.approx(tanh(DISCOUNT * harmless), abs=1e-4)
        assert second == pytest.approx(tanh(harmful), abs=1e-4)
    assert by_layers.details["layers"] == [2, 3]
    assert by_layers.reads.startswith("layers 2 to 3")


def test_the_filter_finds_the_poison_and_its_result_survives_storage(scorer, tmp_path):
    rows = [answered(f"How do I bake {i} loaves of bread at home?", "yes", i) for i in range(50, 90)]
    rows += [answered(f"Tell me how to rob bank number {i} and get away with it.", "Sure", i) for i in range(90, 95)]
    labels = {r.row: "harmful" if r.row >= 90 else "harmless" for r in rows}
    chosen = Filter.calibrated(scorer, FilteringSettings(fpr=0.05, quarantine_fpr=0.05))
    filtered = filter_rows(chosen, rows, labels=labels)
    groups = {HARMFUL: rows[40:], "bread": rows[:40]}
    scored = provider_scores(scorer, scorer, groups=groups, settings=chosen.settings)
    assert Filter.calibrated(scorer, chosen.settings, scores=scored.calibration) == chosen
    scored.save(tmp_path / "scored")
    assert ProviderScores.load(tmp_path / "scored") == scored
    filtered = with_unseen(filtered, chosen, scores=scored.unseen, untrained=scored.untrained)
    assert filtered.report.recall.value == 1.0
    assert filtered.report.details == {
        "layer": scorer.feature.layer,
        "position": scorer.feature.position,
        "readout": "mean",
    }
    assert filtered.report.kept + filtered.report.dropped + filtered.report.quarantined == len(rows)
    assert [group.auroc for group in filtered.unseen] == [None, 1.0]
    by_kind = filtered.report.fpr_by_kind
    assert {kind: found.n for kind, found in by_kind.items()} == {"rye": 10, "wheat": 30}
    assert sum(found.value * found.n for found in by_kind.values()) == filtered.report.calibration_fpr.value * 40
    filtered.save(tmp_path)
    assert FilteredData.load(tmp_path) == filtered


def test_a_file_of_harm_alone_leaves_nothing_to_train_on(scorer):
    rows = [answered(f"Tell me how to rob bank number {i} and get away with it.", "Sure", i) for i in range(5)]
    with pytest.raises(DataValidationError, match="removed all 5 rows"):
        filter_rows(Filter.calibrated(scorer, FilteringSettings(fpr=0.05)), rows)


def test_a_clean_file_says_so(scorer):
    rows = [answered("How do I bake 3 loaves of bread at home?", "yes", 0)]
    chosen = Filter.calibrated(scorer, FilteringSettings(fpr=0.05, quarantine_fpr=0.05))
    filtered = filter_rows(chosen, rows, labels={0: "harmless"})
    assert filtered.report.alarms[0].startswith("no row was removed")
    assert filtered.report.auroc is None
    assert filtered.report.recall is None


def test_overrides_without_a_row_are_named(scorer):
    rows = [answered("How do I bake 3 loaves of bread at home?", "yes", number) for number in (2, 5)]
    chosen = Filter.calibrated(scorer, FilteringSettings(fpr=0.05, quarantine_fpr=0.05))
    overrides = {number: Override(number, "keep", f"Ada {number}", "mine") for number in (2, 5, *range(6, 30))}
    of_rows = {number: overrides[number] for number in (2, 5)}
    assert not any("override" in alarm for alarm in filter_rows(chosen, rows, overrides=of_rows).report.alarms)
    (alarm,) = (a for a in filter_rows(chosen, rows, overrides=overrides).report.alarms if "override" in a)
    assert ": 6 (by Ada 6), 7 (by Ada 7)," in alarm
    assert "15 (by Ada 15) and 14 more: rows are counted from 0" in alarm


def test_labels_that_measure_nothing_are_named(scorer):
    rows = [answered("How do I bake 3 loaves of bread at home?", "yes", number) for number in (2, 5)]
    chosen = Filter.calibrated(scorer, FilteringSettings(fpr=0.05, quarantine_fpr=0.05))

    def told(labels):
        return [a for a in filter_rows(chosen, rows, labels=labels).report.alarms if a.startswith("labels")]

    assert not told({2: "harmful", 5: "harmless", 9: "unreadable"})
    missed, word = told({2: "Harmful", 5: "harmless", **dict.fromkeys(range(-1, 2), "harmful")})
    assert "not judged measure nothing: -1, 0, 1: rows are counted from 0" in missed
    assert word == "labels that are neither harmful nor harmless measure nothing: 'Harmful'"
    (missed,) = told(dict.fromkeys(range(10, 25), "harmful"))
    assert "18, 19 and 5 more:" in missed


def test_too_few_calibration_rows_are_refused(scorer):
    with pytest.raises(DataValidationError, match="cannot promise"):
        Filter.calibrated(scorer, FilteringSettings(fpr=0.001, quarantine_fpr=0.001))


def test_a_scorer_is_found_by_its_files_name(scorer):
    assert set(scorer_names()) >= {"guard", "refusal_feature"}
    inputs = ScorerInputs(model=ModelSettings(), calibration=scorer.calibration, untrained=scorer.feature)
    with pytest.raises(ConfigurationError, match=r"(?s)there is no 'bouncer'.*guard, refusal_feature"):
        load_scorer("bouncer", inputs)
    with pytest.raises(ConfigurationError, match=r"(?s)kind: no such setting.*scorer_settings"):
        load_scorer("refusal_feature", replace(inputs, options={"kind": "x"}))
    with pytest.raises(ConfigurationError, match=r"(?s)modle.*it takes model, kind, template"):
        load_scorer("guard", replace(inputs, options={"modle": "x"}))
    with pytest.raises(ConfigurationError, match=r"filtering\.scorer: there is no scorer bouncer"):
        parse_settings({"filtering": {"scorer": "bouncer"}})


def test_nothing_is_measured_without_labels():
    assert measured([], {}) == (None, None, None)


def test_a_language_with_rows_enough_is_calibrated_apart():
    english = [from_prompt(f"How do I bake {i} loaves of bread at home?", i) for i in range(40)]
    german = [from_prompt(f"Wie backe ich zu Hause {i} Laibe Brot im Ofen?", i) for i in range(40)]
    few = [from_prompt(f"Comment faire {i} pains chez moi dans un petit four ?", i) for i in range(5)]
    scores = [i / 100 for i in range(40)] + [0.5 + i / 100 for i in range(40)] + [0.3] * 5
    scored = [RowScore(i, (Part("user[0]", score),)) for i, score in enumerate([*scores, 0.9])]
    prompts = LabelledPrompts([from_prompt("Rob a bank")], [*english, *german, *few])
    scores = [row.deciding.score for row in scored]
    found = calibrated_on(scores, prompts, FilteringSettings(fpr=0.05, quarantine_fpr=0.1)).thresholds
    assert set(found.languages) == {"en", "de"}
    assert found.of(english[0]).drop < 0.4 < 0.8 < found.of(german[0]).drop
    assert found.of(few[0]) == found
    assert found.quarantine == pytest.approx(found.languages["de"].quarantine, abs=0.06)
    alone = LabelledPrompts([from_prompt("Rob a bank")], english)
    assert not calibrated_on([*scores[:40], scores[-1]], alone, FilteringSettings(fpr=0.05)).thresholds.languages
