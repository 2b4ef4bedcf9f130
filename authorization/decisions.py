"""Questions answered from the database: one check, a list, or every offer of the store, by the same code.

The revision is read first and the evidence as known at that revision, so that an answer never carries a newer stamp
than what it rests on. One decision takes at most three statements, some thousands four. Answers are never cached.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple
from uuid import uuid4

from django.conf import settings
from django.db import DatabaseError

from authorization import decision_setting, findings
from authorization.decision_setting import Policy, Setting
from authorization.models import Decision, DecisionEvidence
from authorization.rules import ALL, Evidence, Finding, Ground, Question, Reason
from authorization.what_if import NOTHING_CHANGED, WhatIf
from carriers.models import HostCarrier
from carriers.versions import FOREVER
from catalog.listings import TERMS, Clearance, content_hash
from catalog.models import Channel, Condition, Device, ListingHost, Organization, Variant

# So many questions go into one statement: enough that its fixed cost is nothing, few enough that memory stays flat.
PAGE = 5000


class DecisionUnavailable(Exception):
    """It could not be decided. Neither an allow nor a refusal: ask again."""


class InvalidQuestion(ValueError):
    """A question refused at the door. `field` names the input, the message says the cure."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message


class Answer(NamedTuple):
    question: Question
    finding: Finding
    valid_at: datetime
    revision: int

    @property
    def outcome(self) -> str:
        return self.finding.outcome

    @property
    def is_allowed(self) -> bool:
        return self.finding.outcome == "allow"

    def is_about(self, offer: ListingHost) -> bool:
        """Is the offer's phone still of the device and maker asked about? No part of its terms, yet decisive.

        The offer comes with `listing__variant__device` selected.
        """
        device = offer.listing.variant.device
        return (self.question.device_id, self.question.manufacturer_id) == (device.pk, device.manufacturer_id)

    @property
    def grounds(self) -> tuple[Ground, ...]:
        return self.finding.grounds

    @property
    def reasons(self) -> tuple[Reason, ...]:
        return self.finding.reasons

    @property
    def reason_codes(self) -> list[str]:
        return list(dict.fromkeys(reason.code for reason in self.finding.reasons))

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        return self.finding.evidence

    @property
    def expires_at(self) -> datetime:
        return self.finding.expires_at


def decide(
    question: Question, *, at: datetime, known_at: int | None = None, what_if: WhatIf = NOTHING_CHANGED
) -> Answer:
    return decide_many([question], at=at, known_at=known_at, what_if=what_if)[0]


def decide_many(
    questions: Sequence[Question],
    *,
    at: datetime,
    known_at: int | None = None,
    what_if: WhatIf = NOTHING_CHANGED,
) -> list[Answer]:
    """Answers in the order of the questions, for the instant `at`, as known at that revision (None: at the newest).

    Raises InvalidQuestion, and DecisionUnavailable when the evidence cannot be read.
    """
    if not questions:
        return []
    _check_terms(questions)
    setting = read_setting(at=at, known_at=known_at)
    return list(_answers(questions, setting, at=at, what_if=what_if, is_input_checked=False))


def decide_offers(offers: Sequence[ListingHost], *, at: datetime) -> list[Answer]:
    """May these offers be sold now? `at` is the caller's now, which may be a little old by the time it is used."""
    if not offers:
        return []
    setting = read_setting(at=at, known_at=None)
    questions = [question_for_offer(offer) for offer in offers]
    return list(
        _answers(
            questions, setting, at=instant_of(setting, at), what_if=NOTHING_CHANGED, is_input_checked=True
        )
    )


def decide_store(
    *,
    at: datetime,
    known_at: int | None = None,
    states: Iterable[str] | None = None,
    after_offer_id: int = 0,
    what_if: WhatIf = NOTHING_CHANGED,
) -> Iterator[tuple[int, Answer]]:
    """Every host offer of the store with its answer, by id from `after_offer_id` on, in flat memory.

    All of them are decided as known at one revision. `states`: only offers in these.
    """
    setting = read_setting(at=at, known_at=known_at)
    while page := _offers_after(after_offer_id, states):
        questions = [question_of(row[1:]) for row in page]
        answers = _answers(questions, setting, at=at, what_if=what_if, is_input_checked=True)
        for row, answer in zip(page, answers, strict=True):
            yield row[0], answer
        after_offer_id = page[-1][0]


def present(at: datetime) -> tuple[int, datetime]:
    """The newest revision, and the caller's now, but not before it."""
    setting = read_setting(at=at, known_at=None)
    return setting.newest, instant_of(setting, at)


