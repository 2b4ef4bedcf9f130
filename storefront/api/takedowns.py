"""/v1/takedown-requests: a verified manufacturer or host carrier takes goods off sale, in its own name."""

from typing import Any, ClassVar, cast
from uuid import UUID

from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from authorization.revocations import Preview
from catalog.models import Channel, Condition
from storefront import proofs, takedowns
from storefront.api.fields import Distinct, Members, OneOf, Pattern, Text, WriteQuery, read_body
from storefront.api.pagination import PageQuery, read_latest
from storefront.api.problems import Problem
from storefront.api.rights import ClaimantView, representative_of
from storefront.api.rights_shapes import MadeTakedownRequestShape, TakedownRequestShape
from storefront.api.shapes import page_of
from storefront.api.times import rfc3339
from storefront.cases import LONGEST_MESSAGE, CaseRefused
from storefront.models import TakedownRequest
from storefront.takedowns import MOST_NAMES, REASONS, Goods, TakedownRefused, Wanted


def _names(child: serializers.Field[Any, Any, Any, Any], help_text: str) -> serializers.ListField:
    return serializers.ListField(
        child=child,
        required=False,
        default=list,
        max_length=MOST_NAMES,
        validators=[Distinct()],
        help_text=help_text,
    )


class ListingName(Members):
    vendor = Text(max_length=64, help_text="The vendor's slug.")
    sku = Text(max_length=64, help_text="The vendor's own SKU.")


class GoodsBody(Members):
    """Which goods. Each list that is given narrows; within a list any of its names will do."""

    brands = _names(Text(max_length=64), "Slugs of manufacturers: your own, or one that belongs to you.")
    devices = _names(Text(max_length=100), "Slugs of devices.")
    models = _names(Text(max_length=100), "Slugs or model numbers of variants.")
    vendors = _names(Text(max_length=64), "Slugs of vendors.")
    listings = serializers.ListField(
        child=ListingName(),
        required=False,
        default=list,
        max_length=MOST_NAMES,
        help_text="Single listings, in place of the lists above.",
    )
    territories = _names(Pattern(r"[A-Z]{2}", "Two capitals, ISO 3166-1."), "Only there.")
    channels = _names(OneOf(choices=Channel.values), "Only so sold.")
    conditions = _names(OneOf(choices=Condition.values), "Only in these conditions.")


class TakedownBody(Members):
    reason = OneOf(choices=[code for codes in REASONS.values() for code in codes])
    statement = Text(max_length=LONGEST_MESSAGE, help_text="What you say, in your words. It opens the case.")
    goods = GoodsBody()


class LiftBody(Members):
    reason = Text(max_length=LONGEST_MESSAGE, help_text="Why; it is kept beside the request.")
    vendors = _names(
        Text(max_length=64),
        "Slugs of vendors that may go on selling; for all others the stop stays. None: all of it.",
    )


class TakedownsQuery(PageQuery):
    state = OneOf(choices=TakedownRequest.State.values, required=False)


class MakingView(ClaimantView):
    """A call that makes a takedown request: `wanted` says which."""

    needs_idempotency_key: ClassVar = True
    queries: ClassVar = {"POST": WriteQuery}
    answers: ClassVar = {"POST": {200: MadeTakedownRequestShape, 201: MadeTakedownRequestShape}}
    answer_headers: ClassVar = {"POST": {201: ("Location",)}}

    wanted: Wanted
    twin: TakedownRequest | None
    seen: Preview | None

    def check_caller(self, request: Request, *args: Any, **kwargs: Any) -> None:
        if request.method == "POST":
            self.check_representative()

    def want(self, request: Request, **kwargs: Any) -> Wanted:
        raise NotImplementedError

    def prepare(self, request: Request, **kwargs: Any) -> None:
        self.wanted = self.want(request, **kwargs)
        self.twin = takedowns.find_twin(self.wanted)
        is_looked_at = self.is_dry_run or (self.twin is None and takedowns.is_at_once())
        self.seen = takedowns.look(self.wanted, at=self.at) if is_looked_at else None

    def make(self) -> Response:
        if self.is_dry_run:
            return Response(self.present_trial())
        if self.twin is not None:
            return Response({**present_requests([self.twin])[0], "unchanged": True})
        try:
            made = takedowns.request_takedown(
                wanted=self.wanted, seen=self.seen, by=self.principal.actor, at=self.at
            )
        except TakedownRefused as error:
            raise Problem("already_open", str(error)) from error
        shown = present_requests(list(takedowns.requests_of(self.party).filter(pk=made.pk)))[0]
        headers = {"Location": f"/v1/takedown-requests/{made.public_id}"}
        return Response({**shown, "unchanged": False}, status=201, headers=headers)

    def present_trial(self) -> dict[str, Any]:
        """What the request would be. It has no id, and its case no code."""
        seen = cast(Preview, self.seen)
        return {
            "id": "",
            "state": str(takedowns.State.IN_FORCE if takedowns.is_at_once() else takedowns.State.WAITING),
            "is_stopping": False,
            "reason": self.wanted.reason_code,
            "statement": self.wanted.statement,
            "representative": self.wanted.representative,
            "goods": self.wanted.goods.as_json(),
            "let_through": [],
            "requested_at": rfc3339(self.at),
            "decided_at": None,
            "case": "",
            "stopped": None,
            "proof": None,
            "unchanged": self.twin is not None,
            "would_stop": len(seen.falls),
            "validate_only": True,
        }


