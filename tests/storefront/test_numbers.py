"""How long withdrawals took: the page of one, the list, the first page of the desk, and what Prometheus reads."""

import re
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import pytest
from django.contrib.auth.models import Group, User
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from authorization import clock, outbox, revocations, sealing
from authorization.models import (
    Delisting,
    OutboxRow,
    PendingChange,
    ReconcilerRun,
    Revocation,
    Sweep,
    SweepChunk,
)
from catalog.models import ListingHost
from seeds.factories import make_sellable
from storefront import environment, events, numbers, roles, webhooks
from storefront.admin.numbers import say_span
from storefront.models import (
    CountedSweep,
    Notice,
    Order,
    RemovalProof,
    SentMessage,
    WebhookDelivery,
    WebhookEndpoint,
)
from tests.storefront.conftest import DESK
from tests.storefront.test_audit import buy

pytestmark = pytest.mark.django_db

TOKEN = "a-token-for-tests-only"


def withdraw(world, *, at, word_before=timedelta(minutes=30), **more):
    change = revocations.RevokeAgreement(world.agreement.pk, "MANUFACTURER_DISCLAIMS")
    seen = revocations.preview(change, at=at, **more)
    return revocations.execute(
        change,
        digest=seen.digest,
        requested_by="the manufacturer",
        word_received_at=at - word_before,
        note="test",
        by=DESK,
        at=at,
        **more,
    )


def measured(revocation, commit_s=0.25):
    Revocation.objects.filter(pk=revocation.pk).update(commit_s=commit_s)
    return fresh(revocation)


def fresh(revocation):
    return numbers.with_steps(Revocation.objects.filter(pk=revocation.pk)).get()


def steps_of(revocation, at=None):
    timeline = numbers.timeline_of(fresh(revocation), at=at or clock.now())
    return {step.name: step for step in timeline.steps}


def sweep_of(revocation, start, **fields):
    return Sweep.objects.create(
        revision=revocation.revision, revocation=revocation, started_at=start, **fields
    )


def take_down(sweep, world, at):
    """As a chunk does; the decision is the offer's own, so that there is one."""
    offer = ListingHost.objects.get(pk=world.offer.pk)
    assert offer.decision_id is not None
    return Delisting.objects.create(
        offer=offer, decision_id=offer.decision_id, sweep=sweep, reason_codes=["X"], at=at
    )


def mail(sweep, world, **fields):
    return SentMessage.objects.create(
        event_id=uuid4(),
        kind="delisted",
        recipient=world.vendor.name,
        subject="s",
        body="b",
        sweep=sweep,
        **fields,
    )


def endpoint_of(world, **fields):
    return WebhookEndpoint.objects.create(
        vendor=world.vendor, url="https://vendor.example/", secret="whsec_x", created_at=clock.now(), **fields
    )


def delivery(endpoint, delisting, **fields):
    return WebhookDelivery.objects.create(
        endpoint=endpoint, event_id=delisting.decision_id, event="listing.suspended", position=1,
        created_at=clock.now(), **fields,
    )  # fmt: skip


# --- one withdrawal -----------------------------------------------------------------------------------------


def test_a_withdrawal_with_all_that_follows():
    world, other = make_sellable(), make_sellable()
    at = clock.now()
    revocation = measured(withdraw(world, at=at))
    start = revocation.revision.recorded_at

    def after(seconds):
        return start + timedelta(seconds=seconds)

    sweep = sweep_of(revocation, after(1), planned_at=after(2), finished_at=after(9), planned_offers=2)
    first = take_down(sweep, world, after(3))
    take_down(sweep, other, after(8))
    mail(sweep, world, sent_at=after(10), address="a@example.com", mailed_at=after(11))
    mail(sweep, other, sent_at=after(12))
    delivery(endpoint_of(world), first, delivered_at=after(14))
    notice = Notice.objects.create(
        slug="n", title="t", body="b", drafted_at=after(20), published_at=after(3600)
    )
    notice.revocations.add(revocation)
    RemovalProof.objects.create(
        revocation=revocation, recipient="r", statement={}, signature="s", issued_at=after(30)
    )
    steps = steps_of(revocation)
    assert {name: step.seconds for name, step in steps.items()} == {
        "decided": pytest.approx(1800, abs=1),
        "unsellable": pytest.approx(0.25),
        "first_page": 3,
        "last_page": 8,
        "vendors_told": 14,
        "notice_drafted": 20,
        "notice_published": 3600,
        "proof": 30,
    }
    assert {step.state for step in steps.values()} == {"done"}


