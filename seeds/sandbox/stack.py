"""The whole store on one machine: broker, payment provider, web, two workers and beat."""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from seeds.sandbox.broker import start_broker
from seeds.sandbox.ports import LOOPBACK, choose_port
from seeds.sandbox.postgres import TemporaryPostgres
from seeds.sandbox.processes import PROJECT, Service, ServiceFailed, Supervisor
from seeds.sandbox.static_files import COLLECT, collect_static_files

WEB_PORT = 8000
# Not Redis's own 6379: somebody's real one may come back there.
BROKER_PORT = 6390
PROVIDER_PORT = 8099
VAR = PROJECT / "var"
# What `./dev up` tells `./dev manage` about itself.
RUNNING = VAR / "running.json"
# Held as long as `./dev up` lives, however it ends.
UP_LOCK = VAR / "up.lock"

# A sandbox must not be able to reach the shop that the caller's environment describes, so what begins with
# one of these is not handed on to it.
_SHOP_SETTINGS = (
    *("CLEARLINE_", "PAYMENT_PROVIDER_", "EMAIL_URL", "DATABASE_URL", "REDIS_URL", "SECRET_KEY"),
    *("DEBUG", "ALLOWED_HOSTS", "CSRF_TRUSTED_ORIGINS", "DJANGO_SETTINGS_MODULE"),
)


@dataclass(frozen=True)
class Plan:
    """How a store is set up: how many processes, and what they are told besides."""

    workers: int = 2
    web_processes: int = 1
    # As under a service manager. Without it a web server that dies ends the command: somebody should look.
    web_comes_back: bool = False
    # Before a service is started again that dies again and again, in seconds; None: as the supervisor thinks.
    longest_pause: float | None = None
    # Every service has its own file, so that their clocks can be set apart.
    own_clocks: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Stack:
    """A running store, as the replay and the commands see it."""

    name: str
    env: dict[str, str]
    data_dir: Path
    clock_file: Path | None
    supervisor: Supervisor
    base_url: str = ""
    provider_url: str = ""
    provider_key: str = ""
    plan: Plan = Plan()
    # None on SQLite.
    postgres: TemporaryPostgres | None = None

    @property
    def worker_names(self) -> list[str]:
        return [f"worker{number}" for number in range(1, self.plan.workers + 1)]

    def env_of(self, service: str) -> dict[str, str]:
        """The environment of a service: the store's, with a clock of its own if the plan says so."""
        if self.clock_file is None or not self.plan.own_clocks:
            return dict(self.env)
        clock_file = self.clock_file.with_name(f"clock-{service}.json")
        if not clock_file.exists():
            shutil.copyfile(self.clock_file, clock_file)
        # PostgreSQL shows this name beside each session.
        return self.env | {"CLEARLINE_CLOCK_FILE": str(clock_file), "PGAPPNAME": service}

    def manage(
        self, *args: str, input: str | None = None, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "manage.py", *args]
        return self.supervisor.run(argv, env={**self.env, **(env or {})}, input=input)

    def kill(self, name: str) -> None:
        """SIGKILL to a service and its children."""
        self.supervisor.kill(name)

    def stop(self, name: str) -> None:
        self.supervisor.stop(name)

    def restart(self, name: str) -> None:
        self.supervisor.restart(name)

    def pids(self, name: str) -> list[int]:
        return self.supervisor.pids(name)

    def wait(self) -> int:
        """Until the caller is interrupted; or 1 when a service fails, which has been reported by then."""
        try:
            self.supervisor.wait()
        except ServiceFailed:
            return 1

    @property
    def failures(self) -> list[str]:
        return self.supervisor.failures


def say(text: str) -> None:
    """A line of progress; a terminal that is gone is no reason to stop in the middle of an ending."""
    with suppress(OSError):
        print(text, flush=True)


@contextmanager
def start_stack(
    sandbox_name: str,
    *,
    database: str = "sqlite",
    port: int = WEB_PORT,
    plan: Plan = Plan(),
    report: Callable[[str], None] = say,
) -> Iterator[Stack]:
    """A store of its own in a throw-away folder: database, broker, clock and provider are nobody else's."""
    with ExitStack() as cleanup:
        supervisor = cleanup.enter_context(Supervisor(report=report))
        data_dir = Path(tempfile.mkdtemp(prefix=f"clearline-{sandbox_name}-"))
        supervisor.remove_at_end(data_dir)
        clock_file = data_dir / "clock.json"
        env = (
            environment_without_shop()
            | _local_settings(data_dir)
            | {
                "DATABASE_URL": f"sqlite:///{data_dir}/clearline.sqlite3",
                "CLEARLINE_CLOCK_FILE": str(clock_file),
                "PAYMENT_PROVIDER_KEY": secrets.token_hex(16),
            }
            | dict(plan.settings)
        )
        _stop_clock(clock_file)
        stack = Stack(sandbox_name, env, data_dir, clock_file, supervisor, plan=plan)
        if database == "postgres":
            with _phase(report, "PostgreSQL"):
                stack.postgres = TemporaryPostgres(fsync=True, supervisor=supervisor)
                env["DATABASE_URL"] = cleanup.enter_context(stack.postgres)
        _start_services(stack, port, report)
        yield stack


