"""Reseller agreements: who may sell whose goods, where, how, from when until when."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import batched
from typing import Any, Literal

from django.db import transaction

from authorization import affiliations, doors, facts, fence, outbox
from authorization.actors import Actor
from authorization.facts import InvalidFact
from authorization.models import AgreementVersion, Assurance, Fact, Revision, ScopeTerm
from authorization.rules import ALL
from carriers.versions import FOREVER
from catalog.models import Channel, Condition, Organization, Variant

Scope = Mapping[str, Iterable[str]]

# One statement of SQLite takes so many values and more.
_IDS = 500
# So many days before the end its grantee is told.
WARNED_BEFORE = (30, 7, 1)


def record_agreement(
    *,
    code: str,
    grantor: Organization,
    grantee: Organization,
    may_sublicense: bool,
    assurance: str,
    models: Iterable[Variant] | Literal["*"],
    territories: Iterable[str],
    channels: Iterable[str],
    conditions: Iterable[str],
    valid_from: datetime,
    valid_until: datetime = FOREVER,
    document: str = "",
    by: Actor,
    at: datetime,
) -> Fact:
    """Record what a grantor granted, or is claimed to have. Raises InvalidFact."""
    doors.check_instant("at", at)
    if assurance not in Assurance.values:
        raise InvalidFact("assurance", f"Take one of {', '.join(Assurance.values)}.")
    scope = check_terms(
        grantor=grantor,
        grantee=grantee,
        models=models,
        territories=territories,
        channels=channels,
        conditions=conditions,
        valid_from=valid_from,
        valid_until=valid_until,
    )
    fields = {
        "grantor": grantor,
        "grantee": grantee,
        "may_sublicense": may_sublicense,
        "assurance": assurance,
        "valid_from": valid_from,
        "valid_until": valid_until,
        "document": document,
    }
    with transaction.atomic():
        revision = fence.exclusive(by=by, reason=f"agreement {code} recorded", at=at)
        _refuse_cycle(grantor=grantor, grantee=grantee)
        _refuse_foreign_models(fields, scope)
        _refuse_twice(fields, scope, field="code")
        head = facts.open_head(kind=Fact.Kind.AGREEMENT, code=code)
        _write(head=head, revision=revision, fields=fields, scope=scope)
        _publish(
            "agreement.recorded", head, revision, by, at, document, fields, scope, (valid_from, valid_until)
        )
    return head


def check_terms(
    *,
    grantor: Organization,
    grantee: Organization,
    models: Iterable[Variant] | Literal["*"],
    territories: Iterable[str],
    channels: Iterable[str],
    conditions: Iterable[str],
    valid_from: datetime,
    valid_until: datetime,
) -> dict[str, list[str]]:
    """What can be said against terms without the records of others. Returns their scope. Raises InvalidFact."""
    facts.check_interval(valid_from=valid_from, valid_until=valid_until)
    if grantor.pk == grantee.pk:
        raise InvalidFact("grantee", "An agreement has two parties; choose another grantee.")
    if grantor.kind == Organization.Kind.VENDOR:
        raise InvalidFact("grantor", f"{grantor} is a vendor; a manufacturer or a distributor grants.")
    if grantee.kind == Organization.Kind.MANUFACTURER:
        raise InvalidFact("grantee", f"{grantee} is a manufacturer; a distributor or a vendor is granted.")
    return {
        "model": _models(models),
        "territory": _territories(territories),
        "channel": _choices("channels", channels, Channel.values),
        "condition": _choices("conditions", conditions, Condition.values),
    }


def check_makers(*, grantor: Organization, scope: Scope, valid_from: datetime, valid_until: datetime) -> None:
    """Each model that is named is the grantor's, or of a company whose devices it may grant. Raises InvalidFact."""
    times = {"valid_from": valid_from, "valid_until": valid_until}
    _refuse_foreign_models({"grantor": grantor, **times}, scope)


