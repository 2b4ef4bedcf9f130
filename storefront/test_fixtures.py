"""What a test store has in it from the first call on: makers and host carriers that behave as their names say.

All of it is recorded by the acts that the desk and the API call. What a name promises for later is kept by
`keep_promises`, which the store's workers call after all that they do.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import chain

from django.conf import settings
from django.db.models import Exists, Min, OuterRef, Q, QuerySet

from authorization import agreements, approvals, groundwork, offers, policies
from authorization.actors import Actor
from authorization.facts import InvalidFact
from authorization.models import AgreementVersion, ApprovalVersion, Assurance, Fact
from authorization.revocations import RevokeAgreement, RevokeApproval, WorldMoved
from carriers.models import Confidence, HostCarrier
from carriers.versions import FOREVER
from catalog.models import Channel, Condition, Device, ListingHost, OfferState, Organization, Tac, Variant
from storefront import agreement_submissions, withdrawals
from storefront.agreement_submissions import SubmissionRefused
from storefront.models import AgreementFile, AgreementSubmission

BUILDER = Actor("system", "test-mode")
# From the instant at which something goes live.
REVOKES_AFTER = timedelta(minutes=5)
EXPIRES_AFTER = timedelta(days=40)
# In the words of a submission.
DECLINE_ME = "decline me"
_WORD = "fixture of test mode"

ALWAYS, REVOKES, EXPIRES, NEVER = (
    "always-approved",
    "revokes-in-5-min",
    "expires-in-40-days",
    "never-approved",
)


@dataclass(frozen=True)
class Fixture:
    """A maker or a host carrier. `slug` is a host's code too."""

    slug: str
    name: str
    behaviour: str


MAKERS = (
    Fixture(ALWAYS, "Always Approved", "Has granted you an agreement without an end."),
    Fixture(
        REVOKES, "Revokes In 5 Min", "Revokes your agreement five minutes after a device of it goes live."
    ),
    Fixture(
        EXPIRES,
        "Expires In 40 Days",
        "Has granted you an agreement that ends 40 days after the store was made.",
    ),
    Fixture(NEVER, "Never Approved", "Has granted you nothing: NO_AGREEMENT."),
)
HOSTS = (
    Fixture(ALWAYS, "Always Approved", "Has approved every device."),
    Fixture(REVOKES, "Revokes In 5 Min", "Revokes its approval five minutes after a device goes live on it."),
    Fixture(NEVER, "Never Approved", "Still tests every device: CARRIER_NOT_APPROVED."),
)
_SELLER = Fixture("fixture-vendor", "Fixture Vendor", "Sells by the word of whom the store is for.")
_OWN = "own"
# maker -> its device, and that one's variants
_DEVICES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    ALWAYS: ("One", ("AA-ONE-64", "AA-ONE-128")),
    REVOKES: ("Brief", ("R5-BRIEF-64",)),
    EXPIRES: ("Season", ("E40-SEASON-64",)),
    NEVER: ("Dream", ("NA-DREAM-64",)),
}


