"""The other directions: who may sell this, what may this vendor sell, what rests on this record, what falls by itself.

Each list is exactly what `decisions` allows, asked one by one: SQL only narrows down whom to ask, and never by what
could leave one out. A list is complete or comes with a cursor. The cursor carries revision and instant of the first
page, so that a walk over pages is one answer, whatever is recorded meanwhile. See docs/directions.md.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.core import signing
from django.db import DatabaseError, connection
from django.db.models import CharField, Exists, OuterRef, Q, QuerySet
from django.db.models.expressions import RawSQL
from django.db.models.functions import Cast

from authorization import decisions, revisions, software
from authorization.decision_setting import Affiliation, Policy, Setting
from authorization.decisions import PAGE, Answer, DecisionUnavailable, InvalidQuestion
from authorization.facts import InvalidFact
from authorization.models import (
    AffiliationVersion,
    AgreementVersion,
    ApprovalVersion,
    EquipmentVersion,
    Fact,
    HoldExemption,
    HoldTarget,
    HoldVersion,
    PolicyVersion,
    ScopeTerm,
)
from authorization.rules import ALL, FAILED, Evidence, Question, Reason
from carriers.models import HostCarrier, Hosting, HostingVersion, Network, NetworkVersion
from carriers.versions import FOREVER
from catalog.models import ListingHost, OfferState, Organization, Variant, VariantVersion

# The most that one page gives.
LIMIT = 1000
# What one page asks at most; a page that finds little ends early, with a cursor.
ASKED = 20_000
# So many are asked in the first statement of a page at least.
FIRST = 500
# At so many different instants one page of an exposure decides before it contents itself with fewer offers.
INSTANTS = 100
LONGEST = timedelta(days=3660)


class InvalidCursor(ValueError):
    """A cursor that this question did not give."""

    def __init__(self) -> None:
        super().__init__(
            "This cursor was not given by this very question, or was changed; ask again without it, and go on"
            " with the cursors that you get."
        )


@dataclass(frozen=True)
class Page[Item]:
    """`next_cursor` is None at the end and only there: a page with few items, or none, may have more after it."""

    items: tuple[Item, ...]
    next_cursor: str | None
    revision: int
    valid_at: datetime


@dataclass(frozen=True, slots=True)
class RestingOffer:
    """A host offer whose answer cites the record. `state` is that of the moment when the page was read."""

    offer_id: int
    state: str
    answer: Answer


@dataclass(frozen=True, slots=True)
class FallingOffer:
    """A live offer that stops being allowed at `falls_at` though nobody does anything.

    `record` is what ends then, of what it rested on; where nothing ends, the hold, list or policy that begins.
    """

    offer_id: int
    question: Question
    falls_at: datetime
    reasons: tuple[Reason, ...]
    record: Evidence | None


def who_may_sell(
    *,
    variant: Variant,
    host: HostCarrier,
    territory: str,
    channel: str,
    condition: str,
    software: str = "",
    at: datetime,
    known_at: int | None = None,
    after: str | None = None,
    limit: int = 100,
) -> Page[Answer]:
    """Every organization that may sell it, by id: vendors, and whoever else may. The answer names it.

    Raises InvalidQuestion, InvalidCursor, DecisionUnavailable.
    """
    _check_software(software)
    terms = (territory, channel, condition, software)
    walk = _begin(("who", variant.pk, host.pk, *terms), at, known_at, after, limit)
    manufacturer_id = variant.device.manufacturer_id

    def question(vendor_id: int) -> Question:
        return Question(
            vendor_id=vendor_id,
            manufacturer_id=manufacturer_id,
            device_id=variant.device_id,
            variant_id=variant.pk,
            host_id=host.pk,
            territory=territory,
            channel=channel,
            condition=condition,
            software=software,
        )

    vendors = Organization.objects.all()
    policies = _in_force(walk, territory)
    if all(policy.enforces_agreement for policy in policies):
        affiliations = _affiliations(walk)
        vendors = vendors.filter(pk__in=_listed(_downstream(walk, _roots(manufacturer_id, affiliations))))

    def fetch(position: int, size: int) -> tuple[list[_Candidate], bool]:
        ids = vendors.filter(pk__gt=position).order_by("pk").values_list("pk", flat=True)
        rows = [_Candidate(pk, question(pk)) for pk in ids[:size]] if policies else []
        return rows, len(rows) < size

    return _allowed(walk, fetch, 0)


def what_may_sell(
    *,
    vendor: Organization,
    host: HostCarrier | None,
    territory: str,
    channel: str,
    condition: str,
    software: str = "",
    at: datetime,
    known_at: int | None = None,
    after: str | None = None,
    limit: int = 100,
) -> Page[Answer]:
    """Every variant that the vendor may sell on this host, or on each host that the shop serves (None).

    By variant and host; the answer names both. Raises InvalidQuestion, InvalidCursor, DecisionUnavailable.
    """
    _check_software(software)
    named = None if host is None else host.pk
    walk = _begin(
        ("what", vendor.pk, named, territory, channel, condition, software), at, known_at, after, limit
    )
    served = {
        hosting.host_id
        for hosting in walk.setting.hostings
        if hosting.valid_from <= walk.at < hosting.valid_until
    }
    hosts = sorted(served if named is None else served & {named})
    policies = _in_force(walk, territory)
    variants = _variants_in_reach(walk, vendor.pk, hosts, policies)
    columns = ("pk", "device_id", "device__manufacturer_id")

    def fetch(position: Sequence[int], size: int) -> tuple[list[_Candidate], bool]:
        if not hosts or not policies:
            return [], True
        many = size // len(hosts) + 2
        found = list(variants.filter(pk__gte=position[0]).order_by("pk").values_list(*columns)[:many])
        return [
            _Candidate(
                (variant_id, host_id),
                Question(
                    vendor_id=vendor.pk,
                    manufacturer_id=manufacturer_id,
                    device_id=device_id,
                    variant_id=variant_id,
                    host_id=host_id,
                    territory=territory,
                    channel=channel,
                    condition=condition,
                    software=software,
                ),
            )
            for variant_id, device_id, manufacturer_id in found
            for host_id in hosts
            if (variant_id, host_id) > tuple(position)
        ], len(found) < many

    return _allowed(walk, fetch, (0, 0))


def resting_on(
    kind: str,
    fact_id: int,
    *,
    at: datetime,
    known_at: int | None = None,
    after: str | None = None,
    limit: int = 100,
) -> Page[RestingOffer]:
    """Every host offer, in whichever state, whose answer cites this record. `kind` and `fact_id`: as in Evidence.

    Raises InvalidQuestion, InvalidCursor, DecisionUnavailable.
    """
    _check_record(kind, fact_id)
    walk = _begin(("resting", kind, fact_id), at, known_at, after, limit)
    offers = _offers_in_reach(walk, kind, fact_id)

    def judge(rows: Sequence[_Candidate]) -> tuple[list[tuple[int, RestingOffer]], int]:
        found = [
            (row.place, RestingOffer(row.place, row.state, answer))
            for row, answer in _answered(walk, rows, walk.at)
            if any(item.kind == kind and item.fact_id == fact_id for item in answer.evidence)
        ]
        return found, rows[-1].place

    return _pages(walk, lambda position, size: _offers_after(offers, position, size), judge, 0)


def exposure(
    within: timedelta,
    *,
    at: datetime,
    vendor: Organization | None = None,
    known_at: int | None = None,
    after: str | None = None,
    limit: int = 100,
) -> Page[FallingOffer]:
    """Every live offer that may be sold at `at` and, by time alone, no longer at some instant up to `at + within`.

    Of all vendors, or of one. By offer. With its first fall, though it may be allowed again later. What a sweep takes
    down between two pages still counts: it was live at `at`.

    Raises InvalidQuestion, InvalidCursor, DecisionUnavailable.
    """
    if not timedelta(0) < within <= LONGEST:
        raise InvalidQuestion("within", f"Give a time above 0 and up to {LONGEST.days} days.")
    asked: tuple[Any, ...] = ("exposure", within.total_seconds())
    walk = _begin(asked if vendor is None else (*asked, vendor.pk), at, known_at, after, limit)
    until = walk.at + within if walk.at < FOREVER - within else FOREVER
    taken_down = Q(state=OfferState.SUSPENDED, state_changed_at__gt=walk.at)
    offers = ListingHost.objects.filter(Q(state=OfferState.LIVE) | taken_down)
    if vendor is not None:
        offers = offers.filter(listing__vendor=vendor)
    budget = _Budget(INSTANTS)

    def judge(rows: Sequence[_Candidate]) -> tuple[list[tuple[int, _Fall]], int]:
        falls, reached = _fall(walk, rows, until, budget)
        return [(fall.row.place, fall) for fall in falls], reached

    page = _pages(walk, lambda position, size: _offers_after(offers, position, size), judge, 0)
    return Page(_with_records(walk, page.items), page.next_cursor, page.revision, page.valid_at)


# --- one walk over pages ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Walk:
    """One question, at one instant and revision, from one place on. All its pages say the same `name`."""

    name: str
    setting: Setting
    at: datetime
    position: Any
    limit: int

    def cursor(self, position: Any) -> str:
        content = [self.name, self.setting.revision, self.at.isoformat(), position]
        return signing.dumps(content, salt=_SALT, compress=True)


_SALT = "authorization.directions.1"


def _begin(
    question: Sequence[Any], at: datetime, known_at: int | None, after: str | None, limit: int
) -> _Walk:
    if not 0 < limit <= LIMIT:
        raise InvalidQuestion("limit", f"Take from 1 to {LIMIT}; the cursor leads on.")
    name = hashlib.sha256(json.dumps([*question, known_at]).encode()).hexdigest()[:32]
    if after is None:
        if at.tzinfo is not None:
            revisions.refuse_endless(at, field="at")
        setting = decisions.read_setting(at=at, known_at=known_at)
        return _Walk(name, setting, at, None, limit)
    try:
        asked, revision, instant, position = signing.loads(after, salt=_SALT)
    except (signing.BadSignature, ValueError, TypeError) as error:
        raise InvalidCursor from error
    if asked != name:
        raise InvalidCursor
    at = datetime.fromisoformat(instant)
    try:
        setting = decisions.read_setting(at=at, known_at=revision)
    except InvalidQuestion as error:
        # Of another database: this one has no such revision yet.
        raise InvalidCursor from error
    return _Walk(name, setting, at, position, limit)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """Whom to ask. `place`: the offer, the vendor, or variant and host; by it the list is in order."""

    place: Any
    question: Question
    state: str = ""


def _pages[Item](
    walk: _Walk,
    fetch: Callable[[Any, int], tuple[list[_Candidate], bool]],
    judge: Callable[[Sequence[_Candidate]], tuple[list[tuple[Any, Item]], Any]],
    start: Any,
) -> Page[Item]:
    """Ask on until the page is full, nobody is left, or enough was asked.

    `fetch`: candidates after a place, in order, and whether none follow. `judge`: which of them are to be listed, with
    their places, and the place up to which it judged.
    """
    position = start if walk.position is None else walk.position
    found: list[tuple[Any, Item]] = []
    asked, size = 0, min(PAGE, max(FIRST, walk.limit + 1))
    while True:
        with _read():
            rows, is_last = fetch(position, size)
        if rows:
            kept, reached = judge(rows)
            found += kept
            asked += len(rows)
            position = reached
            if reached != rows[-1].place:
                # It had to leave some of them to the next page.
                is_last, asked = False, ASKED
        if len(found) > walk.limit:
            found = found[: walk.limit]
            position, is_last = found[-1][0], False
            break
        if is_last or asked >= ASKED:
            break
        size = min(PAGE, size * 2)
    return Page(
        tuple(item for _, item in found),
        None if is_last else walk.cursor(position),
        walk.setting.revision,
        walk.at,
    )


def _allowed(
    walk: _Walk, fetch: Callable[[Any, int], tuple[list[_Candidate], bool]], start: Any
) -> Page[Answer]:
    def judge(rows: Sequence[_Candidate]) -> tuple[list[tuple[Any, Answer]], Any]:
        kept = [(row.place, answer) for row, answer in _answered(walk, rows, walk.at) if answer.is_allowed]
        return kept, rows[-1].place

    return _pages(walk, fetch, judge, start)


def _answered(walk: _Walk, rows: Sequence[_Candidate], at: datetime) -> Iterator[tuple[_Candidate, Answer]]:
    answers = decisions.answers_in(walk.setting, [row.question for row in rows], at=at)
    return zip(rows, answers, strict=True)


@contextmanager
def _read() -> Iterator[None]:
    try:
        yield
    except DatabaseError as error:
        raise DecisionUnavailable("The evidence could not be read.") from error


# --- whom to ask ------------------------------------------------------------------------------------------------


def _in_force(walk: _Walk, territory: str) -> list[Policy]:
    """The policies of which one stands for the territory; none: nothing is decided, so nothing is allowed."""
    return [
        policy
        for policy in walk.setting.policies
        if policy.territory in (territory, ALL) and policy.valid_from <= walk.at < policy.valid_until
    ]


def _affiliations(walk: _Walk) -> list[Affiliation]:
    return [a for a in walk.setting.affiliations if a.valid_from <= walk.at < a.valid_until]


def _roots(manufacturer_id: int, affiliations: Sequence[Affiliation]) -> set[int]:
    """Whoever may grant for the manufacturer: itself, those above it, and of those below it who may grant for it."""
    above = _closure({manufacturer_id}, [(a.child_id, a.parent_id) for a in affiliations])
    granting = {a.child_id for a in affiliations if a.parent_id == manufacturer_id and a.may_grant_for_parent}
    return above | granting


def _made_for(organization_ids: Iterable[int], affiliations: Sequence[Affiliation]) -> set[int]:
    """The manufacturers for which one of these may grant: `_roots`, the other way round."""
    given = set(organization_ids)
    below = _closure(given, [(a.parent_id, a.child_id) for a in affiliations])
    return below | {a.parent_id for a in affiliations if a.child_id in given and a.may_grant_for_parent}


def _closure(start: set[int], steps: Sequence[tuple[int, int]]) -> set[int]:
    found, frontier = set(start), set(start)
    while frontier:
        frontier = {target for source, target in steps if source in frontier} - found
        found |= frontier
    return found


# Agreements known then and in force at the instant, whatever they cover, from link to link.
_KNOWN = """a.rev_from <= %(k)s AND (a.rev_to IS NULL OR a.rev_to > %(k)s)
     AND a.valid_from <= %(at)s AND a.valid_until > %(at)s AND (a.revoked_at IS NULL OR a.revoked_at > %(at)s)"""
_DOWNSTREAM = """
WITH RECURSIVE down(id) AS (
  SELECT value FROM LISTED
  UNION
  SELECT a.grantee_id FROM down JOIN authorization_agreementversion a ON a.grantor_id = down.id
   WHERE KNOWN
)
SELECT id FROM down"""
_UPSTREAM = """
WITH RECURSIVE up(id, grantor_id, grantee_id) AS (
  SELECT a.id, a.grantor_id, a.grantee_id FROM authorization_agreementversion a
   WHERE a.grantee_id = %(vendor)s AND KNOWN
  UNION
  SELECT a.id, a.grantor_id, a.grantee_id FROM up JOIN authorization_agreementversion a
      ON a.grantee_id = up.grantor_id
   WHERE KNOWN
)
SELECT id, grantor_id, grantee_id FROM up"""


def _downstream(walk: _Walk, organization_ids: Iterable[int]) -> set[int]:
    """These, and all to whom agreements lead from them."""
    return {pk for (pk,) in _rows(_DOWNSTREAM, walk, ids=_array(organization_ids))}


def _variants_in_reach(
    walk: _Walk, vendor_id: int, hosts: Sequence[int], policies: Sequence[Policy]
) -> QuerySet[Variant]:
    variants = Variant.objects.all()
    if all(policy.enforces_agreement for policy in policies):
        affiliations = _affiliations(walk)
        links = list(_rows(_UPSTREAM, walk, vendor=vendor_id))
        own = _made_for({vendor_id}, affiliations)
        granted = _made_for({grantor for _, grantor, _ in links}, affiliations)
        # Every chain ends in an agreement with the vendor itself, and that covers the variant.
        last = [pk for pk, _, grantee in links if grantee == vendor_id]
        covering = ScopeTerm.objects.filter(version_id__in=_listed(last), dimension="model").filter(
            Q(value=ALL) | Q(value=Cast(OuterRef("pk"), CharField()))
        )
        variants = variants.filter(
            Q(device__manufacturer_id__in=_listed(own))
            | Q(Exists(covering), device__manufacturer_id__in=_listed(granted))
        )
    if all(policy.enforces_approval for policy in policies):
        approvals = ApprovalVersion.objects.known_at(walk.setting.revision).filter(
            variant_id=OuterRef("pk"), host_id__in=_listed(hosts)
        )
        variants = variants.filter(Exists(approvals))
    return variants


def _check_software(version: str) -> None:
    try:
        software.sort_key(version)
    except InvalidFact as error:
        raise InvalidQuestion(
            "software", f"{version!r} is no software version; write letters or digits, e.g. 7.0.5."
        ) from error


_GROUNDWORK: dict[str, Any] = {"hosting": Hosting, "variant": Variant, "network": Network}
_FACTS: dict[str, Any] = {
    "agreement": AgreementVersion,
    "approval": ApprovalVersion,
    "equipment": EquipmentVersion,
    "affiliation": AffiliationVersion,
    "policy": PolicyVersion,
}
KINDS = (*_FACTS, *_GROUNDWORK)


def _check_record(kind: str, fact_id: int) -> None:
    if kind not in KINDS:
        raise InvalidQuestion("kind", f"No answer cites a {kind!r}; take one of {', '.join(KINDS)}.")
    with _read():
        rows = _GROUNDWORK[kind].objects if kind in _GROUNDWORK else Fact.objects.filter(kind=kind)
        if not rows.filter(pk=fact_id).exists():
            raise InvalidQuestion("fact_id", f"There is no {kind} with id {fact_id}; choose one that exists.")


def _offers_in_reach(walk: _Walk, kind: str, fact_id: int) -> QuerySet[ListingHost]:
    """The offers whose answer may cite the record."""
    offers = ListingHost.objects.all()
    with _read():
        if kind == "variant":
            return offers.filter(listing__variant_id=fact_id)
        if kind in _GROUNDWORK:
            return offers.filter(host_id=_GROUNDWORK[kind].objects.get(pk=fact_id).host_id)
        version = _FACTS[kind].objects.known_at(walk.setting.revision).filter(head_id=fact_id).first()
        if version is None:
            return offers.none()
        match kind:
            case "agreement":
                return offers.filter(listing__vendor_id__in=_listed(_downstream(walk, [version.grantee_id])))
            case "approval":
                return offers.filter(host_id=version.host_id, listing__variant_id=version.variant_id)
            case "equipment":
                return offers.filter(
                    listing__territory=version.territory, listing__variant_id=version.variant_id
                )
            case "affiliation":
                steps = [(a.parent_id, a.child_id) for a in _affiliations(walk)]
                makers = _closure({version.child_id}, steps) | {version.parent_id}
                return offers.filter(listing__variant__device__manufacturer_id__in=_listed(makers))
        return offers if version.territory == ALL else offers.filter(listing__territory=version.territory)


def _array(values: Iterable[Any]) -> Any:
    return sorted(values) if connection.vendor == "postgresql" else json.dumps(sorted(values))


def _listed(values: Iterable[Any]) -> RawSQL:
    """As one parameter, however many: SQLite takes a limited number of them."""
    values = list(values)
    if connection.vendor == "postgresql":
        is_text = any(isinstance(value, str) for value in values)
        text = "SELECT unnest(CAST(%s AS text[]))" if is_text else "SELECT unnest(CAST(%s AS bigint[]))"
    else:
        text = "SELECT value FROM json_each(%s)"
    return RawSQL(text, [_array(values)])  # noqa: S611  the values are a parameter


def _rows(text: str, walk: _Walk, **parameters: Any) -> list[tuple[Any, ...]]:
    listed, known = "json_each(%(ids)s)", _KNOWN
    if connection.vendor == "postgresql":
        listed = "unnest(CAST(%(ids)s AS bigint[])) AS listed(value)"
        known = known.replace("%(at)s", "CAST(%(at)s AS timestamptz)")
    text = text.replace("LISTED", listed).replace("KNOWN", known)
    instant = connection.ops.adapt_datetimefield_value(walk.at)
    with _read(), connection.cursor() as cursor:
        cursor.execute(text, {**parameters, "k": walk.setting.revision, "at": instant})
        return cursor.fetchall()


# --- offers -----------------------------------------------------------------------------------------------------


# Field of a question -> where an offer has it.
_COLUMNS = {
    "vendor_id": "listing__vendor_id",
    "manufacturer_id": "listing__variant__device__manufacturer_id",
    "device_id": "listing__variant__device_id",
    "variant_id": "listing__variant_id",
    "host_id": "host_id",
    "territory": "listing__territory",
    "channel": "listing__channel",
    "condition": "listing__condition",
    "listing_id": "listing_id",
    "software": "listing__software",
}


def _offers_after(offers: QuerySet[ListingHost], position: int, size: int) -> tuple[list[_Candidate], bool]:
    rows = offers.filter(pk__gt=position).order_by("pk").values_list("pk", "state", *_COLUMNS.values())
    found = [
        _Candidate(pk, Question(**dict(zip(_COLUMNS, terms, strict=True))), state)
        for pk, state, *terms in rows[:size]
    ]
    return found, len(found) < size


# --- what falls by itself ---------------------------------------------------------------------------------------


@dataclass
class _Budget:
    instants: int


@dataclass(frozen=True, slots=True)
class _Fall:
    """From the last answer that allowed to the first that does not."""

    row: _Candidate
    before: Answer
    after: Answer


def _fall(
    walk: _Walk, rows: Sequence[_Candidate], until: datetime, budget: _Budget
) -> tuple[list[_Fall], int]:
    """Which of these fall, in order, and up to which offer that is said.

    From boundary to boundary: all that may change at one instant are decided together. Where there are more instants
    than the page has left, the upper half of what is open is left to the next page.
    """
    falls: list[_Fall] = []
    waiting: dict[datetime, list[tuple[_Candidate, Answer]]] = {}
    reached = rows[-1].place

    def wait(row: _Candidate, answer: Answer) -> None:
        if answer.expires_at <= until:
            waiting.setdefault(answer.expires_at, []).append((row, answer))

    for row, answer in _answered(walk, rows, walk.at):
        if answer.is_allowed:
            wait(row, answer)
    while waiting:
        if budget.instants <= 0:
            open_ids = sorted(row.place for group in waiting.values() for row, _ in group)
            if len(open_ids) > 1:
                reached = open_ids[len(open_ids) // 2] - 1
                waiting = {
                    instant: kept
                    for instant, group in waiting.items()
                    if (kept := [pair for pair in group if pair[0].place <= reached])
                }
                budget.instants = INSTANTS // 2
        budget.instants -= 1
        instant = min(waiting)
        group = waiting.pop(instant)
        before_of = {row.place: before for row, before in group}
        for row, after in _answered(walk, [row for row, _ in group], instant):
            if after.is_allowed:
                wait(row, after)
            else:
                falls.append(_Fall(row, before_of[row.place], after))
    falls = [fall for fall in falls if fall.row.place <= reached]
    return sorted(falls, key=lambda fall: fall.row.place), reached


def _with_records(walk: _Walk, falls: Sequence[_Fall]) -> tuple[FallingOffer, ...]:
    with _read():
        named = _Records(walk, falls)
        return tuple(
            FallingOffer(
                fall.row.place,
                fall.row.question,
                fall.after.valid_at,
                fall.after.reasons,
                named.record_of(fall),
            )
            for fall in falls
        )


class _Records:
    """Which record it is that ends, or begins, when an offer falls. A statement for each kind, for all of a page."""

    def __init__(self, walk: _Walk, falls: Sequence[_Fall]) -> None:
        self._revision = walk.setting.revision
        lost: dict[str, set[int]] = {}
        for fall in falls:
            for item in _lost(fall):
                lost.setdefault(item.kind, set()).add(item.fact_id)
        self._ends = {kind: self._ends_of(kind, ids) for kind, ids in lost.items()}
        codes = {reason.document for fall in falls for reason in fall.after.reasons if reason.document}
        self._holds = self._holds_of(codes) if codes else {}
        suspended = set().union(*[lost.get(kind, set()) for kind in ("agreement", "approval", "equipment")])
        is_suspended = any("SUSPENDED" in code for fall in falls for code in fall.after.reason_codes)
        self._suspending = self._suspending_of(suspended) if is_suspended else {}

    def record_of(self, fall: _Fall) -> Evidence | None:
        at, lost = fall.after.valid_at, list(_lost(fall))
        for item in lost:
            if self._ends[item.kind].get(item.fact_id, FOREVER) <= at:
                return item
        for reason in fall.after.reasons:
            if reason.document in self._holds:
                return self._holds[reason.document]
        for item in lost:
            if (item.fact_id, at) in self._suspending and item.kind in ("agreement", "approval", "equipment"):
                return self._suspending[item.fact_id, at]
        before, after = fall.before.grounds[0].evidence, fall.after.grounds[0].evidence
        if before != after and after:
            return after[0]
        # The record goes on, but says that something of it ends: a band is switched off.
        return next((item for item in lost if item.kind == "network"), None)

    def _ends_of(self, kind: str, ids: set[int]) -> dict[int, datetime]:
        groundwork = {"hosting": HostingVersion, "variant": VariantVersion, "network": NetworkVersion}
        model: Any = _FACTS.get(kind) or groundwork[kind]
        names = [
            name
            for name in ("valid_until", "revoked_at", "waived_until")
            if name in {field.name for field in model._meta.get_fields()}
        ]
        rows = (
            model.objects.known_at(self._revision)
            .filter(head_id__in=_listed(ids))
            .values_list("head_id", *names)
        )
        return {head: min(end for end in ends if end is not None) for head, *ends in rows}

    def _holds_of(self, codes: set[str]) -> dict[str, Evidence]:
        holds = HoldVersion.objects.known_at(self._revision).filter(head__code__in=_listed(codes))
        rows = holds.values_list("head__code", "head_id", "version_no")
        return {code: Evidence("hold", code, head, number) for code, head, number in rows}

    def _suspending_of(self, fact_ids: set[int]) -> dict[tuple[int, datetime], Evidence]:
        """By fact and instant: the hold on it that begins then, or whose exemption ends."""
        named = HoldTarget.objects.filter(
            dimension="fact", part=0, value__in=_listed(map(str, fact_ids)),
            version__in=HoldVersion.objects.known_at(self._revision),
        ).select_related("version__head")  # fmt: skip
        found: dict[tuple[int, datetime], Evidence] = {}
        targets: dict[int, list[HoldTarget]] = {}
        for target in named:
            found[int(target.value), target.version.valid_from] = _hold(target.version)
            targets.setdefault(target.version_id, []).append(target)
        exemptions = HoldExemption.objects.filter(version_id__in=_listed(targets))
        for version_id, end in exemptions.values_list("version_id", "valid_until"):
            for target in targets[version_id]:
                found.setdefault((int(target.value), end), _hold(target.version))
        return found


def _hold(version: HoldVersion) -> Evidence:
    return Evidence("hold", version.head.code, version.head_id, version.version_no)


def _lost(fall: _Fall) -> Iterator[Evidence]:
    """What the grounds rested on that fail now."""
    failed = {ground.check for ground in fall.after.grounds if ground.result == FAILED}
    for ground in fall.before.grounds:
        if ground.check in failed:
            yield from ground.evidence
