"""Acceptances follow their approvals: whoever revokes, suspends or limits one, from wherever, the two never disagree.

What may be sold stands in the approval and in the holds on it. The functions here are called by the writes of those
(authorization.approvals, holds, reinstatements, boundaries), in their transaction and under their fence; they work out
what state an acceptance should have by now, and write the move where it has another. They are set-based: a list of
thousands of approvals that ends at one instant is a handful of statements for each few hundred.

Between an instant and the worker that writes its move, `effective_states` says what counts.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import batched
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F, Q

from authorization import fence, ledger, outbox
from authorization.acceptances import moves
from authorization.acceptances.moves import MoveRefused
from authorization.actors import SYSTEM, Actor
from authorization.dialect import listed_ids
from authorization.facts import InvalidFact
from authorization.models import (
    Acceptance,
    AcceptanceMove,
    ApprovalVersion,
    Fact,
    HoldTarget,
    HoldVersion,
    OutboxRow,
    Party,
    Revision,
    Revocation,
)
from carriers.versions import FOREVER

State = Acceptance.State
# So many are read, moved and written before the next: what is prepared between two statements must stay far below the
# fence's timeout.
_AT_ONCE = 500
# More than these do not follow under the exclusive fence, behind which buyers wait, but right after it.
_UNDER_THE_FENCE = 100


@dataclass(frozen=True)
class Following:
    """In whose name a change of the front door is a move of an acceptance, and what that move says besides.

    `seen_version`: the version of the acceptance that who acts has seen. Without any of this, a change that bears on an
    approval moves its acceptance in the name of the shop.
    """

    party: str
    document: str = ""
    phase_out_until: datetime | None = None
    seen_version: int | None = None
    # For whom who acts may speak: the host, or (the sponsor never does) an organization. None: not said, the surface
    # has seen to it.
    host_id: int | None = None
    organization_id: int | None = None

    def told(self) -> dict[str, Any]:
        """As a withdrawal keeps it (`Revocation.scope`): for its day, and to know on whose word it was made."""
        ends = self.phase_out_until
        return {
            "party": str(self.party),
            "document": self.document,
            "phase_out_until": None if ends is None else ends.isoformat(),
        }


def on_word_of_host(fact_id: int) -> bool:
    """Was this hold placed as a move of an acceptance, and not of the shop's own accord?"""
    return Revocation.objects.filter(
        fact=fact_id, kind=Revocation.Kind.HOLD, scope__has_key="following"
    ).exists()


@dataclass(frozen=True)
class _Standing:
    """What the records say of one approval at an instant. `since`: from when on they say so."""

    state: str
    since: datetime
    hold_id: int | None = None
    # In force: what the approval says itself, and which software it covers.
    terms: Mapping[str, Any] = field(default_factory=dict)
    software: tuple[str, str] = ("", "")
    # Why, in the word of the withdrawal: a code.
    reason_code: str = ""


@dataclass(frozen=True)
class _Step:
    """One move of one acceptance that is to be written."""

    acceptance: Acceptance
    code: str
    after: str
    party: str
    by: Actor
    effective_at: datetime
    changes: Mapping[str, Any]
    reason: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)


# --- what counts ------------------------------------------------------------------------------------------------


def effective_state(acceptance: Acceptance, *, at: datetime) -> str:
    """The state that counts at `at`, whether or not a worker has written the move to it yet."""
    return effective_states([acceptance], at=at)[acceptance.pk]


def effective_states(acceptances: Iterable[Acceptance], *, at: datetime) -> dict[int, str]:
    """By id, in a number of queries that is the same for one as for some hundreds."""
    rows = list(acceptances)
    reviewed = {row.parent_id for row in rows if row.state == State.MR_REVIEW}
    parents = Acceptance.objects.in_bulk([pk for pk in reviewed if pk is not None])
    approval_ids = {
        row.approval_id
        for row in [*rows, *parents.values()]
        if row.state in moves.DECIDED and row.approval_id
    }
    standings = _standings(approval_ids, at=at)

    def of(row: Acceptance) -> str:
        if row.state in moves.DECIDED and row.approval_id in standings:
            return standings[row.approval_id].state
        if row.state == State.MR_REVIEW and row.parent_id in parents:
            above = of(parents[row.parent_id])
            return above if above in (State.REVOKED, State.EXPIRED) else row.state
        return row.state

    return {row.pk: of(row) for row in rows}


