"""/v1/agreements: who may sell whose goods, for the two parties of each agreement.

A vendor shows what it was granted; that opens nothing before the desk has accepted it. A manufacturer or a distributor
grants, confirms, prolongs, narrows and revokes in its own name, at once. Nobody else's agreements are there.
"""

import re
from typing import Any, ClassVar, cast

from django.http import HttpResponse
from rest_framework.request import Request
from rest_framework.response import Response

from authorization import agreements
from authorization.acceptances.evidence import CONTENT_TYPES
from authorization.facts import InvalidFact
from authorization.models import AgreementVersion, Assurance, Revocation
from authorization.revocations import Change, NarrowAgreement, Preview, RevokeAgreement
from authorization.transactions import one_transaction
from catalog.models import Organization
from storefront import agreement_grants, agreement_submissions, withdrawals
from storefront.acceptance_files import download
from storefront.agreement_submissions import AlreadySubmitted, SubmissionRefused, TooMany
from storefront.api.agreement_input import (
    GRANTEES_REASON,
    AgreementBody,
    AgreementsQuery,
    DocumentBody,
    DocumentQuery,
    NarrowBody,
    RenewBody,
    RevokeBody,
    SubmissionsQuery,
    VerifyBody,
    WithdrawBody,
    check_reason_code,
    read_agreement,
    read_document,
    read_narrower,
    refused_for_key,
)
from storefront.api.agreement_output import (
    EXPIRED,
    GRANTEE,
    GRANTOR,
    PATH,
    REVOKED,
    agreements_of,
    etag_of,
    files_of,
    present_agreement,
    present_file,
    present_submission,
    present_versions,
    present_whole_agreement,
    present_whole_submission,
    present_withdrawal,
    role_of,
    submission_etag,
    submissions_about,
    submissions_of,
)
from storefront.api.agreement_shapes import (
    AgreementActShape,
    AgreementDocumentShape,
    AgreementShape,
    AgreementsShape,
    AgreementVersionsShape,
)
from storefront.api.conditions import check_preconditions, conditional
from storefront.api.fields import read_body
from storefront.api.files import FILE_PARSERS, MAX_UPLOAD, AsItIs
from storefront.api.keys import (
    PARTNERS,
    DistributorPrincipal,
    ManufacturerPrincipal,
    OrganizationPrincipal,
    VendorPrincipal,
)
from storefront.api.pagination import PageQuery, read_page
from storefront.api.parsing import is_storable
from storefront.api.problems import FieldError, Problem, invalid
from storefront.api.shapes import file_of, page_of
from storefront.api.views import KeyedView
from storefront.models import AgreementFile, AgreementSubmission

_SHA256 = re.compile(r"[0-9a-f]{64}")
_ETAG = {"GET": {200: ("ETag",), 304: ("ETag",)}}
_IF_NONE_MATCH = {"GET": ("If-None-Match",)}
_IF_MATCH = {"POST": ("If-Match",)}
_REFUSALS = ("agreement_refused", "version_conflict")


