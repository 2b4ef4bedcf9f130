"""The one shape of all errors."""

from typing import Any

from storefront.api.problem_types import PROBLEM_TYPES
from storefront.api.restriction_shapes import ReasonShape
from storefront.api.shapes import Shape, flag, instant, many, number, open_enum, text, texts


class FaultShape(Shape):
    """One fault of a request."""

    pointer = text("JSON pointer (RFC 6901) into what `in` names; empty: the whole of it.")
    code = text()
    detail = text("What is expected.")

    def get_fields(self) -> dict[str, Any]:
        # `in` is no name that Python lets a class have.
        return {
            "in": open_enum(("body", "query", "path", "header"), "Where the fault is."),
            **super().get_fields(),
        }


class MissingShape(Shape):
    """What an approval still lacks."""

    code = text()
    message = text()


class RefusedHostShape(Shape):
    """What publishing came to on one host."""

    host = text("The code of the host carrier.")
    is_live = flag()
    answer = open_enum(("allow", "deny", "undetermined"))
    reasons = many(ReasonShape)
    decision_id = text("Absent in a dry run.", required=False)


class ProblemShape(Shape):
    """Problem details (RFC 9457). Which further members a problem has its code says."""

    type = text("The address of a page that says what to do.")
    title = text()
    status = number()
    code = open_enum(PROBLEM_TYPES, "Never changes its meaning.")
    detail = text()
    instance = text("The path that was asked for.")
    request_id = text("Finds the request in the shop's logs and ledger.")
    errors = many(FaultShape, "All faults of the request, at once.", required=False)
    scope = text("`missing_scope`: the scope that the call takes.", required=False)
    results = many(RefusedHostShape, "`listing_not_authorized`: per host.", required=False)
    reasons = many(ReasonShape, "`listing_not_authorized`: every reason, each once.", required=False)
    evaluated_at = instant("`listing_not_authorized`: when it was decided.", required=False)
    evaluated_at = instant("`listing_not_authorized`: when it was decided.", required=False)
    missing = many(MissingShape, "`move_refused`: what the approval still lacks.", required=False)
    moves_allowed = texts("`move_refused`: what is open to you now.", required=False)
    state = text("`move_refused`: the present state.", required=False)
    version = number("`move_refused`: the version to send.", required=False)
    successor = text("`call_ended`: the call that took its place.", required=False)
    case = text("`already_open`: the code of the case that is open.", required=False)
    acceptance = text("`already_requested`: the acceptance that is under way.", required=False)
    submission = text("`already_submitted`: the submission that is open.", required=False)

    def get_fields(self) -> dict[str, Any]:
        # So spelled by the draft on RateLimit headers.
        violated = texts("`quota_exceeded`: the budget that is used up.", required=False)
        return {**super().get_fields(), "violated-policies": violated}
