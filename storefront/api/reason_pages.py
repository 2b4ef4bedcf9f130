"""A page per reason code: what it means, what to do next, and by which call. Public, as the pages of problems are."""

from collections.abc import Mapping
from dataclasses import dataclass

from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html, format_html_join
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

from authorization.rules import REASON_CODES
from storefront.api.pages import page, with_code
from storefront.api.problems import problem_response


@dataclass(frozen=True)
class NextStep:
    """What to do next, for the vendor's engineer, and the calls that do it. Texts may have code between backticks."""

    words: str
    calls: tuple[str, ...] = ()


@dataclass(frozen=True)
class OwnReason:
    """A reason that the API gives beside those of the decision."""

    title: str
    check: str
    is_curable: bool
    cure_by: str


_SUBMIT = ("POST /v1/agreements", "POST /v1/agreements/{code}/documents")
_RENEW = ("POST /v1/agreements/{code}/renew", "POST /v1/agreements/{code}/documents")
_CHANGE = ("PUT /v1/listings/{sku}", "PATCH /v1/listings/{sku}", "POST /v1/listings/{sku}/publish")
_APPEAL = ("POST /v1/cases",)
_WATCH = ("GET /v1/events",)
_ASK_HOST = ("POST /v1/technical-acceptances", "GET /v1/technical-acceptances?variant=&host=")

# Reason code -> what its vendor does next.
NEXT_STEPS: Mapping[str, NextStep] = {
    "POLICY_MISSING": NextStep(
        "Nothing on your side: the shop has to put a policy in force. Ask again later.", _WATCH
    ),
    "VENDOR_SUSPENDED": NextStep(
        "Your account is suspended. If you hold that to be wrong, appeal; your listings stay as they are.",
        _APPEAL,
    ),
    "HOST_NOT_SERVED": NextStep(
        "The shop sells no service on this host at the moment. Leave it out of `hosts`, or list it and publish again "
        "when the host is back.",
        ("GET /v1/hosts", *_CHANGE),
    ),
    "NO_AGREEMENT": NextStep(
        "Submit the agreement, or the letter of authorization, by which the manufacturer or its distributor lets you "
        "sell this model. The shop's desk verifies it with the grantor; then publish again.",
        (*_SUBMIT, "POST /v1/listings/{sku}/publish"),
    ),
    "AGREEMENT_NOT_YET_VALID": NextStep(
        "Wait until the agreement begins, or submit one that is in force already. What was live comes back by itself.",
        ("GET /v1/agreements", *_SUBMIT),
    ),
    "AGREEMENT_EXPIRED": NextStep("Renew the agreement: submit the new term with its paper.", _RENEW),
    "AGREEMENT_REVOKED": NextStep(
        "The grantor took the agreement back: settle it with the grantor. If it was not the grantor, appeal. With "
        "another agreement for the same goods you may sell at once.",
        (*_APPEAL, *_SUBMIT),
    ),
    "AGREEMENT_SUSPENDED": NextStep(
        "A hold rests on the agreement. Ask who placed it, or appeal; when it is released your offers come back.",
        _APPEAL,
    ),
    "AGREEMENT_NOT_VERIFIED": NextStep(
        "The shop's desk has not verified the agreement with its grantor yet. Wait, or add papers that show more.",
        ("GET /v1/agreements", "POST /v1/agreements/{code}/documents"),
    ),
    "AGREEMENT_SCOPE_MODEL": NextStep(
        "Have the agreement extended to this model and submit the extension, or list a variant that it covers.",
        (*_SUBMIT, "GET /v1/agreements"),
    ),
    "AGREEMENT_SCOPE_TERRITORY": NextStep(
        "Have the agreement extended to this territory and submit the extension, or list it for one that it covers.",
        (*_SUBMIT, *_CHANGE),
    ),
    "AGREEMENT_SCOPE_CHANNEL": NextStep(
        "Have the agreement extended to this channel and submit the extension, or list it for one that it covers.",
        (*_SUBMIT, *_CHANGE),
    ),
    "AGREEMENT_SCOPE_CONDITION": NextStep(
        "Have the agreement extended to this condition and submit the extension, or list goods in one that it covers.",
        (*_SUBMIT, *_CHANGE),
    ),
    "SUBLICENSE_MISSING": NextStep(
        "Somebody between the manufacturer and you may not pass the right on. Ask your grantor to have its own "
        "agreement extended, or submit one with somebody who may.",
        _SUBMIT,
    ),
    "CARRIER_NOT_APPROVED": NextStep(
        "The host has not approved this exact model. Its maker or a seller asks the host for a technical acceptance; "
        "you may, and follow it.",
        (*_ASK_HOST, *_WATCH),
    ),
    "CARRIER_APPROVAL_EXPIRED": NextStep(
        "The host's approval has ended. Ask the host for a new one, or wait for it: offers come back when it is there.",
        (*_ASK_HOST, *_WATCH),
    ),
    "CARRIER_APPROVAL_REVOKED": NextStep(
        "The host took its approval back. Only the host gives a new one; if it was not the host, appeal.",
        (*_APPEAL, *_ASK_HOST),
    ),
    "CARRIER_APPROVAL_SUSPENDED": NextStep(
        "A hold rests on the host's approval. Wait until it is released, or appeal.", (*_APPEAL, *_WATCH)
    ),
    "CARRIER_APPROVAL_SOFTWARE": NextStep(
        "The host approved a range of software and the listing falls outside of it, or states none. State the version "
        "that the phone ships with in `software`, or have the new version accepted.",
        (*_CHANGE, *_ASK_HOST),
    ),
    "CARRIER_APPROVAL_CONDITIONAL": NextStep(
        "The host approved the phone with limits, and the shop's policy does not take them. The host may lift them.",
        (*_ASK_HOST, *_WATCH),
    ),
    "EQUIPMENT_NOT_AUTHORIZED": NextStep(
        "There is no equipment authorization of this model for the territory. The maker applies for it; you can list "
        "the phone where it has one.",
        _CHANGE,
    ),
    "EQUIPMENT_AUTHORIZATION_EXPIRED": NextStep(
        "The equipment authorization has ended. The maker renews it with the regulator.", _WATCH
    ),
    "EQUIPMENT_AUTHORIZATION_REVOKED": NextStep(
        "The regulator revoked the equipment authorization: goods of this model stay off sale.",
        ("DELETE /v1/listings/{sku}",),
    ),
    "EQUIPMENT_AUTHORIZATION_SUSPENDED": NextStep(
        "A hold rests on the equipment authorization. Wait until it is released.", _WATCH
    ),
    "EQUIPMENT_LISTED": NextStep(
        "A regulator's list bars this equipment. No document of yours changes that.",
        ("DELETE /v1/listings/{sku}",),
    ),
    "RADIO_INCOMPATIBLE": NextStep(
        "The phone lacks what this host needs. Read the verdict per host, and list it where it works.",
        ("GET /v1/variants/{variant}", *_CHANGE),
    ),
    "RADIO_UNKNOWN": NextStep(
        "The bands of the phone or of the host are not on record. Send the shop's desk the maker's data sheet.",
        ("GET /v1/variants/{variant}",),
    ),
    "ON_HOLD": NextStep(
        "Somebody with a right to it holds these goods; the message says who and since when. Settle it with them, or "
        "appeal. A hold may be one of several: each is released by itself.",
        (*_APPEAL, "GET /v1/cases"),
    ),
    "DOCUMENT_PENDING": NextStep(
        "Wait for the shop's desk, or replace or add papers. You get the event `agreement.decided`.",
        ("GET /v1/agreements/{code}", "POST /v1/agreements/{code}/documents", *_WATCH),
    ),
    "DATA_INVALID": NextStep(
        "Correct what `pointer` names and send the row again. As it is, it will be refused each time.",
        ("POST /v1/listing-batches", "POST /v1/feeds"),
    ),
    "INTERNAL_RETRY": NextStep(
        "Our fault: the row was not tried, or failed here. Send it again; nothing of it was stored.",
        ("POST /v1/listing-batches", "POST /v1/feeds"),
    ),
}
OWN_REASONS: Mapping[str, OwnReason] = {
    "DOCUMENT_PENDING": OwnReason("Your papers wait for the shop's desk", "agreement", True, "shop"),
    "DATA_INVALID": OwnReason("A row of a feed or batch cannot be read as it is", "data", True, "vendor"),
    "INTERNAL_RETRY": OwnReason("A row failed through our fault", "ours", False, "shop"),
}


