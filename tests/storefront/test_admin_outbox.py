"""The desk settles what the outbox gave up."""

import pytest

from authorization import clock, outbox
from authorization.models import LedgerEntry, OutboxRow
from tests.storefront.desk_pages import act_url, client_of, list_url, page

pytestmark = pytest.mark.django_db


@pytest.fixture
def dead():
    at = clock.now()
    return OutboxRow.objects.create(
        event="sweep.finished", handler="storefront.proofs.issue_proof", due_at=at, created_at=at, failed_at=at,
        attempt=outbox.SERIES, is_dead=True, last_error="OSError: disk full",
    )  # fmt: skip


def test_what_was_given_up_is_tried_again_by_a_button(dead):
    client = client_of("desk")
    assert "disk full" in page(client.get(act_url(dead, "retry")))
    assert client.post(act_url(dead, "retry")).status_code == 302
    assert OutboxRow.objects.get(attempt=outbox.SERIES + 1).event_id == dead.event_id
    assert LedgerEntry.objects.get(act="outbox.retried").actor == "user:desk"
    # The page of somebody who was slower.
    assert "was settled on" in page(client.post(act_url(dead, "retry")))
    assert OutboxRow.objects.count() == 2
    assert "settled" in page(client.get(list_url(OutboxRow) + "?work=settled"))


def test_what_is_not_needed_is_dismissed_with_a_reason(dead):
    client = client_of("desk")
    assert "This field is required" in page(client.post(act_url(dead, "dismiss"), {"reason": ""}))
    assert client.post(act_url(dead, "dismiss"), {"reason": "sent by hand"}).status_code == 302
    assert LedgerEntry.objects.get(act="outbox.dismissed").reason == "sent by hand"
    assert not outbox.dead_letters().exists()


def test_who_only_reads_settles_nothing(dead):
    for act in ("retry", "dismiss"):
        assert client_of("auditor", name=f"auditor-{act}").post(act_url(dead, act)).status_code == 403
    assert outbox.dead_letters().count() == 1
