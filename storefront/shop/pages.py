"""The two pages that show phones, put together: what is read, what is decided, what is said."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from django.conf import settings
from django.core.paginator import Page, Paginator
from django.db.models import QuerySet

from carriers.admission import AdmissionAnswer
from carriers.models import HostCarrier
from carriers.selectors import hosts_of
from catalog.models import Device, ListingHost, OfferState, Organization, Variant
from catalog.selectors import Judged, judged_for
from storefront.activations import admissions
from storefront.assortment import cheapest_offers, live_offers, shop_offers
from storefront.models import PrepaidPlan
from storefront.plans import plans_by_host
from storefront.shop import presenters, selectors
from storefront.shop.presenters import Alternative, Card, HostPanel, VariantBlock
from storefront.shop.selectors import Filters, Judgement, Standing, Warrant

VARIANTS_PER_PAGE = 24


@dataclass(frozen=True)
class ListPage:
    cards: Sequence[Card]
    page: "Page[Variant]"
    makers: QuerySet[Organization]
    hosts: QuerySet[HostCarrier]
    conditions: Sequence[tuple[str, str]]


def list_page(filters: Filters, *, number: str | None, at: datetime) -> ListPage:
    page = Paginator(selectors.variants_on_sale(filters), VARIANTS_PER_PAGE).get_page(number)
    variants = list(page.object_list)
    served = hosts_of(settings.SHOP_MVNO, at=at)
    hosts = [filters.host] if filters.host is not None else served
    rows = cheapest_offers(
        filters.narrow(live_offers()).filter(listing__variant__in=variants),
        limit=selectors.OFFERS_ON_LIST,
    )
    judgement = selectors.judge(rows, at=at, variants=variants, hosts=hosts)
    cards = [
        presenters.card(
            variant,
            [row for row in rows if row.listing.variant_id == variant.pk],
            [presenters.badge(host, judgement.words[variant.pk, host.pk], at=at) for host in hosts],
            judgement,
        )
        for variant in variants
    ]
    conditions = [(value, presenters.CONDITION_NAMES[value]) for value in selectors.conditions_on_sale()]
    return ListPage(cards, page, selectors.makers_on_sale(), selectors.hosts_on_sale(), conditions)


@dataclass(frozen=True)
class Wait:
    """One model that can be waited for, and what one waits for: stock, leave to be sold, or its seller."""

    variant: Variant
    words: str


@dataclass(frozen=True)
class DevicePage:
    """`blocks` are the variants that are, or were just now, on offer; `others` share only their name."""

    device: Device
    at: datetime
    blocks: Sequence[VariantBlock]
    others: Sequence[VariantBlock]
    alternatives: Sequence[Alternative]
    standing: Standing

    @property
    def is_for_sale(self) -> bool:
        return any(block.is_for_sale for block in self.blocks)

    @property
    def is_out_of_stock(self) -> bool:
        """It may be sold, and none is left."""
        return self.is_for_sale and not any(block.is_in_stock for block in self.blocks)

    @property
    def is_gone(self) -> bool:
        return self.standing.is_removed_for_good

    @property
    def is_hidden(self) -> bool:
        """Its sellers have put it aside themselves."""
        return not self.blocks and bool(self.standing.hidden)

    @property
    def stop_title(self) -> str:
        if self.is_hidden:
            return "Put aside by its seller"
        return "Not for sale now" if self.blocks or self.standing.offered else "Not sold here"

    @cached_property
    def reason(self) -> str:
        """Why nothing of it can be bought."""
        if self.is_hidden:
            return presenters.PUT_ASIDE
        if not self.blocks:
            return presenters.NOT_ANY_MORE if self.standing.offered else presenters.NEVER_OFFERED
        return next((panel.reason for block in self.blocks for panel in block.panels if panel.reason), "")

    @cached_property
    def waits(self) -> Sequence[Wait]:
        """The models that were on sale once and cannot be bought now, unless for good, or for a failure of ours."""
        waiting = []
        for block in [*self.blocks, *self.others]:
            pk = block.variant.pk
            was_offered = pk in self.standing.offered and pk not in self.standing.removed
            if was_offered and not block.is_in_stock and not block.is_undecided:
                waiting.append(Wait(block.variant, self._wait_words(block)))
        return waiting

    def _wait_words(self, block: VariantBlock) -> str:
        if block.is_for_sale:
            return presenters.WAIT_FOR_STOCK
        is_hidden = block.variant.pk in self.standing.hidden
        return presenters.WAIT_FOR_SELLER if is_hidden else presenters.WAIT_FOR_LEAVE


def device_page(device: Device, *, at: datetime) -> DevicePage:
    variants = list(device.variants.select_related("device__manufacturer").order_by("model_number"))
    shown = shop_offers().filter(
        listing__variant__device=device, state__in=[OfferState.LIVE, OfferState.SUSPENDED]
    )
    rows = cheapest_offers(shown, limit=selectors.OFFERS_ON_PAGE)
    near = min((row.listing.price_amount for row in rows), default=None)
    alternatives = selectors.alternatives_to(device, near=near)
    # A host that the shop has left keeps its panel while an offer stands: to say why nothing is for sale.
    hosts = sorted(
        {*hosts_of(settings.SHOP_MVNO, at=at), *(row.host for row in rows)}, key=lambda host: host.name
    )

    # One question to the authorization service for the whole page.
    judgement = selectors.judge([*rows, *alternatives], at=at, variants=variants, hosts=hosts)
    judged = judged_for(variants, hosts, at=at)
    admitted: Mapping[tuple[int, int], AdmissionAnswer] = {}
    if judgement.is_decided:
        admitted = admissions(variants, hosts, words=judgement.words, judged=judged)
    panels = _Panels(
        hosts=hosts,
        rows=rows,
        judgement=judgement,
        judged=judged,
        admitted=admitted,
        plans=plans_by_host(at=at),
        warrants=selectors.warrants_of(judgement.answers[row.pk] for row in rows),
    )
    offered = {row.listing.variant_id for row in rows}
    blocks = [VariantBlock(variant, panels.of(variant)) for variant in variants]
    # What can be bought comes first; sorting keeps the order of model numbers.
    blocks.sort(key=lambda block: not block.is_for_sale)
    return DevicePage(
        device=device,
        at=at,
        blocks=[block for block in blocks if block.variant.pk in offered],
        others=[block for block in blocks if block.variant.pk not in offered],
        alternatives=presenters.alternatives(alternatives, judgement, limit=selectors.ALTERNATIVES),
        standing=selectors.standing_of(device),
    )


@dataclass(frozen=True)
class _Panels:
    """All that the panels of a page are made of."""

    hosts: Sequence[HostCarrier]
    rows: Sequence[ListingHost]
    judgement: Judgement
    judged: Mapping[tuple[int, int], Judged]
    # Empty where it could not be decided.
    admitted: Mapping[tuple[int, int], AdmissionAnswer]
    plans: Mapping[int, Sequence[PrepaidPlan]]
    warrants: Mapping[int, Warrant]

    def of(self, variant: Variant) -> list[HostPanel]:
        return [self._panel(variant, host) for host in self.hosts]

    def _panel(self, variant: Variant, host: HostCarrier) -> HostPanel:
        word = self.judgement.words[variant.pk, host.pk]
        return presenters.host_panel(
            host,
            badge=presenters.badge(host, word, at=self.judgement.at),
            judged=self.judged.get((variant.pk, host.pk)),
            admission=self.admitted.get((variant.pk, host.pk)),
            rows=[row for row in self.rows if (row.listing.variant_id, row.host_id) == (variant.pk, host.pk)],
            plans=self.plans.get(host.pk, ()),
            judgement=self.judgement,
            warrants=self.warrants,
        )
