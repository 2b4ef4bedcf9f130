"""The desk under fire: withdraws authority at random, and gives it back. A process of its own, as an admin's is.

After each commit it looks at pages that must have lost an offer: what it asks for after the commit must not show it.
"""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.db import InterfaceError, InternalError, OperationalError, connection

from authorization import clock, pending_changes, reinstatements
from authorization.actors import Actor
from authorization.decisions import DecisionUnavailable
from authorization.facts import InvalidFact
from authorization.models import AgreementVersion, ApprovalVersion, PendingChange, Revocation
from authorization.pending_changes import NotPending
from authorization.revocations import (
    Change,
    NarrowAgreement,
    PlaceHold,
    RevokeAgreement,
    RevokeApproval,
    WorldMoved,
)
from catalog.models import Device, ListingHost, Variant
from seeds.soak.browser import LOST, Browser
from seeds.soak.journal import Journal
from seeds.soak.soaked import Group
from storefront import orders, withdrawals
from storefront.models import Order

# The database is away, or has just come back: nothing that a person would not try again.
AWAY = (OperationalError, InternalError, InterfaceError, DecisionUnavailable)
PATIENCE_S = 60.0
# Pages looked at after a commit.
LOOKS = 2
# Between two acts of one desk.
PAUSES_S = (0.1, 1.2)
# Until what was taken away is given back.
AWAY_S = (2.0, 15.0)
# Until a second person has decided on a removal, and until a withdrawal of a later day takes effect.
REMOVAL_S = (0.2, 4.0)
AHEAD_S = (2.0, 8.0)
ALL_ACTS = ("agreement", "approval", "hold", "narrowing", "early end", "orders")
# Orders decided on after each act.
ORDERS_AT_ONCE = 2
ORDERS_LOOKED_AT = 1000
# Debts that are never so many that nothing is left to sell.
MOST_DEBTS = 8
STAYS_AWAY = 2


@dataclass
class Debt:
    """Something that is to follow a withdrawal: a second person's word, a cancellation, the way back."""

    due: float
    token: str
    act: Callable[[], None]
    is_way_back: bool


