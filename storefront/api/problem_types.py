"""The table of problems: what each code means and what to do. docs/api.md shows it; a test compares."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ProblemType:
    status: int
    title: str
    meaning: str
    cure: str


PROBLEM_TYPES: dict[str, ProblemType] = {
    "invalid_request": ProblemType(
        400,
        "The request cannot be read as it is",
        "A member, a parameter or the body is missing, unknown, of the wrong type or out of bounds. "
        "Nothing was stored.",
        "Each entry of `errors` points at one fault and says what is expected. Correct all, send again.",
    ),
    "unauthenticated": ProblemType(
        401,
        "A valid key is needed",
        "The key is missing, unknown, revoked or expired.",
        "Send `Authorization: Bearer sk_live_…` (of a host carrier: `ck_live_…`). If the key is right, it was "
        "revoked or has expired: "
        "ask the shop's desk for a new one.",
    ),
    "not_for_this_key": ProblemType(
        403,
        "This call is not for a key of this kind",
        "Some calls are for vendors, some for host carriers; `detail` says for whom this one is.",
        "Take a key of the right kind. GET /v1/me says whose key this is.",
    ),
    "not_found": ProblemType(
        404,
        "There is nothing here",
        "No such path, or nothing of yours under this SKU, code or id.",
        "Check the path, and the SKU or code letter by letter: upper and lower case differ.",
    ),
    "method_not_allowed": ProblemType(
        405,
        "This path has no such method",
        "The path exists, the method does not.",
        "The Allow header lists them.",
    ),
    "not_acceptable": ProblemType(
        406,
        "The answer cannot be given in that format",
        "The Accept header leaves out application/json.",
        "Send `Accept: application/json` or no Accept header.",
    ),
    "listing_not_authorized": ProblemType(
        409,
        "This device may not be listed",
        "No host carrier of the listing could go live: each was decided on and refused. The listing is kept.",
        "`reasons` names every failed check and who can cure it. Cure them, then publish again.",
    ),
    "invalid_transition": ProblemType(
        409,
        "The listing's state does not allow this",
        "The listing is in a state from which there is no such move; a removed listing stays removed.",
        "Read the listing's state first. To sell a removed device again, list it under a new SKU.",
    ),
    "concurrent_change": ProblemType(
        409,
        "Somebody changed the listing at the same time",
        "Another request on the same listing committed first. This one stored nothing.",
        "Read the listing again, then repeat the request if it is still what you want.",
    ),
    "move_refused": ProblemType(
        409,
        "The technical acceptance does not allow this move now",
        "It is in another state, the move is another party's, or it has moved since the version that you named. "
        "Nothing was stored.",
        "`moves_allowed` names what is open to you now. Read the acceptance again and send its present `version`.",
    ),
    "already_requested": ProblemType(
        409,
        "Acceptance of this build is under way already",
        "The host carrier has an open request or an approval for the same variant, hardware and software.",
        "Go on with the one that is there; of another build give its hardware revision or its range of software.",
    ),
    "limit_reached": ProblemType(
        409,
        "There is no room for one more",
        "You have as many of these as there may be. Nothing was stored.",
        "Delete or withdraw one that you do not need, then send the request again; `detail` says what makes room.",
    ),
    "endpoint_disabled": ProblemType(
        409,
        "The webhook endpoint is switched off",
        "Nothing is sent to an endpoint that is switched off; `disabled_reason` says why it is.",
        "Mend the receiver, then switch the endpoint on: PUT it with `is_enabled` true.",
    ),
    "events_expired": ProblemType(
        410,
        "The events after this position are not kept any more",
        "Events are kept for 30 days, and some that followed this position are gone: a reader would miss them.",
        "Read your listings anew with GET /v1/listings, then read the events from the oldest kept: leave `after` out.",
    ),
    "length_required": ProblemType(
        411,
        "The body comes without its length",
        "The request announces its body in chunks, which this API does not read.",
        "Send the body in one piece with a Content-Length header; most clients do unless told to stream.",
    ),
    "version_conflict": ProblemType(
        412,
        "The listing is not the one you read",
        "If-Match or If-None-Match did not hold. Nothing was stored.",
        "Read the listing again, apply your change to what it says now, and send its new ETag.",
    ),
    "payload_too_large": ProblemType(
        413,
        "The body is too large",
        "The body is over the limit that `detail` names.",
        "Send less in one request.",
    ),
    "unsupported_media_type": ProblemType(
        415,
        "The body is not of a type that is read here",
        "This API reads application/json; files of a technical acceptance are PDF, PNG, JPEG, plain text or CSV by "
        "their content.",
        "Send `Content-Type: application/json` and a JSON object; for a file see what `detail` says.",
    ),
    "too_many_requests": ProblemType(
        429,
        "Asked too often",
        "As much has been asked as may be in this time. Nothing was done.",
        "Send the request again after `Retry-After` seconds.",
    ),
    "internal_error": ProblemType(
        500,
        "Our fault",
        "Something failed here that is not your doing.",
        "Send the request again later. If it stays so, tell the shop's desk the `request_id`.",
    ),
    "decision_unavailable": ProblemType(
        503,
        "It could not be decided",
        "Whether the device may be listed could not be decided now. That is neither yes nor no.",
        "Send the same request again after `Retry-After` seconds.",
    ),
    "temporarily_unavailable": ProblemType(
        503,
        "Busy or restarting",
        "The database did not answer in time. The request had no effect unless a read says otherwise.",
        "Send the same request again after `Retry-After` seconds: PUT and publish may be repeated safely.",
    ),
}
