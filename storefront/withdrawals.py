"""Taking authority away, seen from the shop: the carts and orders it touches, beside the offers that fall.

What admin, API and scenarios call. The change itself is `authorization.revocations`; this adds what lives on the
shop's floor, and holds the orders that rest on it when the change has taken effect.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import batched
from typing import Any
from uuid import UUID

from django.db.models import Prefetch, Q, QuerySet, TextField
from django.db.models.functions import Cast

from authorization import decisions, reinstatements, revocations, selectors
from authorization.actors import SYSTEM, Actor
from authorization.decisions import Answer
from authorization.models import (
    AffiliationVersion,
    AgreementVersion,
    ApprovalVersion,
    Delisting,
    EquipmentVersion,
    Fact,
    HoldTarget,
    PolicyVersion,
    Reinstatement,
    Revocation,
)
from authorization.revocations import (
    WITHDRAWAL_REASONS,
    Change,
    CorrectGroundwork,
    EndExemption,
    NarrowAgreement,
    PlaceHold,
    Preview,
    RestrictApproval,
    SetPolicy,
)
from authorization.rules import ALL, FAILED, PASSED, Question
from catalog.models import ListingHost
from storefront import fulfilment, orders
from storefront.models import CartLine, Order, OrderLine

CHUNK_SIZE = 200
# SQLite takes a limited number of values in one statement.
IDS_PER_QUERY = 10_000

type Targets = Mapping[str, frozenset[str]]
# Answers before and after a withdrawal.
type Judgement = tuple[list[Answer], list[Answer]]
# Dimensions of a hold that a question writes as they are; the others it names by the id of a row.
_SPELLED_OUT = ("territory", "channel", "condition")


@dataclass(frozen=True)
class Withdrawn:
    """What is taken away: the facts that are void for whoever was sold on them, or the hold of this code."""

    fact_ids: frozenset[int] = frozenset()
    hold_code: str = ""


@dataclass(frozen=True)
class WithdrawalPreview:
    """`first_orders` is the beginning of the unshipped orders, oldest first."""

    impact: Preview
    open_carts: int
    unshipped_orders: int
    first_orders: tuple[Order, ...]


def preview(change: Change, *, at: datetime, effective_at: datetime | None = None) -> WithdrawalPreview:
    """What would happen, now or at `effective_at`. Writes nothing. Raises InvalidFact."""
    impact = revocations.preview(change, at=at, effective_at=effective_at)
    order_ids = _unshipped_that_fall(change, at=effective_at or at)
    return WithdrawalPreview(
        impact=impact,
        open_carts=_count_open_carts(impact.falls.offer_ids),
        unshipped_orders=len(order_ids),
        first_orders=tuple(Order.objects.filter(pk__in=order_ids[:10]).order_by("id")),
    )


def confirm(
    change: Change,
    *,
    digest: str,
    requested_by: str,
    word_received_at: datetime,
    note: str,
    by: Actor,
    at: datetime,
    effective_at: datetime | None = None,
    token: str = "",
) -> Revocation:
    """Do it: from the commit on, or from `effective_at` on, nothing of it can be sold.

    Raises WorldMoved when the preview is stale, InvalidFact.
    """
    return revocations.execute(
        change,
        digest=digest,
        requested_by=requested_by,
        word_received_at=word_received_at,
        note=note,
        by=by,
        at=at,
        effective_at=effective_at,
        token=token,
    )


def undo(
    *,
    revocation: Revocation,
    reason: str,
    is_mistake: bool,
    by: Actor,
    at: datetime,
    returns: int = 0,
    part: reinstatements.Part | None = None,
) -> Reinstatement:
    """The way back from a withdrawal, or from a part of it. Its orders stay on hold for the desk to release.

    Raises InvalidFact.
    """
    return reinstatements.undo(
        revocation=revocation,
        reason=reason,
        is_mistake=is_mistake,
        by=by,
        at=at,
        returns=returns,
        part=part,
    )


# --- orders -------------------------------------------------------------------------------------------------


def hold_unshipped_orders(*, payload: dict[str, Any], event_id: UUID, at: datetime) -> None:
    """Hold every placed order whose goods lost their leave to be sold by this withdrawal.

    An order whose goods another chain or approval still covers is left alone: they are still authorized. When
    that one falls too, the order is met again, though it was not sold on it.
    """
    revocation = Revocation.objects.select_related("fact").get(pk=payload["revocation_id"])
    reason = f"{revocation}. {WITHDRAWAL_REASONS[revocation.reason_code]}."
    setting = decisions.read_setting(at=at, known_at=None)
    # Not before the revocation, however the clock of this host goes.
    instant = max(decisions.instant_of(setting, at), revocation.effective_at)
    setting_before = decisions.read_setting(at=instant, known_at=revocation.revision_id - 1)
    withdrawn = _withdrawn(revocation)

    def judge(questions: list[Question]) -> Judgement:
        before = decisions.answers_in(setting_before, questions, at=instant)
        return before, decisions.answers_in(setting, questions, at=instant)

    for chunk in _chunks_of_orders(lines_concerned(revocation, _unshipped_lines())):
        for order in _fallen(chunk, withdrawn, judge):
            # Shipped, refunded or held by somebody else since it was read: nothing is left to hold.
            with suppress(orders.InvalidOrderMove):
                orders.hold_order(order=order, reason=reason, by=SYSTEM, at=at, on=revocation)


def lines_concerned(revocation: Revocation, lines: QuerySet[OrderLine]) -> QuerySet[OrderLine]:
    """Of these order lines, those whose goods the withdrawal may bear on. Wider than what it takes, never narrower."""
    if revocation.fact is None:
        return _in_scope(lines, revocation.scope)
    return _matching(lines, _targets_of(revocation.fact))


# --- what was taken down ------------------------------------------------------------------------------------


def delistings_of(revocation: Revocation, *, at: datetime) -> QuerySet[Delisting]:
    """What was taken down on this word, by id.

    Mostly by its own sweep; another one under way, or the reconciler, may have met an offer first: those say the
    record in their reasons.
    """
    own = Delisting.objects.filter(sweep__revocation=revocation)
    sweep = getattr(revocation, "sweep", None)
    until = at if sweep is None or sweep.finished_at is None else sweep.finished_at
    concerned = selectors.offers_concerned(
        ListingHost.objects.all(), fact_id=revocation.fact_id, scope=revocation.scope
    )
    others = Delisting.objects.filter(
        at__range=(revocation.effective_at, until),
        decision__revision__gte=revocation.revision_id,
        offer__in=concerned.values("pk"),
    ).exclude(sweep__revocation=revocation)
    if revocation.fact is not None and revocation.fact.kind not in (Fact.Kind.POLICY, Fact.Kind.AFFILIATION):
        named = f'"{revocation.fact.code}"'
        others = others.annotate(said=Cast("decision__reasons", TextField())).filter(said__contains=named)
    others = others.exclude(offer__in=own.values("offer"))
    return Delisting.objects.filter(Q(pk__in=own.values("pk")) | Q(pk__in=others.values("pk"))).order_by("id")


# --- what rests on it ---------------------------------------------------------------------------------------


def _unshipped_lines() -> QuerySet[OrderLine]:
    """Lines of placed orders, less those that were given back and those that their vendor has sent."""
    return fulfilment.unshipped(OrderLine.objects.filter(order__state=Order.State.PLACED))


def _unshipped_that_fall(change: Change, *, at: datetime) -> list[int]:
    """The placed orders that this change would hold, by id."""
    imagined = revocations.imagine(change, at=at)
    lines = _unshipped_lines()
    withdrawn = Withdrawn()
    match change:
        case PlaceHold():
            lines = _matching(lines, _by_dimension(change.targets))
            withdrawn = Withdrawn(imagined.fact_ids, change.code)
        case SetPolicy():
            if change.territory != ALL:
                lines = lines.filter(decision__question__territory=change.territory)
        case CorrectGroundwork():
            scope = change.recorder.scope()
            lines = lines if scope is None else _in_scope(lines, scope)
        case _:
            fact = Fact.objects.get(pk=change.fact_id)
            lines = _matching(lines, _targets_of(fact))
            if isinstance(change, EndExemption):
                withdrawn = Withdrawn(hold_code=fact.code)
            elif not isinstance(change, NarrowAgreement | RestrictApproval):
                withdrawn = Withdrawn(imagined.fact_ids)
    setting = decisions.read_setting(at=at, known_at=None)

    def judge(questions: list[Question]) -> Judgement:
        return imagined.judge(setting, lambda: questions)

    return [order.pk for chunk in _chunks_of_orders(lines) for order in _fallen(chunk, withdrawn, judge)]


def _matching(lines: QuerySet[OrderLine], targets: Targets) -> QuerySet[OrderLine]:
    """The lines that the targets match: by the terms sold, and those in reach of a named fact.

    The terms are those of the decision that the sale cites: a vendor may have edited its listing since.
    """
    for dimension, values in targets.items():
        if dimension == "fact":
            lines = lines.filter(_in_reach({int(value) for value in values}))
        elif dimension in _SPELLED_OUT:
            lines = lines.filter(**{f"decision__question__{dimension}__in": sorted(values)})
        elif dimension.startswith(HoldTarget.ATTRIBUTE):
            variants = set(selectors.variants_with(dimension, values))
            lines = lines.filter(decision__question__variant_id__in=sorted(variants))
        else:
            ids = {int(value) for value in values}
            if dimension == "manufacturer":
                ids = selectors.family_of(ids)
            lines = lines.filter(**{f"decision__question__{dimension}_id__in": sorted(ids)})
    return lines


def _in_scope(lines: QuerySet[OrderLine], scope: Mapping[str, Any]) -> QuerySet[OrderLine]:
    """As `selectors.offers_in_scope`, by the terms sold."""
    if not scope:
        return lines
    reach = Q(pk__in=[])
    for name, term in (("variant_ids", "variant_id"), ("host_ids", "host_id"), ("territories", "territory")):
        if scope.get(name):
            reach |= Q(**{f"decision__question__{term}__in": scope[name]})
    return lines.filter(reach)


def _in_reach(fact_ids: set[int]) -> Q:
    """Lines whose leave may rest on these facts by now. What a sale cites is what it was sold on, which may have
    fallen since while another chain or approval took its place.
    """
    agreements = AgreementVersion.objects.current().filter(head_id__in=fact_ids)
    reach = Q(vendor_id__in=selectors.downstream_of(agreements.values_list("grantee_id", flat=True)))
    approvals = ApprovalVersion.objects.current().filter(head_id__in=fact_ids)
    for host_id, variant_id in approvals.values_list("host_id", "variant_id"):
        reach |= Q(decision__question__host_id=host_id, decision__question__variant_id=variant_id)
    equipment = EquipmentVersion.objects.current().filter(head_id__in=fact_ids)
    for variant_id, territory in equipment.values_list("variant_id", "territory"):
        reach |= Q(decision__question__variant_id=variant_id, decision__question__territory=territory)
    affiliations = AffiliationVersion.objects.filter(head_id__in=fact_ids).values_list(
        "parent_id", "child_id"
    )
    if made_by := selectors.family_of({company for pair in affiliations for company in pair}):
        reach |= Q(decision__question__manufacturer_id__in=sorted(made_by))
    policies = PolicyVersion.objects.filter(head_id__in=fact_ids).values_list("territory", flat=True)
    territories = set(policies)
    if ALL in territories:
        return ~Q(pk__in=[])
    if territories:
        reach |= Q(decision__question__territory__in=sorted(territories))
    return reach


def _targets_of(fact: Fact) -> Targets:
    """What a hold stops, by dimension, its exemptions left aside; any other fact is its own target."""
    if fact.kind != Fact.Kind.HOLD:
        return {"fact": frozenset({str(fact.pk)})}
    rows = HoldTarget.objects.filter(version__head=fact, version__rev_to__isnull=True, part=0)
    return _by_dimension(rows.values_list("dimension", "value"))


def _by_dimension(targets: Iterable[tuple[str, str]]) -> Targets:
    values: dict[str, set[str]] = defaultdict(set)
    for dimension, value in targets:
        values[dimension].add(value)
    return {dimension: frozenset(members) for dimension, members in values.items()}


def _withdrawn(revocation: Revocation) -> Withdrawn:
    match revocation.kind:
        case Revocation.Kind.HOLD | Revocation.Kind.EXEMPTION:
            suspended = _targets_of(revocation.named_fact).get("fact", frozenset())
            return Withdrawn(frozenset(map(int, suspended)), revocation.named_fact.code)
        case Revocation.Kind.AGREEMENT | Revocation.Kind.APPROVAL | Revocation.Kind.EQUIPMENT:
            return Withdrawn(frozenset({revocation.named_fact.pk}))
        case Revocation.Kind.AFFILIATION:
            return Withdrawn(frozenset({revocation.named_fact.pk}))
        case _:
            # What is narrower, limited, stricter or corrected still covers most of what was sold on it.
            return Withdrawn()


def _count_open_carts(offer_ids: Iterable[int]) -> int:
    carts: set[UUID] = set()
    for part in batched(offer_ids, IDS_PER_QUERY):
        lines = CartLine.objects.filter(offer_id__in=part)
        carts |= set(lines.values_list("cart_id", flat=True))
    return len(carts)


def _chunks_of_orders(lines: QuerySet[OrderLine]) -> Iterator[list[Order]]:
    """By id, so that an order that stays placed is not met again."""
    last = 0
    # The others of an order are not asked about: what has shipped, or was given back, holds nothing.
    left = fulfilment.unshipped(OrderLine.objects.select_related("decision"))
    while True:
        chunk = list(
            Order.objects.filter(pk__gt=last, pk__in=lines.values("order_id"))
            .prefetch_related(Prefetch("lines", left))
            .order_by("id")[:CHUNK_SIZE]
        )
        if not chunk:
            return
        yield chunk
        last = chunk[-1].pk


def _fallen(
    chunk: list[Order], withdrawn: Withdrawn, judge: Callable[[list[Question]], Judgement]
) -> list[Order]:
    """Orders with a line that may not be sold now, and might before, or whose own ground is withdrawn.

    That it may not be sold now is not enough: of a lawful sale the paper may have ended since. Undecidable counts
    as the worse: it might before, and may not now.
    """
    lines = [line for order in chunk for line in order.lines.all()]
    questions = [Question(**line.decision.question) for line in lines]
    before, after = judge(questions)
    fallen = {
        line.order_id
        for line, was, now in zip(lines, before, after, strict=True)
        if not now.is_allowed
        and (was.outcome != "deny" or _is_named(line, now, withdrawn) or _lost_a_ground(was, now))
    }
    return [order for order in chunk if order.pk in fallen]


def _is_named(line: OrderLine, now: Answer, withdrawn: Withdrawn) -> bool:
    """Was this line sold on a fact that is withdrawn, or does the hold stop it by its terms?"""
    cited = {item["fact_id"] for item in line.decision.evidence if item["kind"] in Fact.Kind.values}
    stopped_by = {reason.document for reason in now.reasons}
    is_stopped = bool(withdrawn.hold_code) and withdrawn.hold_code in stopped_by
    return is_stopped or bool(cited & withdrawn.fact_ids)


def _lost_a_ground(was: Answer, now: Answer) -> bool:
    """Does a ground fail that held before, among others that failed already?"""
    held = {ground.check for ground in was.grounds if ground.result == PASSED}
    return any(ground.check in held for ground in now.grounds if ground.result == FAILED)
