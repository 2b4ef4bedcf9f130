"""A reseller agreement as the API shows it, and what is submitted of one."""

from authorization.models import Assurance
from authorization.revocations import WITHDRAWAL_REASONS
from catalog.models import Organization
from storefront.api.agreement_output import STATUSES, SUBMISSION_STATUSES
from storefront.api.shapes import (
    LinkShape,
    Shape,
    flag,
    instant,
    many,
    number,
    one,
    open_enum,
    page_of,
    text,
    texts,
)
from storefront.models import AgreementSubmission

_ENDS = "The end itself no longer counts. Null: it has none."


class AgreementPartyShape(Shape):
    """A manufacturer, a distributor or a vendor."""

    slug = text()
    name = text()
    kind = open_enum(Organization.Kind.values)


class AgreementTermsShape(Shape):
    territories = texts("ISO 3166-1 codes, or `*`.")
    channels = texts("`web`, ..., or `*`.")
    conditions = texts("`new`, ..., or `*`.")
    may_sublicense = flag("Whether the grantee may grant it on.")
    valid_from = instant()
    valid_until = instant(_ENDS, allow_null=True)


class AgreementDocumentShape(Shape):
    """A file that was submitted: fetched as a download."""

    sha256 = text()
    name = text()
    content_type = text()
    size = number("Bytes.")
    at = instant()
    submission = text("The code of the submission that it came with.")
    href = text()


class AgreementBriefShape(Shape):
    """A submission about an agreement on record."""

    code = text()
    kind = open_enum(AgreementSubmission.Kind.values)
    status = open_enum(SUBMISSION_STATUSES)
    valid_until = instant(_ENDS, allow_null=True)
    submitted_at = instant()
    href = text()


class AgreementSummaryShape(AgreementTermsShape):
    """An agreement on record, or a submission of one: `object` says which."""

    code = text("Stays the same from the submission to the record.")
    object = open_enum(("agreement", "agreement_submission"))
    status = open_enum(
        (*STATUSES, *SUBMISSION_STATUSES),
        "Of a record what counts at this instant. A submission opens nothing, whatever its status.",
    )
    role = open_enum(("grantee", "grantor"), "The caller's.")
    grantor = one(AgreementPartyShape)
    grantee = one(AgreementPartyShape)
    covers_all_models = flag("Also those to come.")
    model_count = number("Null where it covers all.", allow_null=True)
    document = text("What was shown, in words.", allow_blank=True)
    version = number()
    links = many(LinkShape, "What you may do with it now.")
    # Of a record.
    assurance = open_enum(Assurance.values, "Of a record: who says so.", required=False)
    revoked_at = instant("Of a record. It may lie ahead.", required=False, allow_null=True)
    reason_code = open_enum(
        WITHDRAWAL_REASONS, "Of a record: why it was revoked.", required=False, allow_null=True
    )
    # Of a submission.
    kind = open_enum(AgreementSubmission.Kind.values, "Of a submission.", required=False)
    agreement = text("Of a submission: what it became, or what it renews.", required=False, allow_null=True)
    submitted_at = instant(required=False)
    decided_at = instant(required=False, allow_null=True)
    decision_note = text("What the desk says.", required=False, allow_null=True)


class AgreementShape(AgreementSummaryShape):
    """An agreement on record, or a submission of one, with its models and the caller's own papers."""

    models = texts("Slugs of variants, or `*`.")
    documents = many(AgreementDocumentShape, "The files that you submitted.")
    submissions = many(AgreementBriefShape, "Of a record: what you submitted of it.", required=False)


class AgreementWithdrawalShape(Shape):
    """What was taken away."""

    offers = number("How many offers cannot be sold any more, or from `effective_at` on.")
    offers_later = number("How many more cannot be sold from the end on that it sets: `valid_until`.")
    effective_at = instant()
    revision = number("Null in a dry run.", allow_null=True)
    reason_code = open_enum(WITHDRAWAL_REASONS)


class AgreementActShape(AgreementShape):
    """The agreement after the act, and what it took away."""

    withdrawal = one(AgreementWithdrawalShape, required=False)


class AgreementVersionShape(AgreementTermsShape):
    """The whole record as it was known from `revision` on."""

    version = number()
    revision = number()
    is_current = flag()
    assurance = open_enum(Assurance.values)
    models = texts("Slugs of variants, or `*`.")
    revoked_at = instant(allow_null=True)
    reason_code = open_enum(WITHDRAWAL_REASONS, allow_null=True)


AgreementsShape = page_of(AgreementSummaryShape)
AgreementVersionsShape = page_of(AgreementVersionShape)
