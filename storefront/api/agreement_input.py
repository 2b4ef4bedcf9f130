"""What is sent of a reseller agreement, checked: terms, renewals, less of it, its end, papers."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Literal

from rest_framework import serializers
from rest_framework.request import Request

from authorization.revocations import WITHDRAWAL_REASONS
from authorization.rules import ALL
from carriers.versions import FOREVER
from catalog.models import Organization, Variant
from catalog.selectors import find_variants
from storefront.agreement_submissions import MAX_DOCUMENT, MAX_NOTE
from storefront.api.agreement_output import GRANTEE, GRANTOR, STATUSES, SUBMISSION_STATUSES
from storefront.api.fields import Distinct, Flag, Instant, Members, OneOf, Text, read_body
from storefront.api.files import read_upload
from storefront.api.pagination import PageQuery
from storefront.api.problems import FieldError, Problem, invalid
from storefront.api.variants import unknown_variant_messages

# A maker's whole catalogue, several times over.
MAX_MODELS = 2000
MAX_TERMS = 300
# What a grantor says itself. A distributor does not speak for the manufacturer.
GRANTORS_REASONS = (
    "AGREEMENT_TERMINATED",
    "MANUFACTURER_DISCLAIMS",
    "VENDOR_CONDUCT",
    "SAFETY",
    "RECORD_MISTAKEN",
)
GRANTEES_REASON = "GRANTEE_WITHDRAWS"
_MANUFACTURERS_ONLY = "MANUFACTURER_DISCLAIMS"
_FOLLOWS = "It follows from the acts on the agreement and cannot be chosen."


def _names(**kwargs: Any) -> serializers.ListField:
    return serializers.ListField(
        child=Text(max_length=100),
        allow_empty=False,
        max_length=MAX_MODELS,
        validators=[Distinct()],
        **kwargs,
    )


def _terms(**kwargs: Any) -> serializers.ListField:
    return serializers.ListField(
        child=Text(max_length=16), allow_empty=False, max_length=MAX_TERMS, validators=[Distinct()], **kwargs
    )


class AgreementsQuery(PageQuery):
    status = OneOf(choices=STATUSES, required=False)
    role = OneOf(choices=(GRANTEE, GRANTOR), required=False)
    # By slug; one that nobody has finds nothing.
    grantor = Text(required=False, max_length=64)
    grantee = Text(required=False, max_length=64)
    ends_before = Instant(required=False)


class SubmissionsQuery(PageQuery):
    status = OneOf(choices=SUBMISSION_STATUSES, required=False)


class AgreementBody(Members):
    output_only: ClassVar = {
        "code": "We choose it; it stays the same from the submission to the record.",
        "status": "It follows from what the desk decides: POST /v1/agreements submits, nothing more.",
        "assurance": "The desk chooses it when it accepts; what you grant with your own key is verified.",
        "version": _FOLLOWS,
        "kind": _FOLLOWS,
    }
    # One of the two: who granted it to you, or whom you grant it to.
    grantor = Text(required=False, max_length=64)
    grantee = Text(required=False, max_length=64)
    models = _names(help_text="Slugs or exact model numbers, or `*` alone for all.")
    territories = _terms(help_text="ISO 3166-1 codes, or `*` alone.")
    channels = _terms(help_text="`web`, ..., or `*` alone.")
    conditions = _terms(help_text="`new`, ..., or `*` alone.")
    may_sublicense = Flag(required=False, default=False)
    valid_from = Instant()
    valid_until = Instant(required=False, allow_null=True, help_text="Absent or null: it has no end.")
    document = Text(required=False, default="", allow_blank=True, max_length=MAX_DOCUMENT)


class RenewBody(Members):
    valid_until = Instant(help_text="Later than recorded.")
    document = Text(required=False, default="", allow_blank=True, max_length=MAX_NOTE)


class VerifyBody(Members):
    reason = Text(required=False, default="", allow_blank=True, max_length=MAX_NOTE)


class NarrowBody(Members):
    """What stays. A term that is absent stays as it is."""

    models = _names(required=False)
    territories = _terms(required=False)
    channels = _terms(required=False)
    conditions = _terms(required=False)
    valid_until = Instant(required=False)
    may_sublicense = Flag(required=False)
    reason = Text(max_length=MAX_NOTE)


class RevokeBody(Members):
    reason = Text(max_length=MAX_NOTE)
    reason_code = OneOf(choices=GRANTORS_REASONS, required=False, default=GRANTORS_REASONS[0])
    effective_at = Instant(required=False, help_text="Absent: at once. Until a later time it stays in force.")


class WithdrawBody(Members):
    reason = Text(max_length=MAX_NOTE)
    effective_at = Instant(required=False, help_text="Of an agreement on record. Absent: at once.")


class DocumentQuery(Members):
    name = Text(required=False, max_length=150)
    valid_until = Instant(
        required=False, help_text="Of an agreement on record: the end that the paper shows."
    )


class DocumentFields(Members):
    """What stands beside the file in a multipart body."""

    name = Text(required=False, max_length=150)
    valid_until = Instant(required=False)


class DocumentBody(DocumentFields):
    """A multipart form; or the body is the file itself, and the rest is in the query."""

    file = serializers.FileField(required=False)


# --- read ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SentTerms:
    """`as_grantor`: whether the caller grants; else it shows what it was granted. `terms`: as the acts take them."""

    as_grantor: bool
    terms: dict[str, Any]


def read_agreement(request: Request, caller: Organization) -> SentTerms:
    """Raises Problem with every fault in it."""
    body = read_body(request, AgreementBody)
    faults: list[FieldError] = []
    as_grantor, other = _read_parties(body, caller, faults)
    models = _read_models(body.pop("models"), faults)
    if faults:
        raise invalid(faults)
    parties = {"grantor": caller, "grantee": other} if as_grantor else {"grantor": other, "grantee": caller}
    until = body.pop("valid_until", None)
    return SentTerms(as_grantor, {**parties, **body, "models": models, "valid_until": until or FOREVER})


def read_narrower(request: Request) -> tuple[dict[str, Any], str]:
    """The terms as NarrowAgreement takes them, and the reason. Raises Problem."""
    body = read_body(request, NarrowBody)
    reason = body.pop("reason")
    if not body:
        raise invalid(
            [FieldError("", "required", "Say what is to stay of at least one term, e.g. territories.")]
        )
    faults: list[FieldError] = []
    if "models" in body:
        models = _read_models(body["models"], faults)
        if models == ALL:
            faults.append(
                FieldError("/models", "invalid", "Name the models that stay; leave it out for all of them.")
            )
        else:
            body["models"] = tuple(variant.pk for variant in models if isinstance(variant, Variant))
    if faults:
        raise invalid(faults)
    return {name: tuple(value) if isinstance(value, list) else value for name, value in body.items()}, reason


def check_reason_code(code: str, grantor: Organization) -> None:
    """Raises Problem where it is not for this grantor to say."""
    if code == _MANUFACTURERS_ONLY and grantor.kind != Organization.Kind.MANUFACTURER:
        said = f"{WITHDRAWAL_REASONS[code]}: that is for the manufacturer to say. Take AGREEMENT_TERMINATED."
        raise invalid([FieldError("/reason_code", "invalid_choice", said)])


@dataclass(frozen=True)
class SentDocument:
    name: str
    content: bytes
    valid_until: datetime | None


def read_document(request: Request, query: Mapping[str, Any]) -> SentDocument:
    """Raises Problem."""
    sent = read_upload(request, query, DocumentFields)
    # Beside a form it may stand in the query as well, where mails and links name it.
    until = sent.fields.get("valid_until") or query.get("valid_until")
    return SentDocument(sent.name, sent.content, until)


def _read_parties(
    body: dict[str, Any], caller: Organization, faults: list[FieldError]
) -> tuple[bool, Organization | None]:
    """Whether the caller grants, and the other party; None of whom nothing is known, with a fault that says so."""
    given = {name: body.pop(name) for name in (GRANTOR, GRANTEE) if name in body}
    kinds = Organization.Kind
    is_maker, is_vendor = caller.kind == kinds.MANUFACTURER, caller.kind == kinds.VENDOR
    # Saying one's own name as well is no fault.
    own = [name for name, slug in given.items() if slug == caller.slug]
    for name in own:
        if len(given) == 2:
            del given[name]
    if len(given) != 1:
        detail = "Give `grantor`, who granted it to you, or `grantee`, whom you grant it to: one of the two."
        if is_vendor:
            detail = "Give `grantor`: who granted it to you."
        elif is_maker:
            detail = "Give `grantee`: whom you grant it to."
        faults.append(FieldError("/grantee" if is_maker else "/grantor", "required", detail))
        return is_maker, None
    [(name, slug)] = given.items()
    as_grantor = name == GRANTEE
    if as_grantor and is_vendor:
        faults.append(
            FieldError(
                "/grantee", "not_yours", "A vendor grants nothing. Give `grantor`: who granted it to you."
            )
        )
        return False, None
    if not as_grantor and is_maker:
        faults.append(
            FieldError("/grantor", "not_yours", "A manufacturer is granted nothing. Give `grantee`.")
        )
        return True, None
    wanted = (kinds.DISTRIBUTOR, kinds.VENDOR) if as_grantor else (kinds.MANUFACTURER, kinds.DISTRIBUTOR)
    found = Organization.objects.filter(slug=slug, kind__in=wanted).first()
    if found is None:
        said = " or ".join(str(kind) for kind in wanted)
        faults.append(
            FieldError(f"/{name}", "unknown_party", f"No {said} has this slug; ask the shop's desk for it.")
        )
    return as_grantor, found


def _read_models(names: list[str], faults: list[FieldError]) -> list[Variant] | Literal["*"]:
    if names == [ALL]:
        return "*"
    found = find_variants(names)
    unknown = [name for name in names if name not in found]
    messages = unknown_variant_messages(unknown) if unknown else {}
    faults += [
        FieldError(f"/models/{place}", "unknown_variant", messages[name])
        for place, name in enumerate(names)
        if name in messages
    ]
    return list({variant.pk: variant for variant in found.values()}.values())


def refused_for_key(what: str) -> Problem:
    """Of an act that opens sales in an organization's name: the desk must know who speaks."""
    return Problem(
        "not_for_this_key",
        f"{what} opens sales in your organization's name: it takes a key whose representative the shop's desk has "
        "verified. Ask the desk for one.",
    )
