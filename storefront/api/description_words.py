"""What the published description says in words: of the whole, of keys, of headers, of parameters, of events."""

from collections.abc import Mapping
from typing import Any

from storefront.api.keys import CarrierPrincipal, DistributorPrincipal, ManufacturerPrincipal, VendorPrincipal

TITLE = "Clearline API"
# Of the description: the second figure grows with what is added, the first stands in the path.
VERSION = "1.1.0"
DESCRIPTION = """\
Vendors list phones and learn per host carrier whether they may be sold and why not; manufacturers, distributors and
host carriers grant and withdraw what the listings rest on.

* Every call takes a key: `Authorization: Bearer sk_live_…`, `sk_test_…` (a store of your own) or, of a host carrier,
  `ck_live_…`. What a key opens its scopes say.
* Bodies are JSON objects in UTF-8. Instants are RFC 3339 in UTC with `Z`. Money is an amount as text and a currency.
  What is not described is refused in a request, and must be ignored in an answer: members are added.
* Texts with `x-extensible-enum` are open: the words named are today's, and a client must take others.
* Every error is `application/problem+json` (RFC 9457); `type` is the address of a page that says what to do, `code`
  never changes its meaning. The codes of reasons have a page each: `/v1/reasons`.
* Lists are pages: `data`, `next_cursor`, `has_more`. A cursor holds for the filters it was made with. No total is told.
* Every write takes `?validate_only=true`: all checks, nothing stored; the answer has `"validate_only": true`.
* POST takes an `Idempotency-Key` (an Internet-Draft); `RateLimit` and `RateLimit-Policy` on answers are a draft too.
"""

WHOSE_KEYS: Mapping[type, str] = {
    VendorPrincipal: "vendors",
    DistributorPrincipal: "distributors",
    ManufacturerPrincipal: "manufacturers",
    CarrierPrincipal: "host carriers",
}

SECURITY_SCHEME = {
    "type": "http",
    "scheme": "bearer",
    "description": (
        "A key of the API: `sk_live_…`, in test mode `sk_test_…`, of a host carrier `ck_live_…`. What stands beside it "
        "at an operation is the scope that the key must have."
    ),
}


def _header(description: str, **schema: Any) -> dict[str, Any]:
    return {"description": description, "schema": {"type": "string", **schema}}


HEADERS: dict[str, Any] = {
    "Allow": _header("The methods that this path has."),
    "ETag": _header("Strong: it changes with everything that the answer shows."),
    "Idempotent-Replayed": _header(
        "`true`: the stored answer of the first request with this Idempotency-Key."
    ),
    "Location": _header("Where what was made can be read."),
    "RateLimit": _header('What is left (draft): `"read";r=599;t=42`, `t` seconds before it is whole again.'),
    "RateLimit-Policy": _header('The budget that the call counts towards (draft): `"read";q=600;w=60`.'),
    "Request-Id": _header("Finds the request in the shop's logs and ledger."),
    "Original-Request-Id": _header(
        "Of a replayed answer: the Request-Id of the request that had the effect."
    ),
    "Link": _header("Of a deprecated call: its successor, and the page on its end."),
    "Retry-After": _header("In so many seconds.", pattern="^[0-9]+$"),
    "WWW-Authenticate": _header('`Bearer realm="api"`.'),
    "Deprecation": _header("Since when the call is deprecated (RFC 9745)."),
    "Sunset": _header("When the call ends (RFC 8594)."),
}

REQUEST_HEADERS: dict[str, Any] = {
    "Idempotency-Key": {
        "description": (
            "A text of your choice, bare or in quotes: the same request with the same key has its effect once and is "
            "answered alike, for at least 24 hours. With another body: 422 (draft)."
        ),
        "schema": {
            "type": "string",
            "pattern": r"""^([!#-+\--\[\]-~]{1,255}|"([ !#-\[\]-~]|\\["\\]){1,255}")$""",
        },
    },
    "If-Match": {
        "description": "Only if what is stored still has this ETag, or with `*` if anything is; else 412.",
        "schema": {"type": "string"},
    },
    "If-None-Match": {
        "description": "On GET: 304 if it still has this ETag. On PUT: `*` makes only what is not there yet; else 412.",
        "schema": {"type": "string"},
    },
}