def _standings(
    approval_ids: Collection[int], *, at: datetime, known_at: int | None = None
) -> dict[int, _Standing]:
    """By approval: revoked, expired, suspended by which hold, or in force as the approval says.

    As known at that revision; None: now.
    """
    versions = ApprovalVersion.objects.current()
    if known_at is not None:
        versions = ApprovalVersion.objects.known_at(known_at)
    found: dict[int, _Standing] = {}
    for part in batched(sorted(approval_ids), _AT_ONCE):
        suspended = _suspended(part, at=at, known_at=known_at)
        for version in versions.filter(head__in=part):
            found[version.head_id] = _standing(version, suspended.get(version.head_id), at=at)
    return found


def _standing(version: ApprovalVersion, hold: HoldVersion | None, *, at: datetime) -> _Standing:
    end = min(version.valid_until, version.waived_until or FOREVER)
    # What came first counts: an approval that had ended is not revoked any more.
    if end <= at and (version.revoked_at is None or end <= version.revoked_at):
        return _Standing(State.EXPIRED, end)
    if version.revoked_at is not None and version.revoked_at <= at:
        return _Standing(State.REVOKED, version.revoked_at, reason_code=version.reason_code)
    # A revocation to come stands in the record already; until then the limits say which of the two it is.
    state = State.CONDITIONAL if version.limits else State.APPROVED
    terms = {
        "limits": version.limits,
        "waived_until": version.waived_until,
        "valid_until": None if version.valid_until >= FOREVER else version.valid_until,
    }
    software = (version.software_from, version.software_until)
    if hold is not None:
        return _Standing(
            State.SUSPENDED, hold.valid_from, hold.head_id, terms, software, reason_code=hold.reason_code
        )
    return _Standing(state, at, None, terms, software)


def _suspended(
    approval_ids: Collection[int], *, at: datetime, known_at: int | None
) -> dict[int, HoldVersion]:
    """The first hold in effect on each approval."""
    first: dict[int, HoldVersion] = {}
    for hold, named in _holds_on(approval_ids, at=at, known_at=known_at):
        for approval_id in named:
            first.setdefault(approval_id, hold)
    return first


def _holds_on(
    approval_ids: Collection[int], *, at: datetime, known_at: int | None
) -> list[tuple[HoldVersion, set[int]]]:
    """The holds in effect that name these approvals and nothing but records, the first one first; and which of them.

    One that names goods besides, or a territory, stops less than the approval.
    """
    if known_at is None:
        known = Q(version__rev_to__isnull=True)
    else:
        known = Q(version__rev_from__lte=known_at) & (
            Q(version__rev_to__isnull=True) | Q(version__rev_to__gt=known_at)
        )
    named = HoldTarget.objects.filter(
        known,
        version__reach=HoldVersion.Reach.SALE,
        version__valid_from__lte=at,
        version__valid_until__gt=at,
        part=0,
        dimension=HoldTarget.Dimension.FACT,
    ).exclude(version__released_at__lte=at)
    named = named.filter(value__in=[str(pk) for pk in approval_ids])
    found: dict[int, set[int]] = defaultdict(set)
    for version_id, value in named.values_list("version_id", "value"):
        found[version_id].add(int(value))
    narrower = set(
        HoldTarget.objects.filter(version__in=list(found), part=0)
        .exclude(dimension=HoldTarget.Dimension.FACT)
        .values_list("version_id", flat=True)
    )
    holds = HoldVersion.objects.select_related("head").in_bulk([pk for pk in found if pk not in narrower])
    return [(hold, found[hold.pk]) for hold in sorted(holds.values(), key=lambda row: row.head_id)]


