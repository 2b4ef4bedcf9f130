"""One caller of each kind, and others whose objects they must not find."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import uuid4

from authorization import clock
from authorization.models import Decision, Delisting, Revision, Sweep
from carriers.models import HostCarrier
from catalog.models import ListingHost, Organization
from seeds import factories
from storefront import accounts, scopes
from storefront.api.times import rfc3339
from storefront.models import Order, OrderLine, PaymentIntent
from tests.api.conftest import Caller, SmallWorld

KINDS = ("vendor", "distributor", "manufacturer", "carrier")
# Parts of paths that name nothing.
NO_SUCH: dict[str, Any] = {
    "sku": "SKU-1",
    "name": "no-such-name",
    "sweep_id": 1,
    "endpoint_id": "7d444840-9dc0-11d1-b245-5ffdce74fad2",
    "event_id": "7d444840-9dc0-11d1-b245-5ffdce74fad3",
    "order_id": "7d444840-9dc0-11d1-b245-5ffdce74fad4",
    "request_id": "7d444840-9dc0-11d1-b245-5ffdce74fad5",
    "claim_id": 2**62,
    "case_code": "CASE-00000000",
    "acceptance_code": "TA-2016-0001",
    "key_id": 2**62,
    "sha256": "ab" * 32,
    "slug": "no-such-device",
    "agreement_code": "AG-0",
    "submission_code": "AS-0",
    "feed_id": "7d444840-9dc0-11d1-b245-5ffdce74fad5",
}
# Of the catalog, which everybody with a key reads.
SHARED = {"api-variant", "api-device"}


@dataclass
class Parties:
    """`callers` look for what is the `owners`'; each has one of each kind."""

    world: SmallWorld
    callers: dict[str, Caller] = field(default_factory=dict)
    owners: dict[str, Caller] = field(default_factory=dict)
    organizations: dict[str, Organization] = field(default_factory=dict)
    made: dict[Any, "Made"] = field(default_factory=dict)

    def object_of(self, make: Callable[["Parties"], "Made"]) -> "Made":
        """Made once, whichever routes lead to it."""
        if make not in self.made:
            self.made[make] = make(self)
        return self.made[make]


def key_of(organization: Organization, **terms: Any) -> Caller:
    """With every scope that its kind can have."""
    at = clock.now()
    _, secret = accounts.make_organization_key(
        organization=organization,
        label="all",
        by=factories.BUILDER,
        at=at,
        expires_at=at + timedelta(days=1),
        scopes=scopes.scopes_of(organization.kind),
        representative="R. Presentative",
        **terms,
    )
    return Caller(secret)


def key_of_host(host: HostCarrier) -> Caller:
    at = clock.now()
    _, secret = accounts.make_carrier_key(
        host=host,
        label="all",
        duties=accounts.Duties(is_desk=True, is_lab=True, is_approver=True),
        by=factories.BUILDER,
        at=at,
        expires_at=at + timedelta(days=1),
        scopes=scopes.scopes_of(scopes.CARRIER),
    )
    return Caller(secret)


def make_parties(world: SmallWorld) -> Parties:
    made = Parties(world)
    for kind in KINDS[:3]:
        mine = factories.OrganizationFactory.create(kind=kind, slug=f"looking-{kind}")
        made.callers[kind] = key_of(mine)
        theirs = {
            "vendor": world.vendor,
            "manufacturer": world.approved.device.manufacturer,
        }.get(kind) or factories.OrganizationFactory.create(kind=kind, slug=f"owning-{kind}")
        made.organizations[kind] = theirs
        made.owners[kind] = key_of(theirs)
    made.callers["carrier"], made.owners["carrier"] = key_of_host(world.south), key_of_host(world.north)
    return made


type Made = tuple[Caller, dict[str, Any]]


def listing(parties: Parties) -> Made:
    owner = parties.owners["vendor"]
    owner.put("/v1/listings/A-1", parties.world.body())
    return owner, {"sku": "A-1"}


def acceptance(parties: Parties) -> Made:
    owner = parties.owners["vendor"]
    wanted = {"host": "north", "variant": parties.world.untested.slug}
    return owner, {"acceptance_code": read(owner.post("/v1/technical-acceptances", wanted))["code"]}


def acceptance_file(parties: Parties) -> Made:
    owner, named = parties.object_of(acceptance)
    path = f"/v1/technical-acceptances/{named['acceptance_code']}/files?kind=declaration&name=r.txt"
    kept = read(owner.post(path, b"what was seen", **{"Content-Type": "text/plain"}))
    return owner, {**named, "sha256": kept["sha256"]}


def endpoint(parties: Parties) -> Made:
    owner = parties.owners["vendor"]
    made = read(owner.post("/v1/webhook-endpoints", {"url": "https://shop.example/hooks"}))
    return owner, {"endpoint_id": made["id"]}


def delivery(parties: Parties) -> Made:
    owner, named = parties.object_of(endpoint)
    ping = read(owner.post(f"/v1/webhook-endpoints/{named['endpoint_id']}/ping"))
    return owner, {**named, "event_id": ping["event_id"]}


def key(parties: Parties) -> Made:
    at, owner = clock.now(), parties.organizations["vendor"]
    made, _ = accounts.make_organization_key(
        organization=owner,
        label="other",
        by=factories.BUILDER,
        at=at,
        expires_at=at + timedelta(days=1),
        scopes=["keys:write"],
    )
    return parties.owners["vendor"], {"key_id": made.pk}


def claim(parties: Parties) -> Made:
    parties.owners["vendor"].put("/v1/listings/A-1", parties.world.body())
    parties.owners["vendor"].post("/v1/listings/A-1/publish")
    owner = parties.owners["manufacturer"]
    [one] = read(owner.get("/v1/claims"))["data"]
    return owner, {"claim_id": int(one["id"])}


