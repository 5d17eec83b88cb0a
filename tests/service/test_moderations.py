import os
import shutil
import time
from pathlib import Path

import openai
import pytest
import yaml

from reft.config import FilteringSettings
from reft.conversations.schema import from_prompt
from reft.errors import StorageError
from reft.filtering.filter import Filter
from reft.filtering.inputs import read_inputs
from reft.filtering.scorers import load_scorer
from reft.service.clock import now
from reft.service.errors import ApiError
from reft.service.retention import YOUNG, sweep
from reft.service.service import open_service
from reft.service.serving import moderation
from reft.service.serving.moderation import Moderator
from reft.service.teachers import NEWEST, keep_teacher, newest_teacher, teacher_of
from reft.storage.digests import seal
from reft.storage.fingerprint import of_path
from tests.factories import BREAD, HARM, build_scorer
from tests.service.chatting import say, streamed
from tests.service.serving import served, settings_for

FILTERING = {"fpr": 0.05, "quarantine_fpr": 0.1}  # as few as forty rows can promise
OURS = "refusal_feature"
HARMFUL, HARMLESS = HARM.format(7), BREAD.format(7)


@pytest.fixture(scope="module")
def teacher(tiny_model, tmp_path_factory):
    return build_scorer(tmp_path_factory.mktemp("scorer"), tiny_model)


def settings_of(folder, model, **given):
    """A service whose filter promises what forty rows can."""
    settings = settings_for(folder, model, **given)
    run = {"model": {"name": model, "max_length": 256}, "filtering": FILTERING}
    settings.profile.write_text(yaml.safe_dump({"parameters": {"settings": run}}))
    return settings


@pytest.fixture(scope="module")
def moderating(tiny_model, teacher, tmp_path_factory):
    with served(settings_of(tmp_path_factory.mktemp("m"), tiny_model, teacher=teacher), checks=False) as server:
        yield server


@pytest.fixture(scope="module")
def judge(teacher):
    """The filter itself, as a scan has it."""
    settings = FilteringSettings(**FILTERING)
    return Filter.calibrated(load_scorer("refusal_feature", read_inputs(teacher)), settings)


def asked(text):
    return [{"role": "user", "content": text}]


def test_the_score_is_the_filters_and_so_is_the_threshold(moderating, judge):
    answer = moderating.client().moderations.create(input=[HARMFUL, HARMLESS])
    assert [r.flagged for r in answer.results] == [True, False]
    scores, _ = judge.judge([from_prompt(HARMFUL), from_prompt(HARMLESS)])
    for result, scored in zip(answer.results, scores, strict=True):
        assert result.score == pytest.approx(scored.deciding.score, abs=1e-5)
        assert result.threshold == pytest.approx(judge.calibration.thresholds.quarantine, abs=1e-5)
        scores_of = result.category_scores.model_dump(by_alias=True)
        assert scores_of[OURS] == pytest.approx((result.score + 1) / 2)
        assert result.categories.model_dump(by_alias=True)[OURS] == result.flagged
        assert {name for name, score in scores_of.items() if score} == {OURS}


def test_one_text_and_parts_give_one_result(moderating):
    client = moderating.client()
    parts = [{"type": "text", "text": HARMFUL[:20]}, {"type": "text", "text": HARMFUL[20:]}]
    assert len(client.moderations.create(input=HARMFUL, model="omni-moderation-latest").results) == 1
    assert len(client.moderations.create(input=parts).results) == 1


@pytest.mark.parametrize(
    "given", [[], ["a"] * 33, [{"type": "image_url", "image_url": {"url": "x"}}], [1], "a" * 20_000, ["a", "b\0"]]
)
def test_what_is_no_text_or_too_much_is_refused(moderating, given):
    with pytest.raises(openai.BadRequestError) as refused:
        moderating.client().moderations.create(input=given)
    assert refused.value.param.startswith("input")


def test_an_answer_carries_its_moderation(moderating):
    wish = {"model": "omni-moderation-latest"}
    for text, flagged in ((HARMFUL, True), (HARMLESS, False)):
        plain = say(moderating.client(), messages=asked(text), moderation=wish)
        assert plain.moderation.input.results[0].flagged is flagged
        assert plain.moderation.output.type == "moderation_results"
        chunks = streamed(moderating.client(), messages=asked(text), moderation=wish)
        said = [chunk.moderation.model_dump() for chunk in chunks if chunk.moderation]
        assert said == [plain.moderation.model_dump()]
    assert say(moderating.client()).moderation is None