def verify_agreement(*, fact: Fact, by: Actor, at: datetime, reason: str) -> Revision:
    """The grantor itself confirmed the agreement."""
    doors.check_instant("at", at)
    doors.check_kind(fact, Fact.Kind.AGREEMENT)
    with transaction.atomic():
        revision = fence.exclusive(by=by, reason=f"agreement {fact.code} verified", at=at)
        version = current(fact)
        _refuse_revoked(version, at)
        fields = record_of(version) | {"assurance": Assurance.VERIFIED}
        scope = scope_of(version)
        _write(head=fact, revision=revision, fields=fields, scope=scope)
        _publish("agreement.verified", fact, revision, by, at, reason, fields, scope)
    return revision


def renew_agreement(*, fact: Fact, valid_until: datetime, by: Actor, at: datetime, reason: str) -> Revision:
    """The grantor lets it last longer. One that has ended stays ended: what follows is a new record."""
    doors.check_instant("at", at)
    doors.check_kind(fact, Fact.Kind.AGREEMENT)
    with transaction.atomic():
        revision = fence.exclusive(by=by, reason=f"agreement {fact.code} renewed", at=at)
        version = current(fact)
        facts.check_interval(valid_from=version.valid_from, valid_until=valid_until)
        _refuse_over(version, at)
        if valid_until <= version.valid_until:
            raise InvalidFact(
                "valid_until",
                f"{fact.code} lasts until {version.valid_until:%Y-%m-%d} already; give a later end, or narrow it.",
            )
        fields, scope = record_of(version) | {"valid_until": valid_until}, scope_of(version)
        _refuse_twice(fields, scope, field="valid_until", but=fact)
        _write(head=fact, revision=revision, fields=fields, scope=scope)
        _publish("agreement.renewed", fact, revision, by, at, reason, fields, scope, (valid_until,))
    return revision


@dataclass(frozen=True)
class NarrowerTerms:
    """What an agreement is to cover from now on. None leaves a term as it is."""

    models: tuple[Variant, ...] | Literal["*"] | None = None
    territories: tuple[str, ...] | None = None
    channels: tuple[str, ...] | None = None
    conditions: tuple[str, ...] | None = None
    valid_until: datetime | None = None
    may_sublicense: bool | None = None


def narrowed(
    version: AgreementVersion, terms: NarrowerTerms, *, at: datetime
) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """The record and the scope that narrowing this version leads to. Writes nothing. Raises InvalidFact."""
    _refuse_over(version, at)
    return _less_of(version, terms, at=at)


def _less_of(
    version: AgreementVersion, terms: NarrowerTerms, *, at: datetime
) -> tuple[dict[str, Any], dict[str, list[str]]]:
    code = version.head.code
    before, scope_before = record_of(version), scope_of(version)
    wanted = {
        "model": ("models", None if terms.models is None else _models(terms.models)),
        "territory": ("territories", None if terms.territories is None else _territories(terms.territories)),
        "channel": (
            "channels",
            None if terms.channels is None else _choices("channels", terms.channels, Channel.values),
        ),
        "condition": (
            "conditions",
            None if terms.conditions is None else _choices("conditions", terms.conditions, Condition.values),
        ),
    }
    scope = dict(scope_before)
    for dimension, (field, values) in wanted.items():
        if values is not None:
            _refuse_wider(field, values, scope_before.get(dimension, []))
            scope[dimension] = values
    fields = dict(before)
    if terms.may_sublicense is not None:
        if terms.may_sublicense and not version.may_sublicense:
            raise InvalidFact(
                "may_sublicense", f"{code} may not be granted on; to allow it record a new agreement."
            )
        fields["may_sublicense"] = terms.may_sublicense
    if terms.valid_until is not None:
        facts.check_interval(valid_from=version.valid_from, valid_until=terms.valid_until)
        if terms.valid_until > version.valid_until:
            raise InvalidFact(
                "valid_until",
                f"{code} ends on {version.valid_until:%Y-%m-%d}; give an earlier end, or renew it.",
            )
        if terms.valid_until < at:
            raise InvalidFact(
                "valid_until", f"What was in force until now stays so; take an end from {at:%Y-%m-%d} on."
            )
        fields["valid_until"] = terms.valid_until
    if fields == before and scope == scope_before:
        raise InvalidFact("fact", f"{code} says exactly that already; change at least one of its terms.")
    if terms.models is not None:
        _refuse_foreign_models(fields, scope)
    return fields, scope


