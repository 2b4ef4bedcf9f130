"""A change of authority thought through: what would be different, and for which offers.

Either the engine is told what would be different (`WhatIf`, a changed setting), or the change is rehearsed: written by
the code that executes it, in a transaction that is rolled back.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime

from django.db.models import QuerySet

from authorization import (
    affiliations,
    agreements,
    approvals,
    clock,
    decisions,
    delisting,
    equipment,
    facts,
    fence,
    holds,
    policies,
    reinstatements,
    selectors,
)
from authorization.actors import SYSTEM
from authorization.changes import (
    WITHDRAWAL_REASONS,
    CorrectGroundwork,
    EndAffiliation,
    EndExemption,
    ExemptFromHold,
    Expire,
    Imaginable,
    NarrowAgreement,
    PlaceHold,
    ReleaseHold,
    RestrictApproval,
    RevokeAgreement,
    RevokeApproval,
    RevokeEquipment,
    SetPolicy,
    Undo,
    current_of,
    fact_of,
    narrower_terms,
    policy_terms,
    restrict,
)
from authorization.decision_setting import Policy, Setting
from authorization.decisions import Answer
from authorization.delisting import Offer
from authorization.facts import InvalidFact
from authorization.models import Assurance, Fact, HoldVersion, Revision, Revocation
from authorization.rules import ALL, Question
from authorization.transactions import undone
from authorization.what_if import NOTHING_CHANGED, HypotheticalHold, WhatIf
from carriers.versions import FOREVER
from catalog.models import ListingHost, OfferState

# What a preview calls a policy that would be set: it has no code yet.
NEW_POLICY = "the new policy"
# Whoever rehearses: the rows are gone before anybody could read the name.
_NOBODY = SYSTEM


@dataclass(frozen=True)
class Imagined:
    """A change thought through: what the engine is told, whom it may touch, and when it is.

    `is_act`: something is done at `at`; otherwise time passes until `at`, from `before_at` on.
    """

    what_if: WhatIf
    offers: QuerySet[ListingHost]
    fact_ids: frozenset[int]
    at: datetime
    is_act: bool = True
    before_at: datetime | None = None
    # What would be different in the setting, e.g. the policy.
    change_setting: Callable[[Setting], Setting] | None = None
    # Writes the change, where the engine cannot be told of it.
    rehearse: Callable[[Revision], None] | None = None
    # When what it sets takes more away by itself, in order: an earlier end, a waiver that runs out.
    later: tuple[datetime, ...] = ()

    def judge_offers(self, setting: Setting, offers: list[Offer]) -> tuple[list[Answer], list[Answer]]:
        """Before and after, in the order of the offers."""

        def ask() -> list[Question]:
            rows = offers
            if self.rehearse is not None:
                # Whose device a variant is may be what would change.
                stored = ListingHost.objects.filter(pk__in=[offer.id for offer in offers])
                found = {offer.id: offer for offer in delisting.read(stored)}
                rows = [found[offer.id] for offer in offers]
            return [offer.question for offer in rows]

        return self.judge(setting, ask, is_explained_before=False)

    def judge(
        self, setting: Setting, ask: Callable[[], list[Question]], *, is_explained_before: bool = True
    ) -> tuple[list[Answer], list[Answer]]:
        """Answers before and after. `ask` gives the questions; it is called again inside a rehearsal."""
        instant = max(decisions.instant_of(setting, self.at), self.at)
        before = decisions.answers_in(
            setting, ask(), at=self.before_at or instant, is_explained=is_explained_before
        )
        if self.rehearse is None:
            then = setting if self.change_setting is None else self.change_setting(setting)
            return before, decisions.answers_in(then, ask(), at=instant, what_if=self.what_if)
        with _rehearsal(self.rehearse, at=instant):
            then = decisions.read_setting(at=instant, known_at=None)
            return before, decisions.answers_in(then, ask(), at=decisions.instant_of(then, instant))


@contextmanager
def _rehearsal(write: Callable[[Revision], None], *, at: datetime) -> Iterator[None]:
    """Inside the block the change is made; nobody else sees it, and nothing of it stays."""
    with undone():
        write(fence.rehearsal(at=at))
        yield


def imagine(change: Imaginable, *, at: datetime) -> Imagined:
    """Raises InvalidFact for a change that could not be made."""
    if at.tzinfo is None:
        raise InvalidFact("at", "The time has no time zone; give one, e.g. 2016-02-01T12:00:00Z.")
    reason_code = getattr(change, "reason_code", None)
    if reason_code is not None and reason_code not in WITHDRAWAL_REASONS:
        raise InvalidFact("reason_code", f"Take one of {', '.join(WITHDRAWAL_REASONS)}.")
    live = ListingHost.objects.filter(state=OfferState.LIVE)
    swept = ListingHost.objects.filter(state__in=[OfferState.LIVE, OfferState.SUSPENDED])
    match change:
        case PlaceHold():
            return _imagine_hold(change, live, at)
        case SetPolicy():
            return _imagine_policy(change, swept, at)
        case CorrectGroundwork():
            return _imagine_correction(change, swept, at)
        case Undo():
            return _imagine_undo(change, swept, at)
    fact = fact_of(change)
    fact_ids = frozenset({fact.pk})
    offers = selectors.offers_touched_by(live, fact)
    if isinstance(change, RevokeAgreement | RevokeApproval | RevokeEquipment):
        _check_revocable(fact, effective_at=at)
        return Imagined(WhatIf(revoked={fact.pk: at}), offers, fact_ids, at)
    if isinstance(change, NarrowAgreement):
        world = _narrower(change, fact, at)
        return Imagined(world, offers, fact_ids, at, later=_to_come({change.valid_until}, at))
    if isinstance(change, RestrictApproval):
        limited = _imagine_restriction(change, fact, selectors.offers_touched_by(swept, fact), at)
        return replace(limited, later=_to_come({change.waived_until}, at))
    if isinstance(change, EndAffiliation):
        return _imagine_end_of_affiliation(fact, selectors.offers_touched_by(swept, fact), at)
    if isinstance(change, Expire):
        until = _end_of(fact)
        if until >= FOREVER:
            raise InvalidFact("fact", f"{fact.code} has no end; nothing of it expires.")
        if until <= at:
            raise InvalidFact("fact", f"{fact.code} ended on {until:%Y-%m-%d}; there is nothing to wait for.")
        if fact.kind == Fact.Kind.HOLD:
            offers = selectors.offers_touched_by(swept, fact)
        return Imagined(WhatIf(), offers, fact_ids, until, is_act=False)
    hold = (
        HoldVersion.objects.select_related("head")
        .prefetch_related("targets", "exemptions")
        .get(head=fact, rev_to__isnull=True)
    )
    if isinstance(change, EndExemption):
        exemptions = holds.without_exemption(hold, change.part, ends_at=at)
        ended = _with_exemptions(hold, exemptions)
        world = WhatIf(without_holds=fact_ids, holds=(ended,))
        return Imagined(world, offers, frozenset(), at)
    if isinstance(change, ReleaseHold):
        holds.refuse_released(hold)
    else:
        holds.refuse_over(hold, at)
    named = {int(target.value) for target in hold.targets.all() if target.dimension == "fact"}
    back = WhatIf(without_holds=fact_ids)
    if isinstance(change, ExemptFromHold):
        exemption = holds.check_exemption(change.exemption, at=at)
        back = replace(back, holds=(_with_exemption(hold, exemption),))
    return Imagined(back, selectors.offers_touched_by(swept, fact), frozenset(named), at)


def _imagine_hold(change: PlaceHold, live: QuerySet[ListingHost], at: datetime) -> Imagined:
    targets = holds.check_targets(change.targets, reach=change.reach)
    facts.check_code(change.code)
    holds.check_placer(change.placed_by)
    exemptions = [holds.check_exemption(exemption, at=at) for exemption in change.exemptions]
    hold = HypotheticalHold(
        fact_id=0,
        code=change.code,
        reach=change.reach,
        placed_by=change.placed_by,
        reason_code=change.reason_code,
        valid_from=at,
        valid_until=FOREVER,
        parts={0: targets} | {n: exemption.targets for n, exemption in enumerate(exemptions, start=1)},
        exemptions={
            n: (exemption.valid_from, exemption.valid_until)
            for n, exemption in enumerate(exemptions, start=1)
        },
    )
    named = frozenset({int(value) for dimension, value in targets if dimension == "fact"})
    offers = selectors.offers_matching(live, _by_dimension(targets))
    later = _to_come({exemption.valid_until for exemption in exemptions}, at)
    return Imagined(WhatIf(holds=(hold,)), offers, named, at, later=later)


def _narrower(change: NarrowAgreement, fact: Fact, at: datetime) -> WhatIf:
    fields, scope = agreements.narrowed(agreements.current(fact), narrower_terms(change), at=at)
    return WhatIf(
        scopes={fact.pk: {dimension: frozenset(values) for dimension, values in scope.items()}},
        ends={fact.pk: fields["valid_until"]},
        sublicenses={fact.pk: fields["may_sublicense"]},
    )


def _imagine_policy(change: SetPolicy, swept: QuerySet[ListingHost], at: datetime) -> Imagined:
    terms = policy_terms(change)
    ended = {version.head_id for version in policies.ended_by(terms, at=at)}
    new = Policy(
        fact_id=0,
        code=NEW_POLICY,
        version_no=1,
        territory=change.territory,
        enforces_agreement=change.is_agreement_enforced,
        demands_verified=change.minimum_assurance == Assurance.VERIFIED,
        enforces_approval=change.is_carrier_approval_enforced,
        takes_conditional=change.is_conditional_approval_enough,
        enforces_equipment=change.is_equipment_authorization_enforced,
        minimum_radio=change.minimum_radio,
        valid_from=at,
        valid_until=FOREVER,
    )

    def set_policy(setting: Setting) -> Setting:
        kept = (
            policy._replace(valid_until=at) if policy.fact_id in ended else policy
            for policy in setting.policies
        )
        return replace(setting, policies=(*kept, new))

    offers = swept if change.territory == ALL else swept.filter(listing__territory=change.territory)
    return Imagined(NOTHING_CHANGED, offers, frozenset(), at, change_setting=set_policy)


def _imagine_end_of_affiliation(fact: Fact, offers: QuerySet[ListingHost], at: datetime) -> Imagined:
    affiliations.check_end(affiliations.current(fact), at, at=min(at, clock.now()))

    def end(setting: Setting) -> Setting:
        found = (
            row._replace(valid_until=at) if row.fact_id == fact.pk else row for row in setting.affiliations
        )
        return replace(setting, affiliations=tuple(found))

    return Imagined(NOTHING_CHANGED, offers, frozenset({fact.pk}), at, change_setting=end)


def _imagine_restriction(
    change: RestrictApproval, fact: Fact, offers: QuerySet[ListingHost], at: datetime
) -> Imagined:
    def write(revision: Revision) -> None:
        restrict(change, fact, revision=revision, by=_NOBODY, at=at, reason="")

    return _rehearsed(write, offers, frozenset({fact.pk}), at)


def _imagine_correction(change: CorrectGroundwork, swept: QuerySet[ListingHost], at: datetime) -> Imagined:
    recorder = change.recorder
    if recorder.is_empty:
        raise InvalidFact("records", "All of it is recorded so already; there is nothing to correct.")
    scope = recorder.scope()
    offers = swept if scope is None else selectors.offers_in_scope(swept, scope)
    if not recorder.is_ground:
        offers = swept.none()

    def write(revision: Revision) -> None:
        # A rehearsal must leave no trace in what will be written in earnest: rows get their numbers by writing.
        copy.deepcopy(recorder).write(revision)

    later = _to_come(recorder.boundaries, at) if recorder.is_ground else ()
    return Imagined(NOTHING_CHANGED, offers, frozenset(), at, rehearse=write, later=later)


def _imagine_undo(change: Undo, swept: QuerySet[ListingHost], at: datetime) -> Imagined:
    revocation = Revocation.objects.select_related("fact").get(pk=change.revocation_id)
    reinstatements.check_undoable(revocation, at=at)
    offers = selectors.offers_concerned(swept, fact_id=revocation.fact_id, scope=revocation.scope)

    def write(revision: Revision) -> None:
        reinstatements.write(revocation, revision, by=_NOBODY, at=at, reason="", part=change.part)

    fact_ids = frozenset() if revocation.fact_id is None else frozenset({revocation.fact_id})
    return _rehearsed(write, offers, fact_ids, at)


def _rehearsed(
    write: Callable[[Revision], None],
    offers: QuerySet[ListingHost],
    fact_ids: frozenset[int],
    at: datetime,
) -> Imagined:
    with _rehearsal(write, at=at):
        # Once without questions: what would be refused is refused although nothing is on sale.
        pass
    return Imagined(NOTHING_CHANGED, offers, fact_ids, at, rehearse=write)


def _to_come(instants: Iterable[datetime | None], at: datetime) -> tuple[datetime, ...]:
    return tuple(sorted(instant for instant in instants if instant is not None and at < instant < FOREVER))


def _check_revocable(fact: Fact, *, effective_at: datetime) -> None:
    match Fact.Kind(fact.kind):
        case Fact.Kind.AGREEMENT:
            agreements.check_revocable(agreements.current(fact), effective_at=effective_at)
        case Fact.Kind.APPROVAL:
            approvals.check_revocable(approvals.current(fact), effective_at=effective_at)
        case _:
            equipment.check_revocable(equipment.current(fact), effective_at=effective_at)


def _with_exemption(hold: HoldVersion, exemption: holds.Exemption) -> HypotheticalHold:
    exemptions = holds.exemptions_of(hold)
    return _with_exemptions(hold, exemptions | {max(exemptions, default=0) + 1: exemption})


def _with_exemptions(hold: HoldVersion, exemptions: Mapping[int, holds.Exemption]) -> HypotheticalHold:
    return HypotheticalHold(
        fact_id=hold.head_id,
        code=hold.head.code,
        reach=hold.reach,
        placed_by=hold.placed_by,
        reason_code=hold.reason_code,
        valid_from=hold.valid_from,
        valid_until=hold.valid_until,
        parts={0: holds.targets_of(hold)} | {part: row.targets for part, row in exemptions.items()},
        exemptions={part: (row.valid_from, row.valid_until) for part, row in exemptions.items()},
    )


def _end_of(fact: Fact) -> datetime:
    version = current_of(fact)
    names = ("valid_until", "waived_until", "revoked_at", "released_at")
    ends = [getattr(version, name, None) for name in names]
    return min([end for end in ends if end is not None])


def _by_dimension(targets: Sequence[tuple[str, str]]) -> dict[str, frozenset[str]]:
    return {
        dimension: frozenset(value for other, value in targets if other == dimension)
        for dimension in {dimension for dimension, _ in targets}
    }
