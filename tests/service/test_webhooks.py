import json
import time

import openai
import pytest
from sqlmodel import col, select

from reft.service.clock import DAY
from reft.service.jobs import lifecycle, states
from reft.service.tables import Job, WebhookDelivery, WebhookEndpoint
from reft.service.webhooks import headers_for
from tests.service.serving import rows_file

DONE = "fine_tuning.job.succeeded"


@pytest.fixture
def endpoint(client):
    made = client.webhooks.create(name="mine", url="https://example.org/hook?a=b", event_types=[DONE])
    yield made
    client.webhooks.delete(made.id)


def row_of(server, endpoint):
    with server.service.database.reading() as session:
        return session.exec(select(WebhookEndpoint).where(col(WebhookEndpoint.id) == endpoint.id)).one()


def test_what_is_announced_is_accepted_by_the_sdk_once_a_job(server, client, endpoint, tmp_path):
    file = client.files.create(file=rows_file(tmp_path), purpose="fine-tune").id
    job = client.fine_tuning.jobs.create(model="tiny", training_file=file)
    with server.service.database.writing() as session:
        row = session.exec(select(Job).where(col(Job.id) == job.id)).one()
        assert lifecycle.finish(session, row, states.SUCCEEDED, model="m")
        assert not lifecycle.finish(session, row, states.FAILED)
    with server.service.database.reading() as session:
        mine = col(WebhookDelivery.endpoint_id) == endpoint.id
        delivery = session.exec(select(WebhookDelivery).where(mine)).one()
    headers = headers_for(row_of(server, endpoint), delivery.id, delivery.body, timestamp=int(time.time()))
    event = client.webhooks.unwrap(delivery.body, headers, secret=endpoint.signing_secret)
    assert (event.type, event.data.id, event.id, event.object) == (DONE, job.id, delivery.id, "event")
    for wrong in (delivery.body.replace(job.id, "ftjob-other"), json.dumps({})):
        with pytest.raises(openai.InvalidWebhookSignatureError):
            client.webhooks.unwrap(wrong, headers, secret=endpoint.signing_secret)
    old = headers_for(row_of(server, endpoint), delivery.id, delivery.body, timestamp=int(time.time()) - 3600)
    with pytest.raises(openai.InvalidWebhookSignatureError):
        client.webhooks.unwrap(delivery.body, old, secret=endpoint.signing_secret)


def test_a_rotated_secret_signs_for_a_day_more_where_that_was_asked_for(server, client, endpoint):
    now, body = int(time.time()), json.dumps({"id": "e", "created_at": 1, "data": {"id": "j"}, "type": DONE})
    new = client.webhooks.rotate_secret(endpoint.id, keep_old_secret_active_for_24_hours=True)
    headers = headers_for(row_of(server, endpoint), "e", body, timestamp=now)
    for secret in (endpoint.signing_secret, new.signing_secret):
        client.webhooks.verify_signature(body, headers, secret=secret)
    assert (
        len(headers_for(row_of(server, endpoint), "e", body, timestamp=now + DAY + 5)["webhook-signature"].split()) == 1
    )
    newest = client.webhooks.rotate_secret(endpoint.id)
    headers = headers_for(row_of(server, endpoint), "e", body, timestamp=now)
    client.webhooks.verify_signature(body, headers, secret=newest.signing_secret)
    with pytest.raises(openai.InvalidWebhookSignatureError):
        client.webhooks.verify_signature(body, headers, secret=new.signing_secret)


def test_endpoints_are_listed_changed_and_deleted_and_their_secret_is_shown_once(client, endpoint):
    assert endpoint.signing_secret.startswith("whsec_")
    shown = client.webhooks.retrieve(endpoint.id)
    assert endpoint.signing_secret not in shown.model_dump_json()
    changed = client.webhooks.update(endpoint.id, event_types=["fine_tuning.job.failed"], name="n", url=endpoint.url)
    assert (changed.name, changed.event_types) == ("n", ["fine_tuning.job.failed"])
    assert [one.id for one in client.webhooks.list(limit=1)] == [endpoint.id]


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org",
        "ftp://example.org",
        "https://",
        "https://u:p@example.org",
        "https://[",
        "x",
        "https://a:99999",
    ],
)
def test_addresses_that_nothing_is_sent_to(client, url):
    with pytest.raises(openai.BadRequestError) as error:
        client.webhooks.create(name="n", url=url, event_types=[DONE])
    assert error.value.param == "url"


def test_an_organization_has_a_number_of_endpoints_and_not_more(server):
    client, made = server.client("many"), {"name": "n", "url": "https://example.org", "event_types": [DONE]}
    most = server.service.settings.quotas.webhook_endpoints
    first, *_ = [client.webhooks.create(**made).id for _ in range(most)]
    with pytest.raises(openai.RateLimitError) as refused:
        client.webhooks.create(**made)
    assert refused.value.code == "insufficient_quota"
    assert refused.value.response.headers["x-should-retry"] == "false"
    assert server.client("few").webhooks.create(**made).id
    client.webhooks.delete(first)
    assert client.webhooks.create(**made).id