class AgreementsBase(KeyedView):
    """What these calls share: which rows a caller sees is one query, made in one place."""

    open_to: ClassVar[tuple[type, ...]] = PARTNERS

    @property
    def caller(self) -> OrganizationPrincipal:
        return cast(OrganizationPrincipal, self.principal)

    @property
    def organization(self) -> Organization:
        return self.caller.organization

    def find_agreement(self, code: str) -> Any | None:
        """The agreement on record with this code that the caller is a party to."""
        # Not even asked for where none can be: PostgreSQL refuses a NUL.
        rows = agreements_of(self.organization, at=self.at)
        return rows.filter(head__code=code).first() if is_storable(code) else None

    def find_submission(self, code: str) -> AgreementSubmission | None:
        return submissions_of(self.organization).filter(code=code).first() if is_storable(code) else None

    def get_agreement(self, code: str) -> Any:
        found = self.find_agreement(code)
        if found is None:
            if self.find_submission(code) is not None:
                raise Problem(
                    "agreement_refused",
                    f"{code} is a submission; only the desk's acceptance puts an agreement on record.",
                )
            raise self.nothing()
        return found

    def nothing(self) -> Problem:
        return Problem("not_found", "You are a party to no agreement of this code, and have submitted none.")

    def show(self, code: str) -> Response:
        """Of a code that the caller may see."""
        request = self.request
        row = self.find_agreement(code)
        if row is not None:
            papers = self.papers_of(row)
            shown = present_whole_agreement(row, self.organization, papers)
            return conditional(request, etag_of(row, papers), shown)
        submission = self.find_submission(code)
        if submission is None:
            raise self.nothing()
        return conditional(request, submission_etag(submission), present_whole_submission(submission))

    def shown(self, code: str, **beside: Any) -> Response:
        """The agreement after a write, with its new tag."""
        row = self.find_agreement(code)
        if row is not None:
            papers = self.papers_of(row)
            body, etag = present_whole_agreement(row, self.organization, papers), etag_of(row, papers)
        else:
            submission = self.find_submission(code)
            if submission is None:
                raise self.nothing()
            body, etag = present_whole_submission(submission), submission_etag(submission)
        return Response({**body, **beside}, headers={"ETag": etag})

    def papers_of(self, row: Any) -> list[AgreementSubmission]:
        return submissions_about(row.head, self.organization)

    def check_seen(self, row: Any) -> None:
        """If-Match of a write on a record."""
        check_preconditions(self.request, lambda: etag_of(row, self.papers_of(row)), what="agreement")

    def check_submission_seen(self, row: AgreementSubmission) -> None:
        check_preconditions(self.request, lambda: submission_etag(row), what="submission")

    def check_speaks(self, what: str) -> None:
        """Raises Problem unless the desk knows who gives the organization's word with this key.

        A test store is its owner's own: nobody is there to be verified.
        """
        key = self.caller.key
        if not (key.representative or key.is_test):
            raise refused_for_key(what)

    def handle_exception(self, error: Exception) -> Response:
        if isinstance(error, SubmissionRefused):
            error = problem_of(error)
        elif isinstance(error, InvalidFact) and error.field == "fact":
            # Of the agreement as it is, not of what was sent.
            error = Problem("agreement_refused", error.message)
        return super().handle_exception(error)


def problem_of(error: SubmissionRefused) -> Problem:
    if isinstance(error, AlreadySubmitted):
        return Problem("already_submitted", error.message, submission=error.code)
    return Problem("limit_reached" if isinstance(error, TooMany) else "agreement_refused", error.message)


class AgreementsView(AgreementsBase):
    scopes: ClassVar = {"GET": "agreements:read", "POST": "agreements:write"}
    queries: ClassVar = {"GET": AgreementsQuery}
    bodies: ClassVar = {"POST": AgreementBody}
    answers: ClassVar = {"GET": {200: AgreementsShape}, "POST": {201: AgreementShape}}
    answer_headers: ClassVar = {"POST": {201: ("Location", "ETag")}}
    problems: ClassVar = {"POST": ("already_submitted", "limit_reached", "agreement_refused")}
    needs_idempotency_key: ClassVar = True

    def get(self, request: Request) -> Response:
        """The agreements on record that you are a party to. Submissions have a list of their own."""
        rows = agreements_of(self.organization, at=self.at)
        if "status" in self.query:
            rows = rows.filter(status=self.query["status"])
        if "role" in self.query:
            rows = rows.filter(**{self.query["role"]: self.organization})
        for party in (GRANTOR, GRANTEE):
            if party in self.query:
                rows = rows.filter(**{f"{party}__slug": self.query[party]})
        if "ends_before" in self.query:
            rows = rows.filter(valid_until__lt=self.query["ends_before"])
        page = read_page(rows, self.query, bound_to=["agreements", self.caller.actor])
        return Response(page.as_json([present_agreement(row, self.organization) for row in page.rows]))

    def post(self, request: Request) -> Response:
        """Submit an agreement that you were granted: it opens nothing before the desk has accepted it.

        With `grantee` a manufacturer or a distributor grants one itself: it is on record, verified, at once.
        """
        sent = read_agreement(request, self.organization)
        acting: dict[str, Any] = {"by": self.caller.actor, "at": self.at}
        if sent.as_grantor:
            self.check_speaks("A grant")
            code = agreement_grants.grant(**sent.terms, **acting).code
        else:
            code = agreement_submissions.submit(**sent.terms, **acting).code
        response = self.shown(code)
        response.status_code = 201
        response["Location"] = f"{PATH}/{code}"
        return response