def holds_on(acceptance: Acceptance, *, at: datetime) -> list[HoldVersion]:
    """The holds in effect that name its approval and nothing but records, the first one first."""
    if acceptance.approval_id is None:
        return []
    holds = _holds_on([acceptance.approval_id], at=at, known_at=None)
    return [hold for hold, _ in holds]


# --- what a change of the front door asks first -----------------------------------------------------------------


def check(
    following: Following | None,
    *,
    move: str,
    approval_ids: Collection[int],
    at: datetime,
    effective_at: datetime | None = None,
) -> None:
    """Is this change the move that it says it is? Raises MoveRefused, InvalidFact."""
    if following is None:
        return
    named = Acceptance.objects.filter(approval__in=listed_ids(approval_ids))
    if fence.is_held():
        named = named.select_for_update(no_key=True)
    rows = list(named)
    if len(rows) != 1 or len(approval_ids) != 1:
        raise InvalidFact("fact", "One acceptance moves at a time: name its approval and nothing else.")
    (row,) = rows
    if following.host_id not in (None, row.host_id) or following.organization_id is not None:
        raise MoveRefused(f"{row.code} is not yours to move.")
    state = effective_state(row, at=at)
    allowed = check_turn(row, move, following.party, state=state, seen_version=following.seen_version)
    if move == "suspend" and any(on_word_of_host(hold.head_id) for hold in holds_on(row, at=at)):
        raise MoveRefused(f"{row.code} is SUSPENDED on the word of the host already.", allowed)
    ends = following.phase_out_until
    if ends is None:
        return
    if move != "revoke":
        raise InvalidFact("phase_out_until", "Only a revocation has a phase-out; leave it out.")
    if ends.tzinfo is None or ends <= (effective_at or at):
        raise InvalidFact(
            "phase_out_until",
            "The phase-out of existing lines ends after the revocation; give a later time, in UTC.",
        )


def check_turn(
    acceptance: Acceptance, code: str, party: str, *, state: str, seen_version: int | None = None
) -> tuple[str, ...]:
    """May this party make this move, and has it looked at the acceptance as it is? Returns all that it may do.

    `state`: the one that counts. Raises MoveRefused.
    """
    allowed = moves.codes_for(acceptance, party, state=state)
    if seen_version is not None and seen_version != acceptance.version:
        raise MoveRefused(
            f"{acceptance.code} has moved since you looked at it: it is {state} by now. Look again, then decide.",
            allowed,
        )
    if code not in allowed:
        raise MoveRefused(_refusal(acceptance, code, party, state), allowed)
    return allowed


def _refusal(acceptance: Acceptance, code: str, party: str, state: str) -> str:
    """Why this party may not make this move now, and what would help."""
    move = moves.find(code)
    who = Party(party).label
    if state in Acceptance.FINAL:
        return f"{acceptance.code} is {state}, which is final; open a new acceptance."
    if state not in move.from_states:
        starts = ", ".join(move.from_states) or "nothing"
        return f"{acceptance.code} is {state}; {move.title.lower()} starts from {starts}."
    if move.gives and party == Party.SHOP and acceptance.sponsor_id is None:
        return f"The shop asked for {acceptance.code} itself: nobody approves what they sponsored. The host decides."
    parties = ", ".join(str(one.label) for one in move.parties)
    return f"{move.title} is not for the {who}; it is for: {parties}."


# --- the writes -------------------------------------------------------------------------------------------------


