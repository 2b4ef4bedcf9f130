"""What keeps the promises, taken out one by one: a soak that does not fail without it proves nothing.

A soak without a guard runs from a copy of the project in which a few lines are changed. A pause is written in where
chance would need hours to find the same instant; the guarded store bears it.
"""

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from seeds.sandbox.processes import PROJECT, ServiceFailed, Supervisor
from seeds.sandbox.stack import environment_without_shop, say
from seeds.soak.faults import NOTHING

# Enough for each of them: the runs that docs/reliability.md shows were as long.
MINUTES = 0.75
# No part of the project, or made anew.
_LEFT_BEHIND = (
    "var",
    ".venv",
    ".git",
    ".venv.lock",
    "__pycache__",
    ".mypy_cache",
    ".ruff_cache",
    ".pytest_cache",
)

_SLEEP = '__import__("time").sleep'
_KILLS = ("worker killed", "worker's child killed", "all workers killed")


@dataclass(frozen=True)
class Patch:
    path: str
    old: str
    new: str


@dataclass(frozen=True)
class Guard:
    """`without`: what the store is without it. `caught_by`: checks of which at least one must fail then."""

    name: str
    without: str
    caught_by: tuple[str, ...]
    patches: tuple[Patch, ...]
    # What is thrown; nothing where the load and the desks suffice.
    faults: tuple[str, ...] = ()
    acts: tuple[str, ...] = ()


class UnknownGuard(ServiceFailed):
    """The message names those that are known."""


class NoSuchText(ServiceFailed):
    """The text that a guard stands in has changed: adapt the patch."""


@dataclass(frozen=True)
class Verdict:
    guard: Guard
    failed: tuple[str, ...]
    seconds: float

    @property
    def is_caught(self) -> bool:
        return bool(set(self.failed) & set(self.guard.caught_by))


_LATE = ("no order is late",)
# What is stuck without a guard stays so, however long it is waited for.
_IMPATIENT = Patch("seeds/soak/settling.py", "PATIENCE_S = 180.0\n", "PATIENCE_S = 45.0\n")
_STUCK = ("quiet", "sweeps are done, once", "no work is left or dead", "each event was reacted to")