class OneAgreementView(AgreementsBase):
    scopes: ClassVar = {"GET": "agreements:read"}
    answers: ClassVar = {"GET": {200: AgreementShape, 304: None}}
    answer_headers: ClassVar = _ETAG
    request_headers: ClassVar = _IF_NONE_MATCH

    def get(self, request: Request, agreement_code: str) -> Response:
        """An agreement on record, or one that you submitted: its address is the same before and after."""
        return self.show(agreement_code)


class AgreementVersionsView(AgreementsBase):
    scopes: ClassVar = {"GET": "agreements:read"}
    queries: ClassVar = {"GET": PageQuery}
    answers: ClassVar = {"GET": {200: AgreementVersionsShape}}
    problems: ClassVar = {"GET": ("agreement_refused",)}

    def get(self, request: Request, agreement_code: str) -> Response:
        """What the agreement said, version by version, and from which revision on that was known."""
        fact = self.get_agreement(agreement_code).head
        rows = AgreementVersion.objects.filter(head=fact)
        page = read_page(rows, self.query, bound_to=["agreement-versions", fact.pk])
        return Response(page.as_json(present_versions(fact, page.rows)))


class SubmissionsView(AgreementsBase):
    open_to: ClassVar[tuple[type, ...]] = (VendorPrincipal, DistributorPrincipal)
    scopes: ClassVar = {"GET": "agreements:read"}
    queries: ClassVar = {"GET": SubmissionsQuery}
    answers: ClassVar = {"GET": {200: AgreementsShape}}

    def get(self, request: Request) -> Response:
        """What you submitted of agreements, and what the desk said to it."""
        rows = submissions_of(self.organization)
        if "status" in self.query:
            rows = rows.filter(state=self.query["status"].lower())
        page = read_page(rows, self.query, bound_to=["agreement-submissions", self.caller.actor])
        return Response(page.as_json([present_submission(row) for row in page.rows]))


class OneSubmissionView(AgreementsBase):
    open_to: ClassVar[tuple[type, ...]] = (VendorPrincipal, DistributorPrincipal)
    scopes: ClassVar = {"GET": "agreements:read"}
    answers: ClassVar = {"GET": {200: AgreementShape, 304: None}}
    answer_headers: ClassVar = _ETAG
    request_headers: ClassVar = _IF_NONE_MATCH

    def get(self, request: Request, submission_code: str) -> Response:
        """A submission as it was decided, also where it is on record by now."""
        row = self.find_submission(submission_code)
        if row is None:
            raise Problem("not_found", "You have submitted nothing of this code.")
        return conditional(request, submission_etag(row), present_whole_submission(row))


# --- papers -------------------------------------------------------------------------------------------------------


