"""Random histories: moves, results, withdrawals from every door, undoing, time that passes with and without workers.

After each step: what the decision engine allows is what the acceptances say at that instant, every move has its row and
its ledger entry and is one of the table, and no final state was left.
"""

from contextlib import suppress
from datetime import timedelta
from typing import Any, cast
from unittest import mock

import pytest
from django.db import transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from authorization import (
    approvals,
    boundaries,
    clock,
    decisions,
    holds,
    pending_changes,
    reinstatements,
    revocations,
)
from authorization.acceptances import moves, process
from authorization.acceptances.following import Following
from authorization.acceptances.moves import MoveRefused
from authorization.actors import Actor
from authorization.facts import InvalidFact
from authorization.models import (
    Acceptance,
    ApprovalVersion,
    HoldVersion,
    LedgerEntry,
    OutboxRow,
    Party,
    PendingChange,
    Revocation,
)
from authorization.pending_changes import NotPending
from authorization.revocations import PlaceHold, RestrictApproval, RevokeApproval
from authorization.rules import Question
from authorization.software import sort_key
from catalog.models import Channel, Condition
from seeds import factories
from seeds.factories import (
    HostCarrierFactory,
    HostingFactory,
    OrganizationFactory,
    VariantFactory,
    doer_of,
    make_hold,
    make_policy,
    record_build,
)

State = Acceptance.State
# Of no type: tests know what a state has.
make_acceptance: Any = factories.make_acceptance
DESK = Actor("user", "desk")
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
REFUSED = (MoveRefused, InvalidFact, NotPending)
SOFTWARE = ("6.5", "7.0.5", "7.5", "8.0", "8.5", "9.0.5", "9.7", "10.0.5")
START = clock.now()
ACTS = [
    move.code for move in moves.MOVES if not move.at_door and move.code not in (*moves.FOLLOWING, "request")
]
PARTIES = [party for party in Party.values if party != Party.CLOCK]

which = st.integers(0, 5)