def furnish(*, kind: str, name: str, slug: str, country: str, contact_email: str, at: datetime) -> None:
    """Fill a new store for an organization of the shop, which is in it by its own name. Inside the store.

    A vendor finds makers that have granted it something; a distributor a maker that lets it grant on, and a vendor that
    sells by its word; a manufacturer a device of its own and a vendor that sells it with its agreement.
    """
    own = Organization.objects.create(
        kind=kind,
        name=name,
        slug=slug,
        country=country,
        contact_email=contact_email,
        is_simulated=True,
        created_at=at,
    )
    policies.set_policy(**policies.POLICY_GATE_SHUT, by=BUILDER, at=at, reason=_WORD)
    hosts = _make_hosts(at)
    makers = {maker.slug: _organization(maker, Organization.Kind.MANUFACTURER, at) for maker in MAKERS}
    variants = {slug: _make_device(maker, *_DEVICES[slug]) for slug, maker in makers.items()}
    if kind == Organization.Kind.MANUFACTURER:
        variants[_OWN] = _make_device(own, "Own", ("OWN-ONE-64",))
    for number, variant in enumerate(chain.from_iterable(variants.values()), start=1):
        Tac.objects.create(code=f"00{number:06d}", variant=variant, is_synthetic=True, source=_WORD)
        for host in hosts.values():
            _approve(host, variant, at)
    match kind:
        case Organization.Kind.VENDOR:
            _grant(ALWAYS, makers[ALWAYS], own, at)
            _grant(REVOKES, makers[REVOKES], own, at)
            _grant(EXPIRES, makers[EXPIRES], own, at, valid_until=at + EXPIRES_AFTER)
        case Organization.Kind.DISTRIBUTOR:
            _grant(ALWAYS, makers[ALWAYS], own, at, may_sublicense=True)
            seller = _organization(_SELLER, Organization.Kind.VENDOR, at)
            _grant("fixture-vendor", own, seller, at)
            _sell(seller, variants[ALWAYS][0], hosts[ALWAYS], at)
        case Organization.Kind.MANUFACTURER:
            seller = _organization(_SELLER, Organization.Kind.VENDOR, at)
            _grant("fixture-vendor", own, seller, at)
            _sell(seller, variants[_OWN][0], hosts[ALWAYS], at)


def keep_promises(*, at: datetime) -> bool:
    """What fixtures revoke five minutes after something went live is revoked for that instant, and the desk answers.

    Inside the store. Was there any of it? What will be revoked is said ahead, as people say it: it shows in the
    exposure until then, and falls by the boundary and its sweep.
    """
    live = ListingHost.objects.filter(state=OfferState.LIVE)
    kept = [
        *_revoke_agreements(live, at),
        *_revoke_approvals(live, at),
        *_answer_submissions(at),
    ]
    return bool(kept)


def _answer_submissions(at: datetime) -> list[AgreementSubmission]:
    """The desk of a test store, where nobody sits: what has a paper is accepted, or declined where it asks for that."""
    open_ones = AgreementSubmission.objects.filter(state=AgreementSubmission.State.SUBMITTED)
    answered = []
    for row in open_ones.filter(Exists(AgreementFile.objects.filter(submission=OuterRef("pk")))).order_by(
        "id"
    ):
        note = "Test mode: nobody was asked."
        try:
            if DECLINE_ME in row.document.lower():
                raise SubmissionRefused("Test mode: its document asked to be declined.")
            agreement_submissions.accept(
                submission=row, assurance=Assurance.VERIFIED, note=note, by=BUILDER, at=at
            )
        except (InvalidFact, SubmissionRefused) as error:
            with suppress(SubmissionRefused):
                agreement_submissions.decline(submission=row, note=error.message, by=BUILDER, at=at)
        answered.append(row)
    return answered


def _revoke_agreements(live: QuerySet[ListingHost], at: datetime) -> list[Fact]:
    active = AgreementVersion.objects.current().filter(
        head__code=_code_of_agreement(REVOKES), state=AgreementVersion.State.ACTIVE
    )
    facts = []
    for version in active.select_related("head"):
        of_maker = live.filter(listing__variant__device__manufacturer=version.grantor_id)
        since = of_maker.aggregate(first=Min("state_changed_at"))["first"]
        if since is not None:
            _revoke(RevokeAgreement(version.head_id, "AGREEMENT_TERMINATED"), "Revokes In 5 Min", since, at)
            facts.append(version.head)
    return facts


def _revoke_approvals(live: QuerySet[ListingHost], at: datetime) -> list[Fact]:
    on_host = live.filter(host__code=REVOKES).order_by().values_list("listing__variant_id")
    facts = []
    for variant_id, since in on_host.annotate(first=Min("state_changed_at")):
        approved = ApprovalVersion.objects.current().filter(
            host__code=REVOKES, variant_id=variant_id, state=ApprovalVersion.State.APPROVED
        )
        for version in approved.select_related("head"):
            _revoke(RevokeApproval(version.head_id, "CARRIER_WITHDRAWS"), "Revokes In 5 Min", since, at)
            facts.append(version.head)
    return facts