class DocumentsView(AgreementsBase):
    open_to: ClassVar[tuple[type, ...]] = (VendorPrincipal, DistributorPrincipal)
    scopes: ClassVar = {"GET": "agreements:read", "POST": "agreements:write"}
    parser_classes = FILE_PARSERS
    max_body: ClassVar = MAX_UPLOAD
    queries: ClassVar = {"GET": PageQuery, "POST": DocumentQuery}
    bodies: ClassVar = {"POST": DocumentBody}
    body_types: ClassVar = {
        "POST": {
            "multipart/form-data": DocumentBody,
            "application/octet-stream": {"type": "string", "format": "binary"},
        }
    }
    answers: ClassVar = {
        "GET": {200: page_of(AgreementDocumentShape)},
        "POST": {200: AgreementDocumentShape, 201: AgreementDocumentShape},
    }
    answer_headers: ClassVar = {"POST": {201: ("Location",)}}
    request_headers: ClassVar = _IF_MATCH
    problems: ClassVar = {"POST": (*_REFUSALS, "already_submitted", "limit_reached")}

    def get(self, request: Request, agreement_code: str) -> Response:
        """The papers that you submitted of it."""
        ids = own_submission_ids(self, agreement_code)
        page = read_page(files_of(ids), self.query, bound_to=["agreement-documents", *ids])
        return Response(page.as_json([present_file(file, agreement_code) for file in page.rows]))

    def post(self, request: Request, agreement_code: str) -> Response:
        """Add a paper to a submission. To an agreement on record: with `valid_until`, it is submitted to be renewed."""
        # Whether it is there comes before what is wrong with the file.
        own_submission_ids(self, agreement_code)
        sent = read_document(request, self.query)
        try:
            with one_transaction():
                submission = self.submission_for(agreement_code, sent.valid_until)
                kept, is_new = agreement_submissions.attach(
                    submission=submission,
                    name=sent.name,
                    content=sent.content,
                    by=self.caller.actor,
                    at=self.at,
                )
        except InvalidFact as error:
            if error.field == "content":
                raise Problem("unsupported_media_type", error.message) from error
            raise
        kept = files_of([submission.pk]).get(pk=kept.pk)
        shown = present_file(kept, agreement_code)
        if not is_new:
            return Response(shown)
        return Response(shown, status=201, headers={"Location": shown["href"]})

    def submission_for(self, code: str, valid_until: Any) -> AgreementSubmission:
        """The open submission that the paper belongs to; of an agreement on record its renewal, begun with it."""
        row = self.find_agreement(code)
        if row is None:
            submission = self.find_submission(code)
            if submission is None:
                raise self.nothing()
            self.check_submission_seen(submission)
            return submission
        if role_of(self.organization, row) == GRANTOR:
            raise Problem(
                "agreement_refused", f"You granted {code} yourself: renew it, there is nothing to show."
            )
        self.check_seen(row)
        open_one = next(
            (each for each in self.papers_of(row) if each.state == AgreementSubmission.State.SUBMITTED), None
        )
        if open_one is not None:
            return open_one
        if valid_until is None:
            detail = f"{code} is on record. Say the new end that this paper shows, e.g. 2028-01-01T00:00:00Z."
            raise invalid([FieldError("/valid_until", "required", detail, self.place)])
        return agreement_submissions.submit_renewal(
            fact=row.head, valid_until=valid_until, by=self.caller.actor, at=self.at
        )

    @property
    def place(self) -> str:
        return "body" if self.request.content_type.startswith("multipart/") else "query"


class OneDocumentView(AgreementsBase):
    open_to: ClassVar[tuple[type, ...]] = (VendorPrincipal, DistributorPrincipal)
    scopes: ClassVar = {"GET": "agreements:read"}
    content_negotiation_class = AsItIs
    answers: ClassVar = {"GET": {200: file_of(*CONTENT_TYPES, words="The file, as a download.")}}
    answer_headers: ClassVar = {"GET": {200: ("ETag",)}}

    @property
    def default_response_headers(self) -> dict[str, str]:
        return {**super().default_response_headers, "Cache-Control": "private, no-store"}

    def get(self, request: Request, agreement_code: str, sha256: str) -> HttpResponse:
        """A paper that you submitted, as it came."""
        ids = own_submission_ids(self, agreement_code)
        found = AgreementFile.objects.filter(submission__in=ids, sha256=sha256).first()
        file = found if _SHA256.fullmatch(sha256) else None
        if file is None:
            raise Problem("not_found", "You have submitted no paper with this hash here.")
        return download(file)


def own_submission_ids(view: AgreementsBase, code: str) -> list[int]:
    """Of the caller's papers under this code. Raises Problem where it may not see the code."""
    row = view.find_agreement(code)
    if row is not None:
        return [each.pk for each in view.papers_of(row)]
    submission = view.find_submission(code)
    if submission is None:
        raise view.nothing()
    return [submission.pk]


# --- acts that give -----------------------------------------------------------------------------------------------


