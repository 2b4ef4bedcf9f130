"""The waitlist: asked twice, told once, forgotten after, and nobody learns who is on it."""

import re
import smtplib
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from authorization import clock, holds, offers, outbox
from authorization.actors import Actor
from authorization.models import Fact, LedgerEntry, OutboxRow
from catalog.models import Condition, Stock
from seeds.factories import BUILDER, UserFactory, VariantFactory, World, make_sellable, make_terms
from storefront import waitlist
from storefront.models import WaitlistEntry
from storefront.roles import AUDITOR, DESK, ensure_roles
from tests.storefront.conftest import place_hold, revoke_agreement
from tests.storefront.test_pages import device_path, text_of

pytestmark = pytest.mark.django_db

SOMEBODY = Actor("shopper", "anonymous")
ADA = "ada@example.com"


@pytest.fixture
def shopper() -> Client:
    return Client()


@pytest.fixture
def held(world: World) -> World:
    """A phone that is delisted, its sweep done."""
    place_hold(("variant", world.variant.pk))
    outbox.pump()
    mail.outbox.clear()
    return world


def release() -> None:
    """What was held may be sold again, and its sweep is done."""
    hold = Fact.objects.get(kind=Fact.Kind.HOLD)
    holds.release_hold(fact=hold, by=BUILDER, at=clock.now(), reason="tested")
    outbox.pump()


def put_on_list(shopper: Client, world: World, email: str = ADA, **sent: Any) -> Any:
    return shopper.post(f"{device_path(world)}wait/", {"variant": world.variant.slug, "email": email} | sent)


def mails_to(address: str = ADA) -> list[Any]:
    return [message for message in mail.outbox if message.to == [address]]


def told() -> list[str]:
    """Whom a return was told to, in order."""
    return sorted(message.to[0] for message in mail.outbox if "You can buy it again" in message.subject)


def link_in(message: Any) -> str:
    found = re.search(r"(/waitlist/[\w-]+/)", message.body)
    assert found
    return found[1]


def confirmed(world: World, email: str = ADA) -> WaitlistEntry:
    waitlist.ask(email=email, variant=world.variant, by=SOMEBODY, at=clock.now())
    entry = WaitlistEntry.objects.get(email=email, variant=world.variant, ended_at=None, told_at=None)
    waitlist.confirm(token=entry.token, by=SOMEBODY, at=clock.now())
    outbox.pump()
    mail.outbox.clear()
    entry.refresh_from_db()
    return entry


# --- asking, twice ------------------------------------------------------------------------------------------


def test_the_whole_way(shopper, held, settings):
    settings.PUBLIC_URL = "https://shop.example"
    response = put_on_list(shopper, held, email=" Ada@Example.com ")
    assert (response.status_code, response["Location"]) == (302, f"{device_path(held)}wait/asked/")
    assert "Look into your mail" in text_of(shopper.get(response["Location"]))
    outbox.pump()
    (question,) = mails_to()
    link = link_in(question)

    assert "Do you want one mail" in text_of(shopper.get(link))
    assert WaitlistEntry.objects.get().confirmed_at is None, "looking confirms nothing"
    assert shopper.post(f"{link}confirm/")["Location"] == link
    assert "You are on the list" in text_of(shopper.get(link))

    mail.outbox.clear()
    release()
    (word,) = mails_to()
    assert f"https://shop.example{device_path(held)}#{held.variant.slug}" in word.body
    assert "You are not on the list" in text_of(shopper.get(link))
    acts = LedgerEntry.objects.filter(subject_kind="waitlistentry").order_by("id")
    assert [entry.act for entry in acts] == ["waitlist.asked", "waitlist.confirmed", "waitlist.told"]
    assert ADA not in str(list(acts.values())), "the ledger keeps for ever"
    assert ADA not in str(list(OutboxRow.objects.values_list("payload", flat=True)))


def test_nobody_learns_whether_an_address_is_on_the_list(shopper, held):
    confirmed(held)
    known, unknown = put_on_list(shopper, held), put_on_list(shopper, held, email="bob@example.com")
    assert (known.status_code, known["Location"]) == (unknown.status_code, unknown["Location"])
    outbox.pump()
    assert not mails_to(), "who is on the list gets no second mail"
    assert len(mails_to("bob@example.com")) == 1
    assert WaitlistEntry.objects.filter(email=ADA).count() == 1