def takedown(parties: Parties) -> Made:
    owner, goods = parties.owners["manufacturer"], {"devices": [parties.world.untested.device.slug]}
    body = {"reason": "SAFETY", "statement": "It burns.", "goods": goods}
    made = read(owner.post("/v1/takedown-requests", body, **{"Idempotency-Key": "one"}))
    return owner, {"request_id": made["id"]}


def case(parties: Parties) -> Made:
    owner, named = parties.object_of(takedown)
    return owner, {"case_code": read(owner.get(f"/v1/takedown-requests/{named['request_id']}"))["case"]}


def agreement(parties: Parties) -> Made:
    return parties.owners["vendor"], {"agreement_code": parties.world.agreement_code}


def submission(parties: Parties) -> Made:
    body = {
        "grantor": parties.organizations["manufacturer"].slug,
        "models": [parties.world.untested.slug],
        "territories": ["US"],
        "channels": ["web"],
        "conditions": ["new"],
        "valid_from": rfc3339(parties.world.at),
        "valid_until": rfc3339(parties.world.at + timedelta(days=90)),
        "document": "Letter of authorization",
    }
    owner = parties.owners["vendor"]
    return owner, {"submission_code": read(owner.post("/v1/agreements", body, **once()))["code"]}


def agreement_document(parties: Parties) -> Made:
    owner, named = parties.object_of(submission)
    code = named["submission_code"]
    path = f"/v1/agreements/{code}/documents?name=letter.txt"
    kept = read(owner.post(path, b"You may sell them.", **{"Content-Type": "text/plain"}))
    return owner, {"agreement_code": code, "sha256": kept["sha256"]}


def live_offer(parties: Parties) -> ListingHost:
    owner, _ = parties.object_of(listing)
    read(owner.post("/v1/listings/A-1/publish"))
    return ListingHost.objects.select_related("listing").get(listing__sku="A-1")


def order(parties: Parties) -> Made:
    """As a sale leaves it."""
    offer, at, price = live_offer(parties), clock.now(), {"price_amount": "199.00", "price_currency": "USD"}
    decision = Decision.objects.filter(offer=offer).latest("valid_at")
    money = {"amount": "199.00", "currency": "USD"}
    intent = PaymentIntent.objects.create(
        checkout_key=uuid4(), cart_id=uuid4(), state="captured", created_at=at, updated_at=at, **money
    )
    made = Order.objects.create(
        intent=intent,
        buyer_name="A. Buyer",
        buyer_email="buyer@buyer.example",
        ship_to="1 Main St",
        total_amount="199.00",
        total_currency="USD",
        sold_at=at,
        revision=decision.revision,
        transaction_id="1",
    )
    about = {"offer": offer, "listing": offer.listing, "vendor": offer.listing.vendor, "decision": decision}
    OrderLine.objects.create(order=made, quantity=1, **about, **price)
    return parties.owners["vendor"], {"order_id": made.public_id}


def sweep(parties: Parties) -> Made:
    """As one leaves it that took an offer down."""
    offer, at = live_offer(parties), clock.now()
    made = Sweep.objects.create(revision=Revision.objects.latest("n"), started_at=at, finished_at=at)
    decision = Decision.objects.filter(offer=offer).latest("valid_at")
    Delisting.objects.create(offer=offer, decision=decision, sweep=made, reason_codes=["ON_HOLD"], at=at)
    return parties.owners["vendor"], {"sweep_id": made.pk}


def feed(parties: Parties) -> Made:
    row = json.dumps({"sku": "F-1", **parties.world.body()}).encode()
    sent = parties.owners["vendor"].post("/v1/feeds", row, **{"Content-Type": "application/jsonl"})
    return parties.owners["vendor"], {"feed_id": read(sent)["id"]}


def once() -> dict[str, str]:
    return {"Idempotency-Key": str(uuid4())}


# name of the route -> what makes an object of somebody who is none of the callers: the owner, and the parts of the path
FOREIGN_OBJECTS: dict[str, Callable[[Parties], Made]] = {
    "api-key": key,
    "api-key-rotate": key,
    "api-listing": listing,
    "api-listing-publish": listing,
    "api-listing-decisions": listing,
    "api-acceptance": acceptance,
    "api-acceptance-moves": acceptance,
    "api-acceptance-results": acceptance,
    "api-acceptance-files": acceptance,
    "api-acceptance-file": acceptance_file,
    "api-endpoint": endpoint,
    "api-endpoint-rotate-secret": endpoint,
    "api-endpoint-ping": endpoint,
    "api-endpoint-replay": endpoint,
    "api-deliveries": endpoint,
    "api-delivery-replay": delivery,
    "api-agreement": agreement,
    "api-agreement-versions": agreement,
    "api-agreement-documents": agreement,
    "api-agreement-document": agreement_document,
    "api-agreement-renew": agreement,
    "api-agreement-verify": agreement,
    "api-agreement-narrow": agreement,
    "api-agreement-revoke": agreement,
    "api-agreement-withdraw": agreement,
    "api-agreement-submission": submission,
    "api-order": order,
    "api-order-ship": order,
    "api-sweep": sweep,
    "api-feed": feed,
    "api-feed-cancel": feed,
    "api-feed-results": feed,
    "api-claim": claim,
    "api-claim-disclaim": claim,
    "api-takedown": takedown,
    "api-takedown-lift": takedown,
    "api-case": case,
    "api-case-messages": case,
    "api-case-withdraw": case,
}


def read(answer: Any) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(answer.content)
    assert answer.status_code < 300, body
    return body