def follow_under_fence(
    *,
    approval_ids: Collection[int],
    revision: Revision,
    by: Actor,
    at: datetime,
    reason: str = "",
    terms_by: str = "",
    following: Following | None = None,
) -> int:
    """Bring the acceptances that led to these approvals to where the records stand by now. Returns how many moved.

    `terms_by`: the move that this change is, where it is one: it is written also where the state stays. The caller
    holds the exclusive fence and has written the records. Doing it again without it changes nothing. Of more than a
    hundred the moves are left to workers, some hundreds in a transaction: nothing is sold meanwhile, and
    `effective_states` says where they stand.
    """
    if not approval_ids:
        return 0
    named = Acceptance.objects.filter(approval__in=listed_ids(approval_ids), state__in=moves.DECIDED)
    concerned = sorted(named.values_list("approval_id", flat=True))
    if len(concerned) <= _UNDER_THE_FENCE or following is not None:
        asked = _Asked(revision, by, at, reason, terms_by, following)
        return sum(_follow(part, asked) for part in batched(concerned, _AT_ONCE))
    for part in batched(concerned, _AT_ONCE):
        payload = {
            "approval_ids": list(part),
            "revision": revision.n,
            "by": [by.kind, by.name],
            "at": at.isoformat(),
        }
        outbox.announce(event="acceptance.to_follow", payload=payload, at=at)
    return 0


def follow_on(*, payload: dict[str, Any], event_id: UUID, at: datetime) -> None:
    """Handler of `acceptance.to_follow`: some hundreds of acceptances follow a change that bore on many.

    Under the shared fence, so that the records stay as they are read; twice changes nothing.
    """
    with transaction.atomic():
        fence.shared()
        revision = Revision.objects.get(n=payload["revision"])
        # What has moved by a later change is beyond this one.
        later = AcceptanceMove.objects.filter(
            acceptance__approval__in=payload["approval_ids"], revision__gt=revision.n
        )
        passed = set(later.values_list("acceptance__approval_id", flat=True))
        asked = _Asked(
            revision, Actor(*payload["by"]), datetime.fromisoformat(payload["at"]), "", "", None, is_late=True
        )
        _follow([pk for pk in payload["approval_ids"] if pk not in passed], asked)
        waiting = OutboxRow.objects.filter(event="acceptance.to_follow", done_at=None, failed_at=None)
        if not waiting.exclude(handler="").exclude(event_id=event_id).exists():
            # The last of them: if they came out of their order, it is mended here.
            newest = Revision.objects.get(n=fence.current_revision())
            now = _Asked(newest, SYSTEM, max(at, newest.recorded_at), "", "", None)
            _follow(payload["approval_ids"], now)


@dataclass(frozen=True)
class _Asked:
    """What the followers of one change share."""

    revision: Revision
    by: Actor
    at: datetime
    reason: str
    terms_by: str
    following: Following | None
    # Done after its revision: by the records as they were known then.
    is_late: bool = False


def _follow(approval_ids: Sequence[int], asked: _Asked) -> int:
    at = asked.at
    acceptances = list(
        Acceptance.objects.select_for_update(no_key=True)
        .filter(approval__in=approval_ids, state__in=moves.DECIDED)
        .order_by("pk")
    )
    if not acceptances:
        return 0
    known_at = asked.revision.n if asked.is_late else None
    standings = _standings(
        {row.approval_id for row in acceptances if row.approval_id}, at=at, known_at=known_at
    )
    words = _Words(standings, asked)
    steps: list[_Step] = []
    for row in acceptances:
        standing = standings[row.approval_id or 0]
        step = _step(row, standing, words, asked)
        if step is not None:
            steps.append(step)
    write_steps(steps, revision=asked.revision, at=at)
    _end_children(steps, revision=asked.revision, at=at)
    return len(steps)


@dataclass(frozen=True)
class _Word:
    """On whose word something happened to an approval."""

    party: str
    by: Actor
    reason: str
    following: Mapping[str, Any] | None = None

    @property
    def details(self) -> dict[str, Any]:
        if self.following is None:
            return {}
        kept = {name: value for name, value in self.following.items() if name != "party" and value}
        return {"is_hosts_word": True, **kept}

    @property
    def phase_out_until(self) -> datetime | None:
        ends = (self.following or {}).get("phase_out_until")
        return None if ends is None else datetime.fromisoformat(ends)


