"""Readers of environment variables, one per kind of value, for storefront/settings.py.

A bad value stops the start with the name of the variable and the cure. Addresses that may carry a password are
never quoted in a message: it ends up in logs.
"""

import os
import re
import tempfile
from collections.abc import Sequence
from email.utils import parseaddr
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

_YES = frozenset({"true", "1", "yes", "on"})
_NO = frozenset({"false", "0", "no", "off"})
_HOST = r"([a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])"
_ORIGIN = rf"https?://(\*\.)?{_HOST}(:[0-9]{{1,5}})?"
_POSTGRES = frozenset({"postgres", "postgresql", "psql", "pgsql"})
_DATABASE_EXAMPLES = (
    "Examples: sqlite:////srv/clearline/db.sqlite3, postgres://user:password@host:5432/clearline"
)
# So that a # or a / in a password is not taken for the end of the host.
_ENCODE = "write special characters of a password percent-encoded (# is %23, / is %2F)"


def text(name: str, *, default: str = "") -> str:
    # Not through django-environ: it takes a value that begins with $ for the name of another variable, and then
    # quotes the value in its error. A random key or password may begin so.
    return os.environ.get(name, default).strip()


def filled_text(name: str, *, default: str) -> str:
    value = text(name, default=default)
    if not value:
        raise ImproperlyConfigured(f"{name} is empty. Set it, or unset it for the default, {default}.")
    return value


def token(name: str) -> str:
    """Empty where it is not set. Never quoted in a message."""
    value = text(name)
    if value and not re.fullmatch(r"[!-~]{16,}", value):
        raise ImproperlyConfigured(
            f"{name} is shorter than 16 characters, or has some that a header cannot carry. To make one: "
            "python3 -c 'import secrets; print(secrets.token_urlsafe(32))'. Unset it to have no such page."
        )
    return value


def flag(name: str, *, default: bool) -> bool:
    # A word that nobody knows is no false: CLEARLINE_HTTPS=ture would switch the protection off.
    word = text(name, default=str(default)).lower()
    if word not in _YES | _NO:
        raise ImproperlyConfigured(
            f"{name}={word} is neither yes nor no: take true or false (1/0, yes/no and on/off work too)."
        )
    return word in _YES


def int_between(name: str, *, default: int, low: int, high: int) -> int:
    try:
        value = int(text(name, default=str(default)))
    except ValueError as error:
        raise ImproperlyConfigured(
            f"{name} is not a whole number; take {low} to {high}, e.g. {default}."
        ) from error
    if not low <= value <= high:
        raise ImproperlyConfigured(f"{name}={value}: take {low} to {high}; {default} is the default.")
    return value


def one_of(name: str, words: Sequence[str], *, default: str) -> str:
    value = text(name, default=default)
    if value not in words:
        raise ImproperlyConfigured(
            f"{name}={value}: take one of {', '.join(words)}; {default} is the default."
        )
    return value


def log_level(name: str, *, default: str) -> str:
    levels = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
    value = text(name, default=default).upper()
    if value not in levels:
        raise ImproperlyConfigured(f"{name}={value} is no level of logs: take one of {', '.join(levels)}.")
    return value


def secret_key(name: str, *, key_file: str) -> str:
    """The key itself, or the content of the file that `<name>_FILE` names."""
    key = text(name)
    if not key and key_file:
        cure = "Point it at a file with at least 50 random characters, or start with ./dev, which makes one."
        try:
            key = Path(key_file).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ImproperlyConfigured(
                f"{name}_FILE={key_file} cannot be read ({error.strerror}). {cure}"
            ) from error
        except UnicodeDecodeError:
            # Without the cause: it carries the bytes of the key.
            raise ImproperlyConfigured(f"{name}_FILE={key_file} is binary, not text. {cure}") from None
    if len(key) < 50:
        raise ImproperlyConfigured(
            f"{name} is missing or shorter than 50 characters. Set {name} or {name}_FILE; to make one: "
            "python3 -c 'import secrets; print(secrets.token_urlsafe(50))'. ./dev makes a key file by itself."
        )
    return key


def old_keys(name: str) -> list[str]:
    """Keys that sign nothing any more, and whose signatures still hold; separated by commas."""
    keys = [key.strip() for key in _listed(name)]
    if any(len(key) < 50 for key in keys):
        # Not quoted: it ends up in logs.
        raise ImproperlyConfigured(
            f"{name} holds a key shorter than 50 characters. Name the keys that SECRET_KEY had before, separated by "
            "commas, or unset it."
        )
    return keys


