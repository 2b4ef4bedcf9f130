"""The store's answer to a party's word: the desk previews and confirms while shoppers press the button."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from authorization import clock
from authorization.models import Revocation
from authorization.revocations import Change
from seeds.replay import shoppers
from seeds.replay.findings import Withdrawal
from seeds.replay.measure import Overdue, Watcher, gone_after_ms, offered_although
from seeds.replay.shoppers import Outcome, Rush, Shopper
from seeds.replay.stage import DESK, Stage
from seeds.world2016 import Phone
from storefront import withdrawals

# Who pay while the desk confirms.
RACERS = 6


@dataclass(frozen=True)
class Word:
    """What a party said, when, and which phones of the importer it covers."""

    party: str
    code: str
    change: Change
    received_at: datetime
    note: str
    covers: Sequence[Phone]


def withdraw(
    stage: Stage, word: Word, waiting: Sequence[tuple[Shopper, str]]
) -> tuple[Revocation, Withdrawal] | None:
    """Take down what the word covers. None when nothing of it is on sale.

    `waiting`: shoppers with a checkout form that they opened earlier, each with the phone's page.
    """
    preview = withdrawals.preview(word.change, at=clock.now())
    fell = [impact.sku for impact in preview.impact.falls]
    stage.say(
        "desk",
        f"previews it. Offers that fall: {len(fell)} ({', '.join(fell) or 'none'}), that survive: "
        f"{len(preview.impact.survives)}; open carts: {preview.open_carts}; "
        f"unshipped orders: {preview.unshipped_orders}",
    )
    expected = [] if stage.is_gate_shut else [phone.sku for phone in word.covers]
    if set(fell) != set(expected):
        stage.findings.wrong.append(f"The word of {word.party} takes down {fell}, not {expected}.")
    if not fell:
        stage.say("desk", "nothing of it is on sale, so there is nothing to take down")
        return None
    withdrawal = Withdrawal(word.party, word.code, fell, preview.open_carts, preview.unshipped_orders)
    stage.findings.withdrawals.append(withdrawal)
    revocation = _race(stage, word, preview.impact.digest, withdrawal)
    _try_stale_carts(stage, word, waiting)
    return revocation, withdrawal


def _race(stage: Stage, word: Word, digest: str, withdrawal: Withdrawal) -> Revocation:
    slugs = stage.slugs(word.covers)
    racers = stage.at_the_till("race", [slugs[number % len(slugs)] for number in range(RACERS)])
    rush = Rush(racers)
    rush.wait_for_first(within_s=10)
    began = time.monotonic()
    revocation = withdrawals.confirm(
        word.change,
        digest=digest,
        requested_by=word.party,
        word_received_at=word.received_at,
        note=word.note,
        by=DESK,
        at=clock.now(),
    )
    committed = time.monotonic()
    withdrawal.commit_ms = (committed - began) * 1000
    stage.say("desk", f"confirms. Committed in {withdrawal.commit_ms:.0f} ms: from here on it cannot be sold")
    with stage.timeline.waiting("the pages and the workers"):
        skus = [phone.sku for phone in word.covers]
        withdrawal.pages_ms, on_pages = _measure(stage.pages, slugs, began, committed)
        withdrawal.delisted_ms, in_api = _measure(stage.listings, skus, began, committed)
        outcomes = rush.outcomes()
    withdrawal.not_gone = on_pages + in_api
    withdrawal.late_pages = sum(offered_although(stage.pages.samples(slug), committed) for slug in slugs)
    for racer in racers:
        racer.close()
    _tell(stage, withdrawal, outcomes)
    return revocation


def _measure(
    watcher: Watcher, names: Sequence[str], began: float, committed: float
) -> tuple[dict[str, float], list[str]]:
    """Milliseconds from the desk's click until each was off sale, and those that never were."""
    times: dict[str, float] = {}
    for name in names:
        try:
            watcher.wait_until(name, is_offered=False, since=committed)
        except Overdue:
            continue
        gone = gone_after_ms(watcher.samples(name), began)
        if gone is not None:
            times[name] = gone
    return times, [name for name in names if name not in times]


def _tell(stage: Stage, withdrawal: Withdrawal, outcomes: Sequence[Outcome]) -> None:
    bought, refused = outcomes.count(Outcome.BOUGHT), outcomes.count(Outcome.REFUSED)
    stage.say(
        "shoppers",
        f"{len(outcomes)} were paying meanwhile: {bought} before the commit, {refused} after it and refused",
    )
    if withdrawal.not_gone:
        stage.say("shop", f"STILL ON SALE after a minute: {', '.join(withdrawal.not_gone)}")
        return
    stage.say(
        "shop",
        f"last page seen gone {max(withdrawal.pages_ms.values()):.0f} ms after the desk's click; "
        f"last listing delisted by the workers after {max(withdrawal.delisted_ms.values()):.0f} ms",
    )


def _try_stale_carts(stage: Stage, word: Word, waiting: Sequence[tuple[Shopper, str]]) -> None:
    slugs = stage.slugs(word.covers)
    mine = [shopper for shopper, slug in waiting if slug in slugs]
    outcomes = shoppers.at_once([shopper.pay for shopper in mine])
    refused = outcomes.count(Outcome.REFUSED)
    stage.say(
        "shoppers", f"{len(mine)} who stood at the checkout now pay: {refused} refused, no card charged"
    )
    if refused != len(mine):
        stage.findings.wrong.append(f"{len(mine) - refused} stale carts were not refused.")
    with stage.shopper("late") as shopper:
        if any(shopper.look(slug) for slug in slugs):
            stage.findings.wrong.append("A page still offered a phone after its withdrawal.")