class _Words:
    """Who said it: the change that is being made, or a withdrawal that was decided before and whose day has come."""

    def __init__(self, standings: Mapping[int, _Standing], asked: _Asked) -> None:
        self._standings, self._asked = standings, asked
        self._decided: dict[tuple[int, datetime], Revocation] = {}
        if asked.following is None:
            facts = [pk for pk, standing in standings.items() if standing.state == State.REVOKED]
            facts += [standing.hold_id for standing in standings.values() if standing.hold_id is not None]
            kinds = (Revocation.Kind.APPROVAL, Revocation.Kind.HOLD)
            rows = Revocation.objects.filter(fact__in=sorted(set(facts)), kind__in=kinds).order_by("id")
            self._decided = {(row.fact_id or 0, row.effective_at): row for row in rows}

    def of_now(self, reason_code: str = "") -> _Word:
        """Of the change that is being made. What the desk writes for itself is not for the sponsor: its code is."""
        asked = self._asked
        if asked.following is not None:
            return _Word(asked.following.party, asked.by, asked.reason, asked.following.told())
        return _Word(Party.CLOCK if asked.by == SYSTEM else Party.SHOP, asked.by, reason_code)

    def of_withdrawal(self, approval_id: int) -> _Word:
        """Of what took the approval away: decided now, or before."""
        standing = self._standings[approval_id]
        named = standing.hold_id if standing.state == State.SUSPENDED else approval_id
        # By its instant too: another may have been cancelled before.
        decided = self._decided.get((named or 0, standing.since))
        if decided is None or "following" not in decided.scope:
            return self.of_now(standing.reason_code)
        told = decided.scope["following"]
        return _Word(told["party"], Actor(*decided.actor.split(":", 1)), decided.note, told)


def crossed_under_fence(
    *, fact_ids: Sequence[int], instant: datetime, revision: Revision, by: Actor, at: datetime
) -> None:
    """These facts begin or end by themselves at `instant`: approvals, and holds that name approvals."""
    ids = listed_ids(fact_ids)
    kinds = (Fact.Kind.APPROVAL, Fact.Kind.HOLD)
    approvals: set[int] = set()
    holds: set[int] = set()
    for pk, kind in Fact.objects.filter(pk__in=ids, kind__in=kinds).values_list("pk", "kind"):
        (approvals if kind == Fact.Kind.APPROVAL else holds).add(pk)
    follow_under_fence(
        approval_ids=approvals | named_by_holds(holds), revision=revision, by=by, at=max(at, instant)
    )


def named_by_holds(hold_ids: Collection[int]) -> set[int]:
    """The facts that the present versions of these holds name. Not only approvals."""
    if not hold_ids:
        return set()
    rows = HoldTarget.objects.filter(
        version__head__in=listed_ids(hold_ids), version__rev_to__isnull=True, part=0, dimension="fact"
    )
    return {int(value) for value in rows.values_list("value", flat=True)}


def reopened_under_fence(
    *, before: Fact, version: ApprovalVersion, revision: Revision, by: Actor, at: datetime, reason: str
) -> Acceptance | None:
    """The revocation of `before` was undone, and the approval of `version` stands in its place: so does a new
    acceptance for the one that is revoked for good. None where `before` came from no acceptance.

    Raises InvalidFact where the same build was asked for anew meanwhile: the host decides on that.
    """
    predecessor = Acceptance.objects.select_for_update(no_key=True).filter(approval=before).first()
    if predecessor is None:
        return None
    names = (
        "host", "variant", "parent", "request_type", "sponsor", "hardware_revision", "software_from",
        "software_until", "software_from_key", "software_until_key", "tacs", "fcc_id", "certificate", "build_no",
        "software_in_test", "lab_slot_from", "lab_slot_until", "deviation",
    )  # fmt: skip
    twin = open_twin(predecessor)
    if twin is not None:
        raise InvalidFact(
            "revocation",
            f"The same build was asked for anew as {twin.code}: the host decides on that, or it is withdrawn first.",
        )
    standing = _standing(version, None, at=at)
    successor = Acceptance.objects.create(
        **{name: getattr(predecessor, name) for name in names},
        code=version.head.code,
        state=standing.state,
        state_changed_at=at,
        version=1,
        approval=version.head,
        created_at=at,
        **standing.terms,
    )
    detail = {"predecessor": predecessor.code, "approval": version.head.code}
    record_move(successor, "reinstate", "", party=Party.SHOP, by=by, at=at, revision=revision, detail=detail)
    return successor


