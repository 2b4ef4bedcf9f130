"""What an acceptance is about: its code, its papers, and the hardware and software of the build."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction

from authorization import approvals, doors
from authorization.acceptances import following
from authorization.acceptances.moves import MoveRefused
from authorization.acceptances.steps import Doer
from authorization.facts import InvalidFact
from authorization.models import Acceptance, Fact
from authorization.software import sort_key
from catalog.models import Tac, Variant

ATTEMPTS = 5


def open_acceptance(
    fields: Mapping[str, Any],
    *,
    state: str,
    move: str,
    code: str,
    prefix: str,
    by: Doer,
    at: datetime,
    reason: str = "",
    detail: Mapping[str, Any] | None = None,
) -> Acceptance:
    code = doors.clean_text("code", code, at_most=64)
    for attempt in range(ATTEMPTS):
        draft = Acceptance(
            **fields,
            code=code or _next_code(prefix, attempt),
            state=state,
            state_changed_at=at,
            created_at=at,
        )
        if following.open_twin(draft) is not None:
            # Perhaps another's: neither its code nor who asked is told.
            raise MoveRefused(
                "The same build of this variant is open with this host already; it is tested once."
            )
        if code and Acceptance.objects.filter(code=code).exists():
            raise InvalidFact("code", f"{code} exists already; take another code, or leave it out.")
        with suppress(IntegrityError), transaction.atomic():
            draft.save(force_insert=True)
            following.record_move(
                draft, move, "", party=by.party, by=by.actor, at=at, reason=reason, detail=detail
            )
            return draft
        # Another request was faster with this code, or with this build: look again.
    raise MoveRefused("Others ask at the same moment; try again.")


def _next_code(prefix: str, attempt: int) -> str:
    number = Acceptance.objects.filter(code__startswith=f"{prefix}-", parent=None).count() + 1 + attempt
    while Acceptance.objects.filter(code=f"{prefix}-{number:04d}").exists():
        number += 1
    return f"{prefix}-{number:04d}"


def code_of_child(row: Acceptance) -> str:
    return free_code(f"{row.code[:58]}-MR", Acceptance)


def code_of_approval(row: Acceptance) -> str:
    """The acceptance's own, unless another record bears it."""
    if not Fact.objects.filter(code=row.code).exists():
        return row.code
    return free_code(f"{row.code[:58]}-A", Fact)


def free_code(prefix: str, model: Any) -> str:
    number = 1
    while model.objects.filter(code=f"{prefix}{number}").exists():
        number += 1
    return f"{prefix}{number}"


def papers_of(variant: Variant, *, fcc_id: str, certificate: str, tacs: Sequence[str]) -> dict[str, Any]:
    fcc_id = doors.clean_text("fcc_id", fcc_id, at_most=32)
    if fcc_id and variant.fcc_id and fcc_id.casefold() != variant.fcc_id.casefold():
        raise InvalidFact(
            "fcc_id",
            f"{variant} is recorded with {variant.fcc_id}; correct that record, or name the other variant.",
        )
    codes = sorted(set(tacs))
    for tac in codes:
        if not (len(tac) == 8 and tac.isascii() and tac.isdecimal()):
            raise InvalidFact("tacs", f"{tac!r} is no TAC: write the first eight digits of the IMEI.")
    other = (
        Tac.objects.filter(code__in=codes).exclude(variant=variant).select_related("variant__device").first()
    )
    if other is not None:
        raise InvalidFact(
            "tacs", f"TAC {other.code} belongs to {other.variant}; name those of this model only."
        )
    return {
        "fcc_id": fcc_id,
        "certificate": doors.clean_text("certificate", certificate, at_most=64),
        "tacs": codes,
    }


def covers(span: Mapping[str, Any], key: str) -> bool:
    starts, ends = span["software_from_key"], span["software_until_key"]
    return bool(starts <= key and (not ends or key < ends))


def software_asked_for(row: Acceptance, software: str) -> str:
    software = doors.clean_text("software", software, at_most=64)
    span = {"software_from_key": row.software_from_key, "software_until_key": row.software_until_key}
    if not covers(span, sort_key(software)):
        raise InvalidFact(
            "software",
            f"{software} is outside the range asked for ({_in_words(row.software_from, row.software_until)}).",
        )
    return software


def hardware_of(row: Acceptance, hardware_revision: str) -> str:
    """The revision that the lab froze. Another open acceptance may be about it."""
    hardware = doors.clean_text("hardware_revision", hardware_revision, at_most=64)
    if hardware != row.hardware_revision:
        twin = following.open_twin(
            Acceptance(
                pk=row.pk,
                host=row.host,
                variant=row.variant,
                hardware_revision=hardware,
                software_from_key=row.software_from_key,
                software_until_key=row.software_until_key,
            )
        )
        if twin is not None:
            raise InvalidFact(
                "hardware_revision", f"Another acceptance is about hardware {hardware}; go on with that one."
            )
    return hardware


def approved_span(row: Acceptance, software_from: str | None, software_until: str | None) -> dict[str, str]:
    """The range of software that is approved: what was asked for or less, the tested build in it.

    What is None is as it was asked for; of an approval in force as it is by now, which the host may have narrowed.
    """
    starts, ends = row.software_from, row.software_until
    if row.approval is not None:
        version = approvals.current(row.approval)
        starts, ends = version.software_from, version.software_until
    span = approvals.software_range(
        starts if software_from is None else software_from, ends if software_until is None else software_until
    )
    asked_until, until = row.software_until_key, span["software_until_key"]
    if span["software_from_key"] < row.software_from_key:
        raise InvalidFact(
            "software_from", f"Asked for was {row.software_from} and later; approve that or less."
        )
    if asked_until and (not until or until > asked_until):
        raise InvalidFact(
            "software_until", f"Asked for was what is before {row.software_until}; approve that or less."
        )
    if not covers(span, sort_key(row.software_in_test)):
        raise InvalidFact(
            "software_from"
            if span["software_from_key"] > sort_key(row.software_in_test)
            else "software_until",
            f"Tested was {row.software_in_test}, which this range leaves out; widen it.",
        )
    return span


def _in_words(starts: str, ends: str) -> str:
    return f"{starts or 'any'} until {ends}, itself left out" if ends else f"{starts or 'any'} and later"