def _stop_clock(clock_file: Path) -> None:
    """Services ask for the time as soon as they run: it stands still, long ago, until an exercise sets it."""
    # Imported late: it needs Django, and this module is read before the virtual environment exists.
    from authorization.clock import write_clock

    write_clock(clock_file, virtual=datetime(2000, 1, 1, tzinfo=UTC), rate=0)


@contextmanager
def start_shop(*, port: int = WEB_PORT, report: Callable[[str], None] = say) -> Iterator[Stack]:
    """The store with its data kept in `var/`, or where DATABASE_URL and REDIS_URL say."""
    VAR.mkdir(exist_ok=True)
    with open(UP_LOCK, "w") as lock, Supervisor(report=report) as supervisor:
        if not _take(lock):
            raise ServiceFailed("The store is up already; only one at a time may use var/.")
        # Of one that was killed: from here on it would be believed.
        RUNNING.unlink(missing_ok=True)
        stack = Stack("shop", _shop_settings(), VAR, None, supervisor)
        _start_services(stack, port, report)
        addresses = {name: stack.env[name] for name in ("REDIS_URL", "PAYMENT_PROVIDER_URL")}
        RUNNING.write_text(json.dumps(addresses))
        try:
            yield stack
        finally:
            RUNNING.unlink(missing_ok=True)


def environment_for_manage() -> dict[str, str]:
    """The shop's settings, and the addresses of its services when it is up."""
    addresses = {"REDIS_URL": f"redis://{LOOPBACK}:{BROKER_PORT}/0"}
    if _is_shop_up():
        with suppress(FileNotFoundError):
            addresses = json.loads(RUNNING.read_text())
    return addresses | _shop_settings()


def _is_shop_up() -> bool:
    try:
        with open(UP_LOCK) as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _take(lock: IO[str]) -> bool:
    """Whether it is ours now. `./dev manage` holds it for an instant when it looks, so ask more than once."""
    for _ in range(5):
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(0.05)
    return False


def _shop_settings() -> dict[str, str]:
    """The caller's own settings win."""
    VAR.mkdir(exist_ok=True)
    defaults = _local_settings(VAR) | {
        "DATABASE_URL": f"sqlite:///{VAR}/clearline.sqlite3",
        "PAYMENT_PROVIDER_KEY": _kept_secret(VAR / "payment-provider-key"),
    }
    return defaults | os.environ