def test_what_has_not_come_about_has_no_end_and_says_how_far_it_is():
    world, other = make_sellable(), make_sellable()
    revocation = withdraw(world, at=clock.now())
    steps = steps_of(revocation)
    assert steps["unsellable"].state in {"not measured", "done"}
    assert {steps[name].state for name in ("first_page", "last_page", "vendors_told", "proof")} == {"not yet"}
    start = fresh(revocation).revision.recorded_at
    sweep = sweep_of(revocation, start, planned_at=start, planned_offers=7)
    SweepChunk.objects.create(sweep=sweep, first_offer_id=1, last_offer_id=2, done_at=start, decided=3)
    down = take_down(sweep, world, start + timedelta(seconds=2))
    take_down(sweep, other, start + timedelta(seconds=2))
    steps = steps_of(revocation)
    assert (steps["first_page"].state, steps["first_page"].seconds) == ("done", 2)
    assert (steps["last_page"].state, steps["last_page"].done, steps["last_page"].total) == (
        "under way",
        3,
        7,
    )
    assert steps["last_page"].seconds is None
    Sweep.objects.filter(pk=sweep.pk).update(finished_at=start + timedelta(seconds=5))
    mail(sweep, world, sent_at=start, address="a@example.com")
    delivery(endpoint_of(world), down, given_up_at=start)
    told = steps_of(revocation)["vendors_told"]
    assert (told.state, told.done, told.total, told.seconds) == ("under way", 0, 2, None)


def test_a_sweep_that_took_nothing_down_leaves_nobody_to_tell():
    revocation = withdraw(make_sellable(), at=clock.now())
    sweep_of(revocation, clock.now(), planned_at=clock.now(), finished_at=clock.now())
    steps = steps_of(revocation)
    assert {steps[name].state for name in ("first_page", "last_page", "vendors_told")} == {"nothing to do"}


def test_a_removal_that_waits_for_a_second_person_says_so():
    revocation = withdraw(make_sellable(), at=clock.now())
    sweep_of(revocation, clock.now())
    PendingChange.objects.filter(revocation=revocation).delete()
    PendingChange.objects.create(kind="removal", revocation=revocation, made_by="a", made_at=clock.now())
    steps = steps_of(revocation)
    assert {steps[name].state for name in ("first_page", "last_page", "vendors_told")} == {
        "waits for a second person"
    }


def test_a_withdrawal_for_a_later_day_stops_the_sale_on_that_day():
    at = clock.now()
    effective_at = at + timedelta(days=2)
    revocation = withdraw(make_sellable(), at=at, effective_at=effective_at)
    steps = steps_of(revocation)
    assert {steps[name].state for name in numbers.STEPS if name != "decided"} == {"not yet"}
    steps = steps_of(revocation, at=effective_at)
    assert steps["unsellable"].ended_at == effective_at
    assert steps["first_page"].started_at == effective_at
    # What was meant to wait is no measure of how fast the shop is.
    timeline = numbers.timeline_of(fresh(revocation), at=effective_at)
    assert {spread.name: spread.count for spread in numbers.spreads([timeline])}["unsellable"] == 0


def test_a_cancelled_withdrawal_has_no_steps_and_counts_in_no_spread():
    at = clock.now()
    revocation = withdraw(make_sellable(), at=at, effective_at=at + timedelta(days=2))
    PendingChange.objects.filter(revocation=revocation, kind="withdrawal").update(
        state="cancelled", decided_at=at, decided_by="b"
    )
    timeline = numbers.timeline_of(fresh(revocation), at=at + timedelta(days=3))
    assert timeline.is_cancelled
    assert {spread.count for spread in numbers.spreads([timeline])} == {0}


def test_held_orders_are_counted(provider):
    world = make_sellable()
    order = buy(world)
    revocation = withdraw(world, at=clock.now())
    Order.objects.filter(pk=order.pk).update(
        state="held", held_on=revocation, held_at=clock.now(), decide_by=clock.now()
    )
    assert numbers.timeline_of(fresh(revocation), at=clock.now()).held == 1


@pytest.mark.parametrize(
    ("durations", "expected"),
    [
        ([], (0, None, None, None)),
        ([5.0], (1, 5.0, 5.0, 5.0)),
        ([4.0, 1.0, 3.0, 2.0], (4, 2.0, 4.0, 4.0)),
        ([float(n) for n in range(1, 101)], (100, 50.0, 95.0, 100.0)),
        ([None, 2.0], (1, 2.0, 2.0, 2.0)),
    ],
)
def test_percentiles_are_durations_that_some_had(durations, expected):
    spread = numbers._spread("proof", durations)
    assert (spread.count, spread.p50_s, spread.p95_s, spread.max_s) == expected