# Parameters by name, where the field itself says nothing.
PARAMETERS: dict[str, dict[str, Any]] = {
    "sku": {
        "description": "Your own SKU; case matters.",
        "schema": {"pattern": "^[A-Za-z0-9._-]{1,64}$"},
    },
    "name": {"description": "The slug or the exact model number of a variant."},
    "acceptance_code": {"description": "The code of the technical acceptance."},
    "sha256": {"description": "The hash of the file's content, in 64 small hexadecimal digits."},
    "endpoint_id": {"description": "The id of the webhook endpoint."},
    "event_id": {"description": "The id of the event."},
    "sweep_id": {"description": "The id of the sweep.", "schema": {"minimum": 0}},
    "order_id": {"description": "The id of the order."},
    "request_id": {"description": "The id of the takedown request."},
    "claim_id": {"description": "The id of the claim.", "schema": {"minimum": 0}},
    "case_code": {"description": "The code of the case."},
    "cursor": {"description": "The `next_cursor` of the page before."},
    "updated_since": {
        "description": "Only what changed since: the `synced_to` of your last round, or for the first time an instant."
    },
    "limit": {"description": "Entries on a page: 50, at most 200; more is lowered to 200."},
    "after": {"description": "The `next_cursor` of the last read; 0: from the oldest that is kept."},
    "validate_only": {"description": "`true`: every check, the decision included; nothing is written."},
    "on": {"description": "As of this day instead of today."},
    "status": {"description": "Only those of this status."},
    "state": {"description": "Only those in this state."},
    "reason": {"description": "Only those with this reason code on record."},
    "host": {"description": "The code of a host carrier."},
    "q": {"description": "Every word of it is found in model number, slug, brand or marketing name."},
    "manufacturer": {"description": "The slug of a manufacturer."},
    "variant": {"description": "The slug or the exact model number of a variant."},
    "slug": {"description": "The slug of the device."},
    "device": {"description": "The slug of a device."},
    "brand": {"description": "Only those of this brand; case does not matter."},
    "tac": {"description": "The type allocation code: the first eight digits of an IMEI."},
    "fcc_id": {"description": "The FCC ID; case does not matter."},
    "include": {"description": "What to show beside it: some of the names, with commas between them."},
    "severity": {
        "description": "`ERROR`: those that are refused; `WARNING`: those whose clearance ends within 30 days."
    },
    "within": {"description": "How far to look ahead, in days: `30d`."},
    "kind": {"description": "What the file is."},
    "changed_since": {"description": "Only those whose recorded state changed at or after this instant."},
    "condition": {"description": "New, refurbished or used."},
    "channel": {"description": "Where it is sold."},
    "software": {"description": "The version that the phone ships with."},
}

WEBHOOK_WORDS = (
    "Standard Webhooks: sent at least once, in no promised order, to each endpoint that asks for it. Verify "
    "`webhook-signature`, drop what you have seen by its id, answer with any 2xx within 15 seconds. The same event "
    "stands in `GET /v1/events`. Ignore members that you do not know."
)
WEBHOOK_HEADERS = [
    {
        "in": "header",
        "name": name,
        "required": True,
        "description": words,
        "schema": {"type": "string"},
    }
    for name, words in (
        ("webhook-id", "The id of the event, the same over all attempts."),
        ("webhook-timestamp", "When this attempt was made, in seconds since 1970."),
        (
            "webhook-signature",
            "`v1,` and the HMAC-SHA256 in base64; two of them while a secret is being changed.",
        ),
    )
]