def known_codes() -> dict[str, OwnReason]:
    """Every code, in the order in which reasons are given, then those that only the API has."""
    of_decisions = {
        row.code: OwnReason(row.title, row.check, row.curable, row.cure_by) for row in REASON_CODES.values()
    }
    return {**of_decisions, **OWN_REASONS}


@csrf_exempt
@require_safe
def reason_index(request: HttpRequest) -> HttpResponse:
    rows = format_html_join(
        "",
        '<tr id="{0}"><th scope="row"><a href="/v1/reasons/{0}"><code>{0}</code></a></th><td>{1}</td><td>{2}</td>'
        "<td>{3}</td></tr>",
        (
            (code, row.title, "yes" if row.is_curable else "no", row.cure_by)
            for code, row in known_codes().items()
        ),
    )
    table = format_html(
        "<p>More may come: treat a code that you do not know as a refusal.</p>"
        '<table><thead><tr><th scope="col">Code</th><th scope="col">Meaning</th>'
        '<th scope="col">Curable</th><th scope="col">By whom</th></tr></thead><tbody>{}</tbody></table>',
        rows,
    )
    return page("Reasons of a refusal", table)


@csrf_exempt
@require_safe
def reason_page(request: HttpRequest, code: str) -> HttpResponse:
    row = known_codes().get(code)
    if row is None:
        return problem_response(request, "not_found", "No reason has this code; /v1/reasons lists them all.")
    step = NEXT_STEPS[code]
    curable = (
        f"Yes, by: {row.cure_by}." if row.is_curable else f"By no document of yours: see to {row.cure_by}."
    )
    body = format_html(
        "<p><code>{}</code>, check <code>{}</code></p><h2>What to do next</h2><p>{}</p>{}<h2>Can it be "
        "cured?</h2><p>{}</p>",
        code,
        row.check,
        with_code(step.words),
        format_html("<h2>By which call</h2><ul>{}</ul>", _calls(step.calls)) if step.calls else "",
        curable,
    )
    return page(row.title, body)


def _calls(calls: tuple[str, ...]) -> str:
    return format_html_join("", "<li><code>{}</code></li>", ((call,) for call in calls))
