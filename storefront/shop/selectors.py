"""What the pages read. Each page asks the authorization service once, for all it shows."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

import structlog
from django.conf import settings
from django.db import DatabaseError
from django.db.models import Count, Exists, OuterRef, Q, QuerySet

from authorization import decisions, policies, rules
from authorization.decisions import Answer, DecisionUnavailable
from authorization.models import (
    AgreementVersion,
    ApprovalVersion,
    Assurance,
    HoldTarget,
    HoldVersion,
    PolicyVersion,
    Revision,
)
from authorization.rules import FAILED, Finding, Ground, Question, Reason
from authorization.selectors import for_sale
from carriers.models import HostCarrier
from catalog.models import Channel, Condition, Device, ListingHost, OfferState, Organization, Variant
from storefront.assortment import live_offers, shop_offers

log = structlog.get_logger(__name__)

# A variant that a thousand vendors sell still makes a short page: the cheapest come first.
OFFERS_ON_LIST = 3
OFFERS_ON_PAGE = 20
ALTERNATIVES = 3
CANDIDATES = ALTERNATIVES * 3
# Offers that are looked at on each side of the price, and how often where a few phones have them all.
NEIGHBOURS = 50
ROUNDS = 4
# Why a hold was placed that only a host carrier can ask for.
REASONS_OF_CARRIERS = ("CARRIER_TESTS_PENDING", "CARRIER_WITHDRAWS")
# A search of more words than this narrows nothing further.
WORDS_SEARCHED = 8


@dataclass(frozen=True)
class Filters:
    """What the shopper narrowed the list to; None is everything."""

    maker: Organization | None = None
    host: HostCarrier | None = None
    condition: str = ""
    words: str = ""

    def narrow(self, offers: QuerySet[ListingHost]) -> QuerySet[ListingHost]:
        for word in self.words.split()[:WORDS_SEARCHED]:
            offers = offers.filter(
                Q(listing__variant__device__brand__icontains=word)
                | Q(listing__variant__device__marketing_name__icontains=word)
                | Q(listing__variant__device__manufacturer__name__icontains=word)
                | Q(listing__variant__model_number__icontains=word)
            )
        if self.maker is not None:
            offers = offers.filter(listing__variant__device__manufacturer=self.maker)
        if self.host is not None:
            offers = offers.filter(host=self.host)
        if self.condition:
            offers = offers.filter(listing__condition=self.condition)
        return offers


def makers_on_sale() -> QuerySet[Organization]:
    offers = live_offers().filter(listing__variant__device__manufacturer=OuterRef("pk"))
    makers = Organization.objects.filter(kind=Organization.Kind.MANUFACTURER)
    return makers.filter(Exists(offers)).order_by("name")


def hosts_on_sale() -> QuerySet[HostCarrier]:
    return HostCarrier.objects.filter(Exists(live_offers().filter(host=OuterRef("pk")))).order_by("name")


def host_names() -> dict[str, str]:
    """The name of every host carrier by its code."""
    return dict(HostCarrier.objects.values_list("code", "name"))


def conditions_on_sale() -> list[str]:
    """In the order of the catalogue: new first."""
    return [value for value in Condition.values if live_offers().filter(listing__condition=value).exists()]


def variants_on_sale(filters: Filters) -> QuerySet[Variant]:
    offers = filters.narrow(live_offers()).filter(listing__variant=OuterRef("pk"))
    return (
        Variant.objects.filter(Exists(offers))
        .select_related("device__manufacturer")
        .order_by("device__brand", "device__marketing_name", "model_number")
    )


def alternatives_to(device: Device, *, near: Decimal | None) -> list[ListingHost]:
    """Live offers of other devices, one of each, nearest in price first; more than are shown, for some may be refused.

    Looked for from the price outward, a few at a time: the page of one phone must not rank all that is on sale.
    """
    found: dict[int, int] = {}
    for _ in range(ROUNDS):
        others = live_offers().exclude(listing__variant__device__in=[device.pk, *found])
        nearest, is_all = _nearest(others.filter(listing__stock__on_hand__gt=0), near)
        for offer_id, device_id in nearest:
            found.setdefault(device_id, offer_id)
        if is_all or len(found) >= CANDIDATES:
            break
    chosen = list(found.values())[:CANDIDATES]
    # Only these are read whole: most of the neighbours are further offers of the same phones.
    offers = live_offers().select_related("host", "listing__vendor", "listing__variant__device__manufacturer")
    read = offers.in_bulk(chosen)
    return [read[offer_id] for offer_id in chosen if offer_id in read]


def _nearest(offers: QuerySet[ListingHost], near: Decimal | None) -> tuple[list[tuple[int, int]], bool]:
    """The ids of offers and their devices by the distance of their price, and whether these are all there are."""
    price = "listing__price_amount"
    rows = offers.values_list("pk", "listing__variant__device_id", price)
    if near is None:
        cheapest = list(rows.order_by(price, "pk")[:NEIGHBOURS])
        return [(pk, device_id) for pk, device_id, _ in cheapest], len(cheapest) < NEIGHBOURS
    above = list(rows.filter(**{f"{price}__gte": near}).order_by(price, "pk")[:NEIGHBOURS])
    below = list(rows.filter(**{f"{price}__lt": near}).order_by(f"-{price}", "pk")[:NEIGHBOURS])
    nearest = sorted((abs(amount - near), pk, device_id) for pk, device_id, amount in [*above, *below])
    return [(pk, device_id) for _, pk, device_id in nearest], max(len(above), len(below)) < NEIGHBOURS


@dataclass(frozen=True)
class Standing:
    """How a device's models stood with the shop before: to tell delisted, hidden, removed and never offered apart.

    `offered`: the models that were on sale once, whether or not anything of them may come back. `hidden`: those of
    them whose sellers have put every offer aside, with no word against it.
    """

    offered: frozenset[int]
    hidden: frozenset[int]
    removed: frozenset[int]
    is_removed_for_good: bool


def standing_of(device: Device) -> Standing:
    rows = shop_offers().filter(listing__variant__device=device).values_list("listing__variant_id", "state")
    states: dict[int, set[str]] = {}
    offered: set[int] = set()
    # An offer that was live once keeps the decision that it rested on.
    for variant_id, state, decided in rows.annotate(decided=Count("decision_id")).order_by():
        states.setdefault(variant_id, set()).add(state)
        if decided:
            offered.add(variant_id)
    removed = {pk for pk, found in states.items() if found == {OfferState.REMOVED}}
    put_aside = {OfferState.DRAFT, OfferState.REMOVED}
    return Standing(
        offered=frozenset(offered),
        hidden=frozenset(pk for pk in offered - removed if states[pk] <= put_aside),
        removed=frozenset(removed & offered),
        is_removed_for_good=bool(offered) and removed == set(states),
    )


# --- judgement ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ApprovalRecord:
    """What a page tells of a carrier approval, beside why it does not count."""

    state: str
    limits: str
    software_from: str
    software_until: str


@dataclass(frozen=True)
class CarrierWord:
    """What a host carrier itself says of a variant, whatever the policy demands and whoever sells it.

    `approval` is the nearest record, None if there is none; with reasons, it is not in force. `hold_reasons` are the
    reason codes of the holds that name the host: why they were placed. A hold that does not is none of the carrier's.
    `is_suspended_by_host`: of a suspended approval, that a hold of the carrier's own does it, and not only the shop's.
    """

    approval: ApprovalRecord | None
    reasons: tuple[Reason, ...]
    hold_reasons: frozenset[str] = frozenset()
    is_suspended_by_host: bool = False


@dataclass(frozen=True)
class Judgement:
    """All that one page says about authority, as known at one revision."""

    at: datetime
    answers: Mapping[int, Answer]
    words: Mapping[tuple[int, int], CarrierWord]
    # False: the evidence could not be read, so nothing is for sale and no host was heard.
    is_decided: bool = True

    def is_for_sale(self, offer: ListingHost) -> bool:
        return for_sale(offer, self.answers[offer.pk])


def judge(
    offers: Sequence[ListingHost],
    *,
    at: datetime,
    variants: Iterable[Variant] = (),
    hosts: Sequence[HostCarrier] = (),
) -> Judgement:
    """Decide these offers, and hear what each host says of each variant, at the same revision."""
    pairs = _carrier_questions(variants, hosts)
    questions = [decisions.question_for_offer(offer) for offer in offers]
    is_decided = True
    try:
        setting = decisions.read_setting(at=at, known_at=None)
        at = decisions.instant_of(setting, at)
        answers = decisions.answers_in(setting, questions, at=at)
        findings = decisions.carrier_findings(list(pairs.values()), setting, at=at)
        words = _carrier_words(findings, at=at, revision=setting.revision)
    except (DecisionUnavailable, DatabaseError) as error:
        # Without evidence nothing is decided: no offer is for sale, and no badge says approved.
        is_decided = False
        log.warning("page.not_decided", error=str(error))
        undecided = rules.conclude([Ground("policy", FAILED, at, reasons=(rules.policy_missing(),))], at)
        answers = [Answer(question, undecided, at, 0) for question in questions]
        words = [CarrierWord(None, (rules.no_approval(),))] * len(pairs)
    return Judgement(
        at,
        {offer.pk: answer for offer, answer in zip(offers, answers, strict=True)},
        dict(zip(pairs, words, strict=True)),
        is_decided,
    )


def carrier_words_at(
    variants: Iterable[Variant], hosts: Sequence[HostCarrier], *, at: datetime
) -> dict[tuple[int, int], CarrierWord]:
    """What each host says of each variant at any instant, past ones too, by (variant id, host id).

    Raises DecisionUnavailable.
    """
    pairs = _carrier_questions(variants, hosts)
    setting = decisions.read_setting(at=at, known_at=None)
    findings = decisions.carrier_findings(list(pairs.values()), setting, at=at)
    return dict(zip(pairs, _carrier_words(findings, at=at, revision=setting.revision), strict=True))


def _carrier_words(findings: Sequence[Finding], *, at: datetime, revision: int) -> list[CarrierWord]:
    """From the findings of `decisions.carrier_findings`; what they do not say is looked up for all at once."""
    said = [_by_check(finding) for finding in findings]
    approvals = {code for grounds in said for code in _documents(grounds["approval"])}
    holds = {code for grounds in said for code in _documents(grounds["hold"])}
    records: dict[str, ApprovalRecord] = {}
    if approvals:
        versions = ApprovalVersion.objects.known_at(revision).filter(head__code__in=approvals)
        columns = ("head__code", "state", "limits", "software_from", "software_until")
        records = {code: ApprovalRecord(*rest) for code, *rest in versions.values_list(*columns)}
    of_hosts: dict[str, str] = {}
    if holds:
        names_host = HoldTarget.objects.filter(version=OuterRef("pk"), part=0, dimension="host")
        placed = HoldVersion.objects.known_at(revision).filter(Exists(names_host), head__code__in=holds)
        of_hosts = dict(placed.values_list("head__code", "reason_code"))
    suspended = {
        reason.document
        for grounds in said
        for reason in grounds["approval"].reasons
        if reason.code == "CARRIER_APPROVAL_SUSPENDED"
    }
    by_hosts = _suspended_by_hosts(suspended, at=at, revision=revision) if suspended else frozenset()
    words = []
    for grounds in said:
        stops = [reason for reason in grounds["hold"].reasons if reason.document in of_hosts]
        code = next(iter(_documents(grounds["approval"])), "")
        words.append(
            CarrierWord(
                records.get(code),
                (*grounds["approval"].reasons, *stops),
                frozenset(of_hosts[reason.document] for reason in stops),
                code in by_hosts,
            )
        )
    return words


def _suspended_by_hosts(codes: Iterable[str], *, at: datetime, revision: int) -> frozenset[str]:
    """Of these approvals, those that a hold suspends which the host placed, or asked the shop's desk for."""
    versions = ApprovalVersion.objects.known_at(revision).filter(head__code__in=codes)
    approvals = {str(pk): told for pk, *told in versions.values_list("head_id", "head__code", "host__name")}
    holds = HoldVersion.objects.known_at(revision).filter(valid_from__lte=at, valid_until__gt=at)
    targets = HoldTarget.objects.filter(
        version__in=holds.exclude(released_at__lte=at),
        part=0,
        dimension=HoldTarget.Dimension.FACT,
        value__in=list(approvals),
    )
    found = set()
    for value, placed_by, why in targets.values_list("value", "version__placed_by", "version__reason_code"):
        code, name = approvals[value]
        if placed_by == name or why in REASONS_OF_CARRIERS:
            found.add(code)
    return frozenset(found)