def narrow_under_fence(
    *, fact: Fact, revision: Revision, terms: NarrowerTerms, by: Actor, at: datetime, reason: str
) -> None:
    """The write of less of an agreement: fewer goods, an earlier end, no sublicense.

    It takes authority away: `authorization.revocations` is the door to it and holds the fence. Raises InvalidFact.
    """
    doors.check_instant("at", at)
    doors.check_kind(fact, Fact.Kind.AGREEMENT)
    fields, scope = narrowed(current(fact), terms, at=at)
    _write(head=fact, revision=revision, fields=fields, scope=scope)
    _publish("agreement.narrowed", fact, revision, by, at, reason, fields, scope, (fields["valid_until"],))


def check_revocable(version: AgreementVersion, *, effective_at: datetime) -> None:
    """A revocation to come may be brought forward, never put off."""
    if version.revoked_at is not None and version.revoked_at <= effective_at:
        raise InvalidFact(
            "fact",
            f"{version.head.code} is revoked from {version.revoked_at:%Y-%m-%d} on; nothing is left to revoke then.",
        )


def revoke_under_fence(
    *,
    fact: Fact,
    revision: Revision,
    reason_code: str,
    by: Actor,
    at: datetime,
    reason: str,
    effective_at: datetime | None = None,
) -> None:
    """The write of a revocation, from `at` on or from later. `authorization.revocations` is the door to it and holds
    the fence.
    """
    doors.check_instant("at", at)
    doors.check_kind(fact, Fact.Kind.AGREEMENT)
    version = current(fact)
    effective_at = effective_at or at
    check_revocable(version, effective_at=effective_at)
    fields = record_of(version) | {
        "state": AgreementVersion.State.REVOKED,
        "revoked_at": effective_at,
        "reason_code": reason_code,
    }
    scope = scope_of(version)
    _write(head=fact, revision=revision, fields=fields, scope=scope)
    _publish("agreement.revoked", fact, revision, by, at, reason, fields, scope, (effective_at,))


def unrevoke_under_fence(*, fact: Fact, revision: Revision, by: Actor, at: datetime, reason: str) -> None:
    """The way back from a revocation that is still to come. The caller holds the fence. Raises InvalidFact."""
    version = current(fact)
    if version.revoked_at is None or version.revoked_at <= at:
        raise InvalidFact("fact", f"No revocation of {fact.code} is to come; there is nothing to cancel.")
    fields = record_of(version) | {
        "state": AgreementVersion.State.ACTIVE,
        "revoked_at": None,
        "reason_code": "",
    }
    scope = scope_of(version)
    _write(head=fact, revision=revision, fields=fields, scope=scope)
    _publish("agreement.revocation_cancelled", fact, revision, by, at, reason, fields, scope)
    # A warning that came due meanwhile found it revoked, and asked for none behind it.
    announce_next_warning(fact_id=fact.pk, valid_until=fields["valid_until"], after=at, at=at)


def reopen_under_fence(
    *,
    version: AgreementVersion,
    code: str,
    revision: Revision,
    by: Actor,
    at: datetime,
    reason: str,
    terms: NarrowerTerms | None = None,
) -> Fact:
    """A new agreement that says what this version said, or less of it, from now on: what was revoked stays revoked.

    The caller holds the fence. Raises InvalidFact when it would have ended by now.
    """
    if version.valid_until <= at:
        raise InvalidFact(
            "fact", f"{version.head.code} would have ended on {version.valid_until:%Y-%m-%d} anyway."
        )
    fields, scope = record_of(version), scope_of(version)
    if terms is not None:
        fields, scope = _less_of(version, terms, at=at)
    fields |= {
        "state": AgreementVersion.State.ACTIVE,
        "revoked_at": None,
        "reason_code": "",
        "valid_from": max(version.valid_from, at),
    }
    head = facts.open_head(kind=Fact.Kind.AGREEMENT, code=code)
    _write(head=head, revision=revision, fields=fields, scope=scope)
    boundaries = (fields["valid_from"], fields["valid_until"])
    _publish("agreement.reinstated", head, revision, by, at, reason, fields, scope, boundaries)
    return head