def test_a_list_takes_as_many_statements_as_one(django_assert_num_queries):
    at = clock.now()
    for _ in range(3):
        world = make_sellable()
        revocation = withdraw(world, at=clock.now())
        sweep = sweep_of(revocation, at, planned_at=at, finished_at=at)
        take_down(sweep, world, at)
    until = clock.now() + timedelta(seconds=1)
    with django_assert_num_queries(8):
        assert len(numbers.timelines(list(numbers.decided_between(at, until)), at=until)) == 3
    with django_assert_num_queries(8):
        assert len(numbers.timelines(list(numbers.decided_between(at, until)[:1]), at=until)) == 1


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 ms"), (0.035, "35 ms"), (2.44, "2.4 s"), (75, "1 min 15 s"), (3600, "1 h"), (90_061, "1 d 1 h")],
)
def test_spans_are_said_as_people_say_them(seconds, said):
    assert say_span(seconds) == said


# --- the pages ----------------------------------------------------------------------------------------------


def person(client, *groups, is_superuser=False):
    roles.ensure_roles()
    user = User.objects.create_user(f"user-{uuid4()}", password="only-for-tests", is_staff=True)
    user.is_superuser = is_superuser
    user.save()
    for group in groups:
        user.groups.add(Group.objects.get(name=group))
    client.force_login(user)
    return client


@pytest.mark.parametrize(("group", "status"), [("desk", 200), ("auditor", 200), ("catalog", 403)])
def test_the_list_is_for_those_who_may_read_withdrawals(client, group, status):
    assert person(client, group).get(reverse("numbers")).status_code == status


def test_the_list_is_for_nobody_who_did_not_sign_in(client):
    assert client.get(reverse("numbers")).status_code == 302


def test_the_list_shows_each_withdrawal_of_the_period_and_the_spread(client):
    revocation = measured(withdraw(make_sellable(), at=clock.now()), 0.125)
    page = person(client, "desk").get(reverse("numbers")).content.decode()
    assert str(revocation) in page
    assert "125 ms" in page
    for title in numbers.STEPS.values():
        assert title in page
    assert "Take from 1 to" in client.get(reverse("numbers"), {"days": "0"}).content.decode()
    old = clock.now() - timedelta(days=40)
    Revocation.objects.filter(pk=revocation.pk).update(effective_at=clock.now())
    assert "Nothing was withdrawn" not in page
    assert not numbers.decided_between(old, old + timedelta(days=1)).exists()


def test_a_page_of_the_list_takes_a_fixed_number_of_statements(client):
    person(client, "desk")
    counts = []
    for _ in range(2):
        for _ in range(2):
            withdraw(make_sellable(), at=clock.now())
        with CaptureQueriesContext(connection) as asked:
            assert client.get(reverse("numbers")).status_code == 200
        counts.append(len(asked))
    assert counts[0] == counts[1]


def cards_of(client):
    response = client.get(reverse("admin:index"))
    assert response.status_code == 200
    return {card.label: card for group in response.context["groups"] for card in group.cards}


def test_the_first_page_shows_what_should_be_0_and_what_waits(client):
    at = clock.now()
    ReconcilerRun.objects.create(started_at=at, finished_at=at, revision=1, found_live=2, found_suspended=1)
    OutboxRow.objects.create(event="e", handler="h", due_at=at, created_at=at, failed_at=at, is_dead=True)
    OutboxRow.objects.create(event="e", handler="g", due_at=at - timedelta(minutes=5), created_at=at)
    world = make_sellable()
    endpoint_of(world, failing_since=at)
    Notice.objects.create(slug="n", title="t", body="b", drafted_at=at)
    cards = cards_of(person(client, "desk"))
    assert cards["found by the reconciler, 24 h"].number == "3"
    assert "Missed by the events" in cards["found by the reconciler, 24 h"].alarm
    assert (cards["dead letters"].number, bool(cards["dead letters"].alarm)) == ("1", True)
    assert "Late" in cards["outbox lag"].alarm
    assert (cards["webhooks failing"].number, cards["notices to publish"].number) == ("1", "1")
    for card in cards.values():
        assert client.get(card.url).status_code == 200, card