def environment_without_shop() -> dict[str, str]:
    """The caller's environment, less all that describes a shop."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_SHOP_SETTINGS)}


def _local_settings(data_dir: Path) -> dict[str, str]:
    """What every store on this machine is told; plain HTTP, since it answers on the loopback address only."""
    _kept_secret(data_dir / "secret-key")
    return {
        "CLEARLINE_DATA_DIR": str(data_dir),
        "CLEARLINE_HTTPS": "false",
        "ALLOWED_HOSTS": f"{LOOPBACK},localhost",
        "PYTHONUNBUFFERED": "1",
        "SECRET_KEY_FILE": str(data_dir / "secret-key"),
    }


def _start_services(stack: Stack, port: int, report: Callable[[str], None]) -> None:
    env, supervisor = stack.env, stack.supervisor
    logs = stack.data_dir / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    if "REDIS_URL" not in env:
        with _phase(report, "broker"):
            env["REDIS_URL"] = start_broker(supervisor, stack.data_dir / "broker", preferred_port=BROKER_PORT)
    if "PAYMENT_PROVIDER_URL" not in env:
        with _phase(report, "payment provider"):
            _start_payment_provider(stack, logs)
    stack.provider_url = env["PAYMENT_PROVIDER_URL"]
    stack.provider_key = env["PAYMENT_PROVIDER_KEY"]
    with _phase(report, "database tables"):
        _must_succeed(stack, "migrate", "--no-input")
    with _phase(report, "static files"):
        collect_static_files(
            VAR, lambda: _must_succeed(stack, *COLLECT, env={"CLEARLINE_DATA_DIR": str(VAR)})
        )
        if stack.data_dir != VAR:
            shutil.copytree(VAR / "static", stack.data_dir / "static")
    with _phase(report, "web, workers and beat"):
        web_port = choose_port(port)
        env.setdefault("CLEARLINE_PUBLIC_URL", f"http://{LOOPBACK}:{web_port}")
        workers = [_worker(stack, name, logs) for name in stack.worker_names]
        services = [_web(stack, web_port, logs), *workers, _beat(stack, logs)]
        for service in services:
            supervisor.start(service, wait=False)
        supervisor.wait_ready(*(service.name for service in services))
    if port and web_port != port:
        report(f"  port {port} is taken; the store is on {web_port}")
    stack.base_url = f"http://{LOOPBACK}:{web_port}"


def _start_payment_provider(stack: Stack, logs: Path) -> None:
    port = choose_port(PROVIDER_PORT)
    stack.env["PAYMENT_PROVIDER_URL"] = f"http://{LOOPBACK}:{port}"
    key = stack.env["PAYMENT_PROVIDER_KEY"]
    argv = [sys.executable, "-m", "seeds.payment_provider", "--port", str(port), "--key", key]
    ready = _answers_http(port, "/health")
    stack.supervisor.start(Service("payments", argv, stack.env, log=logs / "payments.log", ready=ready))


def _web(stack: Stack, port: int, logs: Path) -> Service:
    granian = [sys.executable, "-m", "granian", "--interface", "wsgi", "storefront.wsgi:application"]
    options = ["--host", LOOPBACK, "--port", str(port), "--blocking-threads", "4"]
    options += ["--workers", str(stack.plan.web_processes)]
    if stack.plan.web_comes_back:
        # Of its processes too: without it the death of one ends the server.
        options += ["--respawn-failed-workers", "--respawn-interval", "1"]
    web = Service("web", [*granian, *options], stack.env_of("web"), log=logs / "web.log")
    ready = _answers_http(port, "/livez")
    return replace(_supervised(stack, web), ready=ready, comes_back=stack.plan.web_comes_back)


def _worker(stack: Stack, name: str, logs: Path) -> Service:
    options = ["--concurrency", "1", "--pool", "prefork", "-n", f"{name}@%h", "-l", "INFO"]
    # One host and two workers: they need not greet each other at every start.
    argv = [*_celery("worker"), *options, "--without-gossip", "--without-mingle"]
    worker = Service(name, argv, _talkative(stack, name), log=logs / f"{name}.log", ready=_says(" ready."))
    return _supervised(stack, worker)


def _beat(stack: Stack, logs: Path) -> Service:
    argv = [*_celery("beat"), "-s", str(stack.data_dir / "beat-schedule"), "-l", "INFO"]
    ready = _says("beat: Starting")
    beat = Service("beat", argv, _talkative(stack, "beat"), log=logs / "beat.log", ready=ready)
    return _supervised(stack, beat)


def _supervised(stack: Stack, service: Service) -> Service:
    return replace(service, comes_back=True, longest_pause=stack.plan.longest_pause)


def _says(words: str) -> Callable[[str], bool]:
    return lambda log: words in log


def _talkative(stack: Stack, service: str) -> dict[str, str]:
    """Whatever the caller wants logged: that a worker is ready is only known from its log."""
    return stack.env_of(service) | {"CLEARLINE_LOG_LEVEL": "INFO"}


def _celery(command: str) -> list[str]:
    return [sys.executable, "-m", "celery", "-A", "storefront", command]


def _answers_http(port: int, path: str) -> Callable[[str], bool]:
    def ask(_log: str) -> bool:
        connection = http.client.HTTPConnection(LOOPBACK, port, timeout=5)
        try:
            connection.request("GET", path)
            return connection.getresponse().status < 400
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    return ask


def _must_succeed(stack: Stack, *args: str, env: Mapping[str, str] | None = None) -> None:
    result = stack.manage(*args, env=env)
    if result.returncode:
        _, refused, reason = f"\n{result.stderr}".rpartition("\nerror: ")
        if refused:
            # manage.py names the setting and the cure itself; the lines before it are noise.
            raise ServiceFailed(reason.strip())
        last = "\n    ".join((result.stdout + result.stderr).strip().splitlines()[-15:])
        raise ServiceFailed(f"manage.py {args[0]} failed:\n    {last}")


@contextmanager
def _phase(report: Callable[[str], None], title: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    report(f"  {title:<24}{time.monotonic() - started:5.1f} s")


def _kept_secret(path: Path) -> str:
    """The secret in the file, made at the first call; nobody but its owner may read it."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text().strip()
    secret = secrets.token_urlsafe(48)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(secret)
    return secret
