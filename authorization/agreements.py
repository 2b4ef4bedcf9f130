"""Reseller agreements: who may sell whose goods, where, how, from when until when."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Literal

from django.db import transaction

from authorization import facts, fence
from authorization.actors import Actor
from authorization.facts import InvalidFact
from authorization.models import AgreementVersion, Assurance, Fact, Revision, ScopeTerm
from authorization.rules import ALL
from carriers.versions import FOREVER
from catalog.models import Channel, Condition, Organization, Variant

Scope = Mapping[str, Iterable[str]]


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
    facts.check_interval(valid_from=valid_from, valid_until=valid_until)
    if grantor.pk == grantee.pk:
        raise InvalidFact("grantee", "An agreement has two parties; choose another grantee.")
    if grantor.kind == Organization.Kind.VENDOR:
        raise InvalidFact("grantor", f"{grantor} is a vendor; a manufacturer or a distributor grants.")
    if grantee.kind == Organization.Kind.MANUFACTURER:
        raise InvalidFact("grantee", f"{grantee} is a manufacturer; a distributor or a vendor is granted.")
    if assurance not in Assurance.values:
        raise InvalidFact("assurance", f"Take one of {', '.join(Assurance.values)}.")
    scope = {
        "model": _models(models, grantor),
        "territory": _territories(territories),
        "channel": _choices("channels", channels, Channel.values),
        "condition": _choices("conditions", conditions, Condition.values),
    }
    with transaction.atomic():
        revision = fence.exclusive(by=by, reason=f"agreement {code} recorded", at=at)
        _refuse_cycle(grantor=grantor, grantee=grantee)
        head = facts.open_head(kind=Fact.Kind.AGREEMENT, code=code)
        fields = {
            "grantor": grantor,
            "grantee": grantee,
            "may_sublicense": may_sublicense,
            "assurance": assurance,
            "valid_from": valid_from,
            "valid_until": valid_until,
            "document": document,
        }
        _write(head=head, revision=revision, fields=fields, scope=scope)
        _publish(
            "agreement.recorded", head, revision, by, at, document, fields, scope, (valid_from, valid_until)
        )
    return head


def verify_agreement(*, fact: Fact, by: Actor, at: datetime, reason: str) -> Revision:
    """The grantor itself confirmed the agreement."""
    with transaction.atomic():
        revision = fence.exclusive(by=by, reason=f"agreement {fact.code} verified", at=at)
        version = current(fact)
        if version.state == AgreementVersion.State.REVOKED:
            raise InvalidFact("fact", f"{fact.code} is revoked; record a new agreement.")
        fields = record_of(version) | {"assurance": Assurance.VERIFIED}
        scope = scope_of(version)
        _write(head=fact, revision=revision, fields=fields, scope=scope)
        _publish("agreement.verified", fact, revision, by, at, reason, fields, scope)
    return revision


def revoke_under_fence(
    *, fact: Fact, revision: Revision, reason_code: str, by: Actor, at: datetime, reason: str
) -> None:
    """The write of a revocation. `authorization.revocations` is the door to it and holds the fence."""
    version = current(fact)
    if version.revoked_at is not None:
        raise InvalidFact(
            "fact", f"{fact.code} was revoked on {version.revoked_at:%Y-%m-%d}; nothing is left to revoke."
        )
    fields = record_of(version) | {
        "state": AgreementVersion.State.REVOKED,
        "revoked_at": at,
        "reason_code": reason_code,
    }
    scope = scope_of(version)
    _write(head=fact, revision=revision, fields=fields, scope=scope)
    _publish("agreement.revoked", fact, revision, by, at, reason, fields, scope)


def current(fact: Fact) -> AgreementVersion:
    return AgreementVersion.objects.select_related("grantor", "grantee").get(head=fact, rev_to__isnull=True)


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


def _refuse_cycle(*, grantor: Organization, grantee: Organization) -> None:
    """A chain that leads back to its own grantor says nothing about who granted first."""
    upstream, frontier = {grantor.pk}, {grantor.pk}
    while frontier:
        grantors = AgreementVersion.objects.current().filter(grantee_id__in=frontier)
        frontier = set(grantors.values_list("grantor_id", flat=True)) - upstream
        upstream |= frontier
    if grantee.pk in upstream:
        raise InvalidFact(
            "grantee",
            f"{grantee} already grants, directly or through others, to {grantor}: that would be a circle.",
        )


def _models(models: Iterable[Variant] | Literal["*"], grantor: Organization) -> list[str]:
    if models == ALL:
        return [ALL]
    variants = list(models)
    if grantor.kind == Organization.Kind.MANUFACTURER:
        for variant in variants:
            if isinstance(variant, Variant) and variant.device.manufacturer_id != grantor.pk:
                raise InvalidFact(
                    "models", f"{variant} is not a model of {grantor}; take it out of the scope."
                )
    return sorted({str(variant.pk) for variant in variants if isinstance(variant, Variant)})


def _territories(territories: Iterable[str]) -> list[str]:
    values = sorted(set(territories))
    for value in values:
        if value != ALL and not (len(value) == 2 and value.isascii() and value.isalpha() and value.isupper()):
            raise InvalidFact(
                "territories", f"{value!r} is no ISO 3166-1 code; write two capitals, e.g. US, or *."
            )
    return values


def _choices(field: str, given: Iterable[str], allowed: list[str]) -> list[str]:
    values = sorted(set(given))
    for value in values:
        if value != ALL and value not in allowed:
            raise InvalidFact(field, f"{value!r} is not known here; take {', '.join(allowed)} or *.")
    return values
