"""The two pages that show phones, put together: what is read, what is decided, what is said."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from django.conf import settings
from django.core.paginator import Page, Paginator
from django.db.models import QuerySet

from carriers.compatibility import Verdict
from carriers.models import HostCarrier
from carriers.selectors import hosts_of
from catalog.models import Device, ListingHost, OfferState, Organization, Variant
from catalog.selectors import verdicts_for
from storefront.models import PrepaidPlan
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
    rows = selectors.cheapest_offers(
        filters.narrow(selectors.live_offers()).filter(listing__variant__in=variants),
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
    def is_gone(self) -> bool:
        return self.standing.is_removed_for_good

    @property
    def stop_title(self) -> str:
        return "Not for sale now" if self.blocks or self.standing.was_offered else "Not sold here"

    @cached_property
    def reason(self) -> str:
        """Why nothing of it can be bought."""
        if not self.blocks:
            return presenters.NOT_ANY_MORE if self.standing.was_offered else presenters.NEVER_OFFERED
        return next((panel.reason for block in self.blocks for panel in block.panels if panel.reason), "")


def device_page(device: Device, *, at: datetime) -> DevicePage:
    variants = list(device.variants.select_related("device__manufacturer").order_by("model_number"))
    shown = selectors.shop_offers().filter(
        listing__variant__device=device, state__in=[OfferState.LIVE, OfferState.SUSPENDED]
    )
    rows = selectors.cheapest_offers(shown, limit=selectors.OFFERS_ON_PAGE)
    near = min((row.listing.price_amount for row in rows), default=None)
    alternatives = selectors.alternatives_to(device, near=near)
    # A host that the shop has left keeps its panel while an offer stands: to say why nothing is for sale.
    hosts = sorted(
        {*hosts_of(settings.SHOP_MVNO, at=at), *(row.host for row in rows)}, key=lambda host: host.name
    )

    # One question to the authorization service for the whole page.
    judgement = selectors.judge([*rows, *alternatives], at=at, variants=variants, hosts=hosts)
    panels = _Panels(
        hosts=hosts,
        rows=rows,
        judgement=judgement,
        verdicts=verdicts_for(variants, hosts, at=at),
        plans=selectors.plans_on(hosts, at=at),
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
    verdicts: Mapping[tuple[int, int], Verdict]
    plans: Mapping[int, Sequence[PrepaidPlan]]
    warrants: Mapping[int, Warrant]

    def of(self, variant: Variant) -> list[HostPanel]:
        return [self._panel(variant, host) for host in self.hosts]

    def _panel(self, variant: Variant, host: HostCarrier) -> HostPanel:
        word = self.judgement.words[variant.pk, host.pk]
        return presenters.host_panel(
            host,
            badge=presenters.badge(host, word, at=self.judgement.at),
            verdict=self.verdicts.get((variant.pk, host.pk)),
            rows=[row for row in self.rows if (row.listing.variant_id, row.host_id) == (variant.pk, host.pk)],
            plans=self.plans.get(host.pk, ()),
            judgement=self.judgement,
            warrants=self.warrants,
        )
