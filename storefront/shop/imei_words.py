"""The answer to a phone's number in shopper words.

Two questions, never one: whether the phone may be brought is up to its network, whether we sell it takes the leave of
its maker as well. The page gives both answers for each network.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from carriers import imei
from carriers.admission import Outcome
from carriers.verdict_words import describe
from catalog.models import Variant
from storefront.imei_check import HostAnswer, ImeiAnswer
from storefront.shop import presenters
from storefront.shop.presenters import Badge, Bring

_TWO_QUESTIONS = (
    "To bring a phone that is yours, it is enough that the network lets it in. To sell it, we need the leave of its "
    "maker and of the network besides."
)


_BOXES = {"approved": "state", "limits": "state", "refused": "stop", "unknown": "warning"}


@dataclass(frozen=True)
class HostLines:
    code: str
    name: str
    bring: Bring
    sold_kind: str
    sold: str
    badge: Badge
    fit: str
    cautions: Sequence[str]


@dataclass(frozen=True)
class Shown:
    """What the page says of a number that is well formed. `kind` names the icon of the headline, `box` its frame."""

    title: str
    at: datetime
    tac: str
    notes: Sequence[str]
    variant: Variant | None = None
    kind: str = ""
    box: str = ""
    headline: str = ""
    difference: str = ""
    hosts: Sequence[HostLines] = ()


def shown(answer: ImeiAnswer) -> Shown:
    """Of `known` and `unknown_model`; what is wrong with a mistyped number stands at its field."""
    tac = answer.number.tac if answer.number is not None else ""
    if answer.variant is None:
        return Shown("We do not know this model", answer.decided_at, tac, _notes(answer))
    kind = _kind(answer)
    return Shown(
        title=f"Your phone: {answer.variant.device}",
        at=answer.decided_at,
        tac=tac,
        notes=_notes(answer),
        variant=answer.variant,
        kind=kind,
        box=_BOXES[kind],
        headline=_headline(answer),
        difference=_difference(answer),
        # Where it may be brought comes first; sorting keeps the order of names.
        hosts=[
            _lines(host) for host in sorted(answer.hosts, key=lambda host: not host.admission.is_admitted)
        ],
    )


def _notes(answer: ImeiAnswer) -> list[str]:
    notes = []
    number = answer.number
    if number is not None and number.is_test:
        notes.append(
            "This number begins with 00: it is of a lab or was invented for an exercise. No phone on sale has it."
        )
    if number is not None and number.kind == imei.Kind.IMEISV:
        notes.append(
            "These are 16 digits, which have no check digit: we cannot notice a mistyped one. Compare the model with "
            "your phone."
        )
    return notes


def _kind(answer: ImeiAnswer) -> str:
    if not answer.may_be_brought:
        return "unknown" if _is_unknown_somewhere(answer) else "refused"
    brought = [host.admission for host in answer.hosts if host.admission.is_admitted]
    return "limits" if all(admission.limits for admission in brought) else "approved"


def _is_unknown_somewhere(answer: ImeiAnswer) -> bool:
    return any(host.admission.outcome == Outcome.NOT_KNOWN for host in answer.hosts)


def _headline(answer: ImeiAnswer) -> str:
    names = [
        f"{host.host.name} ({host.admission.headline or 'with limits'})"
        if host.admission.limits
        else host.host.name
        for host in answer.hosts
        if host.admission.is_admitted
    ]
    if names:
        return f"You may bring it to {_and(names)}"
    if _is_unknown_somewhere(answer):
        return "We cannot say that you may bring it"
    return "You may not bring it"


def _difference(answer: ImeiAnswer) -> str:
    match answer.may_be_brought, answer.is_sold_here:
        case True, True:
            return "We sell this exact model as well."
        case True, False:
            return f"We do not sell this model now. {_TWO_QUESTIONS}"
        case False, True:
            return (
                "We sell this exact model. Whether a network activates one that is yours already is another question: "
                "the answer of each stands below."
            )
    return "Each network's reason stands below. We do not sell this model now either."


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _lines(answer: HostAnswer) -> HostLines:
    host = answer.host
    return HostLines(
        code=host.code,
        name=host.name,
        bring=presenters.bring(host, answer.admission),
        sold_kind="approved" if answer.is_sold_here else "refused",
        sold=f"Sold here for {host.name}" if answer.is_sold_here else f"Not sold here for {host.name} now",
        badge=answer.badge,
        fit=describe(answer.judged.verdict) if answer.judged is not None else presenters.NO_RADIO,
        cautions=presenters.cautions_in_words(answer.judged),
    )
