"""A bad setting stops the start with its name and the cure; a good one is read as written."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from celery.signals import beat_init, worker_init
from django.conf import settings as django_settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError, connection

from seeds.factories import HostingFactory
from seeds.sandbox import stack
from seeds.sandbox.processes import ServiceFailed
from storefront import celery, environment, start

ROOT = Path(__file__).parents[2]
NAME = "A_VARIABLE"
MAIL = "desk@clearline.example"


def read_database(name: str) -> dict[str, Any]:
    return environment.database(
        name, default="sqlite:///var/db.sqlite3", made_by_dev=ROOT / "var", is_test=False
    )


READERS: dict[str, Callable[[str], Any]] = {
    "filled_text": lambda name: environment.filled_text(name, default="Clearline"),
    "flag": lambda name: environment.flag(name, default=True),
    "int_between": lambda name: environment.int_between(name, default=5, low=1, high=10),
    "log_level": lambda name: environment.log_level(name, default="INFO"),
    "secret_key": lambda name: environment.secret_key(name, key_file=""),
    "old_keys": environment.old_keys,
    "allowed_hosts": lambda name: environment.allowed_hosts(name, default="127.0.0.1,localhost"),
    "origins": environment.origins,
    "web_address": environment.web_address,
    "sender": lambda name: environment.sender(name, default=MAIL),
    "territory": lambda name: environment.territory(name, default="US"),
    "folder": lambda name: environment.folder(name, default=ROOT / "var"),
    "existing_file": environment.existing_file,
    "database": read_database,
    "redis_address": lambda name: environment.redis_address(name, default="redis://127.0.0.1:6379/0"),
    "mail": environment.mail,
}


@pytest.mark.parametrize(
    ("reader", "value", "cure"),
    [
        *(("flag", word, "true or false") for word in ("ture", "", "2", "y", "enabled", "None")),
        *(("int_between", number, "1 to 10") for number in ("", "x", "1.5", "0", "11")),
        *(("filled_text", blank, "Set it") for blank in ("", "  ")),
        *(("log_level", level, "WARNING") for level in ("", "LOUD", "20")),
        ("secret_key", "short", "token_urlsafe"),
        ("old_keys", f"{'k' * 60},short", "shorter than 50"),
        *(
            ("allowed_hosts", hosts, "e.g. shop.example")
            for hosts in (
                *("", "*", "shop.example,*", "https://shop.example", "shop.example/", "a.example, b.example"),
                *("a.example,,b.example", "shop.example:8000", "::1", "*.shop.example"),
            )
        ),
        *(
            ("origins", origin, "e.g. https://shop.example")
            for origin in (
                "shop.example",
                "ftp://shop.example",
                "https://shop.example/",
                "https://a, https://b",
            )
        ),
        *(
            ("web_address", url, "https://shop.example")
            for url in (
                "shop.example",
                "ftp://shop.example",
                "https://",
                "http://[x",
                "http://h:1x",
                "http://a b",
            )
        ),
        *(("sender", address, MAIL) for address in ("", "desk", "Desk <desk>", "desk@", "a@b\nBcc: c@d")),
        *(("territory", code, "capitals") for code in ("us", "USA", "", "U1")),
        ("folder", "", "unset it"),
        ("folder", __file__, "folder"),
        ("existing_file", "/nowhere/clock.json", "Unset it"),
        *(("database", url, "Name a file") for url in ("sqlite://", "sqlite:///", "sqlite:///:memory:")),
        ("database", "sqlite://:memory:", "Name a file"),
        ("database", "sqlite://srv/db.sqlite3", "sqlite:////srv"),
        ("database", "sqlite:////nowhere/db.sqlite3", "Make it"),
        ("database", f"sqlite:///{ROOT}", "Name the file in it"),
        *(
            ("database", url, "postgres://user:password@host:5432/clearline")
            for url in (
                *("", "db.sqlite3", "mysql://u:p@h/n", "postgres://u:p@h:5432", "postgres://u:p@h:5432/"),
                *("postgres://u:p@h:port/n", "postgres://u:p@h:99999/n"),
            )
        ),
        *(
            ("redis_address", url, "redis://127.0.0.1:6379/0")
            for url in (
                *(
                    "",
                    "127.0.0.1:6379",
                    "http://h:1/0",
                    "redis:///0",
                    "redis://h:port/0",
                    "redis://h:99999/0",
                ),
                *("redis://h:6379/first", "redis://h:6379/0/1", "redis://h:0/0", "redis://[h/0"),
            )
        ),
        *(
            ("mail", url, "smtp+tls://user:password@host:587")
            for url in (
                *("localhost:25", "mailto:a@b", "smtp://", "smtp+tls://user:pw@:587", "smtp://h:port"),
                *("smtp://h:99999", "smtp://[h", "smtp://h:0"),
            )
        ),
        ("mail", "filemail://", "filemail:///"),
    ],
)
def test_a_bad_value_is_refused_by_name_with_the_cure(
    monkeypatch: pytest.MonkeyPatch, reader: str, value: str, cure: str
) -> None:
    monkeypatch.setenv(NAME, value)
    with pytest.raises(ImproperlyConfigured) as refusal:
        READERS[reader](NAME)
    assert str(refusal.value).startswith(NAME)
    assert cure in str(refusal.value)


@pytest.mark.parametrize(
    ("reader", "value", "read"),
    [
        *(("flag", word, True) for word in ("true", "True", "1", "YES", "on", " on ")),
        *(("flag", word, False) for word in ("false", "FALSE", "0", "No", "off")),
        ("int_between", "10", 10),
        ("filled_text", "Tello", "Tello"),
        ("log_level", "debug", "DEBUG"),
        # django-environ would take this for the name of another variable.
        ("secret_key", "$" + "k" * 60, "$" + "k" * 60),
        ("old_keys", "", []),
        ("old_keys", f"{'k' * 60}, {'l' * 50}", ["k" * 60, "l" * 50]),
        ("allowed_hosts", "shop.example,.shop.example,[::1]", ["shop.example", ".shop.example", "[::1]"]),
        ("origins", "", []),
        ("origins", "https://shop.example:8443,https://*.b.example", ["https://shop.example:8443", "https://*.b.example"]),
        ("web_address", "", ""),
        ("web_address", "https://shop.example/store/", "https://shop.example/store"),
        ("sender", f"Clearline desk <{MAIL}>", f"Clearline desk <{MAIL}>"),
        ("territory", "CA", "CA"),
        ("existing_file", "", ""),
        ("existing_file", __file__, __file__),
        *(
            ("redis_address", url, url)
            for url in ("redis://h", "redis://h:6379/", "rediss://:p%2Fw@h:6379/15", "redis://127.0.0.1:1/0")
        ),
        ("mail", "", {}),
    ],
)  # fmt: skip
def test_a_good_value_is_read(monkeypatch: pytest.MonkeyPatch, reader: str, value: str, read: object) -> None:
    monkeypatch.setenv(NAME, value)
    assert READERS[reader](NAME) == read


@pytest.mark.parametrize("name", sorted(set(READERS) - {"secret_key"}))
def test_every_default_is_good(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delenv(NAME, raising=False)
    READERS[name](NAME)


def test_mail_goes_to_the_server_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, "smtp+tls://user:p%2Fw@mail.example:587")
    found = environment.mail(NAME)
    assert (found["EMAIL_HOST"], found["EMAIL_PORT"], found["EMAIL_USE_TLS"]) == ("mail.example", 587, True)
    assert found["EMAIL_HOST_PASSWORD"] == "p/w"


def test_databases_are_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(NAME, f"sqlite:///{tmp_path}/db.sqlite3")
    found = read_database(NAME)
    assert found["NAME"] == str(tmp_path / "db.sqlite3")
    assert found["OPTIONS"]["transaction_mode"] == "IMMEDIATE"
    assert not list(tmp_path.iterdir())
    monkeypatch.setenv(NAME, "postgres://user:p%23w@db.example:5433/shop?connect_timeout=3")
    found = read_database(NAME)
    assert (found["HOST"], found["PORT"], found["NAME"], found["PASSWORD"]) == (
        "db.example",
        5433,
        "shop",
        "p#w",
    )
    assert found["OPTIONS"] == {"connect_timeout": 3}


def test_only_the_folder_that_dev_makes_may_be_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(NAME, f"sqlite:///{tmp_path}/var/db.sqlite3")
    environment.database(NAME, default="", made_by_dev=tmp_path / "var", is_test=False)
    with pytest.raises(ImproperlyConfigured, match="does not exist"):
        read_database(NAME)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("reader", "url"),
    [
        ("database", "postgres://u:hush/hush@h:5432/n"),
        ("database", "postgresql://u:hush@h"),
        ("database", "oracle://u:hush@h/n"),
        ("redis_address", "redis://:hush@h:6379/first"),
        ("redis_address", "redis://:hush/hush@h:6379/0"),
        ("mail", "smtp://u:hush/hush@h:587"),
        ("mail", "stmp://u:hush@h:587"),
    ],
)
def test_no_password_is_told(monkeypatch: pytest.MonkeyPatch, reader: str, url: str) -> None:
    monkeypatch.setenv(NAME, url)
    with pytest.raises(ImproperlyConfigured) as refusal:
        READERS[reader](NAME)
    assert "hush" not in str(refusal.value)
    assert refusal.value.__cause__ is None


def test_a_key_comes_from_a_file_of_text(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(NAME, raising=False)
    key = tmp_path / "key"
    key.write_text("k" * 60 + "\n")
    assert environment.secret_key(NAME, key_file=str(key)) == "k" * 60
    key.write_bytes(bytes(range(128, 228)))
    with pytest.raises(ImproperlyConfigured, match=r"A_VARIABLE_FILE=.* is binary"):
        environment.secret_key(NAME, key_file=str(key))
    with pytest.raises(ImproperlyConfigured, match=r"A_VARIABLE_FILE=.* cannot be read"):
        environment.secret_key(NAME, key_file=str(tmp_path))


# --- The start of web, workers and beat ---------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_good_store_starts(settings: Any) -> None:
    start.refuse_bad_start()
    HostingFactory(mvno=settings.SHOP_MVNO)
    HostingFactory(mvno="Tello")
    start.refuse_bad_start()


@pytest.mark.django_db
def test_errors_of_the_system_checks_end_a_start_all_at_once(settings: Any) -> None:
    settings.PAYMENT_PROVIDER_URL, settings.SECRET_KEY = "payments.example", "a" * 60
    with pytest.raises(ImproperlyConfigured) as refusal:
        start.refuse_bad_start()
    assert "PAYMENT_PROVIDER_URL=payments.example is not an http(s) address. Example: https://" in str(
        refusal.value
    )
    assert "SECRET_KEY is a placeholder. Make one" in str(refusal.value)


@pytest.mark.django_db
def test_warnings_and_silenced_errors_end_no_start(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.SILENCED_SYSTEM_CHECKS = ["a.E1"]
    found = [checks.Error("x", id="a.E1"), checks.Warning("y", id="a.W1")]
    monkeypatch.setattr(start, "run_checks", lambda: found)
    start.refuse_bad_start()


@pytest.mark.django_db
def test_an_operator_that_nobody_knows_ends_a_start(settings: Any) -> None:
    HostingFactory(mvno="Tello")
    HostingFactory(mvno="US Mobile")
    settings.SHOP_MVNO = "US Mobil"
    with pytest.raises(ImproperlyConfigured, match=r"CLEARLINE_MVNO=US Mobil: .*: Tello, US Mobile\."):
        start.refuse_bad_start()


@pytest.mark.django_db
def test_a_database_that_is_not_there_yet_ends_no_start() -> None:
    def fail(*_: object) -> None:
        raise OperationalError("no such table")

    with connection.execute_wrapper(fail):
        start.refuse_bad_start()


@pytest.mark.parametrize("signal", [worker_init, beat_init], ids=lambda signal: signal.name)
def test_workers_and_beat_end_on_a_bad_start(signal: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise ImproperlyConfigured("CLEARLINE_MVNO is wrong.")

    monkeypatch.setattr(celery, "refuse_bad_start", refuse)
    with pytest.raises(SystemExit, match=r"error: CLEARLINE_MVNO is wrong\."):
        signal.send(sender=None)


# --- manage.py ----------------------------------------------------------------------------------------------------


def run_manage(**environ: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], "SECRET_KEY": django_settings.SECRET_KEY, **environ}
    return subprocess.run(
        [sys.executable, "manage.py", "migrate", "--plan"], cwd=ROOT, env=env, capture_output=True, text=True
    )


def test_manage_says_the_error_without_a_traceback() -> None:
    result = run_manage(CLEARLINE_HTTPS="ture")
    assert result.returncode == 1
    assert result.stderr.startswith("error: CLEARLINE_HTTPS=ture")
    assert len(result.stderr.splitlines()) == 1
    assert not result.stdout


def test_the_sandbox_shows_only_that_line() -> None:
    def manage(*_: str, env: object = None) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess([], 1, "", "a warning\nerror: REDIS_URL is wrong.\n")

    with pytest.raises(ServiceFailed, match=r"\AREDIS_URL is wrong\.\Z"):
        stack._must_succeed(SimpleNamespace(manage=manage), "migrate")  # type: ignore[arg-type]
