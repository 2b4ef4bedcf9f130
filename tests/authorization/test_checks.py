"""A store that could not keep its promises does not start, and says the cure."""

from types import SimpleNamespace

import pytest

from authorization import checks

SQLITE = {"ENGINE": "django.db.backends.sqlite3", "OPTIONS": {"transaction_mode": "IMMEDIATE"}}
POSTGRESQL = {"ENGINE": "django.db.backends.postgresql", "OPTIONS": {}}


@pytest.mark.parametrize("database", [SQLITE, POSTGRESQL])
def test_a_sound_database_passes(monkeypatch, database):
    monkeypatch.setattr(checks, "settings", SimpleNamespace(DATABASES={"default": database}))
    assert checks.check_fence() == []


@pytest.mark.parametrize(
    ("database", "code"),
    [
        (SQLITE | {"ATOMIC_REQUESTS": True}, "authorization.E001"),
        (POSTGRESQL | {"ATOMIC_REQUESTS": True}, "authorization.E001"),
        (SQLITE | {"OPTIONS": {}}, "authorization.E002"),
        (SQLITE | {"OPTIONS": {"transaction_mode": "DEFERRED"}}, "authorization.E002"),
        (POSTGRESQL | {"OPTIONS": {"isolation_level": 3}}, "authorization.E003"),
    ],
)
def test_a_database_that_would_break_the_fence_is_refused_with_the_cure(monkeypatch, database, code):
    monkeypatch.setattr(checks, "settings", SimpleNamespace(DATABASES={"default": database}))
    (found,) = checks.check_fence()
    assert found.id == code
    assert found.hint


def test_a_handler_that_does_not_exist_is_found_at_the_start(settings):
    settings.OUTBOX_HANDLERS = {"authority.changed": ["authorization.sweeps.start_sweep", "nowhere.at_all"]}
    (found,) = checks.check_outbox_handlers()
    assert found.id == "authorization.E004"
    assert "nowhere.at_all" in found.msg


def test_the_handlers_of_the_store_exist():
    assert checks.check_outbox_handlers() == []
