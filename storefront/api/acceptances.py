"""/v1/technical-acceptances: a host carrier's approval on its way, for its sponsor and for the carrier.

A vendor sees what it sponsors and a carrier what was asked of it; anything else is not found.
"""

import re
from typing import Any, ClassVar

from django.http import HttpResponse
from rest_framework.request import Request
from rest_framework.response import Response

from authorization import approvals
from authorization.acceptances import process
from authorization.acceptances.evidence import CONTENT_TYPES
from authorization.acceptances.following import open_twin
from authorization.acceptances.moves import MoveRefused
from authorization.facts import InvalidFact
from authorization.models import Acceptance, AcceptanceMove, Party
from authorization.revocations import WorldMoved
from storefront import acceptance_limits, acceptance_withdrawals
from storefront.acceptance_access import Open, Standing, standing_of_carrier, standing_of_vendor
from storefront.acceptance_files import download
from storefront.acceptance_limits import NoRoom, TooOften
from storefront.api.acceptance_input import (
    AcceptanceBody,
    AcceptancesQuery,
    FileForm,
    FileQuery,
    MoveBody,
    ResultsBody,
    SentRequest,
    check_inputs,
    read_file,
    read_request,
    read_results,
)
from storefront.api.acceptance_output import (
    acceptances_of,
    files_of,
    present_acceptances,
    present_file,
    present_move,
    present_result,
    present_whole,
)
from storefront.api.acceptance_shapes import (
    AcceptanceFileShape,
    AcceptanceResultShape,
    AcceptanceShape,
    MovedAcceptanceShape,
    RequestedAcceptanceShape,
    WholeAcceptanceShape,
)
from storefront.api.fields import read_body
from storefront.api.files import FILE_PARSERS, MAX_UPLOAD, AsItIs
from storefront.api.keys import CarrierPrincipal, VendorPrincipal
from storefront.api.pagination import PageQuery, read_page
from storefront.api.parsing import is_storable
from storefront.api.problems import Problem
from storefront.api.shapes import file_of, page_of
from storefront.api.times import rfc3339
from storefront.api.views import KeyedView, Refused

_SHA256 = re.compile(r"[0-9a-f]{64}")


class AcceptanceView(KeyedView):
    """What these calls share. Open to both sides; which rows each sees is one query, made in one place."""

    open_to: ClassVar = (VendorPrincipal, CarrierPrincipal)

    @property
    def standing(self) -> Standing:
        if isinstance(self.principal, CarrierPrincipal):
            return standing_of_carrier(self.principal.key, self.principal.actor)
        return standing_of_vendor(self.principal.organization, self.principal.actor)

    def get_acceptance(self, code: str) -> Acceptance:
        # Not even asked for where none can be: PostgreSQL refuses a NUL.
        rows = acceptances_of(self.standing)
        found = rows.filter(code=code).first() if is_storable(code) else None
        if found is None:
            raise Problem("not_found", "You have no technical acceptance of this code.")
        return found

    def show(self, code: str) -> dict[str, Any]:
        return present_whole(self.get_acceptance(code), self.standing, at=self.at)

    def refusal(self, code: str, error: MoveRefused) -> Refused:
        """Of an act that has begun to write."""

        def answer() -> HttpResponse:
            raise self.refused(code, error)

        return Refused(answer)

    def refused(self, code: str, error: MoveRefused) -> Problem:
        """With what is open to this caller, whose duties may be several, and the version to send next."""
        if isinstance(error, NoRoom | TooOften):
            return over_limit(error)
        now = self.get_acceptance(code)
        state = process.effective_state(now, at=self.at)
        lacks = error.missing if isinstance(error, process.NotReady) else ()
        return Problem(
            "move_refused",
            error.message,
            missing=[{"code": each.code, "message": each.message} for each in lacks],
            moves_allowed=[each.move.code for each in self.standing.moves(now, state=state)],
            state=state,
            version=now.version,
        )


def over_limit(error: NoRoom | TooOften) -> Problem:
    if isinstance(error, TooOften):
        return Problem("too_many_requests", error.message, headers={"Retry-After": str(error.wait_s)})
    return Problem("limit_reached", error.message)