def current(fact: Fact) -> AgreementVersion:
    return AgreementVersion.objects.select_related("head", "grantor", "grantee").get(
        head=fact, rev_to__isnull=True
    )


def record_of(version: AgreementVersion) -> dict[str, Any]:
    """The whole record of a version without its scope: what the next version starts from."""
    names = (
        "grantor", "grantee", "may_sublicense", "assurance", "state", "revoked_at", "reason_code", "document",
        "valid_from", "valid_until",
    )  # fmt: skip
    return {name: getattr(version, name) for name in names}


def scope_of(version: AgreementVersion) -> dict[str, list[str]]:
    scope: dict[str, list[str]] = {}
    for term in version.scope_terms.order_by("dimension", "value"):
        scope.setdefault(term.dimension, []).append(term.value)
    return scope


def _write(*, head: Fact, revision: Revision, fields: Mapping[str, Any], scope: Scope) -> None:
    version = facts.write_version(AgreementVersion, head=head, revision=revision, fields=fields)
    ScopeTerm.objects.bulk_create(
        [
            ScopeTerm(version=version, dimension=dimension, value=value)
            for dimension, values in scope.items()
            for value in values
        ]
    )


def _publish(
    act: str,
    head: Fact,
    revision: Revision,
    by: Actor,
    at: datetime,
    reason: str,
    fields: Mapping[str, Any],
    scope: Scope,
    boundaries: tuple[datetime, ...] = (),
) -> None:
    evidence = {
        "code": head.code,
        "grantor": fields["grantor"].slug,
        "grantee": fields["grantee"].slug,
        "assurance": fields["assurance"],
        "may_sublicense": fields["may_sublicense"],
        "valid_from": fields["valid_from"].isoformat(),
        "valid_until": fields["valid_until"].isoformat(),
        "scope": {dimension: list(values) for dimension, values in scope.items()},
    }
    facts.publish_change(
        act=act,
        subject_kind="fact",
        subject_id=head.pk,
        revision=revision,
        by=by,
        at=at,
        reason=reason,
        evidence=evidence,
        boundaries=boundaries,
    )
    if fields["valid_until"] in boundaries:
        announce_next_warning(fact_id=head.pk, valid_until=fields["valid_until"], after=at, at=at)


def announce_next_warning(*, fact_id: int, valid_until: datetime, after: datetime, at: datetime) -> None:
    """The due row of the next warning that comes later than `after`; whoever is warned then asks for the one behind it.

    One at a time: most agreements are renewed, and what was to come is then for another end.
    """
    if valid_until >= FOREVER:
        return
    for days in WARNED_BEFORE:
        due_at = valid_until - timedelta(days=days)
        if due_at > after:
            payload = {"fact_id": fact_id, "valid_until": valid_until.isoformat(), "days": days}
            outbox.announce(event="agreement.to_warn", payload=payload, at=at, due_at=due_at)
            return


def _refuse_revoked(version: AgreementVersion, at: datetime) -> None:
    if version.revoked_at is not None and version.revoked_at <= at:
        raise InvalidFact("fact", f"{version.head.code} is revoked; record a new agreement.")


def _refuse_over(version: AgreementVersion, at: datetime) -> None:
    code = version.head.code
    _refuse_revoked(version, at)
    if version.valid_until <= at:
        raise InvalidFact(
            "fact", f"{code} ended on {version.valid_until:%Y-%m-%d}, which is final; record a new agreement."
        )


def _refuse_wider(field: str, values: list[str], before: list[str]) -> None:
    if not values:
        raise InvalidFact(field, "Without any it would cover nothing; revoke the agreement instead.")
    more = [] if ALL in before else [value for value in values if value not in before]
    if more:
        named = _names(more) if field == "models" else ", ".join(more)
        raise InvalidFact(field, f"{named} would be added; leave that out, or record a new agreement for it.")


