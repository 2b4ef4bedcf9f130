"""Kept decisions as a vendor reads them: check by check, on which rule, and what was nearly enough.

All of it follows from the record: the decision itself, and the versions of the papers as they were known then. Nothing
is decided anew. Of all documents only the vendor's own are named.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from authorization.models import (
    AgreementVersion,
    ApprovalVersion,
    Assurance,
    Decision,
    EquipmentVersion,
    HoldVersion,
    PolicyVersion,
    ScopeTerm,
)
from authorization.rules import ALL, CHECKS, FAILED, NOT_ENFORCED, PASSED
from catalog.models import Organization, Variant
from storefront.api.reasons import own_documents, present_reasons
from storefront.api.times import rfc3339

# check -> the name of what it asks.
RULES = {
    "policy": "policy-in-force",
    "vendor": "vendor-not-suspended",
    "host": "host-served",
    "agreement": "agreement-covers-offer",
    "approval": "approval-in-force",
    "equipment": "equipment-authorized",
    "radio": "radio-fits-host",
    "hold": "no-hold-in-force",
}
# kind of evidence -> the check that it carried
_CARRIED = {
    "policy": "policy",
    "hosting": "host",
    "agreement": "agreement",
    "affiliation": "agreement",
    "approval": "approval",
    "equipment": "equipment",
    "variant": "radio",
    "network": "radio",
}
_ENFORCED = {
    "agreement": "is_agreement_enforced",
    "approval": "is_carrier_approval_enforced",
    "equipment": "is_equipment_authorization_enforced",
    # Empty: compatibility is shown, not demanded.
    "radio": "minimum_radio",
}
_MODELS: Mapping[str, Any] = {
    "agreement": AgreementVersion,
    "approval": ApprovalVersion,
    "equipment": EquipmentVersion,
    "hold": HoldVersion,
}
_SCOPE = "AGREEMENT_SCOPE_"
_GRANTING = (ApprovalVersion.State.APPROVED, ApprovalVersion.State.CONDITIONAL)


def present_decisions(decisions: Sequence[Decision], *, vendor: Organization) -> list[dict[str, Any]]:
    """Decisions with `offer__host` and `offer__listing` selected, in as many queries for one as for two hundred."""
    if not decisions:
        return []
    records = _Records(decisions, vendor)
    return [_present(decision, records) for decision in decisions]


class _Records:
    """What the decisions of a page speak of, as it was known when each was made."""

    def __init__(self, decisions: Sequence[Decision], vendor: Organization) -> None:
        codes = {item["code"] for decision in decisions for item in decision.evidence}
        missed: dict[str, set[str]] = {}
        for decision in decisions:
            for reason in decision.reasons:
                if reason["document"]:
                    missed.setdefault(_kind_of(reason), set()).add(reason["document"])
        codes |= {code for named in missed.values() for code in named}
        self.own = own_documents(vendor, codes)
        # A listing may have been edited since: each decision names the variant it was asked about.
        self.variants = Variant.objects.in_bulk({decision.question["variant_id"] for decision in decisions})
        territories = {decision.question["territory"] for decision in decisions}
        policies = PolicyVersion.objects.filter(territory__in=[*territories, ALL])
        self._policies = list(policies.select_related("head"))
        self._versions = {
            kind: self._by_code(_MODELS[kind], named) for kind, named in missed.items() if kind in _MODELS
        }
        if "agreement" in missed:
            self._scopes = self._scopes_of(self._versions["agreement"].values())

    @staticmethod
    def _by_code(model: Any, codes: Iterable[str]) -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = {}
        for version in model.objects.filter(head__code__in=codes).select_related("head"):
            found.setdefault(version.head.code, []).append(version)
        return found

    @staticmethod
    def _scopes_of(groups: Iterable[list[AgreementVersion]]) -> dict[tuple[int, str], list[str]]:
        ids = [version.pk for group in groups for version in group]
        found: dict[tuple[int, str], list[str]] = {}
        terms = ScopeTerm.objects.filter(version__in=ids).exclude(dimension=ScopeTerm.Dimension.MODEL)
        for version_id, dimension, value in terms.values_list("version_id", "dimension", "value"):
            found.setdefault((version_id, dimension), []).append(value)
        return found

    def version_of(self, kind: str, code: str, revision: int) -> Any:
        """The version that was known then, or None."""
        versions = self._versions.get(kind, {}).get(code, ())
        return next((each for each in versions if _is_known(each, revision)), None)

    def scope_of(self, version: AgreementVersion, dimension: str) -> list[str]:
        return sorted(self._scopes.get((version.pk, dimension), []))

    def policy_of(self, decision: Decision) -> PolicyVersion | None:
        """The policy that stood when it was decided: chosen as docs/the-rules.md says."""
        at, territory = decision.valid_at, decision.question["territory"]
        standing = [
            policy
            for policy in self._policies
            if policy.territory in (territory, ALL)
            and _is_known(policy, decision.revision)
            and policy.valid_from <= at < policy.valid_until
        ]

        def rank(policy: PolicyVersion) -> tuple[bool, datetime, int]:
            return policy.territory == territory, policy.valid_from, policy.head_id

        return max(standing, key=rank, default=None)


def _is_known(version: Any, revision: int) -> bool:
    return bool(version.rev_from <= revision and (version.rev_to is None or revision < version.rev_to))


def _kind_of(reason: Mapping[str, Any]) -> str:
    """Of which kind the record is that a reason names: a list of a regulator is a hold."""
    if reason["check"] in ("vendor", "hold") or reason["code"] == "EQUIPMENT_LISTED":
        return "hold"
    return str(reason["check"])


def _present(decision: Decision, records: _Records) -> dict[str, Any]:
    question, offer = decision.question, decision.offer
    policy = records.policy_of(decision)
    return {
        "id": str(decision.pk),
        "host": offer.host.code,
        "outcome": decision.outcome,
        "question": {
            "sku": offer.listing.sku,
            "variant": records.variants[question["variant_id"]].slug,
            "host": offer.host.code,
            **{name: question[name] for name in ("condition", "territory", "channel")},
            **_stated_software(question),
        },
        "policy_version": None if policy is None else f"{policy.head.code}/{policy.version_no}",
        "checks": [_present_check(check, decision, policy, records) for check in CHECKS],
        "reasons": present_reasons(decision.reasons, records.own),
        "evidence": [
            {"kind": item["kind"], "document": item["code"], "version": item["version_no"]}
            for item in decision.evidence
            if item["code"] in records.own
        ],
        "revision": decision.revision,
        "valid_at": rfc3339(decision.valid_at),
        "expires_at": rfc3339(decision.expires_at),
    }


def _stated_software(question: Mapping[str, Any]) -> dict[str, str]:
    """Where it was stated. Decisions from before it could be do not have it at all."""
    software = question.get("software", "")
    return {"software": software} if software else {}


def _present_check(
    check: str, decision: Decision, policy: PolicyVersion | None, records: _Records
) -> dict[str, Any]:
    failing = [reason for reason in decision.reasons if reason["check"] == check]
    shown: dict[str, Any] = {
        "check": check,
        "result": FAILED if failing else _result_of(check, policy),
        "rule": RULES[check],
        "rests_on": [
            _present_evidence(item, records)
            for item in decision.evidence
            if _CARRIED.get(item["kind"]) == check
        ],
        "reason_codes": list(dict.fromkeys(reason["code"] for reason in failing)),
        "nearest_miss": None,
    }
    for reason in failing:
        missed = _nearest_miss(reason, decision, policy, records)
        if missed is not None:
            shown["nearest_miss"] = missed
            break
    return shown


def _result_of(check: str, policy: PolicyVersion | None) -> str:
    """Of a check that nothing failed."""
    is_enforced = check not in _ENFORCED or policy is None or bool(getattr(policy, _ENFORCED[check]))
    return PASSED if is_enforced else NOT_ENFORCED


def _present_evidence(item: Mapping[str, Any], records: _Records) -> dict[str, Any]:
    """The paper's name only where it is the vendor's own."""
    named = {"document": item["code"]} if item["code"] in records.own else {}
    return {"kind": item["kind"], "version": item["version_no"], **named}


def _nearest_miss(
    reason: Mapping[str, Any], decision: Decision, policy: PolicyVersion | None, records: _Records
) -> dict[str, Any] | None:
    """What is there, and what of it is not enough. None where nothing is, or where it is the paper of others."""
    code, kind = reason["code"], _kind_of(reason)
    if code == "RADIO_INCOMPATIBLE" and policy is not None:
        return _miss("radio", needs=policy.minimum_radio)
    if kind == "agreement" and reason["document"] not in records.own:
        return None
    version = records.version_of(kind, reason["document"], decision.revision)
    if version is None:
        return None
    found = _field_missed(code, version, decision, records)
    named = {"document": reason["document"], "version": version.version_no} if kind == "agreement" else {}
    return named | found


def _field_missed(code: str, version: Any, decision: Decision, records: _Records) -> dict[str, Any]:
    """What of this version is not enough, in the words of the record: `has` it, `needs` what was asked for."""
    asked, at = decision.question, rfc3339(decision.valid_at)
    if code.startswith(_SCOPE):
        dimension = code.removeprefix(_SCOPE).lower()
        if dimension == "model":
            return _miss("models", needs=records.variants[asked["variant_id"]].slug)
        has = ", ".join(records.scope_of(version, dimension))
        return _miss({"territory": "territories"}.get(dimension, f"{dimension}s"), has, asked[dimension])
    if code.endswith("_REVOKED"):
        return _miss("revoked_at", None if version.revoked_at is None else rfc3339(version.revoked_at))
    if code.endswith("_EXPIRED"):
        waived = getattr(version, "waived_until", None)
        name, end = ("valid_until", version.valid_until)
        if waived is not None and waived < end:
            name, end = ("waived_until", waived)
        return _miss(name, rfc3339(end), f"after {at}")
    if code in ("ON_HOLD", "VENDOR_SUSPENDED", "EQUIPMENT_LISTED"):
        return _miss("held_since", rfc3339(version.valid_from))
    if code.endswith("_SUSPENDED"):
        return _miss("state", "suspended", "in force")
    if code == "AGREEMENT_NOT_VERIFIED":
        return _miss("assurance", version.assurance, Assurance.VERIFIED.value)
    if code == "CARRIER_NOT_APPROVED" and version.state not in _GRANTING:
        return _miss("state", version.state, ApprovalVersion.State.APPROVED.value)
    if code == "CARRIER_APPROVAL_SOFTWARE":
        covered = (
            f"from {version.software_from or 'the first'} to before {version.software_until or 'any later'}"
        )
        return _miss("software", covered, asked.get("software") or None)
    if code == "CARRIER_APPROVAL_CONDITIONAL":
        return _miss("limits", version.limits)
    return _miss("valid_from", rfc3339(version.valid_from), f"by {at}")


def _miss(name: str, has: str | None = None, needs: str | None = None) -> dict[str, Any]:
    return {"field": name, "has": has, "needs": needs}
