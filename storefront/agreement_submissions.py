"""Papers that a vendor or a distributor shows of what it says it was granted: submitted, then accepted or declined.

A submission is the word of whoever gains by it. It opens nothing, and no decision reads it: in 2016 a letter that
nobody had asked the maker about was taken for the maker's leave. Only the desk's acceptance makes an agreement of it
(authorization.agreements), with the assurance that the desk chose, and the desk says how it knows.
"""

import hashlib
import secrets
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Literal

from django.db import transaction
from django.db.models import QuerySet, Sum

from authorization import agreements, facts, ledger, outbox
from authorization.acceptances.evidence import MAX_BYTES, content_type_of
from authorization.actors import Actor
from authorization.doors import check_instant, clean_text
from authorization.facts import InvalidFact
from authorization.models import AgreementVersion, Assurance, Fact, HoldTarget, ScopeTerm
from authorization.rules import ALL
from authorization.transactions import one_transaction
from carriers.versions import FOREVER
from catalog.models import Organization, Variant
from storefront.acceptance_files import clean_name
from storefront.models import AgreementFile, AgreementSubmission

Kind, State = AgreementSubmission.Kind, AgreementSubmission.State

# All own choices. A vendor with more of them open than this has not waited for the answer to the first; a contract with
# its annexes fits into the files of one.
OPEN_AT_ONCE = 50
MAX_FILES = 20
BYTES_OF_FILES = 25_000_000
MAX_DOCUMENT = 2000
MAX_NOTE = 500

# Without letters and digits that read alike: people copy codes from mails.
_ALPHABET = "23456789ABCDEFGHJKMNPQRSTVWXYZ"


