"""Keys of the vendors' API: made once, kept as a hash, gone with the next request after they are revoked."""

import hashlib
from datetime import datetime, timedelta

import pytest

from authorization import clock
from authorization.models import LedgerEntry, OutboxRow
from catalog.models import Organization
from seeds.factories import HostCarrierFactory, OrganizationFactory
from storefront import accounts, keys_told
from storefront.accounts import InvalidKey, KeyOver
from storefront.models import OrganizationKey, SentMessage
from storefront.scopes import usual_scopes
from tests.storefront.conftest import DESK

pytestmark = pytest.mark.django_db


@pytest.fixture
def vendor():
    return OrganizationFactory.create()


def make(vendor, *, days=30, label="stock system", at=None, **more):
    at = at or clock.now()
    return accounts.make_organization_key(
        organization=vendor, label=label, by=DESK, at=at, expires_at=at + timedelta(days=days), **more
    )


def test_a_key_opens_its_own_vendor(vendor):
    key, secret = make(vendor)
    make(OrganizationFactory.create())
    found = accounts.find_organization_key(secret, clock.now())
    assert found == key
    assert found is not None
    assert found.organization == vendor


def test_keys_are_long_random_and_told_apart(vendor):
    secrets = {make(vendor)[1] for _ in range(5)}
    assert len(secrets) == 5
    for secret in secrets:
        assert secret.startswith("sk_live_")
        assert len(secret) == len("sk_live_") + 43, "32 bytes, URL-safe"


def test_only_the_hash_is_kept(vendor):
    key, secret = make(vendor)
    kept = OrganizationKey.objects.values().get(pk=key.pk)
    assert kept["key_hash"] == hashlib.sha256(secret.encode()).hexdigest()
    assert not any(secret[12:-4] in str(value) for value in kept.values())
    assert not any(secret[12:-4] in str(entry) for entry in LedgerEntry.objects.values())
    assert (kept["prefix"], kept["last_four"]) == (secret[:12], secret[-4:])


def test_a_revoked_key_is_refused_by_the_next_request_and_others_are_not(vendor):
    key, secret = make(vendor)
    _, other = make(vendor)
    accounts.revoke_organization_key(key=key, by=DESK, at=clock.now())
    assert accounts.find_organization_key(secret, clock.now()) is None
    assert accounts.find_organization_key(other, clock.now()) is not None


def test_revoking_twice_is_one_act(vendor):
    key, _ = make(vendor)
    first = clock.now()
    accounts.revoke_organization_key(key=key, by=DESK, at=first)
    accounts.revoke_organization_key(key=key, by=DESK, at=first + timedelta(days=1))
    key.refresh_from_db()
    assert key.revoked_at == first
    acts = LedgerEntry.objects.filter(subject_kind="organization_key").order_by("id")
    assert [entry.act for entry in acts] == ["organization_key.made", "organization_key.revoked"]


def test_a_key_ends_at_its_instant(vendor):
    at = clock.now()
    key, secret = make(vendor, at=at, days=1)
    assert accounts.find_organization_key(secret, key.expires_at - timedelta(microseconds=1)) is not None
    assert accounts.find_organization_key(secret, key.expires_at) is None
    assert accounts.find_organization_key(secret, at - timedelta(microseconds=1)) is None


@pytest.mark.parametrize(
    "secret", ["", "sk_live_", "sk_test_" + "x" * 43, "sk_live_" + "x" * 43, "\x00", "ß" * 900]
)
def test_what_is_no_key_opens_nothing(vendor, secret):
    make(vendor)
    assert accounts.find_organization_key(secret, clock.now()) is None


def test_use_is_noted_once_a_minute(vendor, django_assert_num_queries):
    at = clock.now()
    key, secret = make(vendor, at=at)
    with django_assert_num_queries(2):
        accounts.find_organization_key(secret, at)
    with django_assert_num_queries(1):
        accounts.find_organization_key(secret, at + timedelta(seconds=59))
    accounts.find_organization_key(secret, at + timedelta(seconds=61))
    key.refresh_from_db()
    assert key.last_used_at == at + timedelta(seconds=61)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"label": "  "}, "label"),
        ({"label": "x" * 65}, "label"),
        ({"days": 0}, "expires_at"),
        ({"days": -1}, "expires_at"),
        ({"days": 2000}, "expires_at"),
        ({"scopes": []}, "scopes"),
    ],
)
def test_bad_keys_are_refused_with_the_field(vendor, changes, field):
    with pytest.raises(InvalidKey) as refused:
        make(vendor, **changes)
    assert refused.value.field == field
    assert not OrganizationKey.objects.exists()


@pytest.mark.parametrize("kind", Organization.Kind.values)
def test_every_kind_of_organization_has_keys_with_scopes_of_its_own(kind):
    key, _ = make(OrganizationFactory.create(kind=kind))
    assert key.scopes == list(usual_scopes(kind))
    foreign = "claims:read" if kind == Organization.Kind.VENDOR else "listings:write"
    with pytest.raises(InvalidKey, match=f"No key of a {kind} has {foreign}"):
        make(key.organization, scopes=[foreign])


