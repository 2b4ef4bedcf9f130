"""A technical acceptance as the API shows it."""

from typing import Any

from rest_framework import serializers

from authorization.acceptances.moves import MOVES, Input
from authorization.models import Acceptance, AcceptanceFile, AcceptanceResult, Party
from storefront.api.problem_shapes import MissingShape
from storefront.api.shapes import (
    LinkShape,
    Shape,
    flag,
    instant,
    many,
    number,
    one,
    open_enum,
    text,
    texts,
)

_STATES = Acceptance.State.values
_MOVES = tuple(dict.fromkeys(move.code for move in MOVES))
_INPUTS = tuple(name.value for name in Input)


class SponsorShape(Shape):
    """The vendor that asks."""

    slug = text()
    name = text()


class SpanShape(Shape):
    """A range of software: its end itself is left out; empty: open."""

    until = text()

    def get_fields(self) -> dict[str, Any]:
        # `from` is no name that Python lets a class have.
        return {"from": text(), **super().get_fields()}


class AcceptanceShape(Shape):
    """A host carrier's acceptance of one build of one variant."""

    code = text()
    host = text("The code of the host carrier.")
    variant = text("The slug of the variant.")
    model_number = text()
    device = text()
    sponsor = one(SponsorShape, allow_null=True)
    request_type = open_enum(Acceptance.RequestType.values)
    parent = text("Of a maintenance release: the code of what it maintains.", allow_null=True)
    hardware_revision = text()
    software_from = text()
    software_until = text("The end itself is left out.")
    approved_software = one(SpanShape, "What the host approved. Null without approval.", allow_null=True)
    state = open_enum(_STATES, "What is recorded.")
    effective_state = open_enum(_STATES, "What counts at this instant.")
    state_changed_at = instant()
    version = number("Send it with the next move.")
    approval = text("The code of the approval.", allow_null=True)
    limits = text()
    waived_until = instant(allow_null=True)
    valid_until = instant(allow_null=True)
    phase_out_until = instant(allow_null=True)
    created_at = instant()
    links = many(LinkShape)


class OpenMoveShape(Shape):
    """A move that is open to you."""

    move = open_enum(_MOVES)
    title = text()
    needs = serializers.ListField(child=open_enum(_INPUTS), help_text="Inputs that must be given.")
    takes = serializers.ListField(child=open_enum(_INPUTS), help_text="Inputs that may be given.")
    leads_to = serializers.ListField(child=open_enum(_STATES))

    def get_fields(self) -> dict[str, Any]:
        # `as` is no name that Python lets a class have.
        return {"as": open_enum(Party.values, "In which part."), **super().get_fields()}


class AcceptanceMoveShape(Shape):
    """A move that was made."""

    number = number()
    move = open_enum(_MOVES)
    from_state = open_enum(_STATES, allow_null=True)
    to_state = open_enum(_STATES)
    party = open_enum(Party.values)
    actor = text("Null: somebody of another side.", allow_null=True)
    reason = text()
    at = instant()
    effective_at = instant()
    said = serializers.DictField(child=serializers.JSONField(), help_text="The inputs of the move, by name.")


class AcceptanceResultShape(Shape):
    """The result of one case."""

    build_no = number()
    phase = open_enum(AcceptanceResult.Phase.values)
    case = text()
    outcome = open_enum(AcceptanceResult.Outcome.values)
    note = text()
    at = instant()


class AcceptancePhaseShape(Shape):
    """Of the present build, the last result of each case of one phase."""

    phase = open_enum(AcceptanceResult.Phase.values)
    counts = serializers.DictField(child=serializers.IntegerField(), help_text="By outcome.")
    cases = many(AcceptanceResultShape)


class AcceptanceFileShape(Shape):
    """A file of evidence, without its content."""

    sha256 = text()
    kind = open_enum(AcceptanceFile.Kind.values)
    name = text()
    content_type = text()
    size = number("In bytes.")
    party = open_enum(Party.values)
    actor = text("Null: somebody of another side.", allow_null=True)
    at = instant()
    href = text()


class MaintenanceReleaseShape(Shape):
    """A later build that was reported."""

    code = text()
    state = open_enum(_STATES)
    software_from = text()


class WithdrawalShape(Shape):
    """What fell by a move that takes authority away."""

    offers = number("Offers on your network that it takes off sale.")
    offers_later = number("How many more it takes off sale on the day that it sets: `waived_until`.")
    effective_at = instant()
    revision = number()


class WholeAcceptanceShape(AcceptanceShape):
    """All of an acceptance: what may be done next, what is missing, what happened."""

    tacs = texts()
    fcc_id = text()
    certificate = text()
    build_no = number()
    software_in_test = text()
    lab_slot_from = instant(allow_null=True)
    lab_slot_until = instant(allow_null=True)
    deviation = text()
    moves_allowed = many(OpenMoveShape)
    missing_for_approval = many(MissingShape)
    moves = many(AcceptanceMoveShape)
    results = many(AcceptancePhaseShape)
    files = many(AcceptanceFileShape)
    maintenance_releases = many(MaintenanceReleaseShape)


class RequestedAcceptanceShape(WholeAcceptanceShape):
    """The acceptance that was asked for."""

    unchanged = flag("It was asked for already: nothing was stored.")


class MovedAcceptanceShape(WholeAcceptanceShape):
    """The acceptance after the move."""

    moved = one(AcceptanceMoveShape, required=False)
    withdrawal = one(WithdrawalShape, "Of a move that takes authority away.", required=False)