GUARDS = (
    Guard(
        "fence",
        "a sale takes no lock",
        _LATE,
        (
            Patch(
                "authorization/fence.py",
                '        suffix = "_shared" if mode == "shared" else ""\n',
                '        if mode == "shared":\n            return\n        suffix = ""\n',
            ),
            Patch(
                "storefront/sales.py",
                "    current = _current_answers(fresh, answers, counter=counter, at=at)\n",
                "    current = _current_answers(fresh, answers, counter=counter, at=at)\n"
                f"    {_SLEEP}(0.15)\n",
            ),
        ),
    ),
    Guard(
        "counter",
        "a sale reads the counter before it has the lock",
        _LATE,
        (
            Patch(
                "authorization/fence.py",
                '    _take("shared")\n'
                "    # In a statement of its own: together with the lock it would be read before the wait for"
                " the lock.\n"
                "    return current_revision()\n",
                '    revision = current_revision()\n    _take("shared")\n    return revision\n',
            ),
            Patch(
                "authorization/fence.py",
                '    _take("exclusive")\n',
                f'    _take("exclusive")\n    {_SLEEP}(0.15)\n',
            ),
        ),
    ),
    Guard(
        "second-answer",
        "a sale trusts the answer given when the checkout began",
        _LATE,
        (
            Patch(
                "storefront/sales.py",
                "    if len(current) == len(lines):\n        return current\n",
                "    if None not in answers:\n        return list(answers)\n",
            ),
            Patch(
                "storefront/payments.py",
                "        authorization = _ask_authorization(intent, card)\n",
                f"        authorization = _ask_authorization(intent, card)\n        {_SLEEP}(0.3)\n",
            ),
        ),
    ),
    Guard(
        "stale-worker",
        "a chunk of a sweep writes what it thought before a change of authority",
        ("states are what is decided", "the reconciler found nothing"),
        (
            # What is taken away comes back while a worker still thinks of how it was.
            Patch("seeds/soak/desk.py", "AWAY_S = (2.0, 15.0)\n", "AWAY_S = (0.8, 2.0)\n"),
            # One chunk each, so that the sweep of the release need not stand behind that of the hold.
            Patch(
                "seeds/soak/desk.py",
                "            targets=(self._chance.choice(targets),),\n",
                "            targets=(targets[2],),\n",
            ),
            Patch("seeds/soak/main.py", "LEASE_S = 3\n", "LEASE_S = 30\n"),
            Patch(
                "authorization/sweeps.py",
                "                if _is_good(thought, fence.shared()):\n",
                "                if fence.shared() or True:\n",
            ),
            Patch(
                "authorization/sweeps.py",
                "        try:\n            with transaction.atomic():\n                if fence.shared() or True:\n",
                f"        {_SLEEP}(3 * bool(thought.ready.suspended))\n"
                "        try:\n            with transaction.atomic():\n                if fence.shared() or True:\n",
            ),
        ),
        acts=("hold",),
    ),
    Guard(
        "done-after-doing",
        "the outbox marks work as done before it does it",
        (*_STUCK, "money fits orders", "states are what is decided"),
        (
            Patch(
                "authorization/outbox.py",
                "            handler: Handler = import_string(row.handler)\n",
                "            _mine(row).update(done_at=at)\n"
                f"            {_SLEEP}(0.2)\n"
                "            handler: Handler = import_string(row.handler)\n",
            ),
        ),
        faults=_KILLS,
    ),
    Guard(
        "lease",
        "what a dead worker had claimed stays claimed",
        _STUCK,
        (
            Patch(
                "authorization/outbox.py",
                """        f"(o.claimed_until IS NULL OR o.claimed_until < {db.instant('now')}"\n""",
                """        f"(o.claimed_until IS NULL OR {db.instant('now')} IS NULL"\n""",
            ),
            Patch(
                "authorization/outbox.py",
                """        f" OR o.claimed_until > {db.instant('too_far')})"\n""",
                """        f" OR {db.instant('too_far')} IS NULL)"\n""",
            ),
        ),
        faults=_KILLS,
    ),
    Guard(
        "retry",
        "work that failed is not tried again",
        _STUCK,
        (
            Patch(
                "authorization/outbox.py",
                "        if closed and not is_dead:\n            _next_attempt",
                "        if False:\n            _next_attempt",
            ),
        ),
        faults=("connections dropped", *_KILLS),
    ),
    Guard(
        "reaction-once",
        "a sweep is announced as finished as often as somebody asks",
        ("sweeps are done, once",),
        (
            Patch(
                "authorization/sweeps.py",
                "    if not open_sweep.filter(~Exists(undone)).exists():\n",
                "    if undone.exists():\n",
            ),
            Patch(
                "authorization/sweeps.py",
                "        if not open_sweep.update(finished_at=at):\n",
                "        if not open_sweep.update(finished_at=at) and False:\n",
            ),
        ),
        faults=("old work delivered again",),
    ),
    Guard(
        "checkout-key",
        "each request of a checkout opens a payment of its own",
        ("acknowledged orders exist, one each",),
        (
            Patch(
                "storefront/payments.py",
                "    intent, _ = PaymentIntent.objects.get_or_create(\n        checkout_key=checkout_key,\n",
                "    intent, _ = PaymentIntent.objects.get_or_create(\n"
                '        checkout_key=__import__("uuid").uuid4(),\n',
            ),
        ),
    ),
    Guard(
        "stock",
        "a sale counts the stock down from what it read before",
        ("units are conserved",),
        (
            Patch(
                "storefront/sales.py",
                "        if not Stock.objects.filter(pk=stock_id, on_hand__gte=count)"
                '.update(on_hand=F("on_hand") - count):\n',
                "        left = Stock.objects.get(pk=stock_id).on_hand - count\n"
                f"        {_SLEEP}(0.15)\n"
                "        if not Stock.objects.filter(pk=stock_id).update(on_hand=left):\n",
            ),
        ),
    ),
    Guard(
        "orphans",
        "nobody looks for money that was reserved and not used",
        ("quiet", "money fits orders"),
        (
            # Whoever gets no answer does not ask again, and money is reserved for a while before it is used.
            Patch("seeds/soak/shoppers.py", "TRIES = 8\n", "TRIES = 1\n"),
            Patch(
                "storefront/payments.py",
                "        authorization = _ask_authorization(intent, card)\n",
                f"        authorization = _ask_authorization(intent, card)\n        {_SLEEP}(0.5)\n",
            ),
            Patch(
                "storefront/payments.py",
                "            if intent.state in (State.CREATED, State.AUTHORIZED) and not is_sold(intent):\n",
                "            if False:\n",
            ),
        ),
        faults=("web process killed", "web server killed", "payments frozen"),
    ),
    Guard(
        "orders-held",
        "nobody holds the orders of withdrawn goods",
        ("withdrawn orders are held",),
        (
            Patch(
                "storefront/withdrawals.py",
                "        for order in _fallen(chunk, withdrawn, judge):\n",
                "        for order in () and _fallen(chunk, withdrawn, judge):\n",
            ),
        ),
        # Nobody ships or refunds them meanwhile.
        acts=("agreement", "approval", "hold"),
    ),
    Guard(
        "events",
        "one change of authority in four is announced to nobody",
        ("the reconciler found nothing", "states are what is decided", *_STUCK),
        (
            Patch(
                "authorization/outbox.py",
                "    handlers = settings.OUTBOX_HANDLERS.get(event, [])\n    OutboxRow",
                "    handlers = settings.OUTBOX_HANDLERS.get(event, [])\n"
                '    if event == "authority.changed" and __import__("random").random() < 0.25:\n'
                "        handlers = []\n"
                "    OutboxRow",
            ),
        ),
    ),
    Guard(
        "page-each-time",
        "a phone's page is kept for a minute",
        ("pages followed at the commit",),
        (
            Patch(
                "storefront/shop/views.py",
                "    page = pages.device_page(device, at=clock.now())\n",
                "    held = globals().setdefault('_HELD', {})\n"
                '    now = __import__("time").monotonic()\n'
                "    if now - held.get(slug, (-60.0,))[0] > 60:\n"
                "        held[slug] = (now, pages.device_page(device, at=clock.now()))\n"
                "    page = held[slug][1]\n",
            ),
        ),
    ),
    Guard(
        "fence-timeout",
        "a buyer who freezes inside the fence stays there",
        ("withdrawals do not wait",),
        (
            Patch(
                "authorization/fence.py",
                """            "SELECT set_config('idle_in_transaction_session_timeout', %s, true),"\n""",
                """            "SELECT set_config('idle_in_transaction_session_timeout', '0ms', %s <> ''),"\n""",
            ),
            Patch(
                "authorization/fence.py",
                """FENCE_TIMEOUT_MS * 10}ms\"""",
                """FENCE_TIMEOUT_MS * 40}ms\"""",
            ),
        ),
        faults=("buyer frozen",),
    ),
)


