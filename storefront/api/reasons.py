"""Reasons of a refusal as a vendor may read them, each with the way forward."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parseaddr
from typing import Any

from django.conf import settings

from authorization.decisions import Answer
from authorization.models import AgreementVersion
from authorization.rules import REASON_CODES, Reason
from catalog.models import Organization, Variant
from catalog.selectors import Judged
from storefront.agreement_submissions import waiting_for
from storefront.api.times import rfc3339
from storefront.api.verdicts import present_cautions
from storefront.models import AgreementSubmission

RADIO_INCOMPATIBLE = "RADIO_INCOMPATIBLE"
# Beside reasons of agreements: papers that would help lie at the desk already.
DOCUMENT_PENDING = "DOCUMENT_PENDING"
ERROR, WARNING, INFO = "ERROR", "WARNING", "INFO"
SEVERITIES = (ERROR, WARNING, INFO)

# Somebody's word against the vendor's goods: the vendor can only say that it is mistaken.
_APPEALABLE = frozenset(
    {
        "ON_HOLD",
        "VENDOR_SUSPENDED",
        "AGREEMENT_SUSPENDED",
        "AGREEMENT_REVOKED",
        "CARRIER_APPROVAL_SUSPENDED",
        "CARRIER_APPROVAL_REVOKED",
    }
)
_APPEAL = {"rel": "appeal", "method": "POST", "title": "Appeal", "href": "/v1/cases"}
_SUBMIT = {
    "rel": "submit-agreement",
    "method": "POST",
    "title": "Submit an agreement that covers it",
    "href": "/v1/agreements",
}
_REQUEST_ACCEPTANCE = {
    "rel": "request-acceptance",
    "method": "POST",
    "title": "Ask the host carrier to accept it",
    "href": "/v1/technical-acceptances",
}


@dataclass(frozen=True)
class Papers:
    """What may be named to a vendor beside a refusal: codes of agreements that it holds, and what it submitted.

    `waiting`: by variant id, its open submissions that would cover the variant.
    """

    documents: frozenset[str] = frozenset()
    waiting: Mapping[int, Sequence[AgreementSubmission]] = field(default_factory=dict)


def own_documents(vendor: Organization, codes: Iterable[str]) -> frozenset[str]:
    """Of these codes, those of agreements that this vendor holds: the only documents ever named to it."""
    wanted = {code for code in codes if code}
    if not wanted:
        return frozenset()
    held = AgreementVersion.objects.filter(grantee=vendor, head__code__in=wanted)
    return frozenset(held.values_list("head__code", flat=True))


def papers_beside(vendor: Organization, answers: Iterable[Answer]) -> Papers:
    """What may be named beside the reasons of these answers to the vendor. At most three queries."""
    given = list(answers)
    documents = own_documents(vendor, (reason.document for answer in given for reason in answer.reasons))
    lacking = {
        answer.question.variant_id
        for answer in given
        if any(reason.check == "agreement" for reason in answer.reasons)
    }
    if not lacking:
        return Papers(documents)
    variants = Variant.objects.select_related("device").filter(pk__in=lacking)
    return Papers(documents, waiting_for(vendor, variants))


def present_answer(answer: Answer, papers: Papers, *, radio: Judged | None = None) -> list[dict[str, Any]]:
    """The reasons of an answer of now, and after them which papers wait for the desk already."""
    shown = present_reasons((reason.as_json() for reason in answer.reasons), papers.documents, radio=radio)
    if any(each["check"] == "agreement" for each in shown):
        shown += [present_waiting(row) for row in papers.waiting.get(answer.question.variant_id, ())]
    return shown


def present_reasons(
    reasons: Iterable[Mapping[str, Any]], own: frozenset[str], *, radio: Judged | None = None
) -> list[dict[str, Any]]:
    """Each once: of records that are not named to the vendor, several may read alike.

    `radio`: the verdict that a refusal for the radio used; how sure it is stands beside that reason.
    """
    shown = [present_reason(reason, own) for reason in reasons]
    if radio is not None:
        for each in shown:
            if each["code"] == RADIO_INCOMPATIBLE:
                each["cautions"] = present_cautions(radio.cautions)
    return list(
        {(each["code"], each["message"], each["cure"], each.get("document")): each for each in shown}.values()
    )


def present_reason(reason: Mapping[str, Any], own: frozenset[str]) -> dict[str, Any]:
    """`reason` as authorization.rules.Reason.as_json writes it, from an answer or from a kept decision.

    Its `detail`, which names the papers of others, is for the desk only.
    """
    document = reason["document"] if reason["document"] in own else ""
    shown = {
        "code": reason["code"],
        "check": reason["check"],
        "severity": ERROR,
        "message": reason["message"],
        "curable": reason["curable"],
        "cure_by": reason["cure_by"],
        # Decisions from before cures were said do not have one.
        "cure": reason.get("cure", ""),
        "links": [_meaning(reason["code"]), *_ways_forward(reason, document)],
    }
    if document:
        shown["document"] = document
    return shown


def present_foretold(reason: Reason, falls_at: datetime, own: frozenset[str]) -> dict[str, Any]:
    """A reason that the decision will give from `falls_at` on, if nothing is done until then."""
    shown = present_reason(reason.as_json(), own)
    shown |= {"severity": WARNING, "message": f"From {falls_at:%Y-%m-%d %H:%M} UTC on: {reason.message}"}
    if reason.code == "AGREEMENT_EXPIRED" and reason.document in own:
        # What has not ended yet is renewed, and not made anew.
        shown["cure"] = f"Renew {reason.document} before it ends."
    return shown


def present_waiting(submission: AgreementSubmission) -> dict[str, Any]:
    """That an agreement is looked at already: no reason of the refusal, but what to know beside it."""
    path = f"/v1/agreements/{submission.code}"
    since = submission.submitted_at
    return {
        "code": DOCUMENT_PENDING,
        "check": "agreement",
        "severity": INFO,
        "message": f"{submission.code}, which you submitted on {since:%Y-%m-%d}, waits for the shop's desk.",
        "curable": True,
        "cure_by": "shop",
        "cure": "Wait for the desk's answer, or add a document that shows more.",
        "document": submission.code,
        "links": [
            _meaning(DOCUMENT_PENDING),
            {"rel": "submission", "method": "GET", "title": f"Submitted {rfc3339(since)}", "href": path},
            {
                "rel": "add-document",
                "method": "POST",
                "title": "Add a document",
                "href": f"{path}/documents",
            },
        ],
    }


def _meaning(code: str) -> dict[str, str]:
    return {
        "rel": "describedby",
        "method": "GET",
        "title": "What this reason means",
        "href": f"/v1/reasons/{code}",
    }


def _ways_forward(reason: Mapping[str, Any], document: str) -> list[dict[str, str]]:
    code = reason["code"]
    if code in _APPEALABLE:
        return [_APPEAL]
    if reason["check"] == "approval":
        # Carriers test what somebody asks them to: a vendor may be the one who asks.
        return [_REQUEST_ACCEPTANCE]
    if not reason["curable"]:
        return []
    if code == "AGREEMENT_NOT_VERIFIED" and document:
        href = f"/v1/agreements/{document}/documents"
        return [{"rel": "add-document", "method": "POST", "title": "Show more of it", "href": href}, _desk()]
    if code == "AGREEMENT_EXPIRED" and document:
        href = f"/v1/agreements/{document}/documents"
        return [{"rel": "renew", "method": "POST", "title": "Submit its renewal", "href": href}]
    return [_SUBMIT] if reason["check"] == "agreement" else [_desk()]


def _desk() -> dict[str, str]:
    return {
        "rel": "desk",
        "title": "Write to the shop's desk",
        "href": f"mailto:{parseaddr(settings.DEFAULT_FROM_EMAIL)[1]}",
    }


def title_of(code: str) -> str:
    """What a code means, in a few words; the code itself where nobody knows it."""
    row = REASON_CODES.get(code)
    return row.title if row is not None else code