# --- Names and addresses ------------------------------------------------------------------------------------------


def allowed_hosts(name: str, *, default: str) -> list[str]:
    hosts = _listed(name, default=default)
    if not hosts:
        raise ImproperlyConfigured(
            f"{name} is empty: the store would answer to nobody. Name its hosts, e.g. shop.example,www.shop.example"
        )
    for host in hosts:
        if not re.fullmatch(rf"\.?{_HOST}", host, re.IGNORECASE):
            why = "lets anybody's name in" if host == "*" else "is not a host name"
            raise ImproperlyConfigured(
                f"{name}: {host!r} {why}. Name hosts without scheme, port, slash or space, separated by commas, "
                "e.g. shop.example,www.shop.example"
            )
    return hosts


def origins(name: str) -> list[str]:
    entries = _listed(name)
    for entry in entries:
        if not re.fullmatch(_ORIGIN, entry, re.IGNORECASE):
            raise ImproperlyConfigured(
                f"{name}: {entry!r} is not an origin. Give scheme and host, without path or space, "
                "separated by commas, e.g. https://shop.example"
            )
    return entries


def is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        # Reading the port is what checks it.
        is_usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    is_plain = not (parts.query or parts.fragment or re.search(r"\s", url))
    return parts.scheme in ("http", "https") and is_usable and is_plain


def web_address(name: str) -> str:
    url = text(name)
    if url and not is_web_address(url):
        raise ImproperlyConfigured(f"{name}={url} is not an http(s) address. Example: https://shop.example")
    return url.rstrip("/")


def sender(name: str, *, default: str) -> str:
    value = text(name, default=default)
    if not re.fullmatch(r"[^@\s]+@[^@\s]+", parseaddr(value)[1]) or "\n" in value:
        raise ImproperlyConfigured(
            f"{name}={value} is not an address of mail. Examples: {default}, Clearline <{default}>"
        )
    return value


def territory(name: str, *, default: str) -> str:
    value = text(name, default=default)
    if not re.fullmatch("[A-Z]{2}", value):
        raise ImproperlyConfigured(
            f"{name}={value} is not a territory. Give the ISO 3166-1 code in capitals, e.g. {default}."
        )
    return value


def _listed(name: str, *, default: str = "") -> list[str]:
    value = text(name, default=default)
    return value.split(",") if value else []


# --- Files --------------------------------------------------------------------------------------------------------


def folder(name: str, *, default: Path) -> Path:
    path = Path(filled_text(name, default=str(default)))
    if path.exists() and not path.is_dir():
        raise ImproperlyConfigured(
            f"{name}={path} is a file. Name a folder, or unset it for {default.name}/."
        )
    return path


def existing_file(name: str) -> str:
    path = text(name)
    if path and not Path(path).is_file():
        raise ImproperlyConfigured(
            f"{name}={path}: there is no such file. Unset it, or name one that exists."
        )
    return path


# --- Services -----------------------------------------------------------------------------------------------------


def database(name: str, *, default: str, made_by_dev: Path, is_test: bool) -> dict[str, Any]:
    """The settings of SQLite or PostgreSQL. `made_by_dev` is the one folder that need not exist yet."""
    url = text(name, default=default)
    scheme = url.partition(":")[0].lower()
    if scheme == "sqlite":
        return _sqlite(name, url, made_by_dev=made_by_dev, is_test=is_test)
    if scheme in _POSTGRES:
        return _postgres(name, url)
    raise ImproperlyConfigured(f"{name} is no address of SQLite or PostgreSQL. {_DATABASE_EXAMPLES}")