class RenewView(AgreementsBase):
    scopes: ClassVar = {"POST": "agreements:write"}
    bodies: ClassVar = {"POST": RenewBody}
    answers: ClassVar = {"POST": {200: AgreementShape, 202: AgreementShape}}
    answer_headers: ClassVar = {"POST": {200: ("ETag",), 202: ("ETag", "Location")}}
    request_headers: ClassVar = _IF_MATCH
    problems: ClassVar = {"POST": (*_REFUSALS, "already_submitted", "limit_reached")}

    def post(self, request: Request, agreement_code: str) -> Response:
        """Let it last longer. Its grantor's word counts at once (200); its grantee's waits for the desk (202)."""
        row = self.get_agreement(agreement_code)
        body = read_body(request, RenewBody)
        self.check_seen(row)
        until, document = body["valid_until"], body["document"]
        if role_of(self.organization, row) == GRANTEE:
            made = agreement_submissions.submit_renewal(
                fact=row.head, valid_until=until, document=document, by=self.caller.actor, at=self.at
            )
            response = self.shown(made.code)
            response.status_code = 202
            response["Location"] = f"/v1/agreement-submissions/{made.code}"
            return response
        self.check_speaks("A renewal")
        refuse_over(row)
        agreements.renew_agreement(
            fact=row.head,
            valid_until=until,
            by=self.caller.actor,
            at=self.at,
            reason=document or "renewed by its grantor",
        )
        return self.shown(agreement_code)


class VerifyView(AgreementsBase):
    open_to: ClassVar[tuple[type, ...]] = (DistributorPrincipal, ManufacturerPrincipal)
    scopes: ClassVar = {"POST": "agreements:write"}
    bodies: ClassVar = {"POST": VerifyBody}
    answers: ClassVar = {"POST": {200: AgreementShape}}
    answer_headers: ClassVar = {"POST": {200: ("ETag",)}}
    request_headers: ClassVar = _IF_MATCH
    problems: ClassVar = {"POST": _REFUSALS}

    def post(self, request: Request, agreement_code: str) -> Response:
        """Its grantor confirms it. Done twice it changes nothing."""
        row = self.get_agreement(agreement_code)
        body = read_body(request, VerifyBody)
        refuse_unless(GRANTOR, row, self.organization, "confirms it")
        self.check_speaks("A confirmation")
        self.check_seen(row)
        refuse_over(row)
        if row.assurance != Assurance.VERIFIED:
            reason = body["reason"] or "confirmed by its grantor"
            agreements.verify_agreement(fact=row.head, by=self.caller.actor, at=self.at, reason=reason)
        return self.shown(agreement_code)


def refuse_unless(role: str, row: Any, caller: Organization, does: str) -> None:
    if role_of(caller, row) != role:
        who = row.grantor if role == GRANTOR else row.grantee
        raise Problem("agreement_refused", f"{row.head.code}: {who} {does}, not you.")


def refuse_over(row: Any) -> None:
    if row.status in (REVOKED, EXPIRED):
        raise Problem(
            "agreement_refused",
            f"{row.head.code} is {row.status.lower()}, which is final: make a new agreement. POST {PATH}",
        )


# --- acts that take -----------------------------------------------------------------------------------------------


class TakingView(AgreementsBase):
    """Authority is taken away by the front door: looked at first, and done only if what was seen still holds.

    The desk looks at the impact and is asked again. Whoever calls has decided already, and is told what it stopped.
    """

    scopes: ClassVar = {"POST": "agreements:write"}
    answers: ClassVar = {"POST": {200: AgreementActShape}}
    answer_headers: ClassVar = {"POST": {200: ("ETag",)}}
    request_headers: ClassVar = _IF_MATCH
    problems: ClassVar = {"POST": (*_REFUSALS, "decision_unavailable")}

    seen: Preview

    def take(self, row: Any, change: Change, *, note: str, effective_at: Any = None) -> Revocation:
        """`change` as it was looked at in `prepare`."""
        refuse_over(row)
        return withdrawals.confirm(
            change,
            digest=self.seen.digest,
            token=self.seen.token,
            requested_by=self.organization.name,
            # The call is the word.
            word_received_at=self.at,
            note=note,
            by=self.caller.actor,
            at=self.at,
            effective_at=effective_at,
        )

    def look(self, change: Change, *, effective_at: Any = None) -> None:
        self.seen = withdrawals.preview(change, at=self.at, effective_at=effective_at).impact