class TakedownsView(MakingView):
    """Your takedown requests, newest first; or make one: the sale of these goods stops."""

    scopes: ClassVar = {"GET": "takedowns:read", "POST": "takedowns:write"}
    queries: ClassVar = {"GET": TakedownsQuery, "POST": WriteQuery}
    bodies: ClassVar = {"POST": TakedownBody}
    answers: ClassVar = {**MakingView.answers, "GET": {200: page_of(TakedownRequestShape)}}
    problems: ClassVar = {"POST": ("already_open",)}

    def get(self, request: Request) -> Response:
        """Your takedown requests, newest first."""
        rows = takedowns.requests_of(self.party)
        if "state" in self.query:
            rows = rows.filter(state=self.query["state"])
        page = read_latest(rows, self.query, bound_to=["takedowns", self.principal.actor])
        return Response(page.as_json(present_requests(page.rows)))

    def post(self, request: Request) -> Response:
        """Take goods of your brand, or on your network, off sale. At once, or once the desk has agreed: see `state`."""
        return self.make()

    def want(self, request: Request, **kwargs: Any) -> Wanted:
        body = read_body(request, TakedownBody)
        return takedowns.check(
            party=self.party,
            representative=representative_of(self.principal),
            reason_code=body["reason"],
            statement=body["statement"],
            goods=read_goods(body["goods"]),
            at=self.at,
        )


class TakedownView(ClaimantView):
    """What the calls on one request share."""

    def rows(self) -> QuerySet[TakedownRequest]:
        return takedowns.requests_of(self.party)

    def get_request(self, request_id: UUID) -> TakedownRequest:
        found = self.rows().filter(public_id=request_id).first()
        if found is None:
            raise Problem("not_found", "You have no takedown request of this id.")
        return found


class OneTakedownView(TakedownView):
    """One takedown request of yours: whether it stands, and the proof of removal once the pages are gone."""

    scopes: ClassVar = {"GET": "takedowns:read"}
    answers: ClassVar = {"GET": {200: TakedownRequestShape}}

    def get(self, request: Request, request_id: UUID) -> Response:
        return Response(present_requests([self.get_request(request_id)])[0])


class LiftView(TakedownView):
    """Lift a takedown request, in whole or for some vendors. What nothing else stops is on sale again."""

    scopes: ClassVar = {"POST": "takedowns:write"}
    bodies: ClassVar = {"POST": LiftBody}
    answers: ClassVar = {"POST": {200: TakedownRequestShape}}
    problems: ClassVar = {"POST": ("invalid_transition",)}

    def check_caller(self, request: Request, *args: Any, **kwargs: Any) -> None:
        self.check_representative()

    def post(self, request: Request, request_id: UUID) -> Response:
        found = self.get_request(request_id)
        body = read_body(request, LiftBody)
        by = self.principal.actor
        try:
            if body["vendors"]:
                takedowns.let_through(request=found, **body, by=by, at=self.at)
            else:
                takedowns.lift(request=found, reason=body["reason"], by=by, at=self.at)
        except (TakedownRefused, CaseRefused) as error:
            raise Problem("invalid_transition", str(error)) from error
        return Response(present_requests([self.get_request(request_id)])[0])


def read_goods(body: dict[str, Any]) -> Goods:
    listings = tuple((row["vendor"], row["sku"]) for row in body.pop("listings"))
    return Goods(**{name: tuple(values) for name, values in body.items()}, listings=listings)


def present_requests(rows: list[TakedownRequest]) -> list[dict[str, Any]]:
    """Rows from `takedowns.requests_of`, in their order."""
    let_through = takedowns.let_through_by(rows)
    return [_present(row, let_through[row.pk]) for row in rows]


def _present(row: TakedownRequest, let_through: list[str]) -> dict[str, Any]:
    revocation = row.revocation
    proof = getattr(revocation, "removal_proof", None)
    return {
        "id": str(row.public_id),
        "state": str(row.state),
        "is_stopping": takedowns.is_stopping(row),
        "reason": row.reason_code,
        "statement": row.statement,
        "representative": row.representative,
        "goods": row.asked,
        "let_through": let_through,
        "requested_at": rfc3339(row.requested_at),
        "decided_at": rfc3339(row.decided_at) if row.decided_at else None,
        "case": row.case.code,
        "stopped": None
        if revocation is None
        else {
            "offers": revocation.preview_falls,
            "effective_at": rfc3339(revocation.effective_at),
            "revision": revocation.revision_id,
        },
        "proof": None
        if proof is None
        else {
            "issued_at": rfc3339(proof.issued_at),
            "href": proofs.proof_link(proof),
            "json_href": proofs.proof_link(proof, end=".json"),
        },
    }