def _revoke(change: RevokeAgreement | RevokeApproval, whose: str, since: datetime, at: datetime) -> None:
    effective_at = since + REVOKES_AFTER
    day = effective_at if effective_at > at else None
    seen = withdrawals.preview(change, at=at, effective_at=day)
    # Whoever publishes meanwhile moves the world; the workers' next look meets it again.
    with suppress(WorldMoved):
        withdrawals.confirm(
            change,
            digest=seen.impact.digest,
            requested_by=whose,
            word_received_at=at,
            note=_WORD,
            by=BUILDER,
            at=at,
            effective_at=day,
            token=seen.impact.token,
        )


# --- the ground -------------------------------------------------------------------------------------------------


def _make_hosts(at: datetime) -> dict[str, HostCarrier]:
    hosts = {}
    for number, fixture in enumerate(HOSTS, start=1):
        # 001 is the country code of test networks (ITU-T E.212).
        hosts[fixture.slug] = HostCarrier.objects.create(
            code=fixture.slug, name=fixture.name, plmn=f"001-{number:02d}"
        )
    with groundwork.recording(by=BUILDER, at=at, reason=_WORD) as recorder:
        for host in hosts.values():
            recorder.hosting(
                mvno=settings.SHOP_MVNO,
                host=host,
                product_name="",
                fields={"plmn": host.plmn, "date_confidence": Confidence.LOW, "note": _WORD},
                valid_from=at,
            )
    return hosts


def _make_device(maker: Organization, name: str, models: tuple[str, ...]) -> list[Variant]:
    device = Device.objects.create(
        manufacturer=maker,
        brand=maker.name[:64],
        marketing_name=name,
        slug=f"{maker.slug}-{name.lower()}",
    )
    return [
        Variant.objects.create(device=device, slug=f"{device.slug}-{model.lower()}", model_number=model)
        for model in models
    ]


def _organization(fixture: Fixture, kind: str, at: datetime) -> Organization:
    """The organization that the store is for may bear the same name; it was there first."""
    taken = Organization.objects.filter(Q(slug=fixture.slug) | Q(name=fixture.name)).exists()
    return Organization.objects.create(
        kind=kind,
        slug=f"{fixture.slug}-fixture" if taken else fixture.slug,
        name=f"{fixture.name} (fixture)" if taken else fixture.name,
        is_simulated=True,
        created_at=at,
    )


def _approve(host: HostCarrier, variant: Variant, at: datetime) -> None:
    approvals.record_approval(
        code=f"CA-{host.code}-{variant.model_number}".upper(),
        host=host,
        variant=variant,
        state="in_test" if host.code == NEVER else "approved",
        valid_from=at,
        document=_WORD,
        by=BUILDER,
        at=at,
    )


def _grant(
    name: str,
    grantor: Organization,
    grantee: Organization,
    at: datetime,
    *,
    may_sublicense: bool = False,
    valid_until: datetime = FOREVER,
) -> None:
    agreements.record_agreement(
        code=_code_of_agreement(name),
        grantor=grantor,
        grantee=grantee,
        may_sublicense=may_sublicense,
        assurance=Assurance.VERIFIED,
        models="*",
        territories="*",
        channels="*",
        conditions="*",
        valid_from=at,
        valid_until=valid_until,
        document=_WORD,
        by=BUILDER,
        at=at,
    )


def _code_of_agreement(name: str) -> str:
    return f"AG-{name}".upper()


def _sell(seller: Organization, variant: Variant, host: HostCarrier, at: datetime) -> None:
    terms = offers.ListingTerms(
        variant=variant,
        hosts=(host,),
        condition=Condition.NEW,
        territory=settings.SHOP_TERRITORY,
        channel=Channel.WEB,
        description=_WORD,
        price_amount=Decimal("199.00"),
        price_currency="USD",
        on_hand=20,
    )
    saved = offers.save_listing(
        vendor=seller, sku=f"FIXTURE-{variant.model_number}", terms=terms, by=BUILDER, at=at
    )
    offers.publish_listing(listing=saved.listing, by=BUILDER, at=at)
