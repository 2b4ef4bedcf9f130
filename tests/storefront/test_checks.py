"""Settings that would hurt are refused at start, with the cure."""

import pytest

from storefront import checks


def found(check):
    return [(message.id, message.hint) for message in check(None)]


@pytest.mark.parametrize(
    "url", ["", "payments.example", "ftp://payments.example", "https://", "http://[x", "http://h:1x"]
)
def test_a_payment_provider_has_an_address(settings, url):
    settings.PAYMENT_PROVIDER_URL = url
    ((code, hint),) = found(checks.check_payment_provider)
    assert code == "storefront.E001"
    assert "https://" in hint


def test_card_numbers_leave_this_host_on_tls_only(settings):
    settings.PAYMENT_PROVIDER_KEY = "key"
    settings.PAYMENT_PROVIDER_URL = "http://payments.example"
    assert [code for code, _ in found(checks.check_payment_provider)] == ["storefront.E002"]
    for url in ("https://payments.example", "http://127.0.0.1:8099", "http://[::1]:8099"):
        settings.PAYMENT_PROVIDER_URL = url
        assert not found(checks.check_payment_provider)


def test_a_provider_without_a_key_is_warned_of(settings):
    settings.PAYMENT_PROVIDER_URL, settings.PAYMENT_PROVIDER_KEY = "https://payments.example", ""
    assert [code for code, _ in found(checks.check_payment_provider)] == ["storefront.W001"]


@pytest.mark.parametrize("key", ["django-insecure-" + "kT4vLq9ZxW2mBn7c" * 3, "a" * 60, "secret" * 10])
def test_a_placeholder_is_no_secret(settings, key):
    settings.SECRET_KEY = key
    assert [code for code, _ in found(checks.check_secrets)] == ["storefront.E003"]


def test_debug_only_for_this_machine(settings):
    settings.DEBUG = True
    settings.ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
    assert not found(checks.check_secrets)
    settings.ALLOWED_HOSTS = ["shop.example", "localhost"]
    assert [code for code, _ in found(checks.check_secrets)] == ["storefront.E004"]