def test_takedowns_want_a_representative_but_for_test_mode():
    maker = OrganizationFactory.create(kind=Organization.Kind.MANUFACTURER)
    with pytest.raises(InvalidKey) as refused:
        make(maker, scopes=["takedowns:write"])
    assert refused.value.field == "representative"
    make(maker, scopes=["takedowns:write"], representative="R. Presentative")
    make(maker, scopes=["takedowns:write"], is_test=True)


def test_two_rotations_of_one_key_make_one_successor(vendor):
    key, _ = make(vendor)
    successor, secret = accounts.rotate_organization_key(
        key=key, overlap=timedelta(hours=1), by=DESK, at=clock.now()
    )
    # As somebody else had read it before.
    key.successor = None
    with pytest.raises(KeyOver, match="being replaced"):
        accounts.rotate_organization_key(key=key, overlap=timedelta(hours=1), by=DESK, at=clock.now())
    assert accounts.find_organization_key(secret, clock.now()) == successor
    assert OrganizationKey.objects.count() == 2
    entry = LedgerEntry.objects.get(act="organization_key.rotated")
    assert entry.evidence["successor"] == successor.pk


def test_a_rotation_does_not_prolong_the_old_key(vendor):
    key, _ = make(vendor, days=1)
    accounts.rotate_organization_key(key=key, overlap=timedelta(days=7), by=DESK, at=clock.now())
    before = key.expires_at
    key.refresh_from_db()
    assert key.expires_at == before


def test_a_key_that_is_replaced_while_it_is_looked_for_is_not_told_of(vendor):
    key, _ = make(vendor, days=20)
    accounts.rotate_organization_key(key=key, overlap=timedelta(hours=2), by=DESK, at=clock.now())
    OrganizationKey.objects.filter(pk=key.pk).update(created_at=clock.now() - timedelta(days=30))
    assert not keys_told._announce(OrganizationKey, key.pk, clock.now())


# --- what is told of keys ---------------------------------------------------------------------------------------


def expiring(vendor):
    return [
        (event.payload["key_id"], event.payload["days"])
        for event in OutboxRow.objects.filter(event="api_key.expiring", handler="").order_by("id")
        if event.payload["vendor_id"] == vendor.pk
    ]


def test_an_owner_is_told_30_7_and_1_days_before_a_key_ends(vendor, mailoutbox):
    at = clock.now()
    key, _ = make(vendor, at=at, days=40)
    end = key.expires_at
    days = timedelta(days=1)
    for before, told in (
        (31, []),
        (30, [30]),
        (29, [30]),
        (7, [30, 7]),
        (6, [30, 7]),
        (1, [30, 7, 1]),
        (0, [30, 7, 1]),
    ):
        keys_told.announce_expiring(at=end - before * days)
        assert expiring(vendor) == [(key.pk, each) for each in told], before
    row = OutboxRow.objects.filter(event="api_key.expiring").exclude(handler="").latest("id")
    keys_told.tell_owner(payload=row.payload, event_id=row.event_id, at=at)
    [mail] = mailoutbox
    assert mail.to == [vendor.contact_email]
    assert key.prefix in mail.subject
    assert SentMessage.objects.get().event_id == row.event_id


def test_of_keys_that_end_anyway_nobody_is_told(vendor):
    at = clock.now()
    revoked, _ = make(vendor, days=40, at=at)
    accounts.revoke_organization_key(key=revoked, by=DESK, at=at)
    replaced, _ = make(vendor, days=40, at=at)
    accounts.rotate_organization_key(
        key=replaced, overlap=timedelta(days=7), by=DESK, at=at, expires_at=at + timedelta(days=400)
    )
    # Made for a day: who made it knows.
    make(vendor, days=1, at=at)
    for days in range(40):
        keys_told.announce_expiring(at=at + timedelta(days=days))
    assert expiring(vendor) == []


def test_workers_that_were_away_tell_the_nearest_only(vendor):
    key, _ = make(vendor, days=40)
    keys_told.announce_expiring(at=key.expires_at - timedelta(hours=30))
    keys_told.announce_expiring(at=key.expires_at - timedelta(hours=29))
    assert expiring(vendor) == [(key.pk, 7)]


def test_a_host_is_told_of_its_keys_by_mail():
    at = clock.now()
    host = HostCarrierFactory.create(contact_email="desk@host.example")
    accounts.make_carrier_key(
        host=host,
        label="portal",
        duties=accounts.Duties(is_lab=True),
        by=DESK,
        at=at,
        expires_at=at + timedelta(days=30, hours=1),
    )
    assert keys_told.announce_expiring(at=at + timedelta(hours=1)) == 1
    row = OutboxRow.objects.exclude(handler="").get(event="api_key.expiring")
    keys_told.tell_owner(payload=row.payload, event_id=row.event_id, at=at)
    assert SentMessage.objects.get().address == "desk@host.example"
    assert "vendor_id" not in row.payload


def test_an_end_without_time_zone_is_refused(vendor):
    with pytest.raises(InvalidKey, match="time zone"):
        accounts.make_organization_key(
            organization=vendor,
            label="x",
            by=DESK,
            at=clock.now(),
            expires_at=datetime(2099, 1, 1),  # noqa: DTZ001
        )