class Histories(RuleBasedStateMachine):
    """One variant on one host: what is sold of it rests on its acceptances alone."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        # As Django's own test case does: rolled back at the end, and not a block of ours for the fence.
        self.block = cast(Any, transaction.atomic())
        self.block._from_testcase = True
        self.block.__enter__()
        self.clock = mock.patch.object(clock, "now", side_effect=lambda: self.now)
        self.clock.start()
        try:
            self.set_up()
        except BaseException:
            # Nobody tears down what did not come to be, and the next test would live in its time.
            self.teardown()
            raise

    def set_up(self):
        self.host, self.variant = HostCarrierFactory.create(), VariantFactory.create()
        self.vendor = OrganizationFactory.create()
        HostingFactory.create(host=self.host, at=self.now)
        make_policy(at=self.now, is_agreement_enforced=False)
        self.begin(State.APPROVED)
        self.begin(State.CONDITIONAL, waived_until=self.now + 3 * DAY)

    def teardown(self):
        self.clock.stop()
        transaction.set_rollback(True)
        self.block.__exit__(None, None, None)

    def begin(self, state, **given):
        # A build is accepted once: each has a range of its own.
        number = 7 + Acceptance.objects.filter(parent=None).count()
        with suppress(*REFUSED):
            make_acceptance(
                state=state, host=self.host, variant=self.variant, at=self.now, software=f"{number}.0.5",
                software_from=f"{number}", software_until=f"{number + 1}", **given,
            )  # fmt: skip

    def tick(self):
        self.now += timedelta(seconds=1)

    def one(self, rows, index):
        found = list(rows.order_by("pk"))
        return found[index % len(found)] if found else None

    def approved(self, index):
        return self.one(Acceptance.objects.exclude(approval=None).exclude(state__in=Acceptance.FINAL), index)

    def door(self, change, effective_at=None):
        seen = revocations.preview(change, at=self.now, effective_at=effective_at)
        revocations.execute(
            change, digest=seen.digest, requested_by="the carrier", word_received_at=self.now, note="because", by=DESK,
            at=self.now, effective_at=effective_at,
        )  # fmt: skip

    # --- what people do -----------------------------------------------------------------------------------------

    @rule(state=st.sampled_from([State.IN_TEST, State.WAIVER_PENDING, State.CONDITIONAL, State.APPROVED]))
    def another_build(self, state):
        self.tick()
        with_end = {"valid_until": self.now + 3 * DAY} if state == State.APPROVED else {}
        if Acceptance.objects.count() < 5:
            self.begin(state, **with_end)

    @rule(index=which, party=st.sampled_from(PARTIES), is_wild=st.integers(0, 9), data=st.data())
    def move(self, index, party, is_wild, data):
        self.tick()
        acceptance = self.one(Acceptance.objects.exclude(state__in=Acceptance.FINAL), index)
        if acceptance is None:
            return
        state = process.effective_state(acceptance, at=self.now)
        codes = [move.code for move in moves.moves_for(acceptance, party, state=state) if not move.at_door]
        code = data.draw(st.sampled_from(ACTS if is_wild == 0 or not codes else codes))
        values: dict[str, Any] = {
            "reason": "because", "document": "letter", "software": acceptance.software_in_test or "7.0.5",
            "lab_slot_from": self.now, "lab_slot_until": self.now + DAY, "deviation": "known", "limits": "simulated",
            "waived_until": self.now + data.draw(st.sampled_from([HOUR, 2 * DAY, 90 * DAY])),
        }  # fmt: skip
        inputs: dict[str, Any] = {name: values[name] for name in moves.BY_CODE[code].needs_of(party)}
        if code == "report_release":
            inputs["software"] = data.draw(st.sampled_from(SOFTWARE))
        with suppress(*REFUSED):
            process.perform(
                acceptance=acceptance, move=code, by=doer_of(acceptance, party), at=self.now, **inputs
            )

    @rule(index=which, fails=st.booleans())
    def results(self, index, fails):
        self.tick()
        acceptance = self.one(Acceptance.objects.filter(state__in=process.TESTED_IN), index)
        if acceptance is not None:
            with suppress(*REFUSED):
                record_build(acceptance, at=self.now, fails=fails)

    @rule(
        index=which,
        what=st.sampled_from(["suspend", "revoke", "restrict"]),
        party=st.sampled_from([None, Party.HOST_APPROVER, Party.SHOP]),
        later=st.sampled_from([None, None, HOUR, 2 * DAY]),
        ends=st.sampled_from([None, HOUR, 2 * DAY, 400 * DAY]),
        until=st.sampled_from([None, "", "7.5", "8.3"]),
    )
    def withdraw(self, index, what, party, later, ends, until):
        self.tick()
        acceptance = self.approved(index)
        if acceptance is None:
            return
        named = None if party is None else Following(party, document="letter")
        change: Any
        if what == "revoke":
            change = RevokeApproval(acceptance.approval_id, "SAFETY", named)
        elif what == "restrict":
            change = RestrictApproval(
                acceptance.approval_id, "SAFETY", f"limit {self.now}", ends and self.now + ends, software_until=until,
                following=named,
            )  # fmt: skip
        else:
            change = PlaceHold(
                code=process.free_hold_code(acceptance), placed_by="the carrier", reason_code="SAFETY", note="",
                targets=(("fact", str(acceptance.approval_id)),), following=named,
            )  # fmt: skip
        with suppress(*REFUSED):
            self.door(change, None if later is None or what == "restrict" else self.now + later)

    @rule(indices=st.lists(which, min_size=1, max_size=3), ends=st.sampled_from([None, HOUR]))
    def hold(self, indices, ends):
        self.tick()
        named = {self.approved(index).approval_id for index in indices if self.approved(index)}
        if named:
            given = {} if ends is None else {"valid_until": self.now + ends}
            make_hold(targets=[("fact", str(pk)) for pk in named], at=self.now, **given)

    @rule(index=which)
    def release(self, index):
        self.tick()
        hold = self.one(HoldVersion.objects.current().filter(released_at=None), index)
        if hold is not None:
            with suppress(*REFUSED):
                holds.release_hold(fact=hold.head, by=DESK, at=self.now, reason="over")

    @rule(index=which)
    def exempt(self, index):
        self.tick()
        hold = self.one(HoldVersion.objects.current().filter(released_at=None), index)
        if hold is not None:
            exemption = holds.Exemption((("territory", "US"),), self.now)
            with suppress(*REFUSED):
                holds.exempt(fact=hold.head, exemption=exemption, by=DESK, at=self.now, reason="some")

    @rule(index=which)
    def undo(self, index):
        self.tick()
        revocation = self.one(Revocation.objects.all(), index)
        if revocation is not None:
            with suppress(*REFUSED):
                reinstatements.undo(
                    revocation=revocation, reason="a slip", is_mistake=True, by=DESK, at=self.now
                )

    @rule(index=which)
    def cancel(self, index):
        self.tick()
        pending = self.one(PendingChange.objects.filter(kind="withdrawal"), index)
        if pending is not None:
            with suppress(*REFUSED):
                pending_changes.cancel_withdrawal(pending=pending, by=DESK, at=self.now, reason="agreed")

    # --- what time does -----------------------------------------------------------------------------------------

    @rule(step=st.sampled_from([HOUR, DAY, 40 * DAY]), has_workers=st.booleans())
    def time_passes(self, step, has_workers):
        self.now += step
        if has_workers:
            self.workers()

    def due(self):
        rows = OutboxRow.objects.filter(event="authority.boundary", due_at__lte=self.now, done_at=None)
        return rows.exclude(handler="").order_by("due_at", "pk")

    def workers(self):
        for row in self.due():
            boundaries.cross_boundary(payload=row.payload, event_id=row.event_id, at=self.now)
            OutboxRow.objects.filter(pk=row.pk).update(done_at=self.now)

    # --- what must hold -----------------------------------------------------------------------------------------

    @invariant()
    def sold_is_what_is_accepted(self):
        rows: list[Any] = list(Acceptance.objects.all())
        states = process.effective_states(rows, at=self.now)
        if not self.due().exists():
            assert states == {row.pk: row.state for row in rows}, "nothing waits for a worker"
        in_force = [row.approval_id for row in rows if states[row.pk] in Acceptance.IN_FORCE]
        for row in rows:
            if states[row.pk] in Acceptance.IN_FORCE:
                version = approvals.current(row.approval)
                is_conditional = bool(version.limits)
                assert is_conditional == (states[row.pk] == State.CONDITIONAL)
        led_to = [row.approval_id for row in rows if row.approval_id]
        assert not ApprovalVersion.objects.current().exclude(head__in=led_to).exists()
        spans = [
            (version.software_from_key, version.software_until_key)
            for version in ApprovalVersion.objects.current().filter(head__in=in_force)
        ]
        expected = {
            software
            for software in SOFTWARE
            if any(
                start <= sort_key(software) and (not end or sort_key(software) < end) for start, end in spans
            )
        }
        asked = [self.question(software) for software in SOFTWARE]
        answers = decisions.decide_many(asked, at=self.now)
        allowed = {answer.question.software for answer in answers if answer.is_allowed}
        assert allowed == expected, [(row.code, states[row.pk]) for row in rows]

    def question(self, software):
        return Question(
            vendor_id=self.vendor.pk, manufacturer_id=self.variant.device.manufacturer_id,
            device_id=self.variant.device_id, variant_id=self.variant.pk, host_id=self.host.pk, territory="US",
            channel=Channel.WEB, condition=Condition.NEW, software=software,
        )  # fmt: skip

    @invariant()
    def every_move_is_of_the_table_and_on_record(self):
        acts = LedgerEntry.objects.filter(subject_kind="acceptance", act__startswith="acceptance.")
        recorded = {
            (entry.subject_id, entry.evidence["number"]): entry
            for entry in acts
            if "number" in entry.evidence
        }
        for acceptance in Acceptance.objects.prefetch_related("moves"):
            before = ""
            rows = sorted(acceptance.moves.all(), key=lambda row: row.number)
            assert [row.number for row in rows] == list(range(1, acceptance.version + 1))
            for row in rows:
                move = moves.BY_CODE[row.move]
                assert row.from_state == before
                assert row.from_state not in Acceptance.FINAL, "a final state was left"
                opens = row.from_state == "" and row.to_state == move.opens
                assert opens or move.leads(row.from_state, row.to_state), (
                    row.move,
                    row.from_state,
                    row.to_state,
                )
                assert row.party in move.parties, (row.move, row.party)
                entry = recorded[str(acceptance.pk), row.number]
                assert (entry.act, entry.evidence["to"]) == (f"acceptance.{row.move}", row.to_state)
                before = row.to_state
            assert acceptance.state == before


@pytest.mark.timeout(300)
@pytest.mark.django_db
def test_acceptance_and_approval_never_disagree():
    run_state_machine_as_test(
        Histories,
        settings=settings(
            deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck),
            max_examples=20, stateful_step_count=25,
        ),
    )  # fmt: skip
