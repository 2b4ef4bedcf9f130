"""What pre-flight answers: restrictions and their reasons."""

from authorization.rules import CHECKS, REASON_CODES
from carriers.cautions import Code
from catalog.models import Channel, Condition
from storefront.api.reasons import DOCUMENT_PENDING, SEVERITIES
from storefront.api.shapes import LinkShape, Shape, flag, instant, many, number, open_enum, text, texts


class CautionShape(Shape):
    """How sure an input of a verdict is."""

    code = open_enum(Code)
    message = text()


class ReasonShape(Shape):
    """One reason of a refusal. What each code means and what to do next: `/v1/reasons/{code}`."""

    code = open_enum((*REASON_CODES, DOCUMENT_PENDING))
    check = open_enum(CHECKS, "Which check failed.")
    severity = open_enum(
        SEVERITIES,
        "`INFO`: no reason of a refusal, but what to know beside it, e.g. papers that wait for the desk.",
    )
    message = text("The nearest miss, in words.")
    curable = flag("Whether a document or an act of somebody's would cure it.")
    cure_by = open_enum(
        sorted({"grantor", *(row.cure_by for row in REASON_CODES.values())}),
        "Who can cure it.",
        allow_blank=True,
    )
    cure = text("The smallest thing that would help. Empty on decisions from before cures were kept.")
    document = text("The agreement or submission it is about: only ever one of your own.", required=False)
    cautions = many(
        CautionShape, "`RADIO_INCOMPATIBLE`: how sure the inputs of the verdict are.", required=False
    )
    links = many(LinkShape)


class RestrictionShape(Shape):
    """The device may not be listed so on this host."""

    host = text("The code of the host carrier.")
    territory = text()
    condition = open_enum(Condition.values)
    channel = open_enum(Channel.values)
    software = text()
    reasons = many(ReasonShape)


class RestrictionsShape(Shape):
    """The answer to one question. Empty `restrictions`: it may be listed."""

    variant = text("The slug of the variant.")
    hosts = texts("The codes of the hosts that were asked about.")
    valid_at = instant()
    revision = number("The state of authority that was asked.")
    restrictions = many(RestrictionShape)


class RestrictionsResultsShape(Shape):
    """One result per question, in their order."""

    results = many(RestrictionsShape)