def open_twin(acceptance: Acceptance) -> Acceptance | None:
    """Another acceptance of the same build with the same host that is open."""
    twins = Acceptance.objects.filter(
        host=acceptance.host_id,
        variant=acceptance.variant_id,
        hardware_revision=acceptance.hardware_revision,
        software_from_key=acceptance.software_from_key,
        software_until_key=acceptance.software_until_key,
    ).exclude(state__in=Acceptance.FINAL)
    return twins.exclude(pk=acceptance.pk).first()


def record_move(
    acceptance: Acceptance,
    code: str,
    before: str,
    *,
    party: str,
    by: Actor,
    at: datetime,
    reason: str = "",
    effective_at: datetime | None = None,
    revision: Revision | None = None,
    detail: Mapping[str, Any] | None = None,
) -> AcceptanceMove:
    """The row, the ledger entry and the event of a move that `acceptance` has made; its version is the number."""
    row = AcceptanceMove(
        acceptance=acceptance,
        number=acceptance.version,
        move=code,
        from_state=before,
        to_state=acceptance.state,
        party=party,
        actor=str(by),
        reason=reason[:500],
        at=at,
        effective_at=effective_at or at,
        revision=None if revision is None else revision.n,
        detail=dict(detail or {}),
    )
    _publish([row], {acceptance.pk: acceptance}, by={acceptance.pk: by}, at=at)
    return row


def write_steps(steps: Sequence[_Step], *, revision: Revision, at: datetime) -> None:
    """Those of one cause, some hundreds at most: an update for each kind of change, then rows, entries and events."""
    if not steps:
        return
    alike: dict[str, list[_Step]] = defaultdict(list)
    for step in steps:
        alike[repr(sorted(step.changes.items()))].append(step)
    for group in alike.values():
        same = Acceptance.objects.filter(pk__in=[step.acceptance.pk for step in group])
        same.update(**group[0].changes, version=F("version") + 1)
    rows = [
        AcceptanceMove(
            acceptance=step.acceptance,
            number=step.acceptance.version + 1,
            move=step.code,
            from_state=step.acceptance.state,
            to_state=step.after,
            party=step.party,
            actor=str(step.by),
            reason=step.reason[:500],
            at=at,
            effective_at=step.effective_at,
            revision=revision.n,
            detail=dict(step.detail),
        )
        for step in steps
    ]
    acceptances = {step.acceptance.pk: step.acceptance for step in steps}
    _publish(rows, acceptances, by={step.acceptance.pk: step.by for step in steps}, at=at)


def _publish(
    rows: Sequence[AcceptanceMove],
    acceptances: Mapping[int, Acceptance],
    *,
    by: Mapping[int, Actor],
    at: datetime,
) -> None:
    AcceptanceMove.objects.bulk_create(rows)
    ledger.record_many(
        [
            ledger.entry_fields(
                act=f"acceptance.{row.move}",
                subject_kind="acceptance",
                subject_id=row.acceptance_id,
                by=by[row.acceptance_id],
                at=at,
                reason=row.reason,
                evidence={
                    "code": acceptances[row.acceptance_id].code,
                    "number": row.number,
                    "from": row.from_state,
                    "to": row.to_state,
                    "party": row.party,
                    "effective_at": row.effective_at.isoformat(),
                    **row.detail,
                },
                revision=row.revision,
            )
            for row in rows
        ]
    )
    outbox.announce_many(
        event="acceptance.moved",
        payloads=[_event(row, acceptances[row.acceptance_id]) for row in rows],
        at=at,
    )
    for (to, pk), moved in _to_tell(rows, acceptances).items():
        outbox.announce(event="acceptance.to_tell", payload={"to": to, "id": pk, "moves": moved}, at=at)


