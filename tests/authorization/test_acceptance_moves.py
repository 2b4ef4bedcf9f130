"""The whole table of moves: each cell of state, move and party works where the table says so, and nowhere else."""

from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from authorization import clock
from authorization.acceptances import moves, process
from authorization.acceptances.moves import MOVES, MoveRefused
from authorization.facts import InvalidFact
from authorization.management.commands import acceptance_diagram
from authorization.models import Acceptance, AcceptanceMove, ApprovalVersion, LedgerEntry, OutboxRow, Party
from seeds import factories
from seeds.factories import DECIDES, doer_of, make_hold

State = Acceptance.State
# Of no type: tests know what a state has.
make_acceptance: Any = factories.make_acceptance
PARTIES = [party for party in Party.values if party != Party.CLOCK]
ALLOWED = [
    (state, move.code, party)
    for move in MOVES
    if not move.at_door and move.code not in moves.FOLLOWING
    for state in move.from_states
    for party in move.parties
    if party != Party.CLOCK
]
cell = "-".join


def inputs_of(acceptance, move, party, at):
    """Those that are needed, and what makes the move possible."""
    values: dict[str, Any] = {
        "reason": "because", "document": "letter 1", "software": acceptance.software_in_test or "7.0.5",
        "lab_slot_from": at, "lab_slot_until": at + timedelta(days=1), "deviation": "a known one",
        "limits": "simulated", "waived_until": at + timedelta(days=30),
    }  # fmt: skip
    given: dict[str, Any] = {name: values[name] for name in moves.BY_CODE[move].needs_of(party)}
    if move == "amend":
        given["certificate"] = "GCF-2"
    if move == "submit_build":
        given["software"] = "7.0.6"
    if move == "report_release":
        given["software"] = "8.1"
    return given


def acceptance_in(state, **given):
    """With what its next move asks for: a failed case where issues are to be opened, results where it is approved."""
    at = clock.now()
    found = make_acceptance(state=state, at=at, software_until="8", **given)
    if state == State.REQUESTED:
        process.attach_file(
            acceptance=found,
            kind="declaration",
            name="a.txt",
            content=b"bands",
            by=doer_of(found, Party.SPONSOR),
            at=at,
        )
    if state == State.SUSPENDED:
        # By the word of the host, so that the host may lift it.
        AcceptanceMove.objects.filter(acceptance=found, move="suspend")
    return found


@pytest.mark.django_db
@pytest.mark.parametrize("state", State.values)
def test_what_the_table_does_not_say_is_refused(state):
    acceptance, at = acceptance_in(state), clock.now()
    before = (AcceptanceMove.objects.count(), LedgerEntry.objects.count(), OutboxRow.objects.count())
    tried = 0
    for code in [*moves.BY_CODE, "no_such_move"]:
        for party in Party.values:
            if (state, code, party) in ALLOWED:
                continue
            inputs = {} if code == "no_such_move" else inputs_of(acceptance, code, party, at)
            with pytest.raises(MoveRefused) as refused:
                process.perform(
                    acceptance=acceptance, move=code, by=doer_of(acceptance, party), at=at, **inputs
                )
            assert code not in refused.value.moves_allowed
            tried += 1
    assert tried > 100
    acceptance.refresh_from_db()
    assert acceptance.state == state
    assert before == (AcceptanceMove.objects.count(), LedgerEntry.objects.count(), OutboxRow.objects.count())


@pytest.mark.django_db
@pytest.mark.parametrize(("state", "code", "party"), ALLOWED, ids=map(cell, ALLOWED))
def test_what_the_table_says_works(state, code, party):
    acceptance, at, move = acceptance_in(state), clock.now(), moves.BY_CODE[code]
    if code == "approve" or move.to_state == State.CONDITIONAL:
        lab = doer_of(acceptance, Party.HOST_LAB)
        results = [process.Result(phase, "delta", "passed") for phase in process.phases_of(acceptance, at=at)]
        process.record_results(acceptance=acceptance, results=results, by=lab, at=at)
    if code == "open_issues":
        lab = doer_of(acceptance, Party.HOST_LAB)
        failed = [process.Result("field", "drive", "failed")]
        process.record_results(acceptance=acceptance, results=failed, by=lab, at=at)
    by, inputs = doer_of(acceptance, party), inputs_of(acceptance, code, party, at)
    assert move in moves.moves_for(acceptance, party)
    if code == "resume" and party == Party.HOST_APPROVER:
        with pytest.raises(MoveRefused, match="suspended by the shop"):
            process.perform(acceptance=acceptance, move=code, by=by, at=at, **inputs)
        return
    made = process.perform(
        acceptance=acceptance, move=code, by=by, at=at, seen_version=acceptance.version, **inputs
    )
    seen = acceptance.version
    acceptance.refresh_from_db()
    assert (made.from_state, made.to_state) in move.ways
    assert acceptance.state == made.to_state
    assert acceptance.version == made.number == seen + 1
    assert (made.party, made.actor, made.reason) == (party, str(by.actor), inputs.get("reason", ""))
    entry = LedgerEntry.objects.get(act=f"acceptance.{code}", subject_id=str(acceptance.pk))
    assert entry.evidence["to"] == made.to_state
    event = OutboxRow.objects.get(
        event="acceptance.moved", payload__number=made.number, payload__code=acceptance.code
    )
    assert event.payload["move"] == code