def test_a_quiet_shop_has_no_alarm(client):
    at = clock.now()
    ReconcilerRun.objects.create(started_at=at, finished_at=at, revision=1)
    OutboxRow.objects.all().delete()
    assert [card.label for card in cards_of(person(client, "desk")).values() if card.alarm] == []


def test_a_reconciler_that_stands_still_is_said_in_words(client):
    at = clock.now()
    person(client, "desk")
    assert "nobody looks" in cards_of(client)["found by the reconciler, 24 h"].alarm
    ReconcilerRun.objects.create(
        started_at=at - timedelta(minutes=10), finished_at=at - timedelta(minutes=9), revision=1
    )
    assert "Late: the last round was 9 min" in cards_of(client)["found by the reconciler, 24 h"].alarm


def test_orders_past_their_deadline_and_removals_stand_out(client, provider):
    world = make_sellable()
    order = buy(world)
    revocation = withdraw(world, at=clock.now())
    past = clock.now() - timedelta(seconds=1)
    Order.objects.filter(pk=order.pk).update(state="held", held_on=revocation, held_at=past, decide_by=past)
    PendingChange.objects.filter(revocation=revocation).delete()
    PendingChange.objects.create(kind="removal", revocation=revocation, made_by="a", made_at=past)
    sweep = sweep_of(revocation, past - timedelta(seconds=10), planned_at=past, planned_offers=10)
    SweepChunk.objects.create(sweep=sweep, first_offer_id=1, last_offer_id=2, done_at=past, decided=5)
    cards = cards_of(person(client, "desk"))
    assert (cards["orders to decide"].number, cards["orders to decide"].alarm) == ("1", "1 overdue.")
    assert cards["removals for a second person"].number == "1"
    assert cards["sweeps under way"].note.startswith("5 of 10 offers looked at, about ")


def test_nobody_is_shown_or_asked_what_he_may_not_read(client):
    person(client, "catalog")
    with CaptureQueriesContext(connection) as asked:
        assert cards_of(client) == {}
    assert not [query for query in asked if "authorization_reconcilerrun" in query["sql"]]


def test_the_first_page_takes_a_fixed_number_of_statements(client):
    person(client, "desk")
    counts = []
    for _ in range(2):
        for _ in range(2):
            withdraw(make_sellable(), at=clock.now())
        with CaptureQueriesContext(connection) as asked:
            cards_of(client)
        counts.append(len(asked))
    assert counts[0] == counts[1]
    assert counts[0] < 40


# --- Prometheus ---------------------------------------------------------------------------------------------


def scrape(client, token=TOKEN, **headers):
    return client.get("/metrics", headers={"authorization": f"Bearer {token}"} | headers)


def values_of(response):
    lines = response.content.decode().splitlines()
    return {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")
    }


def test_without_a_token_in_the_settings_there_is_no_such_page(client, settings):
    settings.METRICS_TOKEN = ""
    assert scrape(client).status_code == 404
    assert scrape(client, token="").status_code == 404


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        f"Basic {TOKEN}",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        "Bearer ü",
        TOKEN,
    ],
)
def test_who_does_not_show_the_token_gets_nothing(client, settings, header):
    settings.METRICS_TOKEN = TOKEN
    response = client.get("/metrics", headers={"authorization": header})
    assert response.status_code == 401
    assert b"clearline" not in response.content


