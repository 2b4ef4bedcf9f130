"""What is sent of a technical acceptance, checked: requests, moves and their inputs, results, files."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from rest_framework import serializers
from rest_framework.request import Request

from authorization.acceptances.moves import FOLLOWING, MOVES, Input, Move
from authorization.acceptances.process import Result
from authorization.models import Acceptance, AcceptanceFile, AcceptanceResult
from carriers.models import HostCarrier
from catalog.models import Variant
from catalog.selectors import find_variants
from storefront.api.fields import (
    Distinct,
    Instant,
    Members,
    OneOf,
    Pattern,
    SoftwareVersion,
    Text,
    Whole,
    read_body,
)
from storefront.api.files import read_upload
from storefront.api.hosts import find_hosts, unknown_host_message
from storefront.api.pagination import PageQuery
from storefront.api.problems import FieldError, invalid
from storefront.api.variants import unknown_variant_messages

MAX_RESULTS = 500
MAX_TACS = 100
MAX_VERSION = 2**31 - 1
_BY_MOVES = "It follows from the moves: POST /v1/technical-acceptances/{code}/moves."
_BY_REQUEST = "It follows from the request and cannot be chosen."
# What is asked for by its own call, and what follows by itself.
_NOT_BY_MOVE = ("request", *FOLLOWING)


def _text(at_most: int) -> Text:
    return Text(required=False, max_length=at_most)


def _tacs() -> serializers.ListField:
    one = Pattern(r"[0-9]{8}", "A type allocation code has 8 digits; give it as a string.")
    return serializers.ListField(child=one, required=False, max_length=MAX_TACS, validators=[Distinct()])


class AcceptanceBody(Members):
    output_only: ClassVar = {
        **dict.fromkeys(("state", "effective_state", "approval", "limits", "valid_until"), _BY_MOVES),
        **dict.fromkeys(("code", "sponsor", "version"), _BY_REQUEST),
    }

    host = Text(max_length=100)
    variant = Text(max_length=100)
    request_type = OneOf(
        choices=[kind.value for kind in Acceptance.RequestType if kind != Acceptance.RequestType.MR],
        required=False,
        default=Acceptance.RequestType.INITIAL.value,
    )
    hardware_revision = Text(required=False, default="", allow_blank=True, max_length=64)
    software_from = SoftwareVersion(required=False, default="", allow_blank=True)
    software_until = SoftwareVersion(required=False, default="", allow_blank=True)
    tacs = _tacs()
    fcc_id = Text(required=False, default="", allow_blank=True, max_length=32)
    certificate = Text(required=False, default="", allow_blank=True, max_length=64)


class MoveBody(Members):
    output_only: ClassVar = {"state": _BY_MOVES}

    move = OneOf(choices=[move.code for move in MOVES if move.code not in _NOT_BY_MOVE])
    version = Whole(min_value=1, max_value=MAX_VERSION)
    reason = _text(500)
    document = _text(500)
    software = SoftwareVersion(required=False)
    hardware_revision = _text(64)
    lab_slot_from = Instant(required=False)
    lab_slot_until = Instant(required=False)
    deviation = _text(4000)
    limits = _text(300)
    waived_until = Instant(required=False)
    valid_until = Instant(required=False)
    phase_out_until = Instant(required=False)
    effective_at = Instant(required=False)
    software_from = SoftwareVersion(required=False)
    software_until = SoftwareVersion(required=False)
    tacs = _tacs()
    fcc_id = _text(32)
    certificate = _text(64)


class ResultBody(Members):
    phase = OneOf(choices=AcceptanceResult.Phase.values)
    case = Text(max_length=64)
    outcome = OneOf(choices=AcceptanceResult.Outcome.values)
    note = Text(required=False, default="", allow_blank=True, max_length=500)


class ResultsBody(Members):
    # What was tested: by the time that it is sent another build may be in the lab.
    build_no = Whole(min_value=1, max_value=MAX_VERSION)
    results = serializers.ListField(child=ResultBody(), allow_empty=False, max_length=MAX_RESULTS)


class AcceptancesQuery(PageQuery):
    state = OneOf(choices=Acceptance.State.values, required=False)
    host = Text(required=False, max_length=64)
    variant = Text(required=False, max_length=100)
    # Of the state: results and files do not count.
    changed_since = Instant(required=False)


class FileQuery(Members):
    kind = OneOf(choices=AcceptanceFile.Kind.values, required=False)
    name = Text(required=False, max_length=150)


class FileFields(Members):
    """What stands beside the file in a multipart body."""

    kind = OneOf(choices=AcceptanceFile.Kind.values)
    name = Text(required=False, max_length=150)


class FileForm(FileFields):
    file = serializers.FileField(help_text="PDF, PNG, JPEG, plain text in UTF-8 or CSV, by its content.")


@dataclass(frozen=True)
class SentRequest:
    host: HostCarrier
    variant: Variant
    terms: dict[str, Any]


def read_request(request: Request) -> SentRequest:
    """Raises Problem with every fault in it."""
    body = read_body(request, AcceptanceBody)
    hosts, variants = find_hosts([body["host"]]), find_variants([body["variant"]])
    faults = []
    if body["variant"] not in variants:
        message = unknown_variant_messages([body["variant"]])[body["variant"]]
        faults.append(FieldError("/variant", "unknown_variant", message))
    if body["host"] not in hosts:
        faults.append(FieldError("/host", "unknown_host", unknown_host_message()))
    if faults:
        raise invalid(faults)
    host, variant = hosts[body.pop("host")], variants[body.pop("variant")]
    return SentRequest(host, variant, {**body, "tacs": body.get("tacs", [])})


def check_inputs(move: Move, party: str, inputs: Mapping[str, Any]) -> None:
    """Raises Problem that names what the move needs and has not got, and what it does not take."""
    needs, takes = move.needs_of(party), move.takes_of(party)
    taken = ", ".join(f"`{name}`" for name in (*needs, *takes)) or "none"
    faults = [
        FieldError(f"/{name}", "not_taken", f"`{move.code}` does not take this; it takes {taken}.")
        for name in inputs
        if name not in (*needs, *takes)
    ]
    faults += [
        FieldError(f"/{name.value}", "required", f"`{move.code}` needs this: {_HINTS[name]}.")
        for name in needs
        if name.value not in inputs
    ]
    if faults:
        raise invalid(faults)


_HINTS: dict[Input, str] = {
    Input.REASON: "say why",
    Input.DOCUMENT: "the number of the letter, or the name of the paper, that says so",
    Input.SOFTWARE: "the version of the build",
    Input.HARDWARE_REVISION: "the hardware revision of the samples",
    Input.LAB_SLOT_FROM: "when the lab begins, in RFC 3339 with a zone",
    Input.LAB_SLOT_UNTIL: "when the lab's time ends, in RFC 3339 with a zone",
    Input.DEVIATION: "describe the known deviation",
    Input.LIMITS: "what is limited: LTE B12 off, each band by itself; VOLTE_REQUIRED waived",
    Input.WAIVED_UNTIL: "when the waiver runs out, in RFC 3339 with a zone",
    Input.VALID_UNTIL: "when the approval ends, in RFC 3339 with a zone",
    Input.PHASE_OUT_UNTIL: "until when existing lines keep working, in RFC 3339 with a zone",
    Input.EFFECTIVE_AT: "from when on, in RFC 3339 with a zone",
    Input.SOFTWARE_FROM: "the first version of the range",
    Input.SOFTWARE_UNTIL: "the first version after the range",
    Input.TACS: "the type allocation codes, 8 digits each",
    Input.FCC_ID: "the regulator's identifier of the grant",
    Input.CERTIFICATE: "the number of the PTCRB or GCF request",
}


@dataclass(frozen=True)
class SentResults:
    build_no: int
    results: list[Result]


def read_results(request: Request) -> SentResults:
    body = read_body(request, ResultsBody)
    return SentResults(body["build_no"], [Result(**row) for row in body["results"]])


# --- files --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SentFile:
    kind: str
    name: str
    content: bytes


def read_file(request: Request, query: Mapping[str, Any]) -> SentFile:
    """The one file of the request, with its kind. Raises Problem."""
    sent = read_upload(request, query, FileFields, needs=("kind",))
    return SentFile(sent.fields["kind"], sent.name, sent.content)