@pytest.mark.django_db
@pytest.mark.parametrize("state", State.values)
def test_only_what_was_approved_has_an_approval_in_force(state):
    """A mere intake never makes a device sellable: that was the mistake of 2016."""
    acceptance = acceptance_in(state)
    versions = ApprovalVersion.objects.current().filter(variant=acceptance.variant)
    if state in Acceptance.IN_FORCE:
        version = versions.get()
        assert (version.head_id, version.state.upper()) == (acceptance.approval_id, state)
    elif state in (State.SUSPENDED, State.REVOKED, State.EXPIRED):
        assert versions.get().head_id == acceptance.approval_id
    elif state == State.MR_REVIEW:
        assert acceptance.approval is None
        assert versions.get().head_id == acceptance.parent.approval_id
    else:
        assert not versions.exists()
        assert acceptance.approval is None


@pytest.mark.django_db
def test_final_states_are_never_left():
    for state in Acceptance.FINAL:
        acceptance = make_acceptance(state=state)
        for party in Party.values:
            assert moves.moves_for(acceptance, party) == ()
        make_hold(targets=[("variant", str(acceptance.variant_id))], at=clock.now())
        acceptance.refresh_from_db()
        assert acceptance.state == state


def test_every_state_is_reached_and_final_ones_have_no_way_out():
    ways = [way for move in MOVES for way in move.ways]
    reached = {after for _, after in ways} | {move.opens for move in MOVES if move.opens}
    assert reached == set(State.values)
    assert not {before for before, _ in ways} & set(Acceptance.FINAL)


def test_only_the_hosts_approver_or_the_shop_on_its_word_decides():
    decisive = {State.CONDITIONAL, State.APPROVED, State.SUSPENDED, State.REVOKED}
    for move in MOVES:
        if move.code == "fall_with_parent":
            continue
        if decisive & {after for before, after in move.ways if before != after}:
            assert set(move.parties) <= {Party.HOST_APPROVER, Party.SHOP, Party.CLOCK}, move.code
        if move.gives:
            assert Party.SPONSOR not in move.parties
            assert set(move.to_states) <= set(moves.DECIDED)


def test_the_shop_says_why_and_on_which_document():
    for move in MOVES:
        if Party.SHOP in move.parties:
            assert {"reason", "document"} <= set(move.needs_of(Party.SHOP))
            assert not set(move.needs_of(Party.SHOP)) & set(move.takes_of(Party.SHOP))


@pytest.mark.django_db
def test_a_move_takes_its_own_inputs_and_asks_for_those_it_needs():
    acceptance, at = make_acceptance(state=State.INTAKE_REVIEW), clock.now()
    by = doer_of(acceptance, Party.HOST_DESK)
    with pytest.raises(InvalidFact, match="takes no deviation") as refused:
        process.perform(acceptance=acceptance, move="reject", by=by, at=at, reason="no", deviation="x")
    assert refused.value.field == "deviation"
    with pytest.raises(InvalidFact, match="Say why") as refused:
        process.perform(acceptance=acceptance, move="reject", by=by, at=at)
    assert refused.value.field == "reason"
    shop = doer_of(acceptance, Party.SHOP, DECIDES)
    with pytest.raises(InvalidFact) as refused:
        process.perform(acceptance=acceptance, move="reject", by=shop, at=at, reason="the host said so")
    assert refused.value.field == "document"


# --- the diagram ------------------------------------------------------------------------------------------------


def test_the_page_of_the_docs_is_as_the_table_says():
    call_command("acceptance_diagram", "--check")


def test_the_check_fails_where_page_and_table_differ(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text(
        f"before\n{acceptance_diagram.BEGIN}\nold\n{acceptance_diagram.END}\nafter\n", encoding="utf-8"
    )
    with pytest.raises(CommandError, match="differ"):
        call_command("acceptance_diagram", "--check", page=page)
    call_command("acceptance_diagram", page=page)
    call_command("acceptance_diagram", "--check", page=page)
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "IN_TEST --> APPROVED : approve" in text
    monkeypatch.setattr(moves, "MOVES", moves.MOVES[:-1])
    with pytest.raises(CommandError, match="differ"):
        call_command("acceptance_diagram", "--check", page=page)


def test_a_page_without_a_place_for_it_is_named(tmp_path):
    page = tmp_path / "page.md"
    with pytest.raises(CommandError, match="cannot be read"):
        call_command("acceptance_diagram", "--check", page=page)
    page.write_text("nothing", encoding="utf-8")
    with pytest.raises(CommandError, match="no place"):
        call_command("acceptance_diagram", page=page)
