"""What the pages read. Each page asks the authorization service once, for all it shows."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

import structlog
from django.conf import settings
from django.db import DatabaseError
from django.db.models import Exists, F, OuterRef, Q, QuerySet, Window
from django.db.models.functions import Abs, RowNumber

from authorization import decisions, rules
from authorization.decisions import Answer
from authorization.models import AgreementVersion, ApprovalVersion, Assurance, PolicyVersion, Revision
from authorization.rules import CarrierWord, Question, World
from authorization.selectors import for_sale
from carriers.models import HostCarrier
from catalog.models import Channel, Condition, Device, ListingHost, OfferState, Organization, Variant
from storefront.models import PrepaidPlan

log = structlog.get_logger(__name__)

# A variant that a thousand vendors sell still makes a short page: the cheapest come first.
OFFERS_ON_LIST = 3
OFFERS_ON_PAGE = 20
ALTERNATIVES = 3


def shop_offers() -> QuerySet[ListingHost]:
    """The offers of this shop's pages, whatever their state."""
    return ListingHost.objects.filter(
        listing__channel=Channel.WEB, listing__territory=settings.SHOP_TERRITORY
    )


def live_offers() -> QuerySet[ListingHost]:
    return shop_offers().filter(state=OfferState.LIVE)


@dataclass(frozen=True)
class Filters:
    """What the shopper narrowed the list to; None is everything."""

    maker: Organization | None = None
    host: HostCarrier | None = None
    condition: str = ""

    def narrow(self, offers: QuerySet[ListingHost]) -> QuerySet[ListingHost]:
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


def cheapest_offers(offers: QuerySet[ListingHost], *, limit: int) -> list[ListingHost]:
    """Up to `limit` per variant, host and state, cheapest first, with all that a decision and a page read."""
    place = Window(
        RowNumber(),
        partition_by=[F("listing__variant_id"), F("host_id"), F("state")],
        order_by=[F("listing__price_amount"), F("pk")],
    )
    return list(
        offers.annotate(place=place)
        .filter(place__lte=limit)
        .select_related("host", "listing__vendor", "listing__stock", "listing__variant__device__manufacturer")
        .order_by("listing__price_amount", "pk")
    )


def alternatives_to(device: Device, *, near: Decimal | None) -> list[ListingHost]:
    """Live offers of other devices, nearest in price first; more than are shown, for some may be refused."""
    others = live_offers().exclude(listing__variant__device=device).filter(listing__stock__on_hand__gt=0)
    best = Window(
        RowNumber(), partition_by=[F("listing__variant__device_id")], order_by=[F("listing__price_amount")]
    )
    others = others.annotate(place=best).filter(place=1)
    if near is not None:
        others = others.annotate(distance=Abs(F("listing__price_amount") - near)).order_by("distance", "pk")
    else:
        others = others.order_by("listing__price_amount", "pk")
    return list(
        others.select_related("host", "listing__vendor", "listing__variant__device__manufacturer")[
            : ALTERNATIVES * 3
        ]
    )


@dataclass(frozen=True)
class Standing:
    """How an offer's device stood with the shop before: to tell delisted, removed and never offered apart."""

    is_removed_for_good: bool
    was_offered: bool


def standing_of(device: Device) -> Standing:
    offers = shop_offers().filter(listing__variant__device=device)
    # An offer that was live once keeps the decision that it rested on.
    was_offered = offers.filter(decision_id__isnull=False).exists()
    is_gone = was_offered and not offers.exclude(state=OfferState.REMOVED).exists()
    return Standing(is_removed_for_good=is_gone, was_offered=was_offered)


# --- judgement ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Judgement:
    """All that one page says about authority, from one reading of the evidence."""

    at: datetime
    answers: Mapping[int, Answer]
    words: Mapping[tuple[int, int], CarrierWord]

    def is_for_sale(self, offer: ListingHost) -> bool:
        return for_sale(offer, self.answers[offer.pk])


def judge(
    offers: Sequence[ListingHost],
    *,
    at: datetime,
    variants: Iterable[Variant] = (),
    hosts: Sequence[HostCarrier] = (),
) -> Judgement:
    """Decide these offers, and hear what each host says of each variant, from the same evidence."""
    pairs = {
        (variant.pk, host.pk): _carrier_question(variant, host) for variant in variants for host in hosts
    }
    questions = [decisions.question_for_offer(offer) for offer in offers]
    try:
        # In this order: evidence read before the revision could be older than the stamp it gets.
        revision, at = decisions.present(at)
        world = decisions.load_world([*questions, *pairs.values()], revision=revision, at=at)
    except DatabaseError as error:
        # Without evidence nothing is decided: no offer is for sale, and no badge says approved.
        log.warning("page.not_decided", error=str(error))
        revision, world = 0, World()
    answers = decisions.answer_from(questions, world, at=at, revision=revision)
    return Judgement(
        at,
        {offer.pk: answer for offer, answer in zip(offers, answers, strict=True)},
        {pair: rules.carrier_word(question, world, at) for pair, question in pairs.items()},
    )


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


def limits_of(words: Iterable[CarrierWord]) -> dict[int, str]:
    """By the id of a conditional approval: what it limits."""
    ids = {
        word.approval.fact_id
        for word in words
        if word.approval is not None and word.approval.state == "conditional"
    }
    if not ids:
        return {}
    return dict(ApprovalVersion.objects.current().filter(head_id__in=ids).values_list("head_id", "limits"))


def plans_on(hosts: Sequence[HostCarrier], *, at: datetime) -> dict[int, list[PrepaidPlan]]:
    """The plans on sale by host id, cheapest first, of hostings in force."""
    plans = (
        PrepaidPlan.objects.filter(
            Q(hosting__versions__valid_from__lte=at, hosting__versions__valid_until__gt=at),
            hosting__versions__rev_to__isnull=True,
            hosting__mvno=settings.SHOP_MVNO,
            hosting__host__in=hosts,
            is_on_sale=True,
        )
        .select_related("hosting")
        .distinct()
        .order_by("price_amount", "pk")
    )
    found: dict[int, list[PrepaidPlan]] = {}
    for plan in plans:
        found.setdefault(plan.hosting.host_id, []).append(plan)
    return found


def policy_in_force(*, at: datetime) -> tuple[PolicyVersion, datetime] | None:
    """The policy that decisions follow now, and when it was put on record."""
    version = (
        PolicyVersion.objects.current()
        .filter(valid_from__lte=at, valid_until__gt=at)
        .order_by("-valid_from", "-valid_until")
        .first()
    )
    if version is None:
        return None
    return version, Revision.objects.get(n=version.rev_from).recorded_at