class Desk:
    def __init__(
        self,
        *,
        name: str,
        group: Group,
        base_url: str,
        journal: Journal,
        stop_file: Path,
        seed: int,
        acts: Sequence[str] = (),
    ) -> None:
        """`acts`: only those of these names; empty is ALL_ACTS."""
        self.by = Actor("user", name)
        self.second = Actor("user", f"{name}-second")
        self.group, self.journal = group, journal
        self._stop_file = stop_file
        self._chance = random.Random(f"{seed}/{name}")
        self._browser = Browser(base_url)
        self._wanted = frozenset(acts or ALL_ACTS)
        self._acts = [choose for name, choose in self._all_acts() if name in self._wanted]
        self._debts: list[Debt] = []
        self._number = 0

    def run(self) -> None:
        while not self._stop_file.exists():
            due = [debt for debt in self._debts if debt.due <= time.monotonic()]
            if due or len(self._debts) > MOST_DEBTS:
                self._pay_back(due or self._debts[:1])
            else:
                self._withdraw_something()
            if "orders" in self._wanted:
                self._persist("decide on orders", self._decide_on_orders)
            time.sleep(self._chance.uniform(*PAUSES_S))
        # Removals are decided. Of what is away, the last stays away: the end of the soak is to see that too.
        left = [debt for debt in self._debts if debt.is_way_back][-STAYS_AWAY:]
        self._pay_back([debt for debt in self._debts if debt not in left])
        self._browser.close()

    # --- taking away --------------------------------------------------------------------------------------

    def _withdraw_something(self) -> None:
        self._number += 1
        token = f"{self.by} {self._number}"
        change = self._persist("choose", lambda: self._choose(token))
        if change is None:
            return
        ahead_s = self._chance.uniform(*AHEAD_S) if self._may_wait(change) else 0.0
        done = self._persist("withdraw", lambda: self._withdraw(change, token, ahead_s))
        if done is None:
            return
        revocation, falls = done
        if not ahead_s:
            self._look_at_pages(falls)
        removals = PendingChange.objects.filter(revocation=revocation, kind=PendingChange.Kind.REMOVAL)
        if self._persist("read", removals.exists):
            self._owe(token, REMOVAL_S, lambda: self._decide_on_removal(revocation))
        if ahead_s and self._chance.random() < 0.4:
            self._owe(token, (0.0, ahead_s), lambda: self._cancel(revocation))
        # What was decided for later is given back after it took effect.
        within_s = (AWAY_S[0] + ahead_s, AWAY_S[1] + ahead_s)
        self._owe(token, within_s, lambda: self._restore(revocation), is_way_back=True)

    def _may_wait(self, change: Change) -> bool:
        return not isinstance(change, NarrowAgreement) and self._chance.random() < 0.25

    def _owe(
        self,
        token: str,
        within_s: tuple[float, float],
        act: Callable[[], None],
        *,
        is_way_back: bool = False,
    ) -> None:
        due = time.monotonic() + self._chance.uniform(*within_s)
        self._debts.append(Debt(due, token, act, is_way_back))

    def _withdraw(
        self, change: Change, token: str, ahead_s: float
    ) -> tuple[Revocation, tuple[int, ...]] | None:
        """The withdrawal and the offers that fall; None when there is nothing to withdraw."""
        done = Revocation.objects.filter(note=token).first()
        if done is not None:
            # The answer to an earlier try was lost, its commit was not.
            self.journal.note("withdrawn", revocation=done.pk, wait_s=None, falls=done.preview_falls)
            return done, ()
        received_at = clock.now()
        for _ in range(20):
            at = clock.now()
            effective_at = at + timedelta(seconds=ahead_s) if ahead_s else None
            try:
                preview = withdrawals.preview(change, at=at, effective_at=effective_at)
                asked_at = time.monotonic()
                revocation = withdrawals.confirm(
                    change,
                    digest=preview.impact.digest,
                    requested_by="the soak",
                    word_received_at=received_at,
                    note=token,
                    by=self.by,
                    at=at,
                    effective_at=effective_at,
                    token=preview.impact.token,
                )
            except WorldMoved:
                self.journal.note("world_moved")
                continue
            except InvalidFact as error:
                self.journal.note("invalid", change=type(change).__name__, said=str(error))
                return None
            falls = tuple(preview.impact.falls.offer_ids)
            self.journal.note(
                "withdrawn",
                revocation=revocation.pk,
                change=type(change).__name__,
                asked_at=asked_at,
                wait_s=round(time.monotonic() - asked_at, 4),
                falls=len(falls),
                ahead_s=ahead_s,
            )
            return revocation, falls
        self.journal.note("gave_up", change=type(change).__name__)
        return None

    def _choose(self, token: str) -> Change | None:
        return self._chance.choice(self._acts)(token)

    def _all_acts(self) -> list[tuple[str, Callable[[str], Change | None]]]:
        """By name; what stands twice is done twice as often."""
        return [
            ("agreement", self._an_agreement),
            ("agreement", self._an_agreement),
            ("approval", self._an_approval),
            ("hold", self._a_hold),
            ("hold", self._a_hold),
            ("narrowing", self._less_of_an_agreement),
            ("early end", self._an_early_end),
        ]

    def _an_agreement(self, token: str) -> Change | None:
        version = self._one_of(self._agreements())
        return None if version is None else RevokeAgreement(version.head_id, "MANUFACTURER_DISCLAIMS")

    def _an_approval(self, token: str) -> Change | None:
        version = self._one_of(self._approvals())
        return None if version is None else RevokeApproval(version.head_id, "CARRIER_TESTS_PENDING")

    def _a_hold(self, token: str) -> Change:
        devices = list(Device.objects.filter(manufacturer_id__in=self.group.makers).order_by("id"))
        device = self._chance.choice(devices)
        suspended = self._one_of(self._agreements())
        targets = [
            ("manufacturer", str(self._chance.choice(self.group.makers))),
            ("vendor", str(self._chance.choice(self.group.vendors))),
            ("device", str(device.pk)),
        ]
        if suspended is not None:
            targets.append(("fact", str(suspended.head_id)))
        return PlaceHold(
            code=f"H-{token.replace(' ', '-').replace(':', '-')}"[:64],
            placed_by="the soak",
            reason_code=self._chance.choice(["SHOP_REVIEW", "SAFETY"]),
            note=token,
            targets=(self._chance.choice(targets),),
        )

    def _less_of_an_agreement(self, token: str) -> Change | None:
        version = self._one_of(self._agreements())
        if version is None:
            return None
        variants = list(
            Variant.objects.filter(device__manufacturer_id__in=self._makers_of(version))
            .order_by("id")
            .values_list("pk", flat=True)
        )
        covered = set(
            version.scope_terms.filter(dimension="model").exclude(value="*").values_list("value", flat=True)
        )
        left = [pk for pk in variants if not covered or str(pk) in covered]
        if len(left) < 2:
            return None
        kept = tuple(sorted(self._chance.sample(left, k=len(left) // 2)))
        return NarrowAgreement(version.head_id, "AGREEMENT_TERMINATED", models=kept)

    def _an_early_end(self, token: str) -> Change | None:
        """A paper that ends by itself, in some seconds."""
        version = self._one_of(self._agreements())
        if version is None:
            return None
        ends_at = clock.now() + timedelta(seconds=self._chance.uniform(2, 8))
        return NarrowAgreement(version.head_id, "AGREEMENT_TERMINATED", valid_until=ends_at)

    def _agreements(self) -> Any:
        return AgreementVersion.objects.current().filter(
            grantor_id__in=self.group.makers + self.group.distributors,
            state=AgreementVersion.State.ACTIVE,
            valid_until__gt=clock.now() + timedelta(hours=1),
        )

    def _approvals(self) -> Any:
        return ApprovalVersion.objects.current().filter(
            variant__device__manufacturer_id__in=self.group.makers, state=ApprovalVersion.State.APPROVED
        )

    def _one_of(self, rows: Any) -> Any:
        found = list(rows.order_by("id"))
        return self._chance.choice(found) if found else None

    def _makers_of(self, version: AgreementVersion) -> list[int]:
        return [version.grantor_id] if version.grantor_id in self.group.makers else self.group.makers

    def _look_at_pages(self, falls: tuple[int, ...]) -> None:
        if not falls:
            return
        fell = set(falls)
        offers = ListingHost.objects.filter(pk__in=self._chance.sample(falls, k=min(LOOKS, len(falls))))
        slugs = self._persist(
            "read", lambda: sorted(set(offers.values_list("listing__variant__device__slug", flat=True)))
        )
        for slug in slugs or ():
            for _ in range(20):
                try:
                    page = self._browser.get(f"/devices/{slug}/")
                except LOST:
                    time.sleep(0.5)
                    continue
                if page.status < 500:
                    shown = sorted(fell & page.offer_ids)
                    self.journal.note("looked", slug=slug, still_shown=shown)
                    break
                time.sleep(0.5)

    # --- giving back --------------------------------------------------------------------------------------

    def _pay_back(self, debts: list[Debt]) -> None:
        for debt in list(debts):
            self._persist(f"follow {debt.token}", debt.act)
            self._debts.remove(debt)

    def _decide_on_removal(self, revocation: Revocation) -> None:
        """Somebody else agrees to take so many pages down, or does not."""
        pending = PendingChange.objects.get(revocation=revocation, kind=PendingChange.Kind.REMOVAL)
        at = clock.now()
        try:
            if self._chance.random() < 0.7:
                pending_changes.approve_removal(pending=pending, by=self.second, at=at)
                self.journal.note("removal_approved", revocation=revocation.pk)
            else:
                reason = "the soak thinks otherwise"
                reinstatements.decline_removal(pending=pending, by=self.second, at=at, reason=reason)
                self.journal.note("removal_declined", revocation=revocation.pk)
        except (NotPending, InvalidFact) as error:
            # Decided or undone already, perhaps by a try whose answer was lost.
            self.journal.note("too_late", act="removal", said=str(error))

    def _cancel(self, revocation: Revocation) -> None:
        pending = PendingChange.objects.get(revocation=revocation, kind=PendingChange.Kind.WITHDRAWAL)
        try:
            pending_changes.cancel_withdrawal(
                pending=pending, by=self.by, at=clock.now(), reason="the soak changed its mind"
            )
        except (NotPending, InvalidFact) as error:
            self.journal.note("too_late", act="cancel", said=str(error))
            return
        self.journal.note("cancelled", revocation=revocation.pk)

    def _restore(self, revocation: Revocation) -> None:
        is_mistake = self._chance.random() < 0.5
        try:
            reinstatements.undo(
                revocation=revocation,
                reason="the soak gives it back",
                is_mistake=is_mistake,
                by=self.by,
                at=clock.now(),
            )
        except InvalidFact as error:
            # Undone or cancelled already, or a worker has not crossed its boundary yet.
            self.journal.note("too_late", act="undo", said=str(error))
            return
        self.journal.note("restored", revocation=revocation.pk)

    # --- orders -------------------------------------------------------------------------------------------

    def _decide_on_orders(self) -> None:
        for state, act in ((Order.State.HELD, self._end_hold), (Order.State.PLACED, self._send_or_refund)):
            rows = Order.objects.filter(state=state).order_by("id")
            ids = list(rows.values_list("pk", flat=True)[:ORDERS_LOOKED_AT])
            # The more that wait, the more at once: a shop that never ships drowns in orders to look after. The two
            # desks are seldom at the same order; seldom is not never.
            count = min(len(ids), ORDERS_AT_ONCE + len(ids) // 20)
            for pk in self._chance.sample(ids, k=count):
                order = Order.objects.get(pk=pk)
                try:
                    act(order)
                except orders.InvalidOrderMove as error:
                    self.journal.note("too_late", act="order", said=str(error))

    def _end_hold(self, order: Order) -> None:
        act, reason, at = self._chance.random(), "the soak decides", clock.now()
        if act < 0.35:
            orders.refund_order(order=order, by=self.by, at=at, reason=reason)
        elif act < 0.6:
            orders.release_order(order=order, by=self.by, at=at, reason=reason)
        elif act < 0.8:
            orders.ship_held_order(order=order, by=self.by, at=at, reason=reason)
        else:
            # None is left where the other desk has just given all of it back.
            for line in orders.lines_left(order)[:1]:
                orders.refund_lines(order=order, lines={line.pk: 1}, by=self.by, at=at, reason=reason)

    def _send_or_refund(self, order: Order) -> None:
        act, at = self._chance.random(), clock.now()
        if act < 0.5:
            orders.ship_order(order=order, by=self.by, at=at)
        elif act < 0.7:
            orders.refund_order(order=order, by=self.by, at=at, reason="the buyer thinks otherwise")

    # --- staying power ------------------------------------------------------------------------------------

    def _persist[T](self, what: str, act: Callable[[], T]) -> T | None:
        """Try until the database answers."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                return act()
            except AWAY as error:
                self.journal.note("away", act=what, error=f"{type(error).__name__}: {error}"[:200])
                connection.close()
                if time.monotonic() > deadline:
                    self.journal.note("gave_up", change=what)
                    return None
                time.sleep(0.3)
