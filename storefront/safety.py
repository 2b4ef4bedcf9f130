"""What is a matter of safety, and whose word stands above a lawful sale. Said here once."""

from datetime import datetime

from authorization.models import HoldVersion, PendingChange, Revocation

SAFETY = "SAFETY"
# Reasons of a withdrawal against which nothing is shipped, however lawful its sale was.
BARS_SHIPPING = frozenset({SAFETY, "REGULATOR_ORDER"})


def is_for_safety(revocation: Revocation) -> bool:
    """Are those who bought such goods to be told? By its own reason, or by that of the hold it placed."""
    return SAFETY in (revocation.reason_code, _reason_of_hold(revocation))


def bars_shipping(revocation: Revocation) -> bool:
    return bool(BARS_SHIPPING & {revocation.reason_code, _reason_of_hold(revocation)})


def stands(revocation: Revocation, *, at: datetime) -> bool:
    """Is it in effect, and neither cancelled, nor undone, nor its hold released?"""
    if revocation.effective_at > at or revocation.reinstatements.filter(is_partial=False).exists():
        return False
    if revocation.pending_changes.filter(
        kind=PendingChange.Kind.WITHDRAWAL, state=PendingChange.State.CANCELLED
    ).exists():
        return False
    hold = _hold_of(revocation)
    return hold is None or (hold.released_at is None and hold.valid_until > at)


def _reason_of_hold(revocation: Revocation) -> str:
    hold = _hold_of(revocation)
    return "" if hold is None else hold.reason_code


def _hold_of(revocation: Revocation) -> HoldVersion | None:
    if revocation.kind not in (Revocation.Kind.HOLD, Revocation.Kind.EXEMPTION):
        return None
    return HoldVersion.objects.current().filter(head_id=revocation.fact_id).first()
