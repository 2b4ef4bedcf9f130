"""The front door for commands: what falls is said first, and done only when that was asked for."""

from argparse import ArgumentParser
from datetime import datetime
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, OutputWrapper

from authorization.actors import Actor
from authorization.models import Revocation
from authorization.revocations import CorrectGroundwork, WorldMoved
from storefront import withdrawals
from storefront.withdrawals import WithdrawalPreview

# Offers named in the preview.
NAMED = 20


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--yes", action="store_true", help="do it also when offers fall by it, whichever they are"
    )
    parser.add_argument(
        "--confirm",
        default="",
        metavar="DIGEST",
        help="do it when exactly that falls which was shown with this digest",
    )


def takes_away(preview: WithdrawalPreview) -> bool:
    """Does anything fall that somebody should have looked at?"""
    return bool(preview.impact.falls or preview.impact.falls_later or preview.unshipped_orders)


def say_falls(preview: WithdrawalPreview, out: OutputWrapper) -> None:
    impact = preview.impact
    out.write(
        f"Offers that fall: {len(impact.falls):,}, that survive: {len(impact.survives):,}, that return: "
        f"{len(impact.returns):,}; open carts: {preview.open_carts:,}; unshipped orders that are held: "
        f"{preview.unshipped_orders:,}."
    )
    for offer in impact.falls.first[:NAMED]:
        out.write(
            f"  {offer.sku} of {offer.vendor_name} on {offer.host_code}: {', '.join(offer.reason_codes)}"
        )
    if len(impact.falls) > NAMED:
        out.write(f"  and {len(impact.falls) - NAMED:,} more")
    for later in impact.later:
        if later.falls:
            out.write(f"Offers that fall on {later.at:%Y-%m-%d %H:%M:%S} UTC: {len(later.falls):,}.")


def confirm(
    change: CorrectGroundwork,
    preview: WithdrawalPreview,
    options: dict[str, Any],
    *,
    command: str,
    what: str,
    by: Actor,
    at: datetime,
) -> tuple[Revocation, str]:
    """Do it if that was asked for, with the options of `add_arguments`. Returns what was recorded, and words for it.

    `command`: as it is typed; `what`: what takes the offers off sale. Raises CommandError where it was not asked for,
    or something else falls by now.
    """
    impact = preview.impact
    if options["confirm"] and options["confirm"] != impact.digest:
        raise CommandError(
            "The world moved since that digest, and nothing was written. Above is what falls now. To do that: "
            f"{command} --confirm {impact.digest}"
        )
    if takes_away(preview) and not (options["yes"] or options["confirm"]):
        raise CommandError(
            f"{what} take offers off sale, and nothing was written. To do exactly what is shown: "
            f"{command} --confirm {impact.digest}  (or --yes, whatever falls)"
        )
    try:
        revocation = withdrawals.confirm(
            change,
            digest=impact.digest,
            token=impact.token,
            requested_by=settings.SHOP_NAME,
            word_received_at=at,
            note=f"manage.py {command}: {change.subject}"[:500],
            by=by,
            at=at,
        )
    except WorldMoved:
        raise CommandError(
            "The world moved meanwhile, and nothing was written. Run the command again."
        ) from None
    if not takes_away(preview):
        return revocation, ""
    said = f"Since {revocation.effective_at:%H:%M:%S} UTC nothing of what falls can be sold."
    if not impact.falls:
        said = "Nothing falls now."
    if impact.falls_later:
        said += f" {impact.falls_later:,} offers fall later, on the days above."
    if impact.seen.wants_two:
        said += " So much falls that the removal of its pages waits for a second person at the desk."
    return revocation, said