def test_it_is_read_only(client, settings):
    settings.METRICS_TOKEN = TOKEN
    assert client.post("/metrics", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 405


def test_what_prometheus_reads(client, settings, provider):
    settings.METRICS_TOKEN = TOKEN
    world = make_sellable()
    order = buy(world)
    revocation = measured(withdraw(world, at=clock.now()), 0.5)
    at = clock.now()
    past = at - timedelta(seconds=90)
    Order.objects.filter(pk=order.pk).update(state="held", held_on=revocation, held_at=past, decide_by=past)
    OutboxRow.objects.all().delete()
    OutboxRow.objects.create(event="e", handler="g", due_at=past, created_at=at)
    OutboxRow.objects.create(event="e", handler="h", due_at=at, created_at=at, failed_at=at, is_dead=True)
    ReconcilerRun.objects.create(started_at=past, finished_at=at, revision=1, found_live=2)
    sweep_of(revocation, past, planned_at=past, planned_offers=10)
    response = scrape(client)
    assert response["Content-Type"].startswith("text/plain")
    assert "no-store" in response["Cache-Control"]
    values = values_of(response)
    assert values["clearline_outbox_lag_seconds"] == pytest.approx(90, abs=30)
    assert (values["clearline_outbox_due_rows"], values["clearline_outbox_dead_rows"]) == (1, 1)
    assert values['clearline_reconciler_found_total{what="live"}'] == 2
    assert values["clearline_reconciler_last_run_duration_seconds"] == pytest.approx(90)
    assert (values["clearline_sweeps_open"], values["clearline_sweep_offers_planned"]) == (1, 10)
    assert (values["clearline_orders_held"], values["clearline_orders_overdue"]) == (1, 1)
    assert values['clearline_offers{state="live"}'] == 1
    assert values["clearline_withdrawals_total"] == 1
    assert values['clearline_withdrawal_step_seconds{quantile="0.5",step="unsellable"}'] == 0.5
    assert values["clearline_ledger_unsealed_rows"] > 0
    assert values["clearline_revision"] == revocation.revision_id


def test_names_follow_the_conventions_and_are_all_documented(client, settings):
    settings.METRICS_TOKEN = TOKEN
    text = scrape(client).content.decode()
    types = dict(re.findall(r"^# TYPE (\S+) (\w+)$", text, re.M))
    assert types
    for name, kind in types.items():
        assert re.fullmatch(r"clearline_[a-z_]+", name)
        assert (kind == "counter") == name.endswith("_total"), name
    page = (Path(__file__).parents[2] / "docs" / "numbers.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `(clearline_[a-z_]+)", page, re.M))
    at = clock.now()
    ReconcilerRun.objects.create(started_at=at, finished_at=at, revision=1)

    make_sellable()
    sealing.seal(at=clock.now())
    full = dict(re.findall(r"^# TYPE (\S+) (\w+)$", scrape(client).content.decode(), re.M))
    assert documented == set(full)


def test_a_scrape_takes_a_fixed_number_of_statements(client, settings):
    settings.METRICS_TOKEN = TOKEN
    counts = []
    for _ in range(2):
        for _ in range(2):
            withdraw(make_sellable(), at=clock.now())
        with CaptureQueriesContext(connection) as asked:
            scrape(client)
        counts.append(len(asked))
    assert counts[0] == counts[1]
    assert counts[0] < 35


@pytest.mark.parametrize("value", ["s3cret", "with spaces in the middle", "ümlauts-are-no-header-text"])
def test_a_token_that_cannot_work_stops_the_start(monkeypatch, value):
    monkeypatch.setenv("CLEARLINE_METRICS_TOKEN", value)
    with pytest.raises(ImproperlyConfigured) as refused:
        environment.token("CLEARLINE_METRICS_TOKEN")
    assert value not in str(refused.value)


def test_a_scrape_adds_up_no_pages_messages_or_deliveries(client, settings):
    settings.METRICS_TOKEN = TOKEN
    world = make_sellable()
    revocation = measured(withdraw(world, at=clock.now()), 0.5)
    start = revocation.revision.recorded_at
    sweep = sweep_of(revocation, start, planned_at=start, finished_at=start + timedelta(seconds=5))
    take_down(sweep, world, start + timedelta(seconds=4))
    mail(sweep, world, sent_at=start + timedelta(seconds=7))
    longest = 'clearline_withdrawal_step_seconds{quantile="1",step="%s"}'
    assert longest % "last_page" not in values_of(scrape(client))
    numbers.count_finished(at=clock.now())
    with CaptureQueriesContext(connection) as asked:
        values = values_of(scrape(client))
    assert (values[longest % "last_page"], values[longest % "vendors_told"]) == (4, 7)
    many = ("authorization_delisting", "storefront_sentmessage", "JOIN storefront_webhookdelivery")
    assert not [query["sql"] for query in asked if any(table in query["sql"] for table in many)]


# --- what is counted once -----------------------------------------------------------------------------------


@pytest.fixture
def swept():
    """A withdrawal whose sweep is done, with two vendors to tell, one of them by webhook as well."""
    world, other = make_sellable(), make_sellable()
    revocation = measured(withdraw(world, at=clock.now()))
    start = revocation.revision.recorded_at
    sweep = sweep_of(revocation, start, planned_at=start, finished_at=start + timedelta(seconds=5))
    first = take_down(sweep, world, start + timedelta(seconds=2))
    take_down(sweep, other, start + timedelta(seconds=4))
    outbox.stamp_positions()
    endpoint = endpoint_of(world, position=events.newest_position())
    made = delivery(endpoint, first, due_at=start)
    mail(sweep, world, sent_at=start + timedelta(seconds=6))
    late = mail(sweep, other, sent_at=start + timedelta(seconds=6), address="a@example.com")
    return SimpleNamespace(
        revocation=revocation, sweep=sweep, start=start, world=world, delivery=made, mail=late
    )