PING_MEMBERS = ("endpoint_id",)
# When each event is made; docs/webhooks.md has more.
EVENTS: dict[str, str] = {
    "listing.published": "You published a listing, on this host.",
    "listing.blocked": "A listing was refused on this host.",
    "listing.unpublished": "A listing went off sale on this host because you edited what decides.",
    "listing.suspended": "The shop took a listing off sale on this host.",
    "listing.reinstated": "A listing is on sale again on this host.",
    "listing.removed": "You ended a listing on this host.",
    "listing.issues_changed": "A listing has other issues on this host, and no other event says so.",
    "listing.updated": "You saved a listing, and it is new or other than before.",
    "carrier_approval.revoked": "A host carrier took back its approval of a variant that you list there.",
    "endpoint.disabled": "One of your webhook endpoints was switched off.",
    "acceptance.moved": "A technical acceptance that you asked for made a move.",
    "case.opened": "A case of yours is open: the desk looks at it.",
    "case.answered": "The desk answered in a case of yours: it is your turn.",
    "case.closed": "A case of yours is closed.",
    "review.decided": "The desk decided on an appeal of yours; `outcome` says how.",
    "order.placed": "Goods of yours were sold: ship them.",
    "order.held": "An order with goods of yours waits for the shop's desk: ship nothing of it.",
    "order.released": "An order that was held goes on: ship it.",
    "order.partly_refunded": "A part of your goods in an order was called off.",
    "order.refunded": "All of your goods in an order that had not shipped were called off.",
    "order.shipped": "Your goods in an order were shipped, by you or by the shop's desk.",
    "agreement.submitted": "You submitted an agreement, or a new term of one: the shop's desk looks at it.",
    "agreement.decided": "The shop's desk accepted or declined what you submitted.",
    "agreement.granted": "A grantor recorded an agreement for you.",
    "agreement.expiring": "An agreement of yours ends in 30, 7 or 1 days; offers that rest on it go off sale then.",
    "agreement.revoked": "An agreement of yours was revoked, or you gave it back: once per agreement.",
    "api_key.expiring": "A key of yours ends in 30, 7 or 1 days.",
    "feed.finished": "A feed of yours is done: its rows have their results.",
    "webhook.ping": "You asked for a test delivery. It is no event, and stands in no log.",
}

_TEXT = {"type": "string"}
_WHOLE = {"type": "integer"}
_TEXTS = {"type": "array", "items": _TEXT}
_INSTANT = {"type": "string", "format": "date-time"}
# What the members of events' data are, by name: a name means the same in every event.
EVENT_MEMBERS: dict[str, Any] = {
    "sku": _TEXT,
    "host": _TEXT,
    "state": _TEXT,
    "reason_codes": _TEXTS,
    "decision_id": {"type": ["string", "null"]},
    "revision": {"type": ["integer", "null"]},
    "sweep_id": {"type": ["integer", "null"]},
    "version": _WHOLE,
    "is_new": {"type": "boolean"},
    "changed": _TEXTS,
    "variant": _TEXT,
    "model_number": _TEXT,
    "reason_code": _TEXT,
    "effective_at": _INSTANT,
    "offers": _WHOLE,
    "order_id": _TEXT,
    "decide_by": _INSTANT,
    "endpoint_id": _TEXT,
    "key_id": _WHOLE,
    "label": _TEXT,
    "prefix": _TEXT,
    "last_four": _TEXT,
    "expires_at": _INSTANT,
    "days": _WHOLE,
    "is_test": {"type": "boolean"},
    "grantor": _TEXT,
    "agreement": {"type": ["string", "null"]},
    "valid_until": _INSTANT,
    "feed_id": _TEXT,
    "client_label": _TEXT,
    "validate_only": {"type": "boolean"},
    "counts": {"type": "object", "additionalProperties": _WHOLE},
    "url": _TEXT,
    "reason": _TEXT,
    "code": _TEXT,
    "outcome": {"type": ["string", "null"]},
    "kind": _TEXT,
    "move": _TEXT,
    "number": _WHOLE,
    "from": {"type": ["string", "null"]},
    "to": _TEXT,
}