def test_asking_again_sends_a_new_link_after_a_while_and_the_old_one_ends(shopper, held, monkeypatch):
    put_on_list(shopper, held)
    put_on_list(shopper, held)
    outbox.pump()
    (first,) = mails_to()
    later = clock.now() + waitlist.MAIL_AGAIN_AFTER
    waitlist.ask(email=ADA, variant=held.variant, by=SOMEBODY, at=later)
    outbox.pump(at=lambda: later)
    second = mails_to()[1]
    assert WaitlistEntry.objects.count() == 1
    assert shopper.get(link_in(first)).status_code == 404
    assert shopper.get(link_in(second)).status_code == 200


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ({"email": ""}, "E-mail: Enter an e-mail address, like name@example.com."),
        ({"email": "ada at example"}, "in the form name@example.com"),
        ({"variant": "no-such"}, "This model is not one of this phone's"),
        ({"variant": ""}, "Choose the model"),
    ],
)
def test_an_entry_that_cannot_be_made_says_how_to_correct_it(shopper, held, sent, words):
    response = put_on_list(shopper, held, **sent)
    assert response.status_code == 400
    assert words in text_of(response)
    assert b'id="errors" role="alert" tabindex="-1" autofocus' in response.content
    assert not WaitlistEntry.objects.exists()


def test_what_can_be_bought_or_is_gone_is_not_waited_for(shopper, world):
    response = put_on_list(shopper, world)
    assert response.status_code == 409
    assert "You can buy this phone now" in text_of(response)
    offers.withdraw_listing(listing=world.listing, by=BUILDER, at=clock.now())
    assert "for good" in text_of(put_on_list(shopper, world))
    assert not WaitlistEntry.objects.exists()


def test_it_says_whether_it_waits_for_stock_or_for_leave(shopper, world):
    Stock.objects.filter(listing=world.listing).update(on_hand=0)
    put_on_list(shopper, world)
    revoke_agreement(world)
    put_on_list(shopper, world, email="bob@example.com")
    kinds = dict(WaitlistEntry.objects.values_list("email", "waits_for"))
    assert kinds == {ADA: "stock", "bob@example.com": "approval"}


def test_who_asks_too_often_is_stopped(shopper, held, monkeypatch):
    monkeypatch.setattr("storefront.shop.views.MOST_WAITS", 2)
    for place in range(2):
        assert put_on_list(shopper, held, email=f"a{place}@example.com").status_code == 302
    response = put_on_list(shopper, held, email="a2@example.com")
    assert response.status_code == 429
    assert "Ask again in 10 minutes." in text_of(response)
    assert 1 <= int(response["Retry-After"]) <= 600


def test_one_address_is_asked_a_few_times_an_hour_whoever_asks(held):
    for _ in range(waitlist.ASKS_PER_ADDRESS + 1):
        variant = VariantFactory.create()
        waitlist.ask(email=ADA, variant=variant, by=SOMEBODY, at=clock.now())
    assert WaitlistEntry.objects.count() == waitlist.ASKS_PER_ADDRESS
    waitlist.ask(email=ADA, variant=held.variant, by=SOMEBODY, at=clock.now() + timedelta(hours=2))
    assert WaitlistEntry.objects.count() == waitlist.ASKS_PER_ADDRESS + 1


def test_the_shop_writes_to_so_many_an_hour_and_no_more(shopper, held, monkeypatch):
    monkeypatch.setattr(waitlist, "ASKS_IN_ALL", 1)
    put_on_list(shopper, held)
    response = put_on_list(shopper, held, email="bob@example.com")
    assert response.status_code == 429
    assert "Try again in an hour" in text_of(response)


# --- links --------------------------------------------------------------------------------------------------


def test_tokens_cannot_be_guessed_and_one_that_nobody_has_gets_a_kind_page(shopper, held):
    tokens = {confirmed(held, f"a{place}@example.com").token for place in range(3)}
    assert len(tokens) == 3
    assert min(map(len, tokens)) >= 43
    for response in (
        shopper.get("/waitlist/no-such-token/"),
        shopper.post("/waitlist/no-such-token/confirm/"),
        shopper.post("/waitlist/no-such-token/end/"),
    ):
        assert response.status_code == 404
        assert "This link leads nowhere any more" in text_of(response)


def test_a_link_that_ran_out_confirms_nothing_and_says_what_to_do(shopper, held):
    waitlist.ask(email=ADA, variant=held.variant, by=SOMEBODY, at=clock.now() - waitlist.CONFIRM_WITHIN)
    entry = WaitlistEntry.objects.get()
    link = reverse("shop:waitlist", args=[entry.token])
    for response in (shopper.get(link), shopper.post(f"{link}confirm/")):
        assert response.status_code == 410
        assert "ask again" in text_of(response)
    entry.refresh_from_db()
    assert entry.confirmed_at is None
    outbox.pump()
    assert not mails_to(), "no mail with a link that has run out already"