class AcceptancesView(AcceptanceView):
    # The sponsor asks for an acceptance.
    open_to_for: ClassVar = {"POST": (VendorPrincipal,)}
    scopes: ClassVar = {"GET": "acceptances:read", "POST": "acceptances:write"}
    queries: ClassVar = {"GET": AcceptancesQuery}
    bodies: ClassVar = {"POST": AcceptanceBody}
    answers: ClassVar = {
        "GET": {200: page_of(AcceptanceShape)},
        "POST": {200: RequestedAcceptanceShape, 201: RequestedAcceptanceShape},
    }
    problems: ClassVar = {"POST": ("already_requested", "limit_reached", "too_many_requests")}

    def get(self, request: Request) -> Response:
        """Technical acceptances: what you sponsor, or what was asked of your network."""
        rows = acceptances_of(self.standing)
        if "state" in self.query:
            rows = rows.filter(state=self.query["state"])
        if "host" in self.query:
            rows = rows.filter(host__code=self.query["host"])
        if "variant" in self.query:
            # By slug or exact model number, as everywhere; one that nobody has finds nothing.
            rows = rows.filter(variant__slug=self.query["variant"]) | rows.filter(
                variant__model_number=self.query["variant"]
            )
        if "changed_since" in self.query:
            rows = rows.filter(state_changed_at__gte=self.query["changed_since"])
        page = read_page(rows, self.query, bound_to=["acceptances", self.principal.actor])
        return Response(page.as_json(present_acceptances(page.rows, at=self.at)))

    def post(self, request: Request) -> Response:
        """Ask a host carrier to accept one build of one variant."""
        sent = read_request(request)
        try:
            made = acceptance_limits.request(
                standing=self.standing,
                host=sent.host,
                variant=sent.variant,
                **sent.terms,
                at=self.at,
            )
        except (NoRoom, TooOften) as error:
            raise over_limit(error) from error
        except MoveRefused as error:
            why = error
            raise Refused(lambda: self.already_there(sent, why)) from error
        headers = {"Location": f"{request.path}/{made.code}"}
        return Response({**self.show(made.code), "unchanged": False}, status=201, headers=headers)

    def already_there(self, sent: SentRequest, error: MoveRefused) -> Response:
        """The build is its own key: the same request again is answered with what the first one made.

        Raises Problem where it differs, or where somebody else asks for the same build: that names nobody.
        """
        span = approvals.software_range(sent.terms["software_from"], sent.terms["software_until"])
        hardware = sent.terms["hardware_revision"].strip()
        twin = open_twin(Acceptance(host=sent.host, variant=sent.variant, hardware_revision=hardware, **span))
        own = twin and acceptances_of(self.standing).filter(pk=twin.pk).first()
        if own is None:
            raise Problem("already_requested", error.message) from error
        papers = {"fcc_id": "", "certificate": "", "request_type": ""} | sent.terms
        is_same = sorted(papers["tacs"]) == sorted(own.tacs) and all(
            papers[name].strip() == getattr(own, name) for name in ("fcc_id", "certificate", "request_type")
        )
        if not is_same:
            detail = f"You have asked for this build in {own.code}, with other papers. Amend that one."
            raise Problem("already_requested", detail, acceptance=own.code) from error
        return Response({**self.show(own.code), "unchanged": True})


class OneAcceptanceView(AcceptanceView):
    scopes: ClassVar = {"GET": "acceptances:read"}
    answers: ClassVar = {"GET": {200: WholeAcceptanceShape}}

    def get(self, request: Request, acceptance_code: str) -> Response:
        """One technical acceptance: what may be done next, what is missing, what happened."""
        return Response(self.show(acceptance_code))


class MovesView(AcceptanceView):
    scopes: ClassVar = {"POST": "acceptances:write"}
    bodies: ClassVar = {"POST": MoveBody}
    answers: ClassVar = {"POST": {200: MovedAcceptanceShape}}
    problems: ClassVar = {"POST": ("move_refused", "limit_reached", "too_many_requests")}
    operation_ids: ClassVar = {"POST": "move_technical_acceptance"}

    def post(self, request: Request, acceptance_code: str) -> Response:
        """Make one of the moves that are open to you (`moves_allowed`)."""
        acceptance = self.get_acceptance(acceptance_code)
        body = read_body(request, MoveBody)
        wanted, version = body.pop("move"), body.pop("version")
        try:
            if version != acceptance.version:
                raise MoveRefused(
                    f"{acceptance.code} has moved since: it is version {acceptance.version}, not {version}."
                )
            opened = self.standing.find_open(acceptance, wanted, at=self.at)
            check_inputs(opened.move, opened.party, body)
            said = self.perform(acceptance, opened, version, body)
        except MoveRefused as error:
            raise self.refusal(acceptance_code, error) from error
        except WorldMoved as error:
            raise Problem("temporarily_unavailable", "The shop changes too fast; send it again.") from error
        return Response({**self.show(acceptance_code), **said})

    def perform(
        self, acceptance: Acceptance, opened: Open, version: int, inputs: dict[str, Any]
    ) -> dict[str, Any]:
        doer = self.standing.doer(opened.party)
        withdraw = acceptance_withdrawals.BY_MOVE.get(opened.move.code)
        if withdraw is not None:
            stopped = withdraw(acceptance=acceptance, by=doer, at=self.at, seen_version=version, **inputs)
            return {
                "withdrawal": {
                    # All of them are on this host: an approval holds for one.
                    "offers": stopped.offers,
                    "offers_later": stopped.revocation.preview_falls_later,
                    "effective_at": rfc3339(stopped.revocation.effective_at),
                    "revision": stopped.revocation.revision_id,
                }
            }
        made = acceptance_limits.perform(
            standing=self.standing,
            acceptance=acceptance,
            opened=opened,
            at=self.at,
            seen_version=version,
            **inputs,
        )
        return {"moved": self.present(made)}

    def present(self, move: AcceptanceMove) -> dict[str, Any]:
        return present_move(move, self.standing)


