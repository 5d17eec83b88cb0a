"""What was decided, for other programs: overrides of a run, Label Studio's tasks, Argilla's records.

Only what stands, or what the one who asks decided, leaves here: with two people nobody learns the other's decision from
an export.
"""

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlmodel import Session, col, select

from reft.pages.marking import texts_of
from reft.service.review.decisions import CHOICES, decisions_of, latest, shown_to
from reft.service.tables import ReviewDecision, ReviewItem

if TYPE_CHECKING:
    from reft.filtering.overrides import Override

FILTER = "reft-filter"
# The labelling configuration that the tasks belong to.
LABEL_STUDIO = """<View>
  <Text name="text" value="$text"/>
  <Labels name="span" toName="text"><Label value="deciding"/></Labels>
  <Choices name="decision" toName="text" choice="single" required="true">
    <Choice value="keep"/><Choice value="drop"/>
  </Choices>
  <TextArea name="reason" toName="text"/>
  <TextArea name="by" toName="text"/>
</View>
"""


def overrides_of(session: Session, job_id: str) -> "list[Override]":
    """What stands, row by row, with all who said so and why."""
    from reft.filtering.overrides import Override  # what scores rows comes with it: slow to import

    decisions = decisions_of(session, job_id)
    return [
        Override(row=item.row, decision=item.decision, by=by, reason=reason)
        for item in _items(session, job_id)
        if item.decision in CHOICES
        for by, reason in (_said(item.decision, decisions[item.id]),)
    ]


def _said(decision: str, made: Sequence[ReviewDecision]) -> tuple[str, str]:
    agreed = [one for one in latest(made).values() if one.decision == decision]
    reasons = dict.fromkeys(one.reason for one in agreed)
    return ", ".join(one.reviewer for one in agreed), "; ".join(reasons)


def _items(session: Session, job_id: str) -> Iterator[ReviewItem]:
    yield from session.exec(select(ReviewItem).where(col(ReviewItem.job_id) == job_id).order_by(col(ReviewItem.row)))


def overrides_jsonl(session: Session, job_id: str) -> str:
    """The overrides as the lines of a file."""
    return "".join(json.dumps(vars(override)) + "\n" for override in overrides_of(session, job_id))


def decisions_jsonl(session: Session, job_id: str, *, who: str, people: int) -> str:
    """The whole record, oldest first: who decided what, when, how and why, with which key."""
    rows = {item.id: item for item in _items(session, job_id)}
    made = [one for of_row in decisions_of(session, job_id).items() for one in _known(rows, of_row, who, people=people)]
    return "".join(
        json.dumps(
            {"row": rows[one.item_id].row, "decision": one.decision, "by": one.reviewer, "key": one.key_id,
             "at": one.created_at, "how": one.how, "reason": one.reason}
        ) + "\n"
        for one in sorted(made, key=lambda d: d.seq or 0)
    )  # fmt: skip


def _known(
    rows: Mapping[str, ReviewItem], of_row: tuple[str, list[ReviewDecision]], who: str, *, people: int
) -> list[ReviewDecision]:
    id_, made = of_row
    return made if shown_to(who, made, rows[id_].decision, people=people) else []


def label_studio(session: Session, job_id: str, *, who: str, people: int) -> list[dict[str, Any]]:
    """Tasks with the filter's prediction and an annotation for each person's decision."""
    decisions = decisions_of(session, job_id)
    return [_task(item, _shown(item, decisions, who=who, people=people).values()) for item in _items(session, job_id)]


def _shown(
    item: ReviewItem, decisions: Mapping[str, Sequence[ReviewDecision]], *, who: str, people: int
) -> dict[str, ReviewDecision]:
    made = decisions.get(item.id, ())
    return latest(made) if shown_to(who, made, item.decision, people=people) else {}


def _task(item: ReviewItem, made: Any) -> dict[str, Any]:
    text = "\n\n".join(texts_of(item.content))
    result = [_choice(item.proposed if item.proposed in CHOICES else "drop")]
    start = text.find(item.span) if item.span else -1
    if start >= 0:
        value = {"start": start, "end": start + len(item.span), "text": item.span, "labels": ["deciding"]}
        result.append({"id": "span", "from_name": "span", "to_name": "text", "type": "labels", "value": value})
    data = {"text": text, "job": item.job_id, "row": item.row, "score": item.score, "reason": item.reason}
    prediction: dict[str, Any] = {"model_version": FILTER, "result": result}
    if item.score is not None:
        prediction["score"] = item.score
    annotations = [
        {
            "created_at": datetime.fromtimestamp(one.created_at, UTC).isoformat(),
            "result": [_choice(one.decision), _words("reason", one.reason), _words("by", one.reviewer)],
        }
        for one in made
    ]
    return {"data": data, "predictions": [prediction], "annotations": annotations}


def _choice(decision: str) -> dict[str, Any]:
    value = {"choices": [decision]}
    return {"id": "decision", "from_name": "decision", "to_name": "text", "type": "choices", "value": value}


def _words(name: str, text: str) -> dict[str, Any]:
    return {"id": name, "from_name": name, "to_name": "text", "type": "textarea", "value": {"text": [text]}}


def argilla(session: Session, job_id: str, *, who: str, people: int) -> list[dict[str, Any]]:
    """Records as `dataset.records.from_json` reads them; a person is a UUID there, made of the name here."""
    decisions, found = decisions_of(session, job_id), []
    for item in _items(session, job_id):
        made = _shown(item, decisions, who=who, people=people)
        score = item.score if item.score is not None and 0 <= item.score <= 1 else None
        proposed = item.proposed if item.proposed in CHOICES else "drop"
        suggested = {"value": proposed, "score": score, "agent": FILTER}
        metadata = {"row": item.row, "score": item.score, "place": item.place, "by": sorted(made)}
        found.append(
            {
                "id": item.id,
                "fields": {"text": "\n\n".join(texts_of(item.content)), "span": item.span, "filter": item.reason},
                "metadata": {name: value for name, value in metadata.items() if value not in (None, "", [])},
                "suggestions": {"decision": suggested},
                "responses": {
                    "decision": [{"value": one.decision, "user_id": _person(name)} for name, one in made.items()],
                    "reason": [{"value": one.reason, "user_id": _person(name)} for name, one in made.items()],
                },
                "vectors": {},
            }
        )
    return found


def _person(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"reft-reviewer:{name}"))
