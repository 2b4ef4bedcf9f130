"""The parties of February 2016: two makers, two host carriers, an importer with phones on sale, an honest vendor."""

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

from django.http import HttpResponse

from authorization import clock, decisions, outbox
from carriers.models import HostCarrier
from catalog.models import ListingHost, Organization, Variant
from seeds import factories
from storefront import accounts, scopes
from tests.api.conftest import Caller

REPRESENTATIVE = "Kaylene H."
DISCLAIMS = "We sell no phones in the US through any distributor. This store is not authorised."
UNTESTED = "These phones were not tested on our network. They need our certification first."


@dataclass
class Incident:
    """`offers`: by model, the importer's offer on `tmobile`."""

    xiaomi: Organization
    meizu: Organization
    omni: Organization
    honest: Organization
    tmobile: HostCarrier
    att: HostCarrier
    offers: dict[str, ListingHost]

    def on_sale(self) -> set[str]:
        """What may be sold at this moment, whatever the pages say."""
        models = list(self.offers)
        answers = decisions.decide_offers([self.offers[model] for model in models], at=clock.now())
        return {model for model, answer in zip(models, answers, strict=True) if answer.is_allowed}

    def live(self) -> set[str]:
        return {model for model, offer in self.offers.items() if reread(offer).state == "LIVE"}


# Two makers' phones as they were listed, and one of each maker on the other host or of the other vendor.
MODELS = {"redmi-2": "xiaomi", "mi-3": "xiaomi", "mi-4": "xiaomi", "m2-note": "meizu"}


def make_incident() -> Incident:
    at = clock.now()
    makers = {slug: maker(slug) for slug in ("xiaomi", "meizu")}
    omni = factories.OrganizationFactory.create(slug="omni-electronics-hk", name="Omni Electronics HK")
    honest = factories.OrganizationFactory.create(slug="honest-phones")
    tmobile, att = (factories.HostCarrierFactory.create(code=code) for code in ("tmobile", "att"))
    offers = {}
    for slug, of in MODELS.items():
        phone = variant(makers[of], slug)
        offers[slug] = factories.make_sellable(vendor=omni, variant=phone, host=tmobile, at=at).offer
    offers["mi-4 of honest"] = factories.make_sellable(
        vendor=honest, variant=offers["mi-4"].listing.variant, host=tmobile, at=at, sku="H-MI4"
    ).offer
    offers["m2-note on att"] = factories.make_sellable(
        vendor=honest, variant=offers["m2-note"].listing.variant, host=att, at=at, sku="H-M2"
    ).offer
    return Incident(makers["xiaomi"], makers["meizu"], omni, honest, tmobile, att, offers)


def maker(slug: str) -> Organization:
    return factories.OrganizationFactory.create(kind=Organization.Kind.MANUFACTURER, slug=slug)


def variant(of: Organization, slug: str) -> Variant:
    device = factories.DeviceFactory.create(manufacturer=of, slug=slug)
    return factories.VariantFactory.create(device=device, slug=f"{slug}-global", model_number=slug.upper())


def speaker(party: Organization | HostCarrier, **terms: Any) -> Caller:
    """Somebody with every scope that the party can have."""
    at = clock.now()
    made: dict[str, Any] = {"label": "rights desk", "by": factories.BUILDER, "at": at}
    made["expires_at"] = at + timedelta(days=1)
    if isinstance(party, HostCarrier):
        made |= {"scopes": scopes.scopes_of(scopes.CARRIER)} | terms
        _, secret = accounts.make_carrier_key(host=party, duties=accounts.Duties(is_desk=True), **made)
    else:
        made |= {"scopes": scopes.scopes_of(party.kind), "representative": REPRESENTATIVE} | terms
        _, secret = accounts.make_organization_key(organization=party, **made)
    return Caller(secret)


def post(caller: Caller, path: str, body: Any = None, *, key: str = "") -> HttpResponse:
    return caller.post(path, {} if body is None else body, **{"Idempotency-Key": key or str(uuid4())})


def ask(caller: Caller, goods: dict[str, Any], *, reason: str, statement: str = DISCLAIMS) -> HttpResponse:
    body = {"reason": reason, "statement": statement, "goods": goods}
    return post(caller, "/v1/takedown-requests", body)


def read(answer: HttpResponse, status: int = 200) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(answer.content)
    assert answer.status_code == status, body
    return body


def react() -> None:
    """What the workers do, until nothing is left to do."""
    outbox.pump(at=clock.now)


def reread(offer: ListingHost) -> ListingHost:
    return ListingHost.objects.get(pk=offer.pk)
