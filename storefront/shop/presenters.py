"""A decision in shopper words, and everything else that the templates print.

The words of a refusal come from the one table of reason codes; they never tell of a vendor's legal trouble.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from authorization.decisions import Answer
from authorization.models import PolicyVersion
from authorization.rules import REASON_CODES
from carriers.admission import AdmissionAnswer, Outcome
from carriers.compatibility import Verdict
from carriers.models import HostCarrier
from carriers.verdict_words import describe
from catalog.models import Condition, ListingHost, OfferState, Organization, Variant
from catalog.selectors import Judged
from storefront.carts import SHOP_REASONS
from storefront.models import PrepaidPlan, WaitlistEntry
from storefront.plans import fit_of
from storefront.shop.selectors import ApprovalRecord, CarrierWord, Judgement, Warrant

CONDITION_WORDS: Mapping[str, str] = {
    Condition.NEW: "New",
    Condition.REFURBISHED: "Refurbished: repaired and tested by the seller",
    Condition.USED: "Used: as its last owner left it",
}
CONDITION_NAMES: Mapping[str, str] = {
    Condition.NEW: "New",
    Condition.REFURBISHED: "Refurbished",
    Condition.USED: "Used",
}

NO_RADIO = "Its radio bands are not on record (unverified)"

NOT_ANY_MORE = "It was taken off sale. We are checking whether it may come back."
PUT_ASIDE = "Its seller has put the offer aside for now. Nothing was decided against the phone."
NEVER_OFFERED = "We do not sell this phone."

# What somebody on the waitlist waits for, as it stood when they asked.
WAIT_WORDS: Mapping[str, str] = {
    WaitlistEntry.WaitsFor.STOCK: "You wait for stock.",
    WaitlistEntry.WaitsFor.APPROVAL: "You wait until it may be sold here again, and is in stock.",
}
WAIT_FOR_STOCK = "It may be sold, and none is left: you wait for stock."
WAIT_FOR_LEAVE = "It may not be sold now: you wait until it may be, and is in stock."
WAIT_FOR_SELLER = "Its seller has put it aside: you wait until it is offered again, and is in stock."

# What a policy demands of the radio: what must work, at least.
RADIO_WORDS: Mapping[str, str] = {
    PolicyVersion.Radio.DATA_ONLY: "data",
    PolicyVersion.Radio.PARTIAL_2G: "calls on 2G",
    PolicyVersion.Radio.PARTIAL_3G: "calls on 3G",
    PolicyVersion.Radio.PARTIAL_LTE: "calls, and LTE in parts of the network,",
    PolicyVersion.Radio.FULL: "every service of the network",
}

PLAN_LIMIT_WORDS: Mapping[str, str] = {
    "NO_SERVICE": "no service on this network",
    "NO_VOICE_PATH": "no calls on this network, 911 included",
    "NO_VOLTE": "no calls over LTE",
    "VOICE_UNCONFIRMED": "calls are not confirmed, 911 included",
    "LTE_IN_PARTS": "LTE in parts of the network only",
    "LTE_IN_FEW_PLACES": "LTE in few places only",
    "DATA_3G_ONLY": "3G data only",
    "DATA_2G_ONLY": "2G data only",
    "ACTIVATION_MAY_NEED_VOLTE": "a new line may need calls over LTE",
}


def money(amount: Decimal, currency: str) -> str:
    return f"${amount:,.2f}" if currency == "USD" else f"{amount:,.2f} {currency}"


def name_of(organization: Organization) -> str:
    return f"{organization.name} (simulated)" if organization.is_simulated else organization.name


def reason_in_words(codes: Iterable[str]) -> str:
    """The first reason that we have words for: shoppers need one, not the file."""
    return next((REASON_CODES[code].shopper_text for code in codes if code in REASON_CODES), NOT_ANY_MORE)


def radio_in_words(policy: PolicyVersion) -> str:
    """What must work of a phone's radio; empty where the policy demands nothing of it."""
    return RADIO_WORDS.get(policy.minimum_radio, "")