@pytest.mark.parametrize("is_confirmed", [True, False])
def test_one_click_ends_it_from_any_program_without_a_cookie(held, is_confirmed):
    entry = confirmed(held)
    if not is_confirmed:
        WaitlistEntry.objects.update(confirmed_at=None)
    path = reverse("shop:waitlist_end", args=[entry.token])
    stranger = Client(enforce_csrf_checks=True)
    assert stranger.get(path).status_code == 200
    assert WaitlistEntry.objects.filter(ended_at=None).exists(), "a link that is only followed ends nothing"
    for _ in range(2):
        response = stranger.post(path, "List-Unsubscribe=One-Click", content_type="text/plain")
        assert "You are not on the list" in text_of(response)
    entry.refresh_from_db()
    assert entry.ended_at is not None
    assert LedgerEntry.objects.filter(act="waitlist.ended").count() == 1
    release()
    assert not mails_to()


def test_each_mail_can_be_stopped_by_its_own_button(held, settings):
    settings.PUBLIC_URL = "https://shop.example"
    waitlist.ask(email=ADA, variant=held.variant, by=SOMEBODY, at=clock.now())
    outbox.pump()
    (question,) = mails_to()
    entry = WaitlistEntry.objects.get()
    assert question.extra_headers["List-Unsubscribe"] == f"<https://shop.example/waitlist/{entry.token}/end/>"
    assert question.extra_headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"


# --- the return ---------------------------------------------------------------------------------------------


def test_only_the_confirmed_are_told_and_once(held):
    confirmed(held)
    waitlist.ask(email="bob@example.com", variant=held.variant, by=SOMEBODY, at=clock.now())
    outbox.pump()
    mail.outbox.clear()
    release()
    waitlist.announce_returns(at=clock.now())
    outbox.pump()
    assert told() == [ADA]


def test_nobody_is_told_while_nothing_can_be_bought(held):
    confirmed(held)
    Stock.objects.filter(listing=held.listing).update(on_hand=0)
    release()
    assert not mails_to(), "allowed again, and none left"
    Stock.objects.filter(listing=held.listing).update(on_hand=3)
    assert waitlist.announce_returns(at=clock.now()) == 1, "stock that was filled up is found by beat"
    assert waitlist.announce_returns(at=clock.now()) == 0, "its mail is on the way"
    outbox.pump()
    assert len(mails_to()) == 1


def test_what_fell_again_before_the_mail_is_not_announced_as_back(held):
    entry = confirmed(held)
    hold = Fact.objects.get(kind=Fact.Kind.HOLD)
    holds.release_hold(fact=hold, by=BUILDER, at=clock.now(), reason="tested")
    offers.publish_listing(listing=held.listing, by=BUILDER, at=clock.now())
    assert waitlist.announce_returns(at=clock.now()) == 1
    revoke_agreement(held)
    outbox.pump()
    entry.refresh_from_db()
    assert not mails_to()
    assert waitlist.is_open(entry), "it waits on"


def test_a_mail_server_that_is_down_is_asked_again(held, monkeypatch):
    entry = confirmed(held)

    def fail(*args: Any) -> None:
        raise OSError("no route to the mail server")

    with monkeypatch.context() as broken:
        broken.setattr("django.core.mail.EmailMessage.send", fail)
        release()
    assert waitlist.announce_returns(at=clock.now()) == 0, "the failed attempt has its own next one"
    entry.refresh_from_db()
    assert entry.told_at is None
    outbox.pump(at=lambda: clock.now() + timedelta(minutes=1))
    assert len(mails_to()) == 1


@pytest.mark.parametrize(("code", "is_ended"), [(550, True), (451, False)])
def test_an_address_that_takes_no_mail_leaves_the_list(held, monkeypatch, code, is_ended):
    entry = confirmed(held)

    def refuse(*args: Any) -> None:
        raise smtplib.SMTPRecipientsRefused({ADA: (code, b"no")})

    monkeypatch.setattr("django.core.mail.EmailMessage.send", refuse)
    release()
    entry.refresh_from_db()
    assert (entry.ended_at is not None) == is_ended
    assert entry.told_at is None


