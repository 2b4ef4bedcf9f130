"""May a customer's own phone be activated: `carriers.admission`, asked with what is on record.

It reads what the host says of the variant, its approval in force, suspended or revoked, and nothing else of the
shop's authority: whether the shop may sell the phone is another question, with its own answer beside this one.
"""

from collections.abc import Mapping, Sequence

from authorization.rules import Reason
from carriers.admission import AdmissionAnswer, Standing, admit
from carriers.models import HostCarrier
from catalog.models import Variant
from catalog.selectors import Judged
from storefront.shop.selectors import ApprovalRecord, CarrierWord

_SOFTWARE = "CARRIER_APPROVAL_SOFTWARE"
# What a host means that approved with limits and did not write down which.
_NOT_SAID = "ask the network which"


def admissions(
    variants: Sequence[Variant],
    hosts: Sequence[HostCarrier],
    *,
    words: Mapping[tuple[int, int], CarrierWord],
    judged: Mapping[tuple[int, int], Judged],
) -> dict[tuple[int, int], AdmissionAnswer]:
    """By (variant id, host id). `words` and `judged` are of the same instant. No queries."""
    pairs = [(variant.pk, host.pk) for variant in variants for host in hosts]
    return {pair: admission(words[pair], judged.get(pair)) for pair in pairs}


def admission(word: CarrierWord, judged: Judged | None) -> AdmissionAnswer:
    standing = standing_of(word)
    approval = word.approval if standing == Standing.APPROVED else None
    return admit(
        judged.verdict if judged is not None else None,
        judged.rules if judged is not None else None,
        standing,
        limits=_limits(approval),
        software=_software(approval),
    )


def standing_of(word: CarrierWord) -> Standing:
    """Of the record that stands nearest to an approval in force. Holds that name no approval, and those on one that
    the host neither placed nor asked for, are not the host's word on the model: they stop the shop, not the host.
    """
    failures = {reason.code for reason in word.reasons if _is_of_approval(reason)} - {_SOFTWARE}
    if word.approval is None:
        return Standing.NONE
    if "CARRIER_APPROVAL_REVOKED" in failures:
        return Standing.REVOKED
    if failures == {"CARRIER_APPROVAL_SUSPENDED"}:
        return Standing.SUSPENDED if word.is_suspended_by_host else Standing.APPROVED
    return Standing.NONE if failures else Standing.APPROVED


def _is_of_approval(reason: Reason) -> bool:
    return reason.check == "approval"


def _limits(approval: ApprovalRecord | None) -> str:
    if approval is None:
        return ""
    return approval.limits or (_NOT_SAID if approval.state == "conditional" else "")


def _software(approval: ApprovalRecord | None) -> str:
    """Which software an approval covers: a customer's own phone may have another."""
    if approval is None:
        return ""
    starts = f"from {approval.software_from} on" if approval.software_from else ""
    ends = f"before {approval.software_until}" if approval.software_until else ""
    return " and ".join(filter(None, [starts, ends]))
