"""Reseller agreements and submissions as the API shows them: to their grantee, or to their grantor."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

from django.db.models import (
    BooleanField,
    Case,
    CharField,
    Count,
    Exists,
    F,
    IntegerField,
    OuterRef,
    Prefetch,
    Q,
    QuerySet,
    Subquery,
    Value,
    When,
)
from django.db.models.functions import Cast, Coalesce

from authorization.models import (
    AgreementVersion,
    Assurance,
    Fact,
    HoldTarget,
    Revocation,
    ScopeTerm,
)
from authorization.rules import ALL
from carriers.versions import FOREVER
from catalog.models import Organization, Variant
from storefront.api.conditions import version_etag
from storefront.api.times import rfc3339
from storefront.models import AgreementFile, AgreementSubmission

PATH = "/v1/agreements"
SUBMISSIONS_PATH = "/v1/agreement-submissions"

GRANTEE, GRANTOR = "grantee", "grantor"
NOT_BEGUN, ACTIVE, SUSPENDED, EXPIRED, REVOKED = "NOT_BEGUN", "ACTIVE", "SUSPENDED", "EXPIRED", "REVOKED"
# Of a record, at an instant.
STATUSES = (NOT_BEGUN, ACTIVE, SUSPENDED, EXPIRED, REVOKED)
# Of a submission.
SUBMISSION_STATUSES = tuple(state.upper() for state in AgreementSubmission.State.values)


# --- whose ------------------------------------------------------------------------------------------------------


def agreements_of(caller: Organization, *, at: datetime) -> QuerySet[Any]:
    """What is known now of the agreements that the caller is a party to, with what a list shows of each.

    `status` is theirs at this instant: of what is revoked, expired or suspended the first counts.
    """
    of_fact = HoldTarget.objects.filter(
        dimension=HoldTarget.Dimension.FACT,
        part=0,
        value=Cast(OuterRef("head_id"), CharField()),
        version__rev_to__isnull=True,
        version__valid_from__lte=at,
        version__valid_until__gt=at,
    )
    in_force = of_fact.filter(Q(version__released_at__isnull=True) | Q(version__released_at__gt=at))
    models = ScopeTerm.objects.filter(version=OuterRef("pk"), dimension=ScopeTerm.Dimension.MODEL)
    counted = models.order_by().values("version").annotate(count=Count("pk")).values("count")
    others = ScopeTerm.objects.exclude(dimension=ScopeTerm.Dimension.MODEL).order_by("value")
    return (
        AgreementVersion.objects.current()
        .filter(Q(grantee=caller) | Q(grantor=caller))
        .select_related("head", "grantor", "grantee")
        .prefetch_related(Prefetch("scope_terms", queryset=others, to_attr="other_terms"))
        .annotate(
            is_suspended=Exists(in_force),
            covers_all_models=Cast(Exists(models.filter(value=ALL)), BooleanField()),
            model_count=Coalesce(Subquery(counted, output_field=IntegerField()), 0),
        )
        .annotate(
            status=Case(
                When(revoked_at__lte=at, then=Value(REVOKED)),
                When(valid_until__lte=at, then=Value(EXPIRED)),
                When(is_suspended=True, then=Value(SUSPENDED)),
                When(valid_from__gt=at, then=Value(NOT_BEGUN)),
                default=Value(ACTIVE),
                output_field=CharField(),
            )
        )
    )


def submissions_of(caller: Organization) -> QuerySet[AgreementSubmission]:
    """Its own."""
    rows = AgreementSubmission.objects.filter(grantee=caller)
    return rows.select_related("grantor", "grantee", "agreement")


def role_of(caller: Organization, row: AgreementVersion) -> str:
    return GRANTOR if row.grantor_id == caller.pk else GRANTEE


def submissions_about(fact: Fact, caller: Organization) -> list[AgreementSubmission]:
    """The caller's own papers of one agreement on record, the oldest first."""
    return list(submissions_of(caller).filter(agreement=fact).order_by("id"))


# --- records ----------------------------------------------------------------------------------------------------