def why_not(offer: ListingHost, answer: Answer) -> str:
    """Why this offer cannot be bought now; empty if it can."""
    if answer.outcome == "undetermined":
        return SHOP_REASONS["NOT_DECIDED"]
    if not answer.is_allowed:
        return reason_in_words(answer.reason_codes)
    return "" if offer.state == OfferState.LIVE else NOT_ANY_MORE


# --- badges -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Badge:
    """`kind` names the icon and the colour; the text says it without them."""

    kind: str
    text: str
    detail: str
    as_of: datetime
    host: HostCarrier


def badge(host: HostCarrier, word: CarrierWord, *, at: datetime) -> Badge:
    approval = word.approval
    if approval is None and not any(reason.check == "hold" for reason in word.reasons):
        detail = f"{host.name} has not told us about this exact model."
        return Badge("unknown", f"Not checked on {host.name}", detail, at, host)
    if approval is None or {reason.code for reason in word.reasons} - {"CARRIER_APPROVAL_SOFTWARE"}:
        return Badge("refused", f"Not approved on {host.name}", _why_not_approved(host, word), at, host)
    if word.reasons:
        # Which software a phone ships with is said by its offer, and decided there.
        detail = f"{host.name} approved this exact model {_software(approval)} only."
        return Badge("limits", f"Approved on {host.name} with some software", detail, at, host)
    if approval.state == "conditional":
        which = approval.limits or "ask us which before you buy"
        return Badge("limits", f"Works with limits on {host.name}", f"Limits: {which}.", at, host)
    return Badge("approved", f"Approved on {host.name}", f"{host.name} approved this exact model.", at, host)


def _software(approval: ApprovalRecord) -> str:
    starts = f"from {approval.software_from} on" if approval.software_from else ""
    ends = f"before {approval.software_until}" if approval.software_until else ""
    return f"with software {' and '.join(filter(None, [starts, ends]))}"


def _why_not_approved(host: HostCarrier, word: CarrierWord) -> str:
    codes = {reason.code for reason in word.reasons}
    if word.approval is None:
        return _held_unapproved(host, word)
    if "ON_HOLD" in codes or "CARRIER_APPROVAL_SUSPENDED" in codes:
        return "On hold: the approval does not count until the hold is lifted."
    if "CARRIER_APPROVAL_REVOKED" in codes:
        return f"{host.name} has withdrawn its approval."
    if "CARRIER_APPROVAL_EXPIRED" in codes:
        return "The approval has ended."
    state = word.approval.state
    if state in ("requested", "in_test"):
        return f"{host.name} has not finished testing it."
    if state == "rejected":
        return f"{host.name} refused it."
    return "The approval is not in force."


def _held_unapproved(host: HostCarrier, word: CarrierWord) -> str:
    """There is no approval that a hold could suspend. Who holds it follows from why it is held."""
    if "CARRIER_TESTS_PENDING" in word.hold_reasons:
        return f"On hold by the network: {host.name} has not finished testing it."
    if "CARRIER_WITHDRAWS" in word.hold_reasons:
        return f"On hold by the network: {host.name} has not approved it."
    return f"On hold, and {host.name} has not told us that it approved this exact model."


# --- bringing one's own phone -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bring:
    """Whether a network activates such a phone of a customer's own. It says nothing of selling it.

    `kind` names icon and colour. `details`: which limits, or why not. `cautions`: what may go wrong all the same.
    """

    kind: str
    text: str
    details: Sequence[str] = ()
    cautions: Sequence[str] = ()


