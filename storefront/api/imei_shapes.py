"""What a phone's number says."""

from carriers.admission import Outcome
from storefront.api.catalog_shapes import VariantShape, VerdictShape
from storefront.api.shapes import Shape, day, flag, instant, many, one, open_enum, text
from storefront.imei_check import Kind


class NumberShape(Shape):
    """The number, without itself."""

    kind = open_enum(("IMEI", "IMEISV"))
    tac = text("The type allocation code.")
    is_test = flag("Its type code is of a lab or invented.")


class WordShape(Shape):
    """A code, and its words."""

    code = text()
    message = text()


class AdmissionShape(Shape):
    """May a customer's own phone be activated on this host?"""

    outcome = open_enum(Outcome)
    reasons = many(WordShape)
    limits = many(WordShape)
    cautions = many(WordShape)


class BadgeShape(Shape):
    """What the host says of the model."""

    state = open_enum(("approved", "limits", "refused", "unknown"))
    message = text()
    detail = text(allow_blank=True)


class HostAnswerShape(Shape):
    """What holds on one host."""

    host = text("The code of the host carrier.")
    name = text()
    fit = one(VerdictShape, "Null: radio or network are not on record.", allow_null=True)
    admission = one(AdmissionShape)
    approval = one(BadgeShape)
    is_sold_here = flag("The shop sells exactly this variant for this host now, whatever `on` says.")


class ImeiAnswerShape(Shape):
    """Which model a number belongs to, and what holds of it per host. The number itself is never repeated."""

    kind = open_enum((Kind.KNOWN, Kind.UNKNOWN_MODEL))
    number = one(NumberShape, allow_null=True)
    variant = one(VariantShape, "Null: the model is not on record.", allow_null=True)
    on = day()
    decided_at = instant()
    hosts = many(HostAnswerShape)
