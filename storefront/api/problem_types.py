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
    "idempotency_key_required": ProblemType(
        400,
        "This call takes an Idempotency-Key",
        "What this call does must not be done twice when an answer is lost on the way. Nothing was done.",
        "Send `Idempotency-Key` with a new UUID, and the same one when you send the same request again.",
    ),
    "unauthenticated": ProblemType(
        401,
        "A valid key is needed",
        "The key is missing, unknown, revoked or expired.",
        "Send `Authorization: Bearer sk_live_…` (in test mode `sk_test_…`, of a host carrier `ck_live_…`). "
        "If the key is right, it was "
        "revoked or has expired: "
        "ask the shop's desk for a new one.",
    ),
    "not_for_this_key": ProblemType(
        403,
        "This call is not for a key of this kind",
        "Some calls are for vendors, some for host carriers; `detail` says for whom this one is.",
        "Take a key of the right kind. GET /v1/me says whose key this is.",
    ),
    "missing_scope": ProblemType(
        403,
        "The key lacks a scope",
        "A key opens what its scopes name and nothing else; `scope` is the one that this call takes.",
        "Make a key that has the scope (POST /v1/keys with a key that has keys:write), or ask the shop's desk.",
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
        "Its state does not allow this",
        "The listing or the order is in a state from which there is no such move; a removed listing stays removed.",
        "Read its state first; `detail` says what stands in the way. To sell a removed device again, list it under a "
        "new SKU.",
    ),
    "concurrent_change": ProblemType(
        409,
        "Somebody changed it at the same time",
        "Another request on the same thing committed first. This one stored nothing.",
        "Read it again, then repeat the request if it is still what you want.",
    ),
    "already_submitted": ProblemType(
        409,
        "The same is submitted already",
        "An open submission says the same, or asks for the renewal of the same agreement; `submission` is its code.",
        "Add your papers to that one, wait for the desk's answer, or withdraw it first.",
    ),
    "agreement_refused": ProblemType(
        409,
        "The agreement does not allow this now",
        "It was revoked, has ended or was decided on, or the act is the other party's. Nothing was stored.",
        "Read the agreement again: `links` names what is open to you now.",
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
    "already_open": ProblemType(
        409,
        "You have said the same already",
        "An appeal about the same thing is open, or the same takedown request was made at the same time.",
        "Go on with the one that is there: `case` names it, or GET /v1/takedown-requests.",
    ),
    "limit_reached": ProblemType(
        409,
        "There is no room for one more",
        "You have as many of these as there may be. Nothing was stored.",
        "Delete or withdraw one that you do not need, then send the request again; `detail` says what makes room.",
    ),
    "key_over": ProblemType(
        409,
        "The key cannot be replaced any more",
        "It was revoked, has expired, or is being replaced already; `detail` says which.",
        "Rotate its successor (`replaced_by`), or make a new key by POST /v1/keys.",
    ),
    "test_mode_only": ProblemType(
        409,
        "This call is for keys of test mode",
        "The shop's own clock and store are nobody's to move or to begin anew.",
        "Take a key of test mode, `sk_test_…`: a key with keys:write makes one by POST /v1/keys with `mode` test.",
    ),
    "clock_advancing": ProblemType(
        409,
        "The test clock is on its way",
        "One advance is worked off at a time.",
        "Read GET /v1/test-clock until `state` is ready, then move it on.",
    ),
    "endpoint_disabled": ProblemType(
        409,
        "The webhook endpoint is switched off",
        "Nothing is sent to an endpoint that is switched off; `disabled_reason` says why it is.",
        "Mend the receiver, then switch the endpoint on: PUT it with `is_enabled` true.",
    ),
    "feed_not_ended": ProblemType(
        409,
        "The feed has not ended",
        "Results come when the feed has ended; until then its `counts` say how far it is.",
        "Ask again after `Retry-After` seconds, or wait for the event `feed.finished`.",
    ),
    "idempotency_in_progress": ProblemType(
        409,
        "The same request is under way",
        "A request with this Idempotency-Key has not been answered yet. This one did nothing.",
        "Send it again after `Retry-After` seconds: it is answered as the first was.",
    ),
    "call_ended": ProblemType(
        410,
        "This call has ended",
        "Its answers announced that by `Deprecation` and `Sunset` for at least 180 days.",
        "`successor` names the call that took its place.",
    ),
    "events_expired": ProblemType(
        410,
        "The events after this position are not kept any more",
        "Events are kept for 30 days, and some that followed this position are gone: a reader would miss them.",
        "Read your listings anew with GET /v1/listings, then read the events from the oldest kept: leave `after` out.",
    ),
    "results_expired": ProblemType(
        410,
        "The results of this feed are not kept any more",
        "Results are kept for 30 days after the end of a feed; its counts stay.",
        "Read your listings with GET /v1/listings, or send the file again: what is so already is UNCHANGED.",
    ),
    "length_required": ProblemType(
        411,
        "The body comes without its length",
        "The request announces its body in chunks, which this API does not read.",
        "Send the body in one piece with a Content-Length header; most clients do unless told to stream.",
    ),
    "version_conflict": ProblemType(
        412,
        "It is not the version that you read",
        "If-Match or If-None-Match did not hold. Nothing was stored.",
        "Read it again, apply your change to what it says now, and send its new ETag.",
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
        "This API reads application/json, of PATCH application/merge-patch+json; files of a technical acceptance are "
        "PDF, PNG, JPEG, plain text or CSV by their content.",
        "Send the `Content-Type` that `detail` names and a JSON object; for a file see what `detail` says.",
    ),
    "idempotency_key_reused": ProblemType(
        422,
        "The Idempotency-Key belongs to another request",
        "It was sent before, with another body or other parameters. Nothing was done.",
        "Send this request with a key of its own.",
    ),
    "quota_exceeded": ProblemType(
        429,
        "The key's budget is used up",
        "Each key has a budget of reads, of writes and of feeds for a minute; `violated-policies` names the one that "
        "is used up. Nothing was done.",
        "Send the request again after `Retry-After` seconds. `RateLimit` says with every answer what is left.",
    ),
    "too_many_feeds": ProblemType(
        429,
        "You have as many open feeds as you may",
        "A vendor may have so many feeds queued or running at a time, whichever of its keys sent them. Nothing was "
        "stored of this one.",
        "Wait until one has ended (`feed.finished`), cancel one, or put the rows into one larger file.",
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
        "Send the same request again after `Retry-After` seconds: GET, PUT, PATCH, DELETE and whatever has an "
        "Idempotency-Key may be repeated safely.",
    ),
}