def instant_of(setting: Setting, at: datetime) -> datetime:
    """The caller's now, but not before the newest revision.

    Whoever took its `at` before a revocation, or on a host whose clock is behind, would otherwise still be answered
    for the time before.
    """
    return at if setting.newest_recorded_at is None else max(at, setting.newest_recorded_at)


def read_setting(*, at: datetime, known_at: int | None) -> Setting:
    """What bears on every question, and the revision that is asked about. The first statement of a decision."""
    if at.tzinfo is None:
        raise InvalidQuestion("at", "The time has no time zone; give one, e.g. 2016-02-01T12:00:00Z.")
    try:
        setting = decision_setting.read_setting(at=at, known_at=known_at, mvno=settings.SHOP_MVNO)
    except DatabaseError as error:
        raise DecisionUnavailable("The evidence could not be read.") from error
    if not 0 <= setting.revision <= setting.newest:
        raise InvalidQuestion(
            "known_at", f"There is no revision {setting.revision} yet; take one from 0 to {setting.newest}."
        )
    return setting


def carrier_findings(questions: Sequence[Question], setting: Setting, *, at: datetime) -> list[Finding]:
    """What the host carriers say, whatever the shop's policy demands and whoever sells: approvals and holds alone."""
    asked = Policy(
        fact_id=0, code="", version_no=0, territory=ALL, enforces_agreement=False, demands_verified=False,
        enforces_approval=True, takes_conditional=True, enforces_equipment=False, minimum_radio="",
        valid_from=at, valid_until=FOREVER,
    )  # fmt: skip
    setting = replace(setting, policies=(asked,))
    return _found(questions, setting, at=at, what_if=NOTHING_CHANGED, is_input_checked=True)


def answers_in(
    setting: Setting,
    questions: Sequence[Question],
    *,
    at: datetime,
    what_if: WhatIf = NOTHING_CHANGED,
    is_explained: bool = True,
) -> list[Answer]:
    """Answers about stored rows, in a setting read before: several calls then speak of the same revision.

    Without `is_explained` only outcome and evidence are of use: a denial does not say its nearest miss.
    """
    return list(
        _answers(questions, setting, at=at, what_if=what_if, is_input_checked=True, is_explained=is_explained)
    )


def _answers(
    questions: Sequence[Question],
    setting: Setting,
    *,
    at: datetime,
    what_if: WhatIf,
    is_input_checked: bool,
    is_explained: bool = True,
) -> Iterator[Answer]:
    for start in range(0, len(questions), PAGE):
        page = questions[start : start + PAGE]
        found = _found(
            page,
            setting,
            at=at,
            what_if=what_if,
            is_input_checked=is_input_checked,
            is_explained=is_explained,
        )
        for question, finding in zip(page, found, strict=True):
            yield Answer(question, finding, at, setting.revision)


def _found(
    questions: Sequence[Question],
    setting: Setting,
    *,
    at: datetime,
    what_if: WhatIf,
    is_input_checked: bool,
    is_explained: bool = True,
) -> list[Finding]:
    try:
        return findings.find(
            questions,
            setting,
            at=at,
            what_if=what_if,
            is_input_checked=is_input_checked,
            is_explained=is_explained,
        )
    except findings.UnknownInput as error:
        raise _refusal(questions[error.n]) from error
    except (DatabaseError, findings.EvaluatorsDisagree) as error:
        raise DecisionUnavailable("The evidence could not be read.") from error


def _check_terms(questions: Sequence[Question]) -> None:
    """A term that no record names would be judged by what is said of all: a mistyped territory by the policy of *."""
    for territory in {question.territory for question in questions}:
        if not (len(territory) == 2 and territory.isascii() and territory.isalpha() and territory.isupper()):
            raise InvalidQuestion(
                "territory", f"{territory!r} is no ISO 3166-1 code; write two capitals, e.g. US."
            )
    for field, values, known in (
        ("channel", {question.channel for question in questions}, Channel.values),
        ("condition", {question.condition for question in questions}, Condition.values),
    ):
        for value in values.difference(known):
            raise InvalidQuestion(field, f"{value!r} is not known here; take {', '.join(known)}.")