def find(name: str) -> Guard:
    """Raises UnknownGuard."""
    for guard in GUARDS:
        if guard.name == name:
            return guard
    raise UnknownGuard(
        f"There is no guard {name!r}; take one of {', '.join(guard.name for guard in GUARDS)}."
    )


def copy_without(guard: Guard, into: Path) -> None:
    """The project without this guard, in a new folder. Raises NoSuchText."""
    shutil.copytree(PROJECT, into, ignore=shutil.ignore_patterns(*_LEFT_BEHIND), symlinks=True)
    for patch in (_IMPATIENT, *guard.patches):
        path = into / patch.path
        text = path.read_text(encoding="utf-8")
        if text.count(patch.old) != 1:
            raise NoSuchText(
                f"The guard {guard.name!r} is not, once, what it was in {patch.path}; adapt seeds/soak/guards.py:"
                f"\n{patch.old}"
            )
        path.write_text(text.replace(patch.old, patch.new), encoding="utf-8")


def soak_without(guard: Guard, *, minutes: float, seed: int, database: str) -> tuple[int, Verdict]:
    """A soak of the project without this guard. Returns its exit code, which is to be 1, and what was noticed."""
    with Supervisor(report=say) as supervisor:
        folder = Path(tempfile.mkdtemp(prefix=f"clearline-without-{guard.name}-"))
        supervisor.remove_at_end(folder)
        project, findings = folder / "project", folder / "findings.json"
        copy_without(guard, project)
        say(f"\n== without {guard.name}: {guard.without}")
        argv = [sys.executable, "-m", "seeds.sandbox", "soak", "--minutes", str(minutes), "--seed", str(seed)]
        argv += [
            "--database",
            database,
            "--json",
            str(findings),
            "--throw",
            ",".join(guard.faults) or NOTHING,
        ]
        if guard.acts:
            argv += ["--acts", ",".join(guard.acts)]
        started = time.monotonic()
        code = supervisor.run_in_terminal(argv, env=environment_without_shop(), folder=project)
        seconds = time.monotonic() - started
        failed: tuple[str, ...] = ()
        if findings.exists():
            failed = tuple(json.loads(findings.read_text(encoding="utf-8"))["failed"])
    return code, Verdict(guard, failed, seconds)


def tell(verdicts: Sequence[Verdict]) -> None:
    say("\nGuards taken out")
    for verdict in verdicts:
        said = ", ".join(verdict.failed) or "NOTHING"
        mark = "noticed" if verdict.is_caught else "NOT NOTICED"
        say(f"  {verdict.guard.name:<17}{mark:<13}{verdict.seconds:6.0f} s  {said}")
