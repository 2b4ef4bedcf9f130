"""Taking authority away, seen from the shop: the carts and orders it touches, beside the offers that fall.

What admin, API and scenarios call. The change itself is `authorization.revocations`; this adds what lives on
the shop's floor, and reacts when the change has committed and when its sweep is done.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import batched
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet

from authorization import decisions, holds, revocations, selectors
from authorization.actors import SYSTEM, Actor
from authorization.decisions import Answer
from authorization.evaluator import HypotheticalHold, WhatIf
from authorization.models import (
    AgreementVersion,
    ApprovalVersion,
    DecisionEvidence,
    Delisting,
    EquipmentVersion,
    Fact,
    HoldTarget,
    HoldVersion,
    Revocation,
    Sweep,
)
from authorization.revocations import WITHDRAWAL_REASONS, Change, NarrowAgreement, PlaceHold, Preview
from authorization.rules import FAILED, PASSED, REASON_CODES, Question
from catalog.models import ListingHost, OfferState, Organization
from storefront import orders
from storefront.messages import send_message
from storefront.models import CartLine, Order, OrderLine, PaymentIntent

CHUNK_SIZE = 200
# Offers named in one message; a vendor with more finds the rest in its listings.
NAMED_IN_MESSAGE = 500
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


def preview(change: Change, *, at: datetime) -> WithdrawalPreview:
    """What would happen. Writes nothing."""
    impact = revocations.preview(change, at=at)
    order_ids = _unshipped_that_fall(change, at=at)
    return WithdrawalPreview(
        impact=impact,
        open_carts=_count_open_carts([offer.offer_id for offer in impact.falls]),
        unshipped_orders=len(order_ids),
        first_orders=tuple(Order.objects.filter(pk__in=order_ids[:10]).order_by("id")),
    )


def falls_with_exemption(hold: HoldVersion, part: int, *, at: datetime) -> list[tuple[ListingHost, Answer]]:
    """The offers that fall if this exemption ends, each with its answer then. Writes nothing."""
    parts = {0: holds.targets_of(hold)}
    lasting: dict[int, tuple[datetime, datetime]] = {}
    for number, exemption in holds.exemptions_of(hold).items():
        if number != part:
            parts[number] = exemption.targets
            lasting[number] = (exemption.valid_from, exemption.valid_until)
    without = HypotheticalHold(
        fact_id=hold.head_id,
        code=hold.head.code,
        reach=hold.reach,
        placed_by=hold.placed_by,
        reason_code=hold.reason_code,
        valid_from=hold.valid_from,
        valid_until=hold.valid_until,
        parts=parts,
        exemptions=lasting,
    )
    what_if = WhatIf(without_holds=frozenset({hold.head_id}), holds=(without,))
    live = ListingHost.objects.filter(state=OfferState.LIVE)
    rows = selectors.offers_touched_by(live, hold.head).order_by("id")
    offers = rows.select_related("listing__variant__device", "listing__vendor", "host")
    setting = decisions.read_setting(at=at, known_at=None)
    instant = decisions.instant_of(setting, at)
    fallen = []
    for chunk in batched(offers.iterator(chunk_size=CHUNK_SIZE), CHUNK_SIZE):
        questions = [decisions.question_for_offer(offer) for offer in chunk]
        before = decisions.answers_in(setting, questions, at=instant)
        after = decisions.answers_in(setting, questions, at=instant, what_if=what_if)
        fallen += [
            (offer, then)
            for offer, now, then in zip(chunk, before, after, strict=True)
            if now.is_allowed and not then.is_allowed
        ]
    return fallen


def confirm(
    change: Change,
    *,
    digest: str,
    requested_by: str,
    word_received_at: datetime,
    note: str,
    by: Actor,
    at: datetime,
) -> Revocation:
    """Do it: from the commit on nothing of it can be sold. Raises WorldMoved when the preview is stale."""
    return revocations.execute(
        change,
        digest=digest,
        requested_by=requested_by,
        word_received_at=word_received_at,
        note=note,
        by=by,
        at=at,
    )


# --- reactions ----------------------------------------------------------------------------------------------


def hold_unshipped_orders(*, payload: dict[str, Any], event_id: UUID, at: datetime) -> None:
    """Hold every placed order whose goods lost their leave to be sold by this withdrawal.

    An order whose goods another chain or approval still covers is left alone: they are still authorized. When
    that one falls too, the order is met again, though it was not sold on it.
    """
    revocation = Revocation.objects.select_related("fact").get(pk=payload["revocation_id"])
    reason = f"{revocation}. {WITHDRAWAL_REASONS[revocation.reason_code]}."
    targets = _targets_of(revocation.fact)
    setting = decisions.read_setting(at=at, known_at=None)
    # Not before the revocation, however the clock of this host goes.
    instant = decisions.instant_of(setting, at)
    setting_before = decisions.read_setting(at=instant, known_at=revocation.revision_id - 1)
    withdrawn = _withdrawn(revocation)

    def judge(questions: list[Question]) -> Judgement:
        before = decisions.answers_in(setting_before, questions, at=instant)
        return before, decisions.answers_in(setting, questions, at=instant)

    for chunk in _chunks_of_orders(_order_lines(targets)):
        for order in _fallen(chunk, withdrawn, judge):
            # Shipped, refunded or held by somebody else since it was read: nothing is left to hold.
            with suppress(orders.InvalidOrderMove):
                orders.hold_order(order=order, reason=reason, by=SYSTEM, at=at)


def tell_vendors(*, payload: dict[str, Any], event_id: UUID, at: datetime) -> None:
    """One message to each vendor with all that this sweep took down of it."""
    sweep = Sweep.objects.select_related("revocation", "revision", "fact").get(pk=payload["sweep_id"])
    taken_down: dict[Organization, list[Delisting]] = defaultdict(list)
    for delisting in _delistings_to_tell(sweep, at=at):
        taken_down[delisting.offer.listing.vendor].append(delisting)
    failures = []
    for vendor, its in sorted(taken_down.items(), key=lambda pair: pair[0].pk):
        try:
            send_message(
                event_id=event_id,
                kind="delisted",
                recipient=vendor.name,
                address=vendor.contact_email,
                subject=_subject_to_vendor(len(its)),
                body=_message_to_vendor(vendor, its),
                at=at,
            )
        except OSError as error:
            # One address that refuses its mail must not keep the others from theirs.
            failures.append(error)
    if failures:
        raise ExceptionGroup("Mail to vendors failed.", failures)


def _delistings_to_tell(sweep: Sweep, *, at: datetime) -> list[Delisting]:
    """This sweep's, and those that the reconciler made in its stead. Other sweeps tell their own.

    Of an offer that two unfinished sweeps touch, both tell when the reconciler was there first: better than neither.
    """
    rows = Delisting.objects.filter(sweep=sweep).select_related("offer__listing__vendor", "offer__host")
    found = list(rows)
    if sweep.revocation is not None:
        found += [row for row in delistings_of(sweep.revocation, at=at) if row.sweep_id is None]
    elif sweep.fact is not None:
        touched = selectors.offers_touched_by(ListingHost.objects.all(), sweep.fact)
        meanwhile = (sweep.revision.recorded_at, sweep.finished_at or at)
        in_stead = Delisting.objects.filter(sweep=None, at__range=meanwhile, offer__in=touched.values("pk"))
        found += in_stead.select_related("offer__listing__vendor", "offer__host")
    return sorted(found, key=lambda row: (row.offer.listing.sku, row.offer_id))


def _subject_to_vendor(offers: int) -> str:
    return f"{offers} of your offers {'was' if offers == 1 else 'were'} taken off sale"


def _message_to_vendor(vendor: Organization, delistings: list[Delisting]) -> str:
    lines = [
        f"- {delisting.offer.listing.sku} on {delisting.offer.host}: {', '.join(delisting.reason_codes)}"
        for delisting in delistings[:NAMED_IN_MESSAGE]
    ]
    if len(delistings) > NAMED_IN_MESSAGE:
        lines.append(f"- and {len(delistings) - NAMED_IN_MESSAGE} more: see GET /v1/listings?state=SUSPENDED")
    codes = sorted({code for delisting in delistings for code in delisting.reason_codes})
    return "\n".join(
        [
            f"To {vendor.name}:",
            "",
            "these of your offers were taken off sale, and cannot be bought as of now:"
            if len(delistings) > 1
            else "this offer was taken off sale, and cannot be bought as of now:",
            "",
            *lines,
            "",
            "What the reasons mean:",
            *(f"- {code}: {REASON_CODES[code].title}." for code in codes if code in REASON_CODES),
            "",
            "Your listings and stock are kept. An offer comes back when its grounds do; list nothing again.",
        ]
    )


# --- what rests on it ---------------------------------------------------------------------------------------


def offers_taken_down(revocation: Revocation, *, at: datetime) -> list[ListingHost]:
    """The offers that this withdrawal took, or is about to take, off sale; the sweep need not have run."""
    fact = revocation.fact
    since = Q(state=OfferState.SUSPENDED, state_changed_at__gte=revocation.effective_at)
    offers = selectors.offers_touched_by(ListingHost.objects.filter(Q(state=OfferState.LIVE) | since), fact)
    if fact.kind != Fact.Kind.HOLD:
        cited = DecisionEvidence.objects.filter(kind=fact.kind, fact_id=fact.pk)
        offers = offers.filter(decision_id__in=cited.values("decision_id"))
    found = list(offers.select_related("listing__vendor", "listing__variant__device", "host").order_by("id"))
    answers = decisions.decide_offers(found, at=at)
    return [offer for offer, answer in zip(found, answers, strict=True) if not answer.is_allowed]


def delistings_of(revocation: Revocation, *, at: datetime) -> list[Delisting]:
    """What was taken down on this word, once per offer.

    Mostly by its own sweep; another one under way, or the reconciler, may have met an offer first.
    """
    rows = Delisting.objects.select_related(
        "offer__listing__vendor", "offer__listing__variant", "offer__host"
    ).order_by("id")
    found = {row.offer_id: row for row in rows.filter(sweep__revocation=revocation)}
    offer_ids = [offer.pk for offer in offers_taken_down(revocation, at=at) if offer.pk not in found]
    for start in range(0, len(offer_ids), IDS_PER_QUERY):
        since = rows.filter(at__gte=revocation.effective_at)
        for row in since.filter(offer_id__in=offer_ids[start : start + IDS_PER_QUERY]):
            found.setdefault(row.offer_id, row)
    return [found[offer_id] for offer_id in sorted(found)]


def _order_lines(targets: Targets) -> QuerySet[OrderLine]:
    """Lines of placed orders that the targets match: by the terms sold, and those in reach of a named fact.

    The terms are those of the decision that the sale cites: a vendor may have edited its listing since.
    """
    lines = OrderLine.objects.filter(order__state=Order.State.PLACED)
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
    fact = revocation.fact
    if fact.kind != Fact.Kind.HOLD:
        # A narrower agreement still covers most of what was sold on it.
        is_void = revocation.kind != Revocation.Kind.NARROWING
        return Withdrawn(frozenset({fact.pk}) if is_void else frozenset())
    suspended = _targets_of(fact).get("fact", frozenset())
    return Withdrawn(frozenset(map(int, suspended)), fact.code)


def _unshipped_that_fall(change: Change, *, at: datetime) -> list[int]:
    """The placed orders that this change would hold, by id."""
    imagined = revocations.imagine(change, at=at)
    if isinstance(change, PlaceHold):
        targets = _by_dimension(change.targets)
        withdrawn = Withdrawn(imagined.fact_ids, change.code)
    else:
        targets = {"fact": frozenset({str(change.fact_id)})}
        withdrawn = Withdrawn(frozenset() if isinstance(change, NarrowAgreement) else imagined.fact_ids)
    setting = decisions.read_setting(at=at, known_at=None)
    instant = max(decisions.instant_of(setting, at), imagined.at)

    def judge(questions: list[Question]) -> Judgement:
        before = decisions.answers_in(setting, questions, at=instant)
        return before, decisions.answers_in(setting, questions, at=instant, what_if=imagined.what_if)

    chunks = _chunks_of_orders(_order_lines(targets))
    return [order.pk for chunk in chunks for order in _fallen(chunk, withdrawn, judge)]


def _count_open_carts(offer_ids: list[int]) -> int:
    bought = PaymentIntent.objects.filter(order__isnull=False).values("cart_id")
    carts: set[UUID] = set()
    for start in range(0, len(offer_ids), IDS_PER_QUERY):
        lines = CartLine.objects.filter(offer_id__in=offer_ids[start : start + IDS_PER_QUERY])
        carts |= set(lines.exclude(cart_id__in=bought).values_list("cart_id", flat=True))
    return len(carts)


def _chunks_of_orders(lines: QuerySet[OrderLine]) -> Iterator[list[Order]]:
    """By id, so that an order that stays placed is not met again."""
    last = 0
    while True:
        chunk = list(
            Order.objects.filter(pk__gt=last, pk__in=lines.values("order_id"))
            .prefetch_related("lines__decision")
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
