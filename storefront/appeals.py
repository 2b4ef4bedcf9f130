"""Appeals: a party that thinks a refusal or a withdrawal is wrong says so, and the desk decides.

About an offer of its own that is blocked or suspended, about all that one sweep took from it, or about an agreement
that it grants or holds. What the desk gives back comes back by the same way as everything else: the withdrawal is
undone, or the party's goods are let through the hold, in the transaction that closes the case.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import Q, TextChoices

from authorization import holds
from authorization.actors import Actor
from authorization.decisions import decide_offers
from authorization.facts import InvalidFact
from authorization.models import (
    AgreementVersion,
    Decision,
    Delisting,
    HoldTarget,
    HoldVersion,
    Revocation,
    Sweep,
)
from authorization.transactions import one_transaction
from catalog.models import ListingHost, OfferState, Organization
from storefront import cases, takedowns, withdrawals
from storefront.cases import CaseRefused
from storefront.models import Case, TakedownRequest
from storefront.rights import Party

# Open appeals of one party: far more than people read, and enough for a vendor whose whole range was stopped.
OPEN_AT_MOST = 100

# Of what a sweep took, so many are looked at for whose word it was.
_LOOKED_AT = 100
# What a decision is bound to of a listing, beside its variant.
_CONTENT = ("territory", "channel", "condition")
_APPEALABLE = (OfferState.SUSPENDED, OfferState.BLOCKED)


class AlreadyOpen(ValueError):
    """There is an open appeal about the same. `case` is its code."""

    def __init__(self, case: str) -> None:
        super().__init__(f"Your appeal {case} about this is open; go on there.")
        self.case = case


class TooManyAppeals(ValueError):
    """As many are open as may be."""

    def __init__(self) -> None:
        super().__init__(f"{OPEN_AT_MOST} appeals of yours are open. Withdraw one, or wait for a decision.")


class NothingToAppeal(ValueError):
    """The offer or the agreement is not refused: there is nothing to appeal."""


class Remedy(TextChoices):
    NONE = "none", "nothing more: what there was to do is done"
    LET_THROUGH = "let_through", "let the party's goods through the hold"
    UNDO = "undo", "undo the whole withdrawal"


@dataclass(frozen=True)
class Cause:
    """What an appeal is about."""

    subject: str
    offer: ListingHost | None = None
    decision: Decision | None = None
    revocation: Revocation | None = None


# --- what may be appealed ---------------------------------------------------------------------------------------


def cause_of_offer(vendor: Organization, *, sku: str, host_code: str) -> Cause | None:
    """An offer of this vendor, by its SKU and host; None: it has no such offer. Raises NothingToAppeal."""
    offers = ListingHost.objects.select_related("listing", "host")
    offer = offers.filter(listing__vendor=vendor, listing__sku=sku, host__code=host_code).first()
    if offer is None:
        return None
    if offer.state not in _APPEALABLE:
        raise NothingToAppeal(
            f"{sku} on {host_code} is {offer.state}; an appeal is about what is suspended or blocked."
        )
    refusals = Decision.objects.filter(offer=offer, outcome=Decision.Outcome.DENY)
    decision = refusals.order_by("-revision", "-valid_at").first()
    return Cause(
        subject=f"Appeal: {sku} on {offer.host}",
        offer=offer,
        decision=decision,
        revocation=_revocation_behind(offer, decision),
    )


def cause_of_sweep(vendor: Organization, *, sweep_id: int) -> Cause | None:
    """The withdrawal that took offers of this vendor off sale, by its sweep; None: this sweep took none of its own."""
    taken = Delisting.objects.filter(sweep=sweep_id, offer__listing__vendor=vendor)
    looked_at = list(taken.select_related("decision").order_by("id")[:_LOOKED_AT])
    if not looked_at:
        return None
    sweep = Sweep.objects.select_related("revocation").get(pk=sweep_id)
    # Another sweep that is under way may have met the offers first.
    revocation = sweep.revocation or _on_records(
        reason["document"] for row in looked_at for reason in row.decision.reasons if reason.get("document")
    )
    if revocation is None:
        raise NothingToAppeal(
            "Nobody withdrew anything then: records ended by themselves. Renew them instead."
        )
    return Cause(
        subject=f"Appeal: what was taken off sale on {sweep.started_at:%Y-%m-%d %H:%M} UTC",
        revocation=revocation,
    )


def cause_of_agreement(party: Organization, *, code: str) -> Cause | None:
    """The last withdrawal of an agreement that this party grants or holds; None: it has no such agreement."""
    parties = Q(grantor=party) | Q(grantee=party)
    version = AgreementVersion.objects.current().filter(parties, head__code=code).first()
    if version is None:
        return None
    # Its own, or the hold that suspends it.
    suspends = HoldTarget.objects.filter(
        version__rev_to=None, version__released_at=None, part=0, dimension="fact", value=str(version.head_id)
    )
    named = Q(fact=version.head) | Q(fact__in=suspends.values("version__head"))
    revocation = Revocation.objects.filter(named).order_by("-id").first()
    if revocation is None:
        raise NothingToAppeal(f"{code} was neither revoked nor narrowed nor suspended.")
    return Cause(subject=f"Appeal: agreement {code}", revocation=revocation)


def _revocation_behind(offer: ListingHost, decision: Decision | None) -> Revocation | None:
    """The withdrawal that it follows from: of a record that its reasons name, or the one whose sweep met the offer."""
    if decision is not None:
        named = _on_records(reason["document"] for reason in decision.reasons if reason.get("document"))
        if named is not None:
            return named
    if offer.state != OfferState.SUSPENDED:
        return None
    delisting = offer.delistings.select_related("sweep__revocation").order_by("-id").first()
    return delisting.sweep.revocation if delisting is not None and delisting.sweep is not None else None


def _on_records(codes: Iterable[str]) -> Revocation | None:
    found = Revocation.objects.filter(fact__code__in=set(codes)).select_related("fact")
    return found.order_by("-id").first()


# --- acts -------------------------------------------------------------------------------------------------------


def appeal(*, party: Organization, cause: Cause, statement: str, by: Actor, at: datetime) -> Case:
    """Open the case. Raises AlreadyOpen, TooManyAppeals, InvalidFact."""
    with transaction.atomic():
        # One by one: two at once must not both be the only one, or the last that there is room for.
        Organization.objects.select_for_update(no_key=True).get(pk=party.pk)
        opened = Case.objects.filter(organization=party, kind=Case.Kind.APPEAL).exclude(
            state=Case.State.CLOSED
        )
        about = (
            Q(offer=cause.offer) if cause.offer is not None else Q(offer=None, revocation=cause.revocation)
        )
        twin = opened.filter(about).first()
        if twin is not None:
            raise AlreadyOpen(twin.code)
        if opened.count() >= OPEN_AT_MOST:
            raise TooManyAppeals
        return cases.open_case(
            kind=Case.Kind.APPEAL,
            party=Party(organization=party),
            subject=cause.subject,
            statement=statement,
            offer=cause.offer,
            decision=cause.decision,
            revocation=cause.revocation,
            by=by,
            at=at,
        )


def decide(
    *,
    case: Case,
    outcome: str,
    resolution: str,
    remedy: str,
    by: Actor,
    at: datetime,
    seen_version: int | None = None,
) -> Case:
    """The desk decides: the case is closed and what it gives back comes back, in one transaction.

    Raises CaseRefused, InvalidFact.
    """
    if case.kind != Case.Kind.APPEAL:
        raise CaseRefused("A takedown request is decided on its own page.")
    resolution = cases.check_text("resolution", resolution)
    if outcome not in (Case.Outcome.UPHELD, Case.Outcome.REVERSED, Case.Outcome.PARTLY):
        raise InvalidFact("outcome", "Take upheld, reversed or partly reversed.")
    if remedy not in remedies_of(case):
        raise InvalidFact("remedy", "This case leaves no room for that; choose another.")
    if outcome == Case.Outcome.UPHELD and remedy != Remedy.NONE:
        raise InvalidFact("remedy", "What stays as it was decided gives nothing back; choose nothing more.")
    if outcome != Case.Outcome.UPHELD and remedy == Remedy.NONE and _still_refused(case, at=at):
        raise InvalidFact(
            "remedy",
            "It is refused for the same reasons still. Choose what gives it back, or do that first and then decide.",
        )
    with one_transaction():
        # The fence comes before the rows.
        _give_back(case, remedy, resolution=resolution, by=by, at=at)
        closed = cases.close(
            case=case, outcome=outcome, resolution=resolution, by=by, at=at, seen_version=seen_version
        )
    return closed


def remedies_of(case: Case) -> list[str]:
    """What the desk can give back, as the withdrawal stands now."""
    found = [str(Remedy.NONE)]
    revocation = case.revocation
    if revocation is None or revocation.reinstatements.filter(is_partial=False).exists():
        return found
    if revocation.kind == Revocation.Kind.HOLD:
        now = HoldVersion.objects.current().filter(head=revocation.fact).first()
        if now is None or now.released_at is not None:
            return found
        names_records = now.targets.filter(part=0, dimension="fact").exists()
        if not names_records and (case.offer is not None or cases.party_of(case).is_vendor):
            found.append(str(Remedy.LET_THROUGH))
    return [*found, str(Remedy.UNDO)]


def _give_back(case: Case, remedy: str, *, resolution: str, by: Actor, at: datetime) -> None:
    revocation = case.revocation
    if remedy == Remedy.NONE or revocation is None:
        return
    if remedy == Remedy.LET_THROUGH:
        withdrawals.undo(
            revocation=revocation,
            reason=resolution,
            is_mistake=False,
            by=by,
            at=at,
            part=holds.Exemption(targets=_goods_of(case), valid_from=at, note=f"Appeal {case.code}"),
        )
        return
    request = TakedownRequest.objects.select_related("case", "hold").filter(revocation=revocation).first()
    if request is not None:
        # Who asked for it is told, with words of its own: the appeal is not its matter.
        takedowns.lift(
            request=request,
            reason="The desk looked at it again and put these goods back on sale.",
            outcome=Case.Outcome.REVERSED,
            by=by,
            at=at,
        )
        return
    withdrawals.undo(revocation=revocation, reason=resolution, is_mistake=True, by=by, at=at)


def _goods_of(case: Case) -> tuple[holds.Target, ...]:
    """What goes on being sold under the hold: the offer of the appeal, or all of the party's.

    Of an offer what was refused, and not what its vendor makes of the listing later.
    """
    if case.offer is not None:
        listing = case.offer.listing
        if case.decision is not None:
            asked = case.decision.question
        else:
            asked = {"variant_id": listing.variant_id, **{name: getattr(listing, name) for name in _CONTENT}}
        return (
            ("listing", str(listing.pk)),
            ("host", str(case.offer.host_id)),
            ("variant", str(asked["variant_id"])),
            *((name, str(asked[name])) for name in _CONTENT),
        )
    return (("vendor", str(case.organization_id)),)


def _still_refused(case: Case, *, at: datetime) -> bool:
    """Is what the appeal is about refused for a reason that it was refused for? Raises DecisionUnavailable."""
    if case.offer is None or case.decision is None:
        return len(remedies_of(case)) > 1
    before = {reason["code"] for reason in case.decision.reasons}
    return any(bool(before & set(answer.reason_codes)) for answer in decide_offers([case.offer], at=at))