class ResultsView(AcceptanceView):
    scopes: ClassVar = {"GET": "acceptances:read", "POST": "acceptances:write"}
    queries: ClassVar = {"GET": PageQuery}
    bodies: ClassVar = {"POST": ResultsBody}
    answers: ClassVar = {"GET": {200: page_of(AcceptanceResultShape)}, "POST": {201: WholeAcceptanceShape}}
    problems: ClassVar = {"POST": ("move_refused", "limit_reached", "too_many_requests")}

    def get(self, request: Request, acceptance_code: str) -> Response:
        """Every result, of all builds."""
        acceptance = self.get_acceptance(acceptance_code)
        page = read_page(acceptance.results.all(), self.query, bound_to=["results", acceptance.pk])
        return Response(page.as_json([present_result(row) for row in page.rows]))

    def post(self, request: Request, acceptance_code: str) -> Response:
        """Record results of the lab: all of them or none."""
        acceptance = self.get_acceptance(acceptance_code)
        doer = self.standing.doer_among(acceptance, (Party.HOST_LAB,))
        sent = read_results(request)
        if doer is None:
            raise self.refused(
                acceptance_code, MoveRefused("Results are recorded by the lab of the host carrier.")
            )
        try:
            process.record_results(
                acceptance=acceptance, results=sent.results, build_no=sent.build_no, by=doer, at=self.at
            )
        except MoveRefused as error:
            raise self.refusal(acceptance_code, error) from error
        return Response(self.show(acceptance_code), status=201)


class FilesView(AcceptanceView):
    scopes: ClassVar = {"GET": "acceptances:read", "POST": "acceptances:write"}
    parser_classes = FILE_PARSERS
    max_body: ClassVar = MAX_UPLOAD
    queries: ClassVar = {"GET": PageQuery, "POST": FileQuery}
    bodies: ClassVar = {"POST": FileForm}
    body_types: ClassVar = {
        "POST": {
            "multipart/form-data": FileForm,
            "application/octet-stream": {"type": "string", "format": "binary"},
        }
    }
    answers: ClassVar = {
        "GET": {200: page_of(AcceptanceFileShape)},
        "POST": {200: AcceptanceFileShape, 201: AcceptanceFileShape},
    }
    problems: ClassVar = {"POST": ("limit_reached", "too_many_requests", "move_refused")}

    def get(self, request: Request, acceptance_code: str) -> Response:
        """The files of evidence."""
        acceptance = self.get_acceptance(acceptance_code)
        page = read_page(files_of(acceptance), self.query, bound_to=["files", acceptance.pk])
        return Response(page.as_json([present_file(acceptance, row, self.standing) for row in page.rows]))

    def post(self, request: Request, acceptance_code: str) -> Response:
        """Add a file: as a form, or as the body itself with `kind` and `name` in the query."""
        acceptance = self.get_acceptance(acceptance_code)
        sent = read_file(request, self.query)
        # Whoever sees it by a key is a party to it.
        doer = self.standing.doer(self.standing.parties_to(acceptance)[0])
        try:
            kept, is_new = acceptance_limits.attach(
                standing=self.standing,
                acceptance=acceptance,
                kind=sent.kind,
                name=sent.name,
                content=sent.content,
                by=doer,
                at=self.at,
            )
        except MoveRefused as error:
            raise self.refusal(acceptance_code, error) from error
        except InvalidFact as error:
            if error.field == "content":
                raise Problem("unsupported_media_type", error.message) from error
            raise
        shown = present_file(acceptance, kept, self.standing)
        if not is_new:
            return Response(shown)
        return Response(shown, status=201, headers={"Location": shown["href"]})


class OneFileView(AcceptanceView):
    scopes: ClassVar = {"GET": "acceptances:read"}
    answers: ClassVar = {"GET": {200: file_of(*CONTENT_TYPES, words="The file, as a download.")}}
    answer_headers: ClassVar = {"GET": {200: ("ETag",)}}
    content_negotiation_class = AsItIs

    @property
    def default_response_headers(self) -> dict[str, str]:
        return {**super().default_response_headers, "Cache-Control": "private, no-store"}

    def get(self, request: Request, acceptance_code: str, sha256: str) -> HttpResponse:
        """The content of a file of evidence."""
        acceptance = self.get_acceptance(acceptance_code)
        file = acceptance.files.filter(sha256=sha256).first() if _SHA256.fullmatch(sha256) else None
        if file is None:
            raise Problem("not_found", "This technical acceptance has no file with this hash.")
        return download(file)
