"""/v1/technical-acceptances: a host carrier's approval on its way, for its sponsor and for the carrier.

A vendor sees what it sponsors and a carrier what was asked of it; anything else is not found.
"""

import re
from typing import Any, ClassVar

from django.http import HttpResponse
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.request import Request
from rest_framework.response import Response

from authorization import approvals
from authorization.acceptances import process
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
    FILE_PARSERS,
    AcceptancesQuery,
    FileQuery,
    MoveBody,
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
from storefront.api.fields import read_body
from storefront.api.keys import CarrierPrincipal, VendorPrincipal
from storefront.api.pagination import PageQuery, read_page
from storefront.api.parsing import is_storable
from storefront.api.problems import Problem
from storefront.api.times import rfc3339
from storefront.api.views import KeyedView

_SHA256 = re.compile(r"[0-9a-f]{64}")


class AcceptanceView(KeyedView):
    """What these calls share. Open to both sides; which rows each sees is one query, made in one place."""

    open_to: ClassVar = (VendorPrincipal, CarrierPrincipal)

    @property
    def standing(self) -> Standing:
        if isinstance(self.principal, VendorPrincipal):
            return standing_of_vendor(self.principal.vendor, self.principal.actor)
        return standing_of_carrier(self.principal.key, self.principal.actor)

    def get_acceptance(self, code: str) -> Acceptance:
        # Not even asked for where none can be: PostgreSQL refuses a NUL.
        rows = acceptances_of(self.standing)
        found = rows.filter(code=code).first() if is_storable(code) else None
        if found is None:
            raise Problem("not_found", "You have no technical acceptance of this code.")
        return found

    def show(self, code: str) -> dict[str, Any]:
        return present_whole(self.get_acceptance(code), self.standing, at=self.at)

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
    queries: ClassVar = {"GET": AcceptancesQuery}

    def get(self, request: Request) -> Response:
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
        if not isinstance(self.principal, VendorPrincipal):
            raise Problem("not_for_this_key", "The sponsor asks for an acceptance: this call is for vendors.")
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
            return self.already_there(sent, error)
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
    def get(self, request: Request, acceptance_code: str) -> Response:
        return Response(self.show(acceptance_code))


class MovesView(AcceptanceView):
    def post(self, request: Request, acceptance_code: str) -> Response:
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
            raise self.refused(acceptance_code, error) from error
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
    queries: ClassVar = {"GET": PageQuery}

    def get(self, request: Request, acceptance_code: str) -> Response:
        acceptance = self.get_acceptance(acceptance_code)
        page = read_page(acceptance.results.all(), self.query, bound_to=["results", acceptance.pk])
        return Response(page.as_json([present_result(row) for row in page.rows]))

    def post(self, request: Request, acceptance_code: str) -> Response:
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
            raise self.refused(acceptance_code, error) from error
        return Response(self.show(acceptance_code), status=201)


class FilesView(AcceptanceView):
    parser_classes = FILE_PARSERS
    queries: ClassVar = {"GET": PageQuery, "POST": FileQuery}

    def get(self, request: Request, acceptance_code: str) -> Response:
        acceptance = self.get_acceptance(acceptance_code)
        page = read_page(files_of(acceptance), self.query, bound_to=["files", acceptance.pk])
        return Response(page.as_json([present_file(acceptance, row, self.standing) for row in page.rows]))

    def post(self, request: Request, acceptance_code: str) -> Response:
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
            raise self.refused(acceptance_code, error) from error
        except InvalidFact as error:
            if error.field == "content":
                raise Problem("unsupported_media_type", error.message) from error
            raise
        shown = present_file(acceptance, kept, self.standing)
        if not is_new:
            return Response(shown)
        return Response(shown, status=201, headers={"Location": shown["href"]})


class _AsItIs(BaseContentNegotiation):
    """A file comes as what it is, whatever the caller would rather have."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        return parsers[0]

    def select_renderer(self, request: Request, renderers: Any, format_suffix: Any = None) -> Any:
        return renderers[0], renderers[0].media_type


class OneFileView(AcceptanceView):
    content_negotiation_class = _AsItIs

    @property
    def default_response_headers(self) -> dict[str, str]:
        return {**super().default_response_headers, "Cache-Control": "private, no-store"}

    def get(self, request: Request, acceptance_code: str, sha256: str) -> HttpResponse:
        acceptance = self.get_acceptance(acceptance_code)
        file = acceptance.files.filter(sha256=sha256).first() if _SHA256.fullmatch(sha256) else None
        if file is None:
            raise Problem("not_found", "This technical acceptance has no file with this hash.")
        return download(file)