def test_a_mail_that_was_given_up_is_not_announced_every_minute(held):
    confirmed(held)
    hold = Fact.objects.get(kind=Fact.Kind.HOLD)
    holds.release_hold(fact=hold, by=BUILDER, at=clock.now(), reason="tested")
    offers.publish_listing(listing=held.listing, by=BUILDER, at=clock.now())
    waitlist.announce_returns(at=clock.now())
    rows = OutboxRow.objects.filter(event="waitlist.returned").exclude(handler="")
    rows.update(failed_at=clock.now(), is_dead=True)
    assert waitlist.announce_returns(at=clock.now()) == 0


def test_a_round_has_a_limit_and_the_next_goes_on(held, monkeypatch):
    monkeypatch.setattr(waitlist, "MAILS_PER_ROUND", 2)
    for place in range(3):
        confirmed(held, f"a{place}@example.com")
    release()
    assert told() == ["a0@example.com", "a1@example.com"]
    waitlist.announce_returns(at=clock.now())
    outbox.pump()
    assert told() == [f"a{place}@example.com" for place in range(3)]


def test_the_queries_of_a_round_do_not_grow_with_who_waits(held):
    def queries() -> int:
        with CaptureQueriesContext(connection) as seen:
            waitlist.announce_returns(at=clock.now())
        return len(seen)

    confirmed(held)
    few = queries()
    for place in range(3):
        other = make_sellable()
        Stock.objects.filter(listing=other.listing).update(on_hand=0)
        confirmed(other, f"a{place}@example.com")
        confirmed(other, f"b{place}@example.com")
    assert queries() == few <= 4


def test_a_vendor_that_publishes_again_brings_word(world):
    terms = make_terms(variant=world.variant, hosts=[world.host])
    used = replace(terms, condition=Condition.USED)
    offers.save_listing(vendor=world.vendor, sku=world.listing.sku, terms=used, by=BUILDER, at=clock.now())
    confirmed(world)
    assert waitlist.announce_returns(at=clock.now()) == 0
    offers.publish_listing(listing=world.listing, by=BUILDER, at=clock.now())
    waitlist.announce_returns(at=clock.now())
    outbox.pump()
    assert len(mails_to()) == 1


def test_what_is_gone_for_good_ends_with_word_after_a_day(held):
    entry = confirmed(held)
    offers.withdraw_listing(listing=held.listing, by=BUILDER, at=clock.now())
    assert waitlist.announce_returns(at=clock.now()) == 0, "it may come back under another number"
    later = clock.now() + waitlist.GONE_AFTER
    assert waitlist.announce_returns(at=later) == 1
    outbox.pump(at=lambda: later)
    (word,) = mails_to()
    assert "It will not come back" in word.subject
    entry.refresh_from_db()
    assert entry.told_at == later


# --- forgetting ---------------------------------------------------------------------------------------------


def test_addresses_are_forgotten(held, settings):
    told, left, waits = (confirmed(held, f"{name}@example.com") for name in ("told", "left", "waits"))
    at = clock.now()
    WaitlistEntry.objects.filter(pk=told.pk).update(told_at=at)
    WaitlistEntry.objects.filter(pk=left.pk).update(ended_at=at)
    waitlist.ask(email="never@example.com", variant=held.variant, by=SOMEBODY, at=at)

    assert waitlist.erase_old(at=at + waitlist.CONFIRM_WITHIN) == 0
    assert waitlist.erase_old(at=at + waitlist.CONFIRM_WITHIN + timedelta(seconds=1)) == 1
    waitlist.erase_old(at=at + timedelta(days=settings.WAITLIST_KEEP_DAYS, seconds=1))

    kept = dict(WaitlistEntry.objects.values_list("pk", "email"))
    assert kept == {told.pk: "", left.pk: "", waits.pk: "waits@example.com"}
    assert waitlist.erase_old(at=at + timedelta(days=60)) == 0, "nothing is forgotten twice"


# --- the desk -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("role", "sees"), [(DESK, True), (AUDITOR, False)])
def test_addresses_are_shown_to_those_with_the_permission_only(held, role, sees):
    entry = confirmed(held)
    ensure_roles()
    client = Client()
    user = UserFactory.create()
    user.groups.add(*user.groups.model.objects.filter(name=role))
    client.force_login(user)
    screen = reverse("admin:storefront_waitlistentry_changelist")
    for path in (screen, reverse("admin:storefront_waitlistentry_change", args=[entry.pk])):
        shown = client.get(path).content.decode()
        assert str(held.variant) in shown
        assert (ADA in shown) == sees
        assert ("…@example.com" in shown) != sees
        assert entry.token not in shown
    # The form of the search carries the address itself; the row is what a hit shows.
    found = str(held.variant) in client.get(screen, {"q": ADA}).content.decode()
    assert found == sees, "a search that finds an address tells that it is there"