class NarrowView(TakingView):
    bodies: ClassVar = {"POST": NarrowBody}

    def prepare(self, request: Request, **kwargs: Any) -> None:
        self.row = self.get_agreement(kwargs["agreement_code"])
        refuse_over(self.row)
        terms, self.note = read_narrower(request)
        is_grantor = role_of(self.organization, self.row) == GRANTOR
        reason = "AGREEMENT_TERMINATED" if is_grantor else GRANTEES_REASON
        self.change = NarrowAgreement(fact_id=self.row.head_id, reason_code=reason, **terms)
        self.look(self.change)

    def post(self, request: Request, agreement_code: str) -> Response:
        """Let it cover less from now on. What rests on the rest alone cannot be sold from the answer on."""
        self.check_seen(self.row)
        made = self.take(self.row, self.change, note=self.note)
        return self.shown(agreement_code, withdrawal=present_withdrawal(made, is_dry_run=self.is_dry_run))


class RevokeView(TakingView):
    open_to: ClassVar[tuple[type, ...]] = (DistributorPrincipal, ManufacturerPrincipal)
    bodies: ClassVar = {"POST": RevokeBody}

    def prepare(self, request: Request, **kwargs: Any) -> None:
        self.row = self.get_agreement(kwargs["agreement_code"])
        self.body = read_body(request, RevokeBody)
        refuse_unless(GRANTOR, self.row, self.organization, "revokes it")
        refuse_over(self.row)
        check_reason_code(self.body["reason_code"], self.organization)
        self.change = RevokeAgreement(self.row.head_id, self.body["reason_code"])
        self.look(self.change, effective_at=self.body.get("effective_at"))

    def post(self, request: Request, agreement_code: str) -> Response:
        """Take back what you granted, for good. What rests on it alone cannot be sold from the answer on."""
        self.check_seen(self.row)
        made = self.take(
            self.row, self.change, note=self.body["reason"], effective_at=self.body.get("effective_at")
        )
        return self.shown(agreement_code, withdrawal=present_withdrawal(made, is_dry_run=self.is_dry_run))


class GiveBackView(TakingView):
    open_to: ClassVar[tuple[type, ...]] = (VendorPrincipal, DistributorPrincipal)
    bodies: ClassVar = {"POST": WithdrawBody}

    def prepare(self, request: Request, **kwargs: Any) -> None:
        code = kwargs["agreement_code"]
        self.row = self.find_agreement(code)
        if self.row is None and self.find_submission(code) is None:
            raise self.nothing()
        self.body = read_body(request, WithdrawBody)
        if self.row is None:
            return
        refuse_unless(GRANTEE, self.row, self.organization, "gives it back")
        refuse_over(self.row)
        self.change = RevokeAgreement(self.row.head_id, GRANTEES_REASON)
        self.look(self.change, effective_at=self.body.get("effective_at"))

    def post(self, request: Request, agreement_code: str) -> Response:
        """Take a submission back, or give back an agreement that you hold."""
        if self.row is not None:
            self.check_seen(self.row)
            made = self.take(
                self.row, self.change, note=self.body["reason"], effective_at=self.body.get("effective_at")
            )
            return self.shown(agreement_code, withdrawal=present_withdrawal(made, is_dry_run=self.is_dry_run))
        submission = self.find_submission(agreement_code)
        if submission is None:
            raise self.nothing()
        if "effective_at" in self.body:
            detail = "A submission is withdrawn at once; leave it out."
            raise invalid([FieldError("/effective_at", "not_taken", detail)])
        self.check_submission_seen(submission)
        agreement_submissions.withdraw(
            submission=submission,
            by=self.caller.actor,
            at=self.at,
            reason=self.body["reason"],
            seen_version=submission.version,
        )
        return self.shown(agreement_code)