def present_agreement(row: Any, caller: Organization) -> dict[str, Any]:
    """A row of `agreements_of`."""
    other: dict[str, list[str]] = {}
    for term in row.other_terms:
        other.setdefault(term.dimension, []).append(term.value)
    role = role_of(caller, row)
    return {
        "code": row.head.code,
        "object": "agreement",
        "status": row.status,
        "role": role,
        "grantor": _present_party(row.grantor),
        "grantee": _present_party(row.grantee),
        "assurance": row.assurance,
        "covers_all_models": row.covers_all_models,
        "model_count": None if row.covers_all_models else row.model_count,
        "territories": other.get(ScopeTerm.Dimension.TERRITORY, []),
        "channels": other.get(ScopeTerm.Dimension.CHANNEL, []),
        "conditions": other.get(ScopeTerm.Dimension.CONDITION, []),
        "may_sublicense": row.may_sublicense,
        "valid_from": rfc3339(row.valid_from),
        "valid_until": _end(row.valid_until),
        "revoked_at": None if row.revoked_at is None else rfc3339(row.revoked_at),
        "reason_code": row.reason_code or None,
        "document": row.document,
        "version": row.version_no,
        "links": _links(row, role),
    }


def present_whole_agreement(
    row: Any, caller: Organization, submissions: Sequence[AgreementSubmission]
) -> dict[str, Any]:
    """With the models, and the caller's own papers."""
    named = row.scope_terms.filter(dimension=ScopeTerm.Dimension.MODEL).exclude(value=ALL)
    ids = [int(value) for value in named.values_list("value", flat=True)]
    return {
        **present_agreement(row, caller),
        "models": [ALL] if row.covers_all_models else _slugs(ids),
        "submissions": [_present_brief(each) for each in submissions],
        "documents": _files_of([each.pk for each in submissions], row.head.code),
    }


def etag_of(row: Any, submissions: Sequence[AgreementSubmission]) -> str:
    papers = [f"{each.pk}.{each.version}" for each in submissions]
    return version_etag("agreement", row.head_id, row.version_no, row.status, *papers)


def present_versions(fact: Fact, rows: Sequence[AgreementVersion]) -> list[dict[str, Any]]:
    """Each is the whole record as it was known from its revision on; terms of all of them in one query."""
    terms: dict[int, dict[str, list[str]]] = {}
    found = ScopeTerm.objects.filter(version__in=[row.pk for row in rows]).order_by("dimension", "value")
    for term in found:
        terms.setdefault(term.version_id, {}).setdefault(term.dimension, []).append(term.value)
    variant_ids = {int(value) for each in terms.values() for value in each.get("model", ()) if value != ALL}
    slugs = dict(Variant.objects.filter(pk__in=variant_ids).values_list("pk", "slug"))
    return [_present_version(row, terms.get(row.pk, {}), slugs) for row in rows]


def _present_version(
    row: AgreementVersion, terms: Mapping[str, list[str]], slugs: Mapping[int, str]
) -> dict[str, Any]:
    models = terms.get(ScopeTerm.Dimension.MODEL, [])
    return {
        "version": row.version_no,
        "revision": row.rev_from,
        "is_current": row.rev_to is None,
        "assurance": row.assurance,
        "models": models if models == [ALL] else sorted(slugs[int(value)] for value in models),
        "territories": terms.get(ScopeTerm.Dimension.TERRITORY, []),
        "channels": terms.get(ScopeTerm.Dimension.CHANNEL, []),
        "conditions": terms.get(ScopeTerm.Dimension.CONDITION, []),
        "may_sublicense": row.may_sublicense,
        "valid_from": rfc3339(row.valid_from),
        "valid_until": _end(row.valid_until),
        "revoked_at": None if row.revoked_at is None else rfc3339(row.revoked_at),
        "reason_code": row.reason_code or None,
    }


def present_withdrawal(revocation: Revocation, *, is_dry_run: bool) -> dict[str, Any]:
    return {
        "offers": revocation.preview_falls,
        "offers_later": revocation.preview_falls_later,
        "effective_at": rfc3339(revocation.effective_at),
        # One that is undone leaves no revision.
        "revision": None if is_dry_run else revocation.revision_id,
        "reason_code": revocation.reason_code,
    }


def _links(row: Any, role: str) -> list[dict[str, str]]:
    code = row.head.code
    links = [
        _link("self", "GET", code, "", "This agreement"),
        _link("versions", "GET", code, "/versions", "What it said, and from when on it was known"),
    ]
    if row.status == REVOKED:
        return links
    has_end = row.valid_until < FOREVER
    if role == GRANTEE and has_end:
        links += [
            _link("renew", "POST", code, "/renew", "Submit a later end"),
            _link("documents", "POST", code, "/documents", "Send the paper that prolongs it"),
        ]
    if row.status == EXPIRED:
        return links
    if role == GRANTOR:
        if has_end:
            links.append(_link("renew", "POST", code, "/renew", "Let it last longer"))
        if row.assurance == Assurance.CLAIMED:
            links.append(_link("verify", "POST", code, "/verify", "Confirm that you granted it"))
        links.append(_link("revoke", "POST", code, "/revoke", "Take it back"))
    else:
        links.append(_link("withdraw", "POST", code, "/withdraw", "Give it back"))
    links.append(_link("narrow", "POST", code, "/narrow", "Let it cover less"))
    return links


