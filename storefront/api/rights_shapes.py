"""Shapes of claims, takedown requests and cases."""

from authorization.models import Assurance
from storefront.api.restriction_shapes import ReasonShape
from storefront.api.shapes import Shape, flag, instant, many, number, one, open_enum, text, texts
from storefront.models import Case, TakedownRequest
from storefront.takedowns import REASONS

_REASONS = [code for codes in REASONS.values() for code in codes]


class ClaimantShape(Shape):
    """A vendor, by the slug that takedown requests name it by."""

    slug = text()
    name = text()


class ClaimEvidenceShape(Shape):
    """One record that a claim rests on. Of records to which you are no party you see the kind and nothing else."""

    kind = open_enum(
        ["policy", "hosting", "agreement", "affiliation", "approval", "equipment", "variant", "network"]
    )
    document = text("The record's code; null: you are no party to it.", allow_null=True)
    version = number(allow_null=True)
    assurance = open_enum(
        Assurance.values, "Of an agreement of yours: whether its grantor confirmed it.", allow_null=True
    )


class ClaimShape(Shape):
    """A live offer of your brands or on your network: somebody claims that you let it be sold."""

    id = text("For `POST /v1/claims/{id}/disclaim`.")
    vendor = one(ClaimantShape)
    sku = text("The vendor's own.")
    manufacturer = text("Slug.")
    device = text()
    variant = text("Slug of the exact model.")
    model_number = text()
    host = text("Code of the host carrier.")
    condition = text()
    territory = text()
    channel = text()
    live_since = instant()
    is_for_sale = flag("False: it may not be sold any more, and its page is being taken down.")
    evidence = many(ClaimEvidenceShape, "What the claim rests on now; empty where it may not be sold.")


class ListingNameShape(Shape):
    vendor = text("Slug.")
    sku = text()


class GoodsShape(Shape):
    """What was named. Each list narrows; within a list any of its names will do."""

    brands = texts("Slugs of manufacturers.", required=False)
    devices = texts("Slugs.", required=False)
    models = texts("Slugs or model numbers of variants.", required=False)
    vendors = texts("Slugs.", required=False)
    listings = many(ListingNameShape, required=False)
    territories = texts(required=False)
    channels = texts(required=False)
    conditions = texts(required=False)


class StoppedShape(Shape):
    """The stop of sales."""

    offers = number("How many were on sale when the request was made, and were not from then on.")
    effective_at = instant("From this instant on nothing of it could be sold.")
    revision = number("The place of the stop in the one order of changes.")


class ProofShape(Shape):
    """The signed proof of removal. Whoever has the link may read it."""

    issued_at = instant()
    href = text("Its page.")
    json_href = text("For a program: what was signed, and the signature.")


class TakedownRequestShape(Shape):
    id = text()
    state = open_enum(TakedownRequest.State.values)
    is_stopping = flag("Whether its hold stands now.")
    reason = open_enum(_REASONS)
    statement = text()
    representative = text("Who spoke for you.")
    goods = one(GoodsShape)
    let_through = texts("Slugs of vendors that go on selling under it.")
    requested_at = instant()
    decided_at = instant(allow_null=True)
    case = text("Code of its case: GET /v1/cases/{code}.")
    stopped = one(StoppedShape, allow_null=True)
    proof = one(ProofShape, "Null until the pages are gone.", allow_null=True)


class MadeTakedownRequestShape(TakedownRequestShape):
    unchanged = flag("True: you had said the same already, and this is that request.", required=False)
    would_stop = number("Of a dry run: how many offers would be taken off sale.", required=False)


class CaseAboutShape(Shape):
    """What the case is about, as far as it has that."""

    sku = text(required=False)
    host = text(required=False)
    decision_id = text("GET /v1/listings/{sku}/decisions has it.", required=False)
    takedown_request = text("Id.", required=False)


class CaseShape(Shape):
    code = text()
    kind = open_enum(Case.Kind.values)
    state = open_enum(Case.State.values, "`open`: the desk's turn; `waiting`: yours.")
    outcome = open_enum(Case.Outcome.values, "Of a closed case.", allow_null=True)
    subject = text()
    about = one(CaseAboutShape)
    opened_at = instant()
    answer_by = instant("By when the desk answers; null where it is not its turn.", allow_null=True)
    closed_at = instant(allow_null=True)
    resolution = text("Why it was closed so.", allow_blank=True)


class CaseMessageShape(Shape):
    sender = open_enum(["desk", "you"])
    body = text()
    at = instant()


class WholeCaseShape(CaseShape):
    reasons = many(ReasonShape, "Why the offer was refused, of an appeal about one.")
    messages = many(CaseMessageShape, "Oldest first.")
