"""/v1/cases: matters with the shop's desk: appeals, and the cases of takedown requests."""

from typing import Any, ClassVar, cast

from django.db.models import Prefetch, QuerySet
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from catalog.models import Organization
from storefront import appeals, cases
from storefront.api.fields import Members, OneOf, Text, Whole, read_body
from storefront.api.keys import PARTNERS, CarrierPrincipal, OrganizationPrincipal
from storefront.api.pagination import PageQuery, read_latest
from storefront.api.parsing import is_storable
from storefront.api.problems import FieldError, Problem, invalid
from storefront.api.reasons import own_documents, present_reasons
from storefront.api.rights import MAX_ID, party_of
from storefront.api.rights_shapes import CaseShape, WholeCaseShape
from storefront.api.shapes import page_of
from storefront.api.times import rfc3339
from storefront.api.views import KeyedView
from storefront.appeals import AlreadyOpen, Cause, NothingToAppeal, TooManyAppeals
from storefront.cases import LONGEST_MESSAGE, CaseRefused
from storefront.models import Case, CaseMessage
from storefront.rights import Party


class AppealBody(Members):
    """About one of three: an offer (`sku` and `host`), what a sweep took down (`sweep_id`), or an `agreement`."""

    sku = Text(required=False, max_length=64, help_text="Yours; with `host`.")
    host = Text(required=False, max_length=64, help_text="Code of the host carrier on which it is refused.")
    sweep_id = Whole(
        required=False, min_value=1, max_value=MAX_ID, help_text="Of your events, or of GET /v1/sweeps."
    )
    agreement = Text(required=False, max_length=64, help_text="Code of one that you grant or hold.")
    statement = Text(max_length=LONGEST_MESSAGE, help_text="Why you think that it is wrong.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        named = [name for name in ("sku", "sweep_id", "agreement") if name in attrs]
        if len(named) != 1:
            raise serializers.ValidationError("Name one: sku (with host), sweep_id or agreement.")
        if ("host" in attrs) != ("sku" in attrs):
            raise serializers.ValidationError({"host": "It goes with a sku: name both."})
        return attrs


class MessageBody(Members):
    body = Text(max_length=LONGEST_MESSAGE)


class CasesQuery(PageQuery):
    state = OneOf(choices=Case.State.values, required=False)
    kind = OneOf(choices=Case.Kind.values, required=False)


class CaseView(KeyedView):
    """What these calls share: everybody's own cases and no others."""

    open_to: ClassVar = (*PARTNERS, CarrierPrincipal)

    @property
    def party(self) -> Party:
        return party_of(self.principal)

    def rows(self) -> QuerySet[Case]:
        return cases.cases_of(self.party)

    def get_case(self, code: str) -> Case:
        # Not even asked for where none can be: PostgreSQL refuses a NUL.
        found = self.rows().filter(code=code).first() if is_storable(code) else None
        if found is None:
            raise Problem("not_found", "You have no case of this code.")
        return found

    def show(self, code: str) -> dict[str, Any]:
        said = CaseMessage.objects.filter(is_internal=False).order_by("id")
        rows = self.rows().prefetch_related(Prefetch("messages", said))
        return present_whole(rows.get(code=code), self.party)


class CasesView(CaseView):
    """Your cases, newest first; or appeal."""

    scopes: ClassVar = {"GET": "cases:read", "POST": "cases:write"}
    open_to_for: ClassVar = {"POST": PARTNERS}
    needs_idempotency_key: ClassVar = True
    queries: ClassVar = {"GET": CasesQuery}
    bodies: ClassVar = {"POST": AppealBody}
    answers: ClassVar = {"GET": {200: page_of(CaseShape)}, "POST": {201: WholeCaseShape}}
    answer_headers: ClassVar = {"POST": {201: ("Location",)}}
    problems: ClassVar = {"POST": ("not_found", "already_open", "limit_reached", "invalid_transition")}

    def get(self, request: Request) -> Response:
        """Your cases, newest first: appeals, and those of your takedown requests."""
        rows = self.rows().filter(
            **{name: self.query[name] for name in ("state", "kind") if name in self.query}
        )
        page = read_latest(rows, self.query, bound_to=["cases", self.principal.actor])
        return Response(page.as_json([present_case(case) for case in page.rows]))

    def post(self, request: Request) -> Response:
        """Appeal: an offer of yours that is suspended or blocked, what a sweep took down, or an agreement's end."""
        body = read_body(request, AppealBody)
        party = cast(OrganizationPrincipal, self.principal).organization
        try:
            cause = _find_cause(party, body)
            if cause is None:
                raise Problem("not_found", "You have nothing of this name to appeal about.")
            opened = appeals.appeal(
                party=party, cause=cause, statement=body["statement"], by=self.principal.actor, at=self.at
            )
        except NothingToAppeal as error:
            raise Problem("invalid_transition", str(error)) from error
        except AlreadyOpen as error:
            raise Problem("already_open", str(error), case=error.case) from error
        except TooManyAppeals as error:
            raise Problem("limit_reached", str(error)) from error
        headers = {"Location": f"/v1/cases/{opened.code}"}
        return Response(self.show(opened.code), status=201, headers=headers)


class OneCaseView(CaseView):
    """One case of yours, with all that was said in it."""

    scopes: ClassVar = {"GET": "cases:read"}
    answers: ClassVar = {"GET": {200: WholeCaseShape}}

    def get(self, request: Request, case_code: str) -> Response:
        self.get_case(case_code)
        return Response(self.show(case_code))


class MessagesView(CaseView):
    """Say something in an open case: it is the desk's turn then."""

    scopes: ClassVar = {"POST": "cases:write"}
    bodies: ClassVar = {"POST": MessageBody}
    answers: ClassVar = {"POST": {201: WholeCaseShape}}
    problems: ClassVar = {"POST": ("invalid_transition",)}

    def post(self, request: Request, case_code: str) -> Response:
        case = self.get_case(case_code)
        body = read_body(request, MessageBody)
        try:
            cases.say(case=case, body=body["body"], by=self.principal.actor, at=self.at)
        except CaseRefused as error:
            raise Problem("invalid_transition", str(error)) from error
        return Response(self.show(case_code), status=201)


class WithdrawView(CaseView):
    """Let an appeal of yours be. It is closed for good; you may appeal again."""

    scopes: ClassVar = {"POST": "cases:write"}
    bodies: ClassVar = {"POST": Members}
    answers: ClassVar = {"POST": {200: WholeCaseShape}}
    problems: ClassVar = {"POST": ("invalid_transition",)}

    def post(self, request: Request, case_code: str) -> Response:
        case = self.get_case(case_code)
        read_body(request, Members)
        try:
            cases.withdraw(case=case, by=self.principal.actor, at=self.at)
        except CaseRefused as error:
            raise Problem("invalid_transition", str(error)) from error
        return Response(self.show(case_code))


def _find_cause(party: Organization, body: dict[str, Any]) -> Cause | None:
    """What the appeal is about; None: not of this party. Raises NothingToAppeal, Problem."""
    if "agreement" in body:
        return appeals.cause_of_agreement(party, code=body["agreement"])
    if party.kind != Organization.Kind.VENDOR:
        fault = FieldError("/agreement", "required", "Listings are vendors'; name an agreement of yours.")
        raise invalid([fault])
    if "sweep_id" in body:
        return appeals.cause_of_sweep(party, sweep_id=body["sweep_id"])
    return appeals.cause_of_offer(party, sku=body["sku"], host_code=body["host"])


def present_case(case: Case) -> dict[str, Any]:
    about: dict[str, Any] = {}
    if case.offer is not None:
        about |= {"sku": case.offer.listing.sku, "host": case.offer.host.code}
    if case.decision_id is not None:
        about["decision_id"] = str(case.decision_id)
    request = getattr(case, "takedown", None)
    if request is not None:
        about["takedown_request"] = str(request.public_id)
    return {
        "code": case.code,
        "kind": str(case.kind),
        "state": str(case.state),
        "outcome": str(case.outcome) or None,
        "subject": case.subject,
        "about": about,
        "opened_at": rfc3339(case.opened_at),
        "answer_by": rfc3339(case.answer_by) if case.state == Case.State.OPEN else None,
        "closed_at": rfc3339(case.closed_at) if case.closed_at else None,
        "resolution": case.resolution,
    }


def present_whole(case: Case, party: Party) -> dict[str, Any]:
    """With what was said, by whom only as far as it was the desk or the party; the desk's notes stay with the desk.

    `case.messages` are those that may be shown.
    """
    reasons = case.decision.reasons if case.decision is not None else []
    own = frozenset[str]()
    if party.organization is not None and reasons:
        own = own_documents(party.organization, (reason["document"] for reason in reasons))
    return {
        **present_case(case),
        "reasons": present_reasons(reasons, own),
        "messages": [
            {
                "sender": "desk" if message.is_from_desk else "you",
                "body": message.body,
                "at": rfc3339(message.at),
            }
            for message in case.messages.all()
        ],
    }
