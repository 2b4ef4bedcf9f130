"""manage.py outbox: how it stands, and what to do about what was given up."""

import json

import pytest
from django.core.management import CommandError, call_command

from authorization import clock, outbox
from authorization.models import LedgerEntry, OutboxRow

pytestmark = pytest.mark.django_db


def dead(handler="x.y"):
    at = clock.now()
    return OutboxRow.objects.create(
        event="noted", handler=handler, due_at=at, created_at=at, failed_at=at, attempt=outbox.SERIES, is_dead=True,
        last_error="OSError: disk full",
    )  # fmt: skip


def said(capsys, *arguments):
    call_command("outbox", *arguments)
    return capsys.readouterr().out


def test_status_fails_while_something_is_given_up(capsys):
    assert said(capsys, "status") == "0 due and not done; 0 given up\n"
    row = dead()
    with pytest.raises(CommandError) as error:
        call_command("outbox", "status", "--json")
    assert error.value.returncode == 1
    assert json.loads(capsys.readouterr().out)["dead"][0]["row"] == row.pk


def test_letters_are_retried_by_number_by_handler_or_all(capsys):
    rows = [dead(), dead("a.b"), dead("a.b"), dead("c.d")]
    assert said(capsys, "retry-dead", str(rows[0].pk), "--by", "ann") == "1 settled\n"
    assert said(capsys, "retry-dead", "--handler", "a.b", "--by", "ann") == "2 settled\n"
    assert said(capsys, "dismiss-dead", "--all", "--by", "ann", "--reason", "gone") == "1 settled\n"
    assert LedgerEntry.objects.filter(act="outbox.retried", actor="user:ann").count() == 3
    with pytest.raises(CommandError, match="was settled"):
        call_command("outbox", "retry-dead", str(rows[0].pk), "--by", "ann")
    with pytest.raises(CommandError, match="no row 123456789"):
        call_command("outbox", "retry-dead", "123456789", "--by", "ann")
    with pytest.raises(CommandError, match="Say which"):
        call_command("outbox", "retry-dead", "--by", "ann")


def test_what_is_due_is_done_without_a_worker(capsys, settings):
    settings.OUTBOX_HANDLERS = {"noted": [f"{__name__}.note"]}
    outbox.announce(event="noted", payload={}, at=clock.now())
    assert said(capsys, "pump") == "1 done\n"


def note(*, payload, event_id, at):
    pass