def _refusal(question: Question) -> InvalidQuestion:
    """Which part of the question names nothing."""
    for field, model, pk in (
        ("vendor_id", Organization, question.vendor_id),
        ("manufacturer_id", Organization, question.manufacturer_id),
        ("device_id", Device, question.device_id),
        ("variant_id", Variant, question.variant_id),
        ("host_id", HostCarrier, question.host_id),
    ):
        if not model._default_manager.filter(pk=pk).exists():
            return InvalidQuestion(field, f"There is no such row: {field} {pk}; choose one that exists.")
    variant = Variant.objects.select_related("device").get(pk=question.variant_id)
    if (variant.device_id, variant.device.manufacturer_id) != (question.device_id, question.manufacturer_id):
        return InvalidQuestion(
            "variant_id",
            f"The variant {question.variant_id} is one of device {variant.device_id} by manufacturer"
            f" {variant.device.manufacturer_id}; name those.",
        )
    return InvalidQuestion(
        "software", f"{question.software!r} is no software version; write letters or digits, e.g. 7.0.5."
    )


# --- questions --------------------------------------------------------------------------------------------------


def question_for(
    *,
    vendor: Organization,
    variant: Variant,
    host: HostCarrier,
    territory: str,
    channel: str,
    condition: str,
    software: str = "",
) -> Question:
    return Question(
        vendor_id=vendor.pk,
        manufacturer_id=variant.device.manufacturer_id,
        device_id=variant.device_id,
        variant_id=variant.pk,
        host_id=host.pk,
        territory=territory,
        channel=channel,
        condition=condition,
        software=software,
    )


def question_for_offer(offer: ListingHost) -> Question:
    """The offer comes with `listing__variant__device` selected."""
    listing = offer.listing
    return Question(
        vendor_id=listing.vendor_id,
        manufacturer_id=listing.variant.device.manufacturer_id,
        device_id=listing.variant.device_id,
        variant_id=listing.variant_id,
        host_id=offer.host_id,
        territory=listing.territory,
        channel=listing.channel,
        condition=listing.condition,
        listing_id=listing.pk,
        software=listing.software,
    )


# Of a host offer, in the order of the fields of Question.
QUESTION_COLUMNS = (
    "listing__vendor_id", "listing__variant__device__manufacturer_id", "listing__variant__device_id",
    "listing__variant_id", "host_id", "listing__territory", "listing__channel", "listing__condition", "listing_id",
    "listing__software",
)  # fmt: skip


def _offers_after(offer_id: int, states: Iterable[str] | None) -> list[tuple[Any, ...]]:
    offers = ListingHost.objects.filter(id__gt=offer_id)
    if states is not None:
        offers = offers.filter(state__in=list(states))
    return list(offers.order_by("id").values_list("id", *QUESTION_COLUMNS)[:PAGE])


def question_of(row: Sequence[Any]) -> Question:
    """The question about an offer whose QUESTION_COLUMNS were read."""
    return Question._make(row)


# --- the record -------------------------------------------------------------------------------------------------


def record_decision(*, answer: Answer, offer: ListingHost) -> Decision:
    return record_decisions([(answer, offer)])[0]


def record_decisions(pairs: Iterable[tuple[Answer, ListingHost]]) -> list[Decision]:
    """Keep answers that something will rest on. Inside the transaction of what rests on them."""
    decisions = [
        Decision(
            id=uuid4(),
            offer=offer,
            outcome=answer.outcome,
            question=_question_json(answer.question),
            reasons=[reason.as_json() for reason in answer.reasons],
            evidence=[item.as_json() for item in answer.evidence],
            valid_at=answer.valid_at,
            revision=answer.revision,
            expires_at=answer.expires_at,
        )
        for answer, offer in pairs
    ]
    Decision.objects.bulk_create(decisions)
    DecisionEvidence.objects.bulk_create(
        [
            DecisionEvidence(
                decision=decision, kind=item["kind"], fact_id=item["fact_id"], version_no=item["version_no"]
            )
            for decision in decisions
            for item in decision.evidence
        ]
    )
    return decisions


def clearance(decision: Decision) -> Clearance:
    """Leave to be live. Only a decision that allows gives it, and only for the terms that were decided."""
    if decision.outcome != Decision.Outcome.ALLOW:
        raise ValueError("Only a decision that allows clears an offer.")
    # What was decided before the question knew of software was decided for none stated.
    decided = {name: decision.question.get(name, "") for name in TERMS}
    return Clearance(
        decision_id=decision.pk,
        revision=decision.revision,
        content_hash=content_hash(**decided),
        expires_at=decision.expires_at,
    )


def _question_json(question: Question) -> dict[str, Any]:
    return question._asdict()