# --- submissions ------------------------------------------------------------------------------------------------


def present_submission(row: AgreementSubmission) -> dict[str, Any]:
    """It opens nothing: `status` says whether somebody has looked at it."""
    is_open = row.state == AgreementSubmission.State.SUBMITTED
    links = [_link("self", "GET", row.code, "", "This submission", path=SUBMISSIONS_PATH)]
    if is_open:
        links += [
            _link("documents", "POST", row.code, "/documents", "Add a paper"),
            _link("withdraw", "POST", row.code, "/withdraw", "Take it back"),
        ]
    if row.agreement is not None:
        links.append(_link("agreement", "GET", row.agreement.code, "", "The agreement that it is about"))
    return {
        "code": row.code,
        "object": "agreement_submission",
        "status": row.state.upper(),
        "role": GRANTEE,
        "kind": row.kind,
        "agreement": row.agreement.code if row.agreement is not None else None,
        "grantor": _present_party(row.grantor),
        "grantee": _present_party(row.grantee),
        "covers_all_models": row.model_ids == [ALL],
        "model_count": None if row.model_ids == [ALL] else len(row.model_ids),
        "territories": row.territories,
        "channels": row.channels,
        "conditions": row.conditions,
        "may_sublicense": row.may_sublicense,
        "valid_from": rfc3339(row.valid_from),
        "valid_until": _end(row.valid_until),
        "document": row.document,
        "version": row.version,
        "submitted_at": rfc3339(row.submitted_at),
        "decided_at": None if row.decided_at is None else rfc3339(row.decided_at),
        "decision_note": row.decision_note or None,
        "links": links,
    }


def present_whole_submission(row: AgreementSubmission) -> dict[str, Any]:
    return {
        **present_submission(row),
        "models": [ALL] if row.model_ids == [ALL] else _slugs(row.model_ids),
        "documents": _files_of([row.pk], row.code),
    }


def submission_etag(row: AgreementSubmission) -> str:
    return version_etag("submission", row.pk, row.version)


def _present_brief(row: AgreementSubmission) -> dict[str, Any]:
    return {
        "code": row.code,
        "kind": row.kind,
        "status": row.state.upper(),
        "valid_until": _end(row.valid_until),
        "submitted_at": rfc3339(row.submitted_at),
        "href": f"{SUBMISSIONS_PATH}/{quote(row.code)}",
    }


# --- files ------------------------------------------------------------------------------------------------------


def files_of(submission_ids: Iterable[int]) -> QuerySet[AgreementFile]:
    """Without their content."""
    rows = AgreementFile.objects.filter(submission__in=list(submission_ids)).annotate(
        of=F("submission__code")
    )
    return rows.defer("content").order_by("id")


def present_file(file: Any, code: str) -> dict[str, Any]:
    """`code`: under which agreement or submission it is fetched."""
    return {
        "sha256": file.sha256,
        "name": file.name,
        "content_type": file.content_type,
        "size": file.size,
        "at": rfc3339(file.at),
        "submission": file.of,
        "href": f"{PATH}/{quote(code)}/documents/{file.sha256}",
    }


def _files_of(submission_ids: list[int], code: str) -> list[dict[str, Any]]:
    return [present_file(file, code) for file in files_of(submission_ids)] if submission_ids else []


# --- words ------------------------------------------------------------------------------------------------------


def _present_party(party: Organization) -> dict[str, str]:
    return {"slug": party.slug, "name": party.name, "kind": party.kind}


def _slugs(variant_ids: Sequence[int]) -> list[str]:
    return list(Variant.objects.filter(pk__in=variant_ids).order_by("slug").values_list("slug", flat=True))


def _end(until: datetime) -> str | None:
    return None if until >= FOREVER else rfc3339(until)


def _link(rel: str, method: str, code: str, rest: str, title: str, *, path: str = PATH) -> dict[str, str]:
    return {"rel": rel, "method": method, "href": f"{path}/{quote(code)}{rest}", "title": title}