def settle(swept, *, mailed_s=7, delivered_s=9):
    SentMessage.objects.filter(pk=swept.mail.pk).update(mailed_at=swept.start + timedelta(seconds=mailed_s))
    WebhookDelivery.objects.filter(pk=swept.delivery.pk).update(
        due_at=None, delivered_at=swept.start + timedelta(seconds=delivered_s)
    )


def test_what_a_sweep_took_down_is_counted_once(swept):
    assert numbers.count_finished(at=clock.now()) == 1
    assert numbers.count_finished(at=clock.now()) == 0
    counted = CountedSweep.objects.get()
    assert (counted.pages, counted.vendors, counted.told_at) == (2, 2, None)
    steps = steps_of(swept.revocation)
    assert (steps["first_page"].seconds, steps["last_page"].seconds) == (2, 4)
    told = steps["vendors_told"]
    assert (told.state, told.done, told.total) == ("under way", 1, 3)


def test_an_open_sweep_is_not_counted(swept):
    Sweep.objects.filter(pk=swept.sweep.pk).update(finished_at=None)
    assert numbers.count_finished(at=clock.now()) == 0


def test_a_sweep_that_took_nothing_down_is_counted_and_never_asked_about_again(django_assert_num_queries):
    at = clock.now()
    revocation = withdraw(make_sellable(), at=at)
    sweep_of(revocation, at, planned_at=at, finished_at=at)
    assert numbers.count_finished(at=clock.now()) == 1
    steps = steps_of(revocation)
    assert {steps[name].state for name in ("first_page", "last_page", "vendors_told")} == {"nothing to do"}
    with django_assert_num_queries(2):
        assert numbers.count_finished(at=clock.now()) == 0


def test_the_last_vendor_is_told_when_mail_and_webhook_are_out_and_stays_so(swept):
    settle(swept)
    numbers.count_finished(at=clock.now())
    assert CountedSweep.objects.get().told_at == swept.start + timedelta(seconds=9)
    # Its vendor has it sent once more; then it is no longer kept.
    WebhookDelivery.objects.update(due_at=clock.now(), delivered_at=None)
    numbers.count_finished(at=clock.now())
    assert steps_of(swept.revocation)["vendors_told"].seconds == 9
    settle(swept, delivered_s=3600)
    numbers.count_finished(at=clock.now())
    assert steps_of(swept.revocation)["vendors_told"].seconds == 9
    WebhookDelivery.objects.all().delete()
    assert steps_of(swept.revocation)["vendors_told"].seconds == 9


@pytest.mark.parametrize("missing", ["mail", "delivery", "fan-out"])
def test_nobody_is_said_to_be_told_who_is_not(swept, missing):
    settle(swept)
    if missing == "mail":
        SentMessage.objects.filter(pk=swept.mail.pk).update(mailed_at=None)
    elif missing == "delivery":
        WebhookDelivery.objects.update(due_at=clock.now(), delivered_at=None)
    else:
        at = clock.now()
        OutboxRow.objects.create(
            event="listing.suspended", payload={"vendor_id": swept.world.vendor.pk}, due_at=at, created_at=at,
        )  # fmt: skip
    numbers.count_finished(at=clock.now())
    assert CountedSweep.objects.get().told_at is None
    if missing == "fan-out":
        webhooks.fan_out(at=clock.now())
        WebhookDelivery.objects.filter(due_at__isnull=False).update(due_at=None, given_up_at=clock.now())
        numbers.count_finished(at=clock.now())
        assert CountedSweep.objects.get().told_at == swept.start + timedelta(seconds=9)


def test_a_webhook_that_was_given_up_is_not_waited_for(swept):
    settle(swept)
    WebhookDelivery.objects.update(delivered_at=None, given_up_at=clock.now())
    numbers.count_finished(at=clock.now())
    assert CountedSweep.objects.get().told_at == swept.start + timedelta(seconds=7)


def test_what_there_is_no_time_for_is_counted_the_next_time(swept):
    assert numbers.count_finished(at=clock.now(), within_s=-1) == 0
    assert not CountedSweep.objects.exists()
    assert steps_of(swept.revocation)["last_page"].seconds == 4