def test_a_policy_that_blocks_holds_the_answer_back(moderating):
    block = {"model": "x", "policy": {"input": {"mode": "block"}, "output": {"mode": "block"}}}
    answer = say(moderating.client(), messages=asked(HARMFUL), moderation=block)
    assert answer.choices[0].finish_reason == "content_filter"
    assert answer.choices[0].message.content == ""
    assert answer.usage.completion_tokens == 0
    chunks = streamed(moderating.client(), messages=asked(HARMFUL), moderation=block)
    assert not any(chunk.choices[0].delta.content for chunk in chunks if chunk.choices)


def test_without_a_teacher_it_is_said_and_an_answer_comes_all_the_same(server, monkeypatch, tmp_path):
    monkeypatch.setattr("reft.service.teachers.DEFAULT_TEACHER", tmp_path / "none")  # this clone may have run
    with pytest.raises(openai.InternalServerError) as refused:
        server.client().moderations.create(input="a")
    assert refused.value.code == "moderation_unavailable"
    answer = say(server.client(), moderation={"model": "x"})
    assert answer.choices[0].message.content is not None
    assert answer.moderation.input.code == "moderation_unavailable"
    with pytest.raises(openai.InternalServerError):
        say(server.client(), moderation={"model": "x", "policy": {"input": {"mode": "block"}}})


def test_the_last_jobs_teacher_moderates_and_those_before_it_go(tiny_model, teacher, tmp_path):
    service = open_service(settings_of(tmp_path, tiny_model))
    moderator = Moderator(service)
    keep_teacher(service.blobs, teacher)
    first = teacher_of(service)
    assert of_path(first) == of_path(teacher)
    assert len(moderator.verdicts([from_prompt(HARMFUL)])) == 1
    later = shutil.copytree(teacher, tmp_path / "teacher")
    (later / "harmful.jsonl").write_text("".join((later / "harmful.jsonl").read_text().splitlines(keepends=True)[1:]))
    seal(later)
    keep_teacher(service.blobs, later)
    for path in service.settings.state.rglob("*"):
        os.utime(path, (time.time() - 2 * YOUNG,) * 2)
    sweep(service, now())
    assert not [path for path in first.rglob("*") if path.is_file()]
    assert of_path(teacher_of(service)) == of_path(later)
    assert len(moderator.verdicts([from_prompt(HARMFUL)])) == 1
    service.database.close()


def test_the_file_store_is_seldom_asked_which_teacher_is_the_newest(tiny_model, teacher, tmp_path, monkeypatch):
    service = open_service(settings_of(tmp_path, tiny_model, pipeline_folder=tmp_path / "never"))
    keep_teacher(service.blobs, teacher)
    moderator, newest = Moderator(service), Path(service.blobs.path(NEWEST))
    monkeypatch.setattr(moderation, "NEWEST_FOR", 3600)
    first = moderator.verdicts([from_prompt(HARMFUL)])
    newest.rename(tmp_path / "away")
    assert moderator.verdicts([from_prompt(HARMFUL)]) == first
    monkeypatch.setattr(moderation, "NEWEST_FOR", 0)
    with pytest.raises(ApiError, match="no teacher"):
        moderator.verdicts([from_prompt(HARMFUL)])
    service.database.close()


def test_files_that_cannot_be_reached_are_not_taken_for_a_service_without_a_teacher(tiny_model, teacher, tmp_path):
    """Else a sweep would take the teacher away with what nobody knows."""
    service = open_service(settings_of(tmp_path, tiny_model))
    keep_teacher(service.blobs, teacher)
    Path(service.blobs.path(NEWEST)).rename(tmp_path / "away")
    assert newest_teacher(service.blobs) is None

    def gone(*_):
        raise TimeoutError("no answer")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(service.blobs.fs), "isfile", gone)
        with pytest.raises(StorageError, match="no answer"):
            newest_teacher(service.blobs)
    service.database.close()