def _sqlite(name: str, url: str, *, made_by_dev: Path, is_test: bool) -> dict[str, Any]:
    location = url.partition("://")[2]
    is_in_memory = location in ("", "/") or ":memory:" in location
    if is_in_memory and not is_test:
        raise ImproperlyConfigured(
            f"{name}={url} is a database in memory: web and workers would each see their own. "
            "Name a file, e.g. sqlite:////srv/clearline/db.sqlite3"
        )
    if not is_in_memory and not location.startswith("/"):
        raise ImproperlyConfigured(
            f"{name}={url} has its first folder where a host would stand: "
            "begin with three slashes, or four for an absolute path, e.g. sqlite:////srv/clearline/db.sqlite3"
        )
    database: dict[str, Any] = environ.Env.db_url_config(url)
    database["ENGINE"] = "storefront.sqlite"
    path = Path(database["NAME"])
    if not is_in_memory:
        if path.is_dir():
            raise ImproperlyConfigured(
                f"{name}={url} is a folder. Name the file in it, e.g. {url}/db.sqlite3"
            )
        if not path.parent.is_dir() and path.parent.resolve() != made_by_dev:
            raise ImproperlyConfigured(
                f"{name}={url}: the folder {path.parent} does not exist. "
                f"Make it, or correct {name} (or CLEARLINE_DATA_DIR, where the database is by default)."
            )
    database["OPTIONS"] = {
        # One writer from the first statement on: this is the fence on SQLite (docs/facts-and-fence.md).
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        # Copied back every 32 MB: a chunk of a sweep alone fills the 4 MB at which SQLite would do it.
        "init_command": (
            "PRAGMA journal_mode=WAL; PRAGMA mmap_size=134217728; PRAGMA journal_size_limit=67108864;"
            "PRAGMA wal_autocheckpoint=8000;"
            "PRAGMA cache_size=-64000; PRAGMA temp_store=MEMORY;"
            f"PRAGMA synchronous={'OFF' if is_test else 'FULL'};"
        ),
    }
    if is_test:
        # A file, as in the shop: Django's default in memory has other locks than WAL. Two runs do not share it.
        database["TEST"] = {
            "NAME": str(Path(tempfile.gettempdir()) / f"clearline-test-{os.getpid()}.sqlite3")
        }
    return database


def _postgres(name: str, url: str) -> dict[str, Any]:
    try:
        database: dict[str, Any] = environ.Env.db_url_config(url)
    except ValueError:
        # Without the cause: it may quote a part of the password.
        raise ImproperlyConfigured(
            f"{name} has a bad host or port. Take a port from 1 to 65535, and {_ENCODE}. {_DATABASE_EXAMPLES}"
        ) from None
    if not database["NAME"]:
        raise ImproperlyConfigured(
            f"{name} names no database: add it after the host, and {_ENCODE}. {_DATABASE_EXAMPLES}"
        )
    # A server that swallows packets would otherwise hold up a start, or a request, for minutes.
    database.setdefault("OPTIONS", {}).setdefault("connect_timeout", 10)
    database["CONN_MAX_AGE"] = None
    database["CONN_HEALTH_CHECKS"] = True
    # Behind pgbouncer with transaction pooling there are no server-side cursors.
    database["DISABLE_SERVER_SIDE_CURSORS"] = True
    return database


def redis_address(name: str, *, default: str) -> str:
    url = text(name, default=default)
    example = f"Example: {default} (rediss:// for TLS)."
    try:
        parts = urlsplit(url)
        is_usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        # Without the cause: it may quote a part of the password.
        raise ImproperlyConfigured(
            f"{name} has a bad host or port. Take a port from 1 to 65535, and {_ENCODE}. {example}"
        ) from None
    if parts.scheme not in ("redis", "rediss") or not is_usable:
        raise ImproperlyConfigured(f"{name} is not a Redis address with a host. {example}")
    if not re.fullmatch("/?[0-9]*", parts.path):
        raise ImproperlyConfigured(f"{name}: its database, after the host, is not a number. {example}")
    return url


def mail(name: str) -> dict[str, Any]:
    """Django's EMAIL_ settings; none when the variable is not set."""
    url = text(name)
    if not url:
        return {}
    example = "Example: smtp+tls://user:password@host:587"
    scheme = url.partition(":")[0].lower()
    if scheme not in environ.Env.EMAIL_SCHEMES:
        raise ImproperlyConfigured(
            f"{name} begins with none of {', '.join(f'{known}://' for known in environ.Env.EMAIL_SCHEMES)}. {example}"
        )
    try:
        found: dict[str, Any] = environ.Env.email_url_config(url)
    except ValueError:
        # Without the cause: it may quote a part of the password.
        raise ImproperlyConfigured(
            f"{name} has a bad host or port. Take a port from 1 to 65535, and {_ENCODE}. {example}"
        ) from None
    if scheme.startswith("smtp") and (not found["EMAIL_HOST"] or found["EMAIL_PORT"] == 0):
        raise ImproperlyConfigured(f"{name} names no mail server with a usable port. {example}")
    if scheme == "filemail" and not found["EMAIL_FILE_PATH"]:
        raise ImproperlyConfigured(f"{name} names no folder. Example: filemail:////srv/clearline/mail")
    return found
