"""The way back, seen from the desk: what came back, what stays down, and what it is that still stops it."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, QuerySet

from authorization import decisions, selectors
from authorization.models import Delisting, HoldVersion, Revocation
from authorization.rules import REASON_CODES
from catalog.models import ListingHost, OfferState
from storefront.admin.desk import say_reasons

# Offers that are asked about one by one; the counts of states are always of all.
ASKED = 200


@dataclass(frozen=True)
class WayBack:
    """`down` names offers that are not on sale, each with what stops it; `stoppers` counts over those that were asked
    about, most first: (what stops, offers).
    """

    live: int
    suspended: int
    others: int
    down: tuple[tuple[ListingHost, str], ...]
    stoppers: tuple[tuple[str, int], ...]

    @property
    def is_all_asked(self) -> bool:
        return len(self.down) == self.suspended


def of_withdrawal(revocation: Revocation, *, until: datetime, at: datetime) -> WayBack:
    """What became of the offers that it concerns and that were taken down while it stood, `until` it was undone.

    Whichever sweep came first: another one under way, or the reconciler, may have met an offer before its own did.
    Raises DecisionUnavailable.
    """
    concerned = selectors.offers_concerned(
        ListingHost.objects.all(), fact_id=revocation.fact_id, scope=revocation.scope
    )
    meanwhile = Delisting.objects.filter(at__gte=revocation.effective_at, at__lte=until)
    return _look(concerned.filter(pk__in=meanwhile.values("offer_id")), at=at)


def of_hold(hold: HoldVersion, *, at: datetime) -> WayBack:
    """Where the offers stand that this hold may have stopped. Raises DecisionUnavailable."""
    shown = [OfferState.LIVE, OfferState.SUSPENDED]
    return _look(selectors.offers_touched_by(ListingHost.objects.filter(state__in=shown), hold.head), at=at)


def _look(offers: QuerySet[ListingHost], *, at: datetime) -> WayBack:
    rows = offers.order_by("state").values_list("state").annotate(count=Count("pk"))
    counts: Counter[str] = Counter(dict(rows))
    live, suspended = counts[OfferState.LIVE], counts[OfferState.SUSPENDED]
    asked = list(
        offers.filter(state=OfferState.SUSPENDED)
        .select_related("listing__variant__device", "listing__vendor", "host")
        .order_by("id")[:ASKED]
    )
    answers = decisions.decide_offers(asked, at=at) if asked else []
    stoppers: Counter[str] = Counter()
    down = []
    for offer, answer in zip(asked, answers, strict=True):
        said = [
            f"{REASON_CODES[reason.code].title} ({reason.document})"
            if reason.document
            else say_reasons([reason.code])
            for reason in answer.reasons
        ]
        # Allowed, and its sweep has not come to it yet; or its vendor is the one to bring it back.
        said = list(dict.fromkeys(said)) or ["Nothing stops it; it is not back yet"]
        stoppers.update(said)
        down.append((offer, "; ".join(said)))
    return WayBack(
        live=live,
        suspended=suspended,
        others=counts.total() - live - suspended,
        down=tuple(down),
        stoppers=tuple(stoppers.most_common()),
    )
