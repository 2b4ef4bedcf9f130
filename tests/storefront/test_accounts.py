"""Keys of the vendors' API: made once, kept as a hash, gone with the next request after they are revoked."""

import hashlib
from datetime import datetime, timedelta

import pytest

from authorization import clock
from authorization.models import LedgerEntry
from catalog.models import Organization
from seeds.factories import OrganizationFactory
from storefront import accounts
from storefront.accounts import InvalidKey
from storefront.models import VendorKey
from tests.storefront.conftest import DESK

pytestmark = pytest.mark.django_db


@pytest.fixture
def vendor():
    return OrganizationFactory.create()


def make(vendor, *, days=30, label="stock system", at=None):
    at = at or clock.now()
    return accounts.make_vendor_key(
        vendor=vendor, label=label, by=DESK, at=at, expires_at=at + timedelta(days=days)
    )


def test_a_key_opens_its_own_vendor(vendor):
    key, secret = make(vendor)
    make(OrganizationFactory.create())
    found = accounts.find_vendor_key(secret, clock.now())
    assert found == key
    assert found is not None
    assert found.vendor == vendor


def test_keys_are_long_random_and_told_apart(vendor):
    secrets = {make(vendor)[1] for _ in range(5)}
    assert len(secrets) == 5
    for secret in secrets:
        assert secret.startswith("sk_live_")
        assert len(secret) == len("sk_live_") + 43, "32 bytes, URL-safe"


def test_only_the_hash_is_kept(vendor):
    key, secret = make(vendor)
    kept = VendorKey.objects.values().get(pk=key.pk)
    assert kept["key_hash"] == hashlib.sha256(secret.encode()).hexdigest()
    assert not any(secret[12:-4] in str(value) for value in kept.values())
    assert not any(secret[12:-4] in str(entry) for entry in LedgerEntry.objects.values())
    assert (kept["prefix"], kept["last_four"]) == (secret[:12], secret[-4:])


def test_a_revoked_key_is_refused_by_the_next_request_and_others_are_not(vendor):
    key, secret = make(vendor)
    _, other = make(vendor)
    accounts.revoke_vendor_key(key=key, by=DESK, at=clock.now())
    assert accounts.find_vendor_key(secret, clock.now()) is None
    assert accounts.find_vendor_key(other, clock.now()) is not None


def test_revoking_twice_is_one_act(vendor):
    key, _ = make(vendor)
    first = clock.now()
    accounts.revoke_vendor_key(key=key, by=DESK, at=first)
    accounts.revoke_vendor_key(key=key, by=DESK, at=first + timedelta(days=1))
    key.refresh_from_db()
    assert key.revoked_at == first
    acts = LedgerEntry.objects.filter(subject_kind="vendor_key").order_by("id")
    assert [entry.act for entry in acts] == ["vendor_key.made", "vendor_key.revoked"]


def test_a_key_ends_at_its_instant(vendor):
    at = clock.now()
    key, secret = make(vendor, at=at, days=1)
    assert accounts.find_vendor_key(secret, key.expires_at - timedelta(microseconds=1)) is not None
    assert accounts.find_vendor_key(secret, key.expires_at) is None
    assert accounts.find_vendor_key(secret, at - timedelta(microseconds=1)) is None


@pytest.mark.parametrize(
    "secret", ["", "sk_live_", "sk_test_" + "x" * 43, "sk_live_" + "x" * 43, "\x00", "ß" * 900]
)
def test_what_is_no_key_opens_nothing(vendor, secret):
    make(vendor)
    assert accounts.find_vendor_key(secret, clock.now()) is None


def test_use_is_noted_once_a_minute(vendor, django_assert_num_queries):
    at = clock.now()
    key, secret = make(vendor, at=at)
    with django_assert_num_queries(2):
        accounts.find_vendor_key(secret, at)
    with django_assert_num_queries(1):
        accounts.find_vendor_key(secret, at + timedelta(seconds=59))
    accounts.find_vendor_key(secret, at + timedelta(seconds=61))
    key.refresh_from_db()
    assert key.last_used_at == at + timedelta(seconds=61)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"label": "  "}, "label"),
        ({"label": "x" * 65}, "label"),
        ({"days": 0}, "expires_at"),
        ({"days": -1}, "expires_at"),
    ],
)
def test_bad_keys_are_refused_with_the_field(vendor, changes, field):
    with pytest.raises(InvalidKey) as refused:
        make(vendor, **changes)
    assert refused.value.field == field
    assert not VendorKey.objects.exists()


def test_only_vendors_have_keys():
    maker = OrganizationFactory.create(kind=Organization.Kind.MANUFACTURER)
    with pytest.raises(InvalidKey, match="only vendors"):
        make(maker)


def test_an_end_without_time_zone_is_refused(vendor):
    with pytest.raises(InvalidKey, match="time zone"):
        accounts.make_vendor_key(
            vendor=vendor,
            label="x",
            by=DESK,
            at=clock.now(),
            expires_at=datetime(2099, 1, 1),  # noqa: DTZ001
        )