def _event(row: AcceptanceMove, acceptance: Acceptance) -> dict[str, Any]:
    told: dict[str, Any] = {
        "acceptance_id": row.acceptance_id,
        "code": acceptance.code,
        "move": row.move,
        "number": row.number,
        "from": row.from_state,
        "to": row.to_state,
        "party": row.party,
    }
    if acceptance.sponsor_id is not None:
        # Its log and webhooks tell of it.
        told["vendor_id"] = acceptance.sponsor_id
    return told


def _to_tell(
    rows: Iterable[AcceptanceMove], acceptances: Mapping[int, Acceptance]
) -> dict[tuple[str, int], list[int]]:
    """Who is to be told of which moves by mail: whoever takes part and did not make the move."""
    told: dict[tuple[str, int], list[int]] = defaultdict(list)
    for row in rows:
        acceptance = acceptances[row.acceptance_id]
        if row.party != Party.SPONSOR and acceptance.sponsor_id is not None:
            told["sponsor", acceptance.sponsor_id].append(row.pk)
        if row.party not in moves.HOST:
            told["host", acceptance.host_id].append(row.pk)
    return told


# --- one acceptance ---------------------------------------------------------------------------------------------


def _step(row: Acceptance, standing: _Standing, words: _Words, asked: _Asked) -> _Step | None:
    """The move that brings it from where it is written to where the records stand; None where it stands there."""
    before, after, at = row.state, standing.state, asked.at
    changes: dict[str, Any] = {"state": after, "hold": standing.hold_id}
    if before != after:
        changes["state_changed_at"] = at
    if after == State.EXPIRED:
        return _Step(row, "expire", after, Party.CLOCK, SYSTEM, standing.since, changes)
    if after == State.REVOKED:
        word = words.of_withdrawal(row.approval_id or 0)
        changes["phase_out_until"] = word.phase_out_until
        return _Step(
            row, "revoke", after, word.party, word.by, standing.since, changes, word.reason, word.details
        )
    terms = {name: value for name, value in standing.terms.items() if getattr(row, name) != value}
    changes |= terms
    is_other_hold = row.hold_id != standing.hold_id
    if after == State.SUSPENDED and (before != after or is_other_hold or asked.terms_by == "suspend"):
        word = words.of_withdrawal(row.approval_id or 0)
        if asked.terms_by == "suspend":
            # Beside a suspension by somebody else, which stays the one that is named first.
            word = words.of_now(standing.reason_code)
        detail = {**_told(terms), **word.details}
        return _Step(row, "suspend", after, word.party, word.by, standing.since, changes, word.reason, detail)
    word = words.of_now()
    detail = {**_told(terms), **word.details}
    if before == State.SUSPENDED and before != after:
        return _Step(row, "resume", after, word.party, word.by, at, changes, word.reason, detail)
    if asked.terms_by in ("", "suspend") and not terms:
        return None
    detail["software_from"], detail["software_until"] = standing.software
    code = asked.terms_by if asked.terms_by == "lift_limits" else "restrict"
    if not moves.BY_CODE[code].leads(before, after):
        raise InvalidFact(
            "fact", f"{row.code} is {before}; {moves.BY_CODE[code].title.lower()} has no place there."
        )
    return _Step(row, code, after, word.party, word.by, at, changes, word.reason, detail)


def _told(terms: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value.isoformat() if isinstance(value, datetime) else value for name, value in terms.items()
    }


def _end_children(ended: Iterable[_Step], *, revision: Revision, at: datetime) -> None:
    """What is compared with a release that ended ends too."""
    parents = {step.acceptance.pk: step for step in ended if step.after in (State.REVOKED, State.EXPIRED)}
    if not parents:
        return
    children = Acceptance.objects.select_for_update(no_key=True).filter(
        parent__in=list(parents), state=State.MR_REVIEW
    )
    steps = []
    for child in children.order_by("pk"):
        above = parents[child.parent_id or 0]
        steps.append(
            _Step(
                child,
                "fall_with_parent",
                above.after,
                Party.CLOCK,
                SYSTEM,
                above.effective_at,
                {"state": above.after, "state_changed_at": at},
                detail={"parent": above.acceptance.code},
            )
        )
    write_steps(steps, revision=revision, at=at)