def _refuse_twice(fields: Mapping[str, Any], scope: Scope, *, field: str, but: Fact | None = None) -> None:
    """The same terms twice at one time: a slip of the hand, and a revocation would leave the other one in force."""
    others = AgreementVersion.objects.current().filter(
        grantor=fields["grantor"],
        grantee=fields["grantee"],
        may_sublicense=fields["may_sublicense"],
        assurance=fields["assurance"],
        state=AgreementVersion.State.ACTIVE,
        valid_from__lt=fields["valid_until"],
        valid_until__gt=fields["valid_from"],
    )
    wanted = {dimension: sorted(values) for dimension, values in scope.items() if values}
    for other in others.exclude(head=but).select_related("head").prefetch_related("scope_terms"):
        terms: dict[str, list[str]] = {}
        for term in other.scope_terms.all():
            terms.setdefault(term.dimension, []).append(term.value)
        if {dimension: sorted(values) for dimension, values in terms.items()} == wanted:
            raise InvalidFact(
                field,
                f"{other.head} says exactly that for the same time; renew or change that one, or take other terms.",
            )


def _upstream(organization: Organization) -> set[int]:
    """This one, and all that grant to it directly or through others, whatever the terms."""
    found = {organization.pk}
    frontier = set(found)
    while frontier:
        grantors = AgreementVersion.objects.current().filter(grantee_id__in=frontier)
        frontier = set(grantors.values_list("grantor_id", flat=True)) - found
        found |= frontier
    return found


def _refuse_cycle(*, grantor: Organization, grantee: Organization) -> None:
    """A chain that leads back to its own grantor says nothing about who granted first."""
    if grantee.pk in _upstream(grantor):
        raise InvalidFact(
            "grantee",
            f"{grantee} already grants, directly or through others, to {grantor}: that would be a circle.",
        )


def _refuse_foreign_models(fields: Mapping[str, Any], scope: Scope) -> None:
    """Nobody grants what was never theirs to grant: each model's maker, or a company that may grant for it, stands
    upstream of the grantor.
    """
    named = [int(value) for value in scope.get("model", ()) if value != ALL]
    if not named:
        return
    grantor: Organization = fields["grantor"]
    makers: dict[int, list[str]] = {}
    for part in batched(named, _IDS):
        rows = Variant.objects.filter(pk__in=part).values_list("device__manufacturer_id", "model_number")
        for maker, model_number in rows:
            makers.setdefault(maker, []).append(model_number)
    granting = {grantor.pk} if grantor.kind == Organization.Kind.MANUFACTURER else _upstream(grantor)
    for maker, model_numbers in makers.items():
        if maker in granting:
            continue
        times = {name: fields[name] for name in ("valid_from", "valid_until")}
        if granting.isdisjoint(affiliations.roots(maker, **times)):
            cure = "take it out of the scope"
            if grantor.kind != Organization.Kind.MANUFACTURER:
                cure = f"record first what {grantor} was granted, or {cure}"
            raise InvalidFact(
                "models",
                f"{', '.join(sorted(model_numbers)[:3])} is not a model of {grantor}, nor of a company whose devices "
                f"it may grant; {cure}.",
            )


def _models(models: Iterable[Variant] | Literal["*"]) -> list[str]:
    if models == ALL:
        return [ALL]
    variants = list(models)
    for variant in variants:
        if not isinstance(variant, Variant):
            raise InvalidFact("models", f"{variant!r} is no variant; choose variants, or * for all.")
    return sorted({str(variant.pk) for variant in variants if isinstance(variant, Variant)})


def _names(variant_ids: list[str]) -> str:
    if ALL in variant_ids:
        return "All"
    rows = Variant.objects.filter(pk__in=[int(value) for value in variant_ids[:3]])
    return ", ".join(rows.order_by("model_number").values_list("model_number", flat=True))


def _territories(territories: Iterable[str]) -> list[str]:
    values = sorted(set(territories))
    for value in values:
        doors.check_territory_or_all("territories", value)
    return values


def _choices(field: str, given: Iterable[str], allowed: list[str]) -> list[str]:
    values = sorted(set(given))
    for value in values:
        if value != ALL and value not in allowed:
            raise InvalidFact(field, f"{value!r} is not known here; take {', '.join(allowed)} or *.")
    return values