class SubmissionRefused(ValueError):
    """What the state of a submission or of its agreement does not allow. The message says the cure."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class AlreadySubmitted(SubmissionRefused):
    """The same is open already: `code` says where."""

    def __init__(self, code: str) -> None:
        super().__init__(
            f"The same is open as {code}, and waits for the desk. Add to that one, or withdraw it."
        )
        self.code = code


class TooMany(SubmissionRefused):
    """There are as many as there may be."""


# --- by who was granted, or says so -----------------------------------------------------------------------------


def submit(
    *,
    grantor: Organization,
    grantee: Organization,
    may_sublicense: bool,
    models: Sequence[Variant] | Literal["*"],
    territories: Iterable[str],
    channels: Iterable[str],
    conditions: Iterable[str],
    valid_from: datetime,
    valid_until: datetime = FOREVER,
    document: str = "",
    by: Actor,
    at: datetime,
) -> AgreementSubmission:
    """Show an agreement that is not on record. Raises InvalidFact, AlreadySubmitted, TooMany."""
    check_instant("at", at)
    document = _check_document(document)
    scope = agreements.check_terms(
        grantor=grantor,
        grantee=grantee,
        models=models,
        territories=territories,
        channels=channels,
        conditions=conditions,
        valid_from=valid_from,
        valid_until=valid_until,
    )
    if valid_until <= at:
        raise InvalidFact("valid_until", "It is over by then; show one that is in force or still to begin.")
    if grantor.kind == Organization.Kind.MANUFACTURER:
        # Of a distributor it depends on what others have granted to it, which is not for the vendor to learn here.
        agreements.check_makers(grantor=grantor, scope=scope, valid_from=valid_from, valid_until=valid_until)
    if may_sublicense and grantee.kind == Organization.Kind.VENDOR:
        raise InvalidFact("may_sublicense", "A vendor grants nothing on; leave it out.")
    return _open(
        kind=Kind.NEW,
        grantor=grantor,
        grantee=grantee,
        agreement=None,
        may_sublicense=may_sublicense,
        scope=scope,
        valid_from=valid_from,
        valid_until=valid_until,
        document=document,
        by=by,
        at=at,
    )


def submit_renewal(
    *, fact: Fact, valid_until: datetime, document: str = "", by: Actor, at: datetime
) -> AgreementSubmission:
    """Show that an agreement on record lasts longer than recorded. The terms stay as they are.

    Of one that has ended, its acceptance makes a new record: what ended stays ended.
    Raises InvalidFact, SubmissionRefused, AlreadySubmitted, TooMany.
    """
    check_instant("at", at)
    document = _check_document(document)
    version = agreements.current(fact)
    if version.state == AgreementVersion.State.REVOKED:
        raise SubmissionRefused(
            f"{fact.code} was revoked, and what was revoked is not renewed. If its grantor grants anew, submit that as "
            "a new agreement; if you think the revocation is wrong, appeal."
        )
    if version.valid_until >= FOREVER:
        raise SubmissionRefused(f"{fact.code} has no end; there is nothing to renew.")
    valid_from = version.valid_from if version.valid_until > at else at
    facts.check_interval(valid_from=valid_from, valid_until=valid_until)
    if valid_until <= version.valid_until:
        raise InvalidFact(
            "valid_until",
            f"{fact.code} lasts until {version.valid_until:%Y-%m-%d %H:%M} UTC already; give a later end.",
        )
    return _open(
        kind=Kind.RENEWAL,
        grantor=version.grantor,
        grantee=version.grantee,
        agreement=fact,
        may_sublicense=version.may_sublicense,
        scope=agreements.scope_of(version),
        valid_from=valid_from,
        valid_until=valid_until,
        document=document,
        by=by,
        at=at,
    )


def attach(
    *, submission: AgreementSubmission, name: str, content: bytes, by: Actor, at: datetime
) -> tuple[AgreementFile, bool]:
    """Keep a file, and whether it is a new one: the same content twice is one.

    Raises InvalidFact, SubmissionRefused, TooMany.
    """
    bare = clean_text("name", clean_name(name)[:150], at_most=150, cure="Give the file a name.")
    if not content:
        raise InvalidFact("content", "The file is empty; choose another.")
    if len(content) > MAX_BYTES:
        raise InvalidFact(
            "content",
            f"The file has {len(content):,} bytes; the most is {MAX_BYTES:,}. Split it, or compress it.",
        )
    content_type = content_type_of(content)
    sha256 = hashlib.sha256(content).hexdigest()
    with transaction.atomic():
        row = _lock(submission)
        kept = AgreementFile.objects.filter(submission=row)
        if (same := kept.defer("content").filter(sha256=sha256).first()) is not None:
            return same, False
        _refuse_decided(row, "take no more files")
        if kept.count() >= MAX_FILES:
            raise TooMany(f"{row.code} holds {MAX_FILES} files, the most it may; put several into one.")
        left = BYTES_OF_FILES - (kept.aggregate(size=Sum("size"))["size"] or 0)
        if len(content) > left:
            raise TooMany(
                f"The files of {row.code} have at most {BYTES_OF_FILES:,} bytes together, and {left:,} are left. Send "
                "what is smaller."
            )
        file = AgreementFile.objects.create(
            submission=row,
            name=bare,
            content_type=content_type,
            size=len(content),
            sha256=sha256,
            content=content,
            actor=str(by),
            at=at,
        )
        AgreementSubmission.objects.filter(pk=row.pk).update(version=row.version + 1)
        _record(row, "file", by, at, {"name": bare, "sha256": sha256, "bytes": len(content)})
    return file, True


def withdraw(
    *,
    submission: AgreementSubmission,
    by: Actor,
    at: datetime,
    reason: str = "",
    seen_version: int | None = None,
) -> AgreementSubmission:
    """Whoever submitted it takes it back. Raises InvalidFact, SubmissionRefused."""
    note = clean_text("reason", reason, at_most=MAX_NOTE)
    with transaction.atomic():
        row = _lock(submission, seen_version)
        _refuse_decided(row, "be withdrawn")
        _decide(row, State.WITHDRAWN, note, by, at)
        _record(row, "withdrawn", by, at, {}, reason=note)
    return row


# --- by the desk ------------------------------------------------------------------------------------------------


def accept(
    *,
    submission: AgreementSubmission,
    assurance: str,
    note: str,
    by: Actor,
    at: datetime,
    seen_version: int | None = None,
) -> Fact:
    """Put it on record: from here on decisions read it. `note` says how the desk knows; the submitter reads it.

    A renewal of an agreement in force prolongs that one; where the desk has verified it with the grantor, it is
    verified from then on. Anything else is a new record under the submission's own code.
    Raises InvalidFact, SubmissionRefused.
    """
    check_instant("at", at)
    if assurance not in Assurance.values:
        raise InvalidFact("assurance", f"Take one of {', '.join(Assurance.values)}.")
    note = clean_text("note", note, at_most=MAX_NOTE, cure="Say how it was checked; the note is kept.")
    # The fence is taken before the row: that is the order of locks everywhere.
    with one_transaction():
        row = AgreementSubmission.objects.select_related("grantor", "grantee", "agreement").get(
            pk=submission.pk
        )
        _refuse_decided(row, "be accepted")
        fact = _put_on_record(row, assurance=assurance, note=note, by=by, at=at)
        locked = _lock(row, row.version if seen_version is None else seen_version)
        _refuse_decided(locked, "be accepted")
        locked.agreement = fact
        locked.save(update_fields=["agreement"])
        _decide(locked, State.ACCEPTED, note, by, at)
        _record(locked, "accepted", by, at, {"agreement": fact.code, "assurance": assurance}, reason=note)
        _announce_decided(locked, fact.code, at)
    return fact


def decline(
    *,
    submission: AgreementSubmission,
    note: str,
    by: Actor,
    at: datetime,
    seen_version: int | None = None,
) -> AgreementSubmission:
    """It stays what it was: a claim. The submitter reads `note`. Raises InvalidFact, SubmissionRefused."""
    note = clean_text("note", note, at_most=MAX_NOTE, cure="Say why; the vendor reads it.")
    with transaction.atomic():
        row = _lock(submission, seen_version)
        _refuse_decided(row, "be declined")
        _decide(row, State.DECLINED, note, by, at)
        _record(row, "declined", by, at, {}, reason=note)
        _announce_decided(row, row.agreement.code if row.agreement is not None else None, at)
    return row


def _put_on_record(row: AgreementSubmission, *, assurance: str, note: str, by: Actor, at: datetime) -> Fact:
    terms: dict[str, Any] = {
        "may_sublicense": row.may_sublicense,
        "models": models_of(row),
        "territories": row.territories,
        "channels": row.channels,
        "conditions": row.conditions,
        "valid_from": row.valid_from,
    }
    if row.kind == Kind.RENEWAL and row.agreement is not None:
        version = agreements.current(row.agreement)
        if version.state == AgreementVersion.State.REVOKED:
            raise SubmissionRefused(f"{row.agreement.code} was revoked since it was submitted; decline it.")
        if version.valid_until > at and assurance in (Assurance.VERIFIED, version.assurance):
            agreements.renew_agreement(
                fact=row.agreement, valid_until=row.valid_until, by=by, at=at, reason=note
            )
            if assurance != version.assurance:
                agreements.verify_agreement(fact=row.agreement, by=by, at=at, reason=note)
            return row.agreement
        # Of one that has ended, or was verified while its renewal is only claimed: what was verified must not last
        # longer on a claim. The terms are those of now, for it may cover less than when it was submitted.
        _refuse_suspended(row.agreement, row.code, at=at)
        terms = _terms_of(version) | {"valid_from": max(version.valid_until, row.valid_from)}
    return agreements.record_agreement(
        code=row.code,
        grantor=row.grantor,
        grantee=row.grantee,
        assurance=assurance,
        **terms,
        valid_until=row.valid_until,
        document=row.document,
        by=by,
        at=at,
    )


def _refuse_suspended(fact: Fact, code: str, *, at: datetime) -> None:
    """A hold names the record that it suspends, and would not name a new one in its place."""
    suspends = HoldTarget.objects.select_related("version__head").filter(
        version__rev_to=None,
        version__released_at=None,
        version__valid_until__gt=at,
        part=0,
        dimension=HoldTarget.Dimension.FACT,
        value=str(fact.pk),
    )
    target = suspends.first()
    if target is not None:
        raise SubmissionRefused(
            f"{target.version.head.code} suspends {fact.code}, and would not suspend {code}. Release it first, or "
            "decline this."
        )


def _terms_of(version: AgreementVersion) -> dict[str, Any]:
    scope = agreements.scope_of(version)
    named = scope.get(ScopeTerm.Dimension.MODEL, [])
    return {
        "may_sublicense": version.may_sublicense,
        "models": ALL
        if ALL in named
        else list(Variant.objects.filter(pk__in=[int(value) for value in named])),
        "territories": scope.get(ScopeTerm.Dimension.TERRITORY, []),
        "channels": scope.get(ScopeTerm.Dimension.CHANNEL, []),
        "conditions": scope.get(ScopeTerm.Dimension.CONDITION, []),
    }


# --- which there are --------------------------------------------------------------------------------------------


def models_of(submission: AgreementSubmission) -> list[Variant] | Literal["*"]:
    """The variants that it names, or "*"."""
    if submission.model_ids == [ALL]:
        return "*"
    found = Variant.objects.select_related("device__manufacturer").filter(pk__in=submission.model_ids)
    return list(found.order_by("slug"))


def waiting_for(vendor: Organization, variants: Iterable[Variant]) -> dict[int, list[AgreementSubmission]]:
    """By id of variant, the open submissions of this vendor that would cover it. One query for all.

    `variants` come with their device. Of a distributor's "all" nobody knows the makers before it is on record.
    """
    open_ones = list(
        AgreementSubmission.objects.filter(grantee=vendor, state=State.SUBMITTED)
        .select_related("grantor", "agreement")
        .order_by("id")
    )
    return {
        variant.pk: [row for row in open_ones if _would_cover(row, variant)]
        for variant in variants
        if open_ones
    }


def _would_cover(row: AgreementSubmission, variant: Variant) -> bool:
    if row.model_ids != [ALL]:
        return variant.pk in row.model_ids
    is_makers = row.grantor.kind == Organization.Kind.MANUFACTURER
    return not is_makers or variant.device.manufacturer_id == row.grantor_id


# --- writing ----------------------------------------------------------------------------------------------------


def _open(
    *,
    kind: AgreementSubmission.Kind,
    grantor: Organization,
    grantee: Organization,
    agreement: Fact | None,
    may_sublicense: bool,
    scope: dict[str, list[str]],
    valid_from: datetime,
    valid_until: datetime,
    document: str,
    by: Actor,
    at: datetime,
) -> AgreementSubmission:
    named = scope.get(ScopeTerm.Dimension.MODEL, [])
    terms: dict[str, Any] = {
        "model_ids": [ALL] if ALL in named else sorted(int(value) for value in named),
        "territories": scope.get(ScopeTerm.Dimension.TERRITORY, []),
        "channels": scope.get(ScopeTerm.Dimension.CHANNEL, []),
        "conditions": scope.get(ScopeTerm.Dimension.CONDITION, []),
        "may_sublicense": may_sublicense,
    }
    with transaction.atomic():
        # Two at one instant must not each be the last that there is room for, nor be the same.
        Organization.objects.select_for_update(no_key=True).get(pk=grantee.pk)
        open_ones = AgreementSubmission.objects.filter(grantee=grantee, state=State.SUBMITTED)
        _refuse_same(open_ones, kind, grantor, agreement, terms, valid_from, valid_until)
        if open_ones.count() >= OPEN_AT_ONCE:
            raise TooMany(
                f"{OPEN_AT_ONCE} of your submissions wait for the desk, the most that may. Withdraw one that you do "
                "not need, or wait until one is decided."
            )
        row = AgreementSubmission.objects.create(
            code=free_code(),
            kind=kind,
            grantor=grantor,
            grantee=grantee,
            agreement=agreement,
            **terms,
            valid_from=valid_from,
            valid_until=valid_until,
            document=document,
            submitted_by=str(by),
            submitted_at=at,
        )
        evidence = {
            "kind": str(kind),
            "grantor": grantor.slug,
            "grantee": grantee.slug,
            "agreement": agreement.code if agreement is not None else None,
            "valid_from": valid_from.isoformat(),
            "valid_until": valid_until.isoformat(),
            **terms,
        }
        _record(row, "submitted", by, at, evidence, reason=document[:MAX_NOTE])
        outbox.announce(
            event="agreement.submitted",
            payload={
                "vendor_id": grantee.pk,
                "code": row.code,
                "kind": str(kind),
                "grantor": grantor.slug,
                "agreement": agreement.code if agreement is not None else None,
            },
            at=at,
        )
    return row


def _refuse_same(
    open_ones: QuerySet[AgreementSubmission],
    kind: AgreementSubmission.Kind,
    grantor: Organization,
    agreement: Fact | None,
    terms: dict[str, Any],
    valid_from: datetime,
    valid_until: datetime,
) -> None:
    """One renewal of an agreement at a time; of new agreements, not the same terms twice."""
    if kind == Kind.RENEWAL:
        same = open_ones.filter(kind=kind, agreement=agreement).values_list("code", flat=True).first()
    else:
        alike = open_ones.filter(kind=kind, grantor=grantor, valid_from=valid_from, valid_until=valid_until)
        same = next(
            (row.code for row in alike if all(getattr(row, name) == terms[name] for name in terms)), None
        )
    if same is not None:
        raise AlreadySubmitted(same)


def free_code() -> str:
    """The code of the submission, and of the agreement that it may become: its address stays the same."""
    while True:
        code = "AG-" + "".join(secrets.choice(_ALPHABET) for _ in range(8))
        if not (
            Fact.objects.filter(code=code).exists() or AgreementSubmission.objects.filter(code=code).exists()
        ):
            return code


def _check_document(document: str) -> str:
    return clean_text("document", document, at_most=MAX_DOCUMENT)


def _lock(submission: AgreementSubmission, seen_version: int | None = None) -> AgreementSubmission:
    row = AgreementSubmission.objects.select_for_update(no_key=True, of=("self",))
    locked = row.select_related("agreement").get(pk=submission.pk)
    if seen_version is not None and locked.version != seen_version:
        raise SubmissionRefused(
            f"{locked.code} has changed since you looked: it is version {locked.version}. Look at it again."
        )
    return locked


def _refuse_decided(row: AgreementSubmission, what: str) -> None:
    if row.state != State.SUBMITTED:
        raise SubmissionRefused(f"{row.code} is {State(row.state).value} and can {what} no more.")


def _decide(
    row: AgreementSubmission, state: AgreementSubmission.State, note: str, by: Actor, at: datetime
) -> None:
    row.state, row.decided_by, row.decided_at, row.decision_note = state, str(by), at, note
    row.version += 1
    row.save(update_fields=["state", "decided_by", "decided_at", "decision_note", "version"])


def _announce_decided(row: AgreementSubmission, agreement: str | None, at: datetime) -> None:
    outbox.announce(
        event="agreement.decided",
        payload={
            "vendor_id": row.grantee_id,
            "submission_id": row.pk,
            "code": row.code,
            "kind": row.kind,
            "state": row.state,
            "agreement": agreement,
        },
        at=at,
    )


def _record(
    row: AgreementSubmission,
    what: str,
    by: Actor,
    at: datetime,
    evidence: dict[str, Any],
    *,
    reason: str = "",
) -> None:
    ledger.record(
        act=f"agreement_submission.{what}",
        subject_kind="agreement_submission",
        subject_id=row.pk,
        by=by,
        at=at,
        reason=reason,
        evidence={"code": row.code, **evidence},
    )
