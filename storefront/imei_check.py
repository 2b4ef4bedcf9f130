"""What a phone's number tells: which model it is, and per host what works, and whether it may be brought or is sold.

Of the number only its type allocation code is looked up. Nothing of it is stored or written to a log: not the number,
not who asked, not the answer. What is kept for a while is how often somebody asked (storefront.rates). Whether a phone
was reported lost or stolen nobody here knows: the lists of the carriers are theirs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum

from django.conf import settings
from django.views.decorators.debug import sensitive_variables

from authorization.decisions import DecisionUnavailable
from carriers import imei
from carriers.admission import AdmissionAnswer
from carriers.imei import Imei, Refusal
from carriers.models import HostCarrier
from carriers.selectors import hosts_of
from carriers.versions import end_of
from catalog.models import Variant
from catalog.selectors import Judged, judged_for, variant_of_tac
from storefront.activations import admissions
from storefront.assortment import cheapest_offers, live_offers
from storefront.shop import presenters, selectors
from storefront.shop.presenters import Badge


class Kind(StrEnum):
    MISTYPED = "mistyped"
    UNKNOWN_MODEL = "unknown_model"
    KNOWN = "known"


@dataclass(frozen=True)
class HostAnswer:
    """One host. `judged` is None where the radio or the network are not on record at that time.

    `is_sold_here`: an offer of exactly this variant for this host is live, and allowed now, whatever `on` was asked.
    """

    host: HostCarrier
    judged: Judged | None
    admission: AdmissionAnswer
    badge: Badge
    is_sold_here: bool


@dataclass(frozen=True)
class Number:
    """What may be said of the number itself: never its serial."""

    kind: imei.Kind
    tac: str
    is_test: bool


@dataclass(frozen=True)
class ImeiAnswer:
    """`refusal` with `mistyped` only, `number` with the others, `variant` and `hosts` with `known` only.

    `on`: the day that verdicts and admissions are of; `decided_at`: when it was decided what is sold here.
    """

    kind: Kind
    on: date
    decided_at: datetime
    refusal: Refusal | None = None
    number: Number | None = None
    variant: Variant | None = None
    hosts: Sequence[HostAnswer] = ()

    @property
    def is_sold_here(self) -> bool:
        return any(answer.is_sold_here for answer in self.hosts)

    @property
    def may_be_brought(self) -> bool:
        return any(answer.admission.is_admitted for answer in self.hosts)


@sensitive_variables("text", "number")
def check(
    text: str, *, at: datetime, hosts: Sequence[HostCarrier] | None = None, on: date | None = None
) -> ImeiAnswer:
    """Look a number up, as somebody typed it. `hosts`: those of the shop's own service if None. `on`: today if None.

    Raises DecisionUnavailable where the evidence cannot be read: then nobody is told that a phone may be brought.
    """
    number = imei.parse(text)
    day = on or at.astimezone(UTC).date()
    if isinstance(number, Refusal):
        return ImeiAnswer(Kind.MISTYPED, day, at, refusal=number)
    variant = variant_of_tac(number.tac)
    if variant is None:
        return ImeiAnswer(Kind.UNKNOWN_MODEL, day, at, number=_number(number))
    asked = hosts_of(settings.SHOP_MVNO, at=at) if hosts is None else hosts
    instant = at if day == at.astimezone(UTC).date() else end_of(day)
    return ImeiAnswer(
        Kind.KNOWN,
        day,
        at,
        number=_number(number),
        variant=variant,
        hosts=_answers(variant, asked, instant=instant, now=at),
    )


def _number(number: Imei) -> Number:
    return Number(number.kind, number.tac, number.is_test)


def _answers(
    variant: Variant, hosts: Sequence[HostCarrier], *, instant: datetime, now: datetime
) -> list[HostAnswer]:
    # Decided as the page of the phone does: the cheapest offers that it has room for, in one question for all.
    rows = cheapest_offers(
        live_offers().filter(listing__variant=variant, host__in=hosts), limit=selectors.OFFERS_ON_PAGE
    )
    judgement = selectors.judge(rows, at=now, variants=[variant], hosts=hosts)
    if not judgement.is_decided:
        raise DecisionUnavailable("Whether this phone may be sold or activated could not be decided.")
    words: Mapping[tuple[int, int], selectors.CarrierWord] = judgement.words
    if instant != now:
        words = selectors.carrier_words_at([variant], hosts, at=instant)
    judged = judged_for([variant], hosts, at=instant)
    admitted = admissions([variant], hosts, words=words, judged=judged)
    sold_on = {row.host_id for row in rows if judgement.is_for_sale(row)}
    return [
        HostAnswer(
            host=host,
            judged=judged.get((variant.pk, host.pk)),
            admission=admitted[variant.pk, host.pk],
            badge=presenters.badge(host, words[variant.pk, host.pk], at=instant),
            is_sold_here=host.pk in sold_on,
        )
        for host in hosts
    ]