def _by_check(finding: Finding) -> dict[str, Ground]:
    return {ground.check: ground for ground in finding.grounds}


def _documents(ground: Ground) -> set[str]:
    """The codes of what a ground rests on, or fails by."""
    codes = [item.code for item in ground.evidence] + [reason.document for reason in ground.reasons]
    return {code for code in codes if code}


def _carrier_questions(
    variants: Iterable[Variant], hosts: Sequence[HostCarrier]
) -> dict[tuple[int, int], Question]:
    return {(variant.pk, host.pk): _carrier_question(variant, host) for variant in variants for host in hosts}


def _carrier_question(variant: Variant, host: HostCarrier) -> Question:
    """What a host says of a variant does not depend on the seller, so the maker stands in its place."""
    return decisions.question_for(
        vendor=variant.device.manufacturer,
        variant=variant,
        host=host,
        territory=settings.SHOP_TERRITORY,
        channel=Channel.WEB,
        condition=Condition.NEW,
    )


# --- what stands behind an answer ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Warrant:
    """What an allow rests on, as far as the page tells it."""

    # None when a link of the chain is only claimed: then nothing was checked.
    checked_at: datetime | None


def warrants_of(answers: Iterable[Answer]) -> dict[int, Warrant]:
    """By the id of an agreement: whether that version of it is verified, and since when it is on record."""
    cited = {
        (item.fact_id, item.version_no)
        for answer in answers
        for item in answer.evidence
        if item.kind == "agreement"
    }
    if not cited:
        return {}
    versions = [
        version
        for version in AgreementVersion.objects.filter(head_id__in={fact_id for fact_id, _ in cited})
        if (version.head_id, version.version_no) in cited
    ]
    recorded_at = dict(
        Revision.objects.filter(n__in={version.rev_from for version in versions}).values_list(
            "n", "recorded_at"
        )
    )
    return {
        version.head_id: Warrant(
            recorded_at[version.rev_from] if version.assurance == Assurance.VERIFIED else None
        )
        for version in versions
    }


def policy_in_force(*, at: datetime) -> tuple[PolicyVersion, datetime] | None:
    """The policy that decisions follow now for the shop's territory, and when it was put on record."""
    version = policies.current_policy(at, settings.SHOP_TERRITORY)
    if version is None:
        return None
    return version, Revision.objects.get(n=version.rev_from).recorded_at