def bring(host: HostCarrier, answer: AdmissionAnswer | None) -> Bring:
    """`answer` is None where it could not be decided just now."""
    if answer is None:
        return Bring("unknown", f"We cannot check just now for {host.name}")
    limited = f"but {answer.headline}" if answer.headline else "with limits"
    kind, text = {
        Outcome.ADMITTED: ("approved", f"Yes, {host.name} lets it in"),
        Outcome.ADMITTED_WITH_LIMITS: ("limits", f"Yes, {host.name} lets it in, {limited}"),
        Outcome.NOT_ADMITTED: ("refused", f"No, {host.name} does not let it in"),
        Outcome.NOT_KNOWN: ("unknown", f"Not known for {host.name}"),
    }[answer.outcome]
    return Bring(
        kind,
        text,
        [word.words for word in (*answer.reasons, *answer.limits)],
        [word.words for word in answer.cautions],
    )


def minutes(seconds: int) -> str:
    """A time to wait, rounded up."""
    count = -(-seconds // 60)
    return "a minute" if count == 1 else f"{count} minutes"


# --- offers -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PlanChoice:
    plan: PrepaidPlan
    price: str
    fits: bool
    note: str

    @property
    def label(self) -> str:
        return f"{self.plan.name}, {self.price} a month"


def plan_choice(plan: PrepaidPlan, verdict: Verdict | None) -> PlanChoice:
    """What we know of the pair. Where the radio is not on record, the plan is offered and the gap is said."""
    price = money(plan.price_amount, plan.price_currency)
    if verdict is None:
        return PlanChoice(plan, price, True, "not checked with this phone")
    fit = fit_of(plan, verdict)
    note = "; ".join(PLAN_LIMIT_WORDS.get(limit, limit) for limit in fit.limits)
    return PlanChoice(plan, price, fit.fits, note)


def plan_fit_in_words(plan: PrepaidPlan, judged: Judged | None) -> str:
    """For the cart, where the plan was chosen already. Without a full stop."""
    choice = plan_choice(plan, judged.verdict if judged else None)
    if judged is None:
        return "Whether the plan works on this phone was not checked: its radio is not on record"
    said = "The plan fits this phone" if choice.fits else "The plan does not fit this phone"
    return f"{said}: {choice.note}" if choice.note else said


def cautions_in_words(judged: Judged | None) -> list[str]:
    """What is to be said beside a verdict, as sentences. Where there is no verdict, what stands there says why."""
    if judged is None:
        return []
    return [f"{caution.words[0].upper()}{caution.words[1:]}." for caution in judged.cautions]


def plan_in_words(plan: PrepaidPlan | None) -> str:
    if plan is None:
        return "Phone only, no plan"
    return f"With {plan.name}" + (" (simulated)" if plan.is_simulated else "")


def seller_line(
    vendor: Organization, maker: Organization, answer: Answer, warrants: Mapping[int, Warrant]
) -> str:
    """Authorised is said only where every link of the chain was checked with who granted it."""
    if vendor.pk == maker.pk:
        return f"Sold by {name_of(vendor)}, the maker"
    chain = [item.fact_id for item in answer.evidence if item.kind == "agreement"]
    checked = [warrants[fact_id].checked_at for fact_id in chain if fact_id in warrants]
    dates = [date for date in checked if date is not None]
    if chain and len(dates) == len(chain):
        since = f"{min(dates):%-d %B %Y}"
        return f"Sold by {name_of(vendor)}, authorised reseller of {name_of(maker)} (checked {since})"
    return f"Sold by {name_of(vendor)}, which says it may sell {name_of(maker)} phones"


@dataclass(frozen=True)
class Offer:
    """One line that can be bought now. What cannot is no Offer: it has no price to show."""

    row: ListingHost
    price: str
    condition: str
    seller: str
    in_stock: bool
    stock: str

    @property
    def pk(self) -> int:
        return self.row.pk


def offer(row: ListingHost, answer: Answer, warrants: Mapping[int, Warrant]) -> Offer:
    listing = row.listing
    on_hand = listing.stock.on_hand
    return Offer(
        row=row,
        price=money(listing.price_amount, listing.price_currency),
        condition=CONDITION_WORDS[listing.condition],
        seller=seller_line(listing.vendor, listing.variant.device.manufacturer, answer, warrants),
        in_stock=on_hand > 0,
        stock=_stock_words(on_hand),
    )


def _stock_words(on_hand: int) -> str:
    if on_hand == 0:
        return "Out of stock"
    return f"Only {on_hand} left" if on_hand <= 3 else "In stock"


@dataclass(frozen=True)
class HostPanel:
    """One variant on one host: what the carrier says, what the radio can do, what can be bought."""

    host: HostCarrier
    badge: Badge
    fit: str
    # How sure that is: sentences.
    cautions: Sequence[str]
    bring: Bring
    offers: Sequence[Offer]
    plans: Sequence[PlanChoice]
    reason: str


@dataclass(frozen=True)
class VariantBlock:
    variant: Variant
    panels: Sequence[HostPanel]

    @property
    def is_for_sale(self) -> bool:
        return any(panel.offers for panel in self.panels)

    @property
    def is_in_stock(self) -> bool:
        return any(offer.in_stock for panel in self.panels for offer in panel.offers)

    @property
    def is_undecided(self) -> bool:
        """It could not be decided just now: our failure, which passes by itself."""
        return any(panel.reason == SHOP_REASONS["NOT_DECIDED"] for panel in self.panels)


def host_panel(
    host: HostCarrier,
    *,
    badge: Badge,
    judged: Judged | None,
    admission: AdmissionAnswer | None,
    rows: Sequence[ListingHost],
    plans: Sequence[PrepaidPlan],
    judgement: Judgement,
    warrants: Mapping[int, Warrant],
) -> HostPanel:
    offers = [offer(row, judgement.answers[row.pk], warrants) for row in rows if judgement.is_for_sale(row)]
    refusals = [why_not(row, judgement.answers[row.pk]) for row in rows if not judgement.is_for_sale(row)]
    verdict = judged.verdict if judged is not None else None
    return HostPanel(
        host=host,
        badge=badge,
        fit=describe(verdict) if verdict is not None else NO_RADIO,
        cautions=cautions_in_words(judged),
        bring=bring(host, admission),
        offers=offers,
        plans=[plan_choice(plan, verdict) for plan in plans] if offers else [],
        reason=refusals[0] if refusals and not offers else "",
    )


# --- the list -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Card:
    """One variant on the list. Without a price when nothing of it may be sold at this moment."""

    variant: Variant
    price: str
    is_single_price: bool
    is_in_stock: bool
    sellers: int
    badges: Sequence[Badge]
    conditions: Sequence[str]
    reason: str


def card(
    variant: Variant, rows: Sequence[ListingHost], badges: Sequence[Badge], judgement: Judgement
) -> Card:
    on_sale = [row.listing for row in rows if judgement.is_for_sale(row)]
    refusals = [why_not(row, judgement.answers[row.pk]) for row in rows if not judgement.is_for_sale(row)]
    prices = sorted({(listing.price_amount, listing.price_currency) for listing in on_sale})
    return Card(
        variant=variant,
        price=money(*prices[0]) if prices else "",
        is_single_price=len(prices) == 1,
        is_in_stock=any(listing.stock.on_hand for listing in on_sale),
        sellers=len({listing.vendor_id for listing in on_sale}),
        badges=badges,
        conditions=[
            name for value, name in CONDITION_NAMES.items() if any(x.condition == value for x in on_sale)
        ],
        reason=refusals[0] if refusals and not on_sale else "",
    )


@dataclass(frozen=True)
class Alternative:
    variant: Variant
    price: str
    host: HostCarrier


def alternatives(rows: Iterable[ListingHost], judgement: Judgement, *, limit: int) -> list[Alternative]:
    """Only what may be sold now."""
    return [
        Alternative(
            row.listing.variant, money(row.listing.price_amount, row.listing.price_currency), row.host
        )
        for row in rows
        if judgement.is_for_sale(row)
    ][:limit]
