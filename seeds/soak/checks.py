"""Every promise, asked of the database, of the pages and of the payment provider when all is quiet.

Where it can be, the question is put in words of its own and not by the code that is under test: a delisting is
counted against the ledger and the events, money against the provider's book, units against what there was.
"""

import io
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from functools import cached_property
from itertools import batched
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import CommandError, call_command
from django.db.models import Count, F, Max, Min, Sum

from authorization import clock, decisions, outbox
from authorization.models import (
    Decision,
    Delisting,
    LedgerEntry,
    OutboxRow,
    PendingChange,
    ReconcilerRun,
    Revision,
    Revocation,
    Sweep,
)
from authorization.pending_changes import SETTLED_UNMET
from authorization.rules import Question
from catalog.models import ListingHost, OfferState, Stock
from seeds.replay.measure import percentile
from seeds.soak import journal
from seeds.soak.browser import Browser
from seeds.soak.soaked import SETTLED, Soaked
from storefront import audit, payments, safety
from storefront.models import Order, OrderLine, PaymentIntent, RemovalProof, SentMessage
from storefront.proofs import verify_list, verify_proof

# I2: nobody may keep a withdrawal waiting for longer, but a database that is away.
LONGEST_WAIT_S = 5.0
# What shows that the database, not the store, made somebody wait or fail; and the time until all is warm again.
DATABASE_FAULTS = frozenset(
    {"database restarted", "database killed", "database frozen", "connections dropped"}
)
AFTERMATH_S = 6.0
IDS = 500

# Acts of the ledger, and the event that tells of each.
EVENT_OF = {
    "listing.suspended": "listing.suspended",
    "listing.reinstated": "listing.reinstated",
    "listing.published": "listing.published",
    "listing.unpublished": "listing.unpublished",
    "order.hold": "order.held",
    "order.release": "order.released",
    "order.ship": "order.shipped",
    "order.ship_held": "order.shipped",
    "order.refund": "order.refunded",
    "order.refund_lines": "order.partly_refunded",
    "authority.withdrawn": "authority.withdrawn",
}
EVENTS_OF_ORDERS = {event for event in EVENT_OF.values() if event.startswith("order.")}


@dataclass
class Check:
    name: str
    looked_at: int = 0
    problems: list[str] = field(default_factory=list)
    # A figure that is told and not judged.
    said: str = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def wrong(self, problem: str) -> None:
        # Many of a kind are one problem many times.
        if problem not in self.problems:
            self.problems.append(problem)


@dataclass
class Site:
    folder: Path
    soaked: Soaked
    base_url: str

    def lines(self, what: str, *files: str) -> list[dict[str, Any]]:
        found = [
            line for file in files for path in sorted(self.folder.glob(file)) for line in journal.read(path)
        ]
        return [line for line in found if line["what"] == what]

    @cached_property
    def faults(self) -> list[dict[str, Any]]:
        return self.lines("fault", "faults.jsonl")

    def is_excused(self, began: float, ended: float, kinds: Iterable[str] = ()) -> bool:
        """Did a fault of these kinds (none: any at all) fall into this time, or shortly before it?"""
        wanted = frozenset(kinds)
        return any(
            began <= fault["ended"] + AFTERMATH_S and ended >= fault["began"]
            for fault in self.faults
            if not wanted or fault["kind"] in wanted
        )


def run_all(folder: Path, soaked: Soaked, base_url: str) -> list[Check]:
    site = Site(folder, soaked, base_url)
    checks = []
    for name, look in CHECKS.items():
        check = Check(name)
        try:
            look(check, site)
        except Exception as error:
            check.wrong(f"it could not be checked: {type(error).__name__}: {error}")
        checks.append(check)
    return checks


# --- sales --------------------------------------------------------------------------------------------------


def _no_order_is_late(check: Check, _site: Site) -> None:
    check.looked_at = audit.count_orders()
    for late in audit.late_orders():
        check.wrong(f"order {late.order_id}: {late.why} {late.fact_code} (revision {late.revision})")


def _acknowledged_orders_exist(check: Check, site: Site) -> None:
    bought = site.lines("bought", "load.jsonl")
    check.looked_at = len(bought)
    orders: dict[str, set[str]] = defaultdict(set)
    for line in bought:
        orders[line["key"]].add(line["order"])
    known: dict[str, str] = {}
    for part in batched(orders, IDS):
        rows = Order.objects.filter(intent__checkout_key__in=part)
        known |= {
            str(key): str(order) for key, order in rows.values_list("intent__checkout_key", "public_id")
        }
    for key, told in orders.items():
        if told != {known.get(key)}:
            check.wrong(f"checkout {key} was told of {sorted(told)}; kept is {known.get(key)}")


def _units_are_conserved(check: Check, site: Site) -> None:
    counted = {
        item.listing_id for vendor in site.soaked.vendors for item in vendor.items if not item.is_restless
    }
    kept = OrderLine.objects.exclude(order__state=Order.State.REFUNDED).filter(listing_id__in=counted)
    sold = dict(
        kept.values_list("listing_id").annotate(units=Sum(F("quantity") - F("refunded_quantity"))).order_by()
    )
    for listing_id, on_hand in Stock.objects.filter(listing_id__in=counted).values_list(
        "listing_id", "on_hand"
    ):
        check.looked_at += 1
        if on_hand + sold.get(listing_id, 0) != site.soaked.on_hand:
            check.wrong(
                f"listing {listing_id}: {on_hand} on hand and {sold.get(listing_id, 0)} sold"
                f" are not {site.soaked.on_hand}"
            )


def _money_fits_orders(check: Check, _site: Site) -> None:
    """The provider's book against the shop's orders: what is kept is the price of what was not given back."""
    rows = PaymentIntent.objects.select_related("order").order_by("created_at")
    for intent in rows.iterator(chunk_size=1000):
        check.looked_at += 1
        found = payments.find_authorization(intent.pk)
        status = found.status if found is not None else "none"
        kept = found.captured - found.refunded if found is not None else Decimal(0)
        order = getattr(intent, "order", None)
        if order is None:
            if status == "authorized" or kept:
                check.wrong(f"payment {intent.pk} has no order, is {intent.state} here and {status} there")
            continue
        due = Decimal(0) if order.state == Order.State.REFUNDED else intent.amount - intent.refunded_amount
        # While it is held nothing is taken; what was taken before stays until somebody decides.
        is_reserved = order.state == Order.State.HELD and status == "authorized"
        if not is_reserved and (kept != due or status == "authorized"):
            said = f"{due} is due, {kept} was kept ({status})"
            check.wrong(f"order {order.pk} is {order.state}: {said}")


def _withdrawn_orders_are_held(check: Check, _site: Site) -> None:
    """Orders of goods that somebody withdrew wait for the desk. Paper that ended by itself is no reason to."""
    placed = Order.objects.filter(state=Order.State.PLACED)
    lines = OrderLine.objects.filter(order__in=placed).select_related("decision").order_by("id")
    for part in batched(lines.iterator(chunk_size=1000), 1000):
        questions = [Question(**line.decision.question) for line in part]
        for line, answer in zip(part, decisions.decide_many(questions, at=clock.now()), strict=True):
            check.looked_at += 1
            if not answer.is_allowed and (withdrawn := _withdrawn(line, answer)):
                check.wrong(f"order {line.order_id} is placed although {withdrawn}")


def _withdrawn(line: OrderLine, answer: decisions.Answer) -> str:
    """Which record the sale rests on was taken away by somebody; '' when it merely ended, or still stands."""
    cited = {item["fact_id"] for item in line.decision.evidence if item["kind"] in ("agreement", "approval")}
    revoked = Revocation.objects.filter(fact_id__in=cited, effective_at__lte=clock.now()).exclude(
        kind=Revocation.Kind.NARROWING
    )
    if found := revoked.select_related("fact").first():
        return f"{found.fact} was revoked"
    held_by = {reason.document for reason in answer.reasons}
    holds = Revocation.objects.filter(kind=Revocation.Kind.HOLD, fact__code__in=held_by)
    if found := holds.select_related("fact").first():
        return f"{found.fact} stops it"
    return ""


# --- offers -------------------------------------------------------------------------------------------------


def _states_are_what_is_decided(check: Check, _site: Site) -> None:
    states = dict(ListingHost.objects.values_list("pk", "state"))
    wanted = [OfferState.LIVE, OfferState.SUSPENDED]
    for offer_id, answer in decisions.decide_store(at=clock.now(), states=wanted):
        check.looked_at += 1
        if states[offer_id] == OfferState.LIVE and not answer.is_allowed:
            check.wrong(f"offer {offer_id} is live and may not be sold: {', '.join(answer.reason_codes)}")
        if states[offer_id] == OfferState.SUSPENDED and answer.is_allowed:
            check.wrong(f"offer {offer_id} is suspended although it may be sold")


def _each_fall_once(check: Check, _site: Site) -> None:
    """One delisting, one line in the ledger and one event for each, by the decision that they rest on."""
    fallen = Counter(str(pk) for pk in Delisting.objects.values_list("decision_id", flat=True))
    check.looked_at = sum(fallen.values())
    entries = LedgerEntry.objects.filter(act="listing.suspended")
    written = Counter(evidence["decision"] for evidence in entries.values_list("evidence", flat=True))
    events = OutboxRow.objects.filter(handler="", event="listing.suspended")
    told = Counter(payload["decision_id"] for payload in events.values_list("payload", flat=True))
    for decision_id in fallen.keys() | written.keys() | told.keys():
        times = fallen[decision_id], written[decision_id], told[decision_id]
        if times != (1, 1, 1):
            check.wrong(
                f"decision {decision_id}: {times[0]} delistings, {times[1]} in the ledger, {times[2]} events"
            )
    denied = Decision.objects.filter(pk__in=Delisting.objects.values("decision_id"))
    for decision in denied.exclude(outcome="deny")[:IDS]:
        check.wrong(f"offer {decision.offer_id} was delisted by a decision that says {decision.outcome}")


def _offers_move_by_their_table(check: Check, _site: Site) -> None:
    """No offer falls twice in a row, or returns without having fallen."""
    before = {
        "listing.suspended": {"listing.published", "listing.reinstated"},
        "listing.reinstated": {"listing.suspended"},
    }
    ends = {"listing.suspended": "SUSPENDED", "listing.reinstated": "LIVE", "listing.published": "LIVE"}
    acts = [*ends, "listing.unpublished", "listing.removed", "listing.blocked"]
    last: dict[str, str] = {}
    entries = LedgerEntry.objects.filter(subject_kind="offer", act__in=acts).order_by("id")
    for offer_id, act in entries.values_list("subject_id", "act").iterator():
        check.looked_at += 1
        if act in before and last.get(offer_id) not in before[act]:
            check.wrong(f"offer {offer_id}: {act} after {last.get(offer_id)}")
        last[offer_id] = act
    states = {str(pk): state for pk, state in ListingHost.objects.values_list("pk", "state")}
    for offer_id, act in last.items():
        if act in ends and states[offer_id] != ends[act] and states[offer_id] != OfferState.DRAFT:
            check.wrong(f"offer {offer_id} is {states[offer_id]}, the last that was written of it is {act}")


def _pages_offer_nothing_else(check: Check, site: Site) -> None:
    offers = list(
        ListingHost.objects.filter(state=OfferState.LIVE)
        .select_related("listing__variant__device", "listing__stock", "host")
        .order_by("id")
    )
    answers = decisions.decide_offers(offers, at=clock.now())
    allowed: dict[str, set[int]] = defaultdict(set)
    for offer, answer in zip(offers, answers, strict=True):
        if answer.is_allowed and offer.listing.stock.on_hand:
            allowed[offer.listing.variant.device.slug].add(offer.pk)
    browser = Browser(site.base_url)
    for slug in site.soaked.devices:
        check.looked_at += 1
        page = browser.get(f"/devices/{slug}/")
        if page.offer_ids - allowed[slug]:
            check.wrong(f"the page of {slug} offers {sorted(page.offer_ids - allowed[slug])}")
        if allowed[slug] - page.offer_ids:
            check.wrong(f"the page of {slug} lacks {sorted(allowed[slug] - page.offer_ids)}")
    browser.close()


def _api_shows_nothing_else(check: Check, site: Site) -> None:
    live = defaultdict(set)
    for sku, host in ListingHost.objects.filter(state=OfferState.LIVE).values_list(
        "listing__sku", "host__code"
    ):
        live[sku].add(host)
    browser = Browser(site.base_url)
    for vendor in site.soaked.vendors:
        for item in vendor.items:
            check.looked_at += 1
            answer = browser.get(f"/v1/listings/{item.sku}", {"Authorization": f"Bearer {vendor.key}"})
            shown = json.loads(answer.text)
            hosts = {offer["host"] for offer in shown["offers"] if offer["state"] == "LIVE"}
            if hosts != live[item.sku]:
                check.wrong(
                    f"the API shows {item.sku} on {sorted(hosts)}, it is live on {sorted(live[item.sku])}"
                )
    browser.close()


def _pages_followed_at_once(check: Check, site: Site) -> None:
    for line in site.lines("looked", "desk*.jsonl"):
        check.looked_at += 1
        if line["still_shown"]:
            check.wrong(
                f"asked for after the commit, the page of {line['slug']} still offered {line['still_shown']}"
            )


# --- work and events ----------------------------------------------------------------------------------------


def _no_work_is_left(check: Check, _site: Site) -> None:
    check.looked_at = OutboxRow.objects.exclude(handler="").count()
    for row in OutboxRow.objects.filter(is_dead=True)[:IDS]:
        check.wrong(f"row {row.pk} ({row}) is dead: {row.last_error[:200]}")
    for row in outbox.open_rows(clock.now())[:IDS]:
        check.wrong(f"row {row.pk} ({row}) is due and not done: {row.last_error[:200]}")
    retried = OutboxRow.objects.filter(attempt__gt=1).count()
    check.said = f"kept; {retried} rows are second or later attempts"


def _readers_order_is_whole(check: Check, _site: Site) -> None:
    events = OutboxRow.objects.filter(handler="")
    found = events.aggregate(first=Min("position"), last=Max("position"), count=Count("position"))
    check.looked_at = events.count()
    if found["count"] != check.looked_at:
        check.wrong(f"{check.looked_at - found['count']} events have no position")
    if check.looked_at and (found["first"], found["last"]) != (1, check.looked_at):
        check.wrong(f"{found['count']} positions run from {found['first']} to {found['last']}")


def _is_for_a_vendor(event: str, payload: Mapping[str, Any]) -> bool:
    """Besides the event of the order itself each of its vendors has one of its own, to which nobody here reacts."""
    return event in EVENTS_OF_ORDERS and "vendor_id" in payload


def _each_act_has_its_event(check: Check, _site: Site) -> None:
    ids = ("offer_id", "order_id", "revocation_id")
    told: Counter[tuple[str, str]] = Counter()
    events = OutboxRow.objects.filter(handler="", event__in=EVENT_OF.values())
    for event, payload in events.values_list("event", "payload").iterator():
        if _is_for_a_vendor(event, payload):
            continue
        subject = next(str(payload[name]) for name in ids if name in payload)
        told[event, subject] += 1
    done: Counter[tuple[str, str]] = Counter()
    entries = LedgerEntry.objects.filter(act__in=EVENT_OF)
    for act, subject in entries.values_list("act", "subject_id").iterator():
        done[EVENT_OF[act], subject] += 1
    # Decided for a later day, and cancelled before: the event comes with the day.
    cancelled = PendingChange.objects.filter(
        kind=PendingChange.Kind.WITHDRAWAL, state=PendingChange.State.CANCELLED
    )
    for revocation_id in cancelled.values_list("revocation_id", flat=True):
        del done["authority.withdrawn", str(revocation_id)]
    # And undone on its day, before a worker met it.
    unmet = LedgerEntry.objects.filter(act=SETTLED_UNMET)
    for subject in unmet.values_list("subject_id", flat=True):
        del done["authority.withdrawn", subject]
    check.looked_at = sum(done.values())
    for key in done.keys() | told.keys():
        if done[key] != told[key]:
            check.wrong(f"{key[0]} of {key[1]}: {done[key]} in the ledger, {told[key]} events")
    changed = {
        payload["revision"]
        for payload in OutboxRow.objects.filter(handler="", event="authority.changed").values_list(
            "payload", flat=True
        )
    }
    for revision in Revision.objects.exclude(n__in=changed):
        check.wrong(f"{revision} ({revision.reason}) was announced to nobody")


def _each_event_was_reacted_to(check: Check, _site: Site) -> None:
    done = Counter(
        OutboxRow.objects.filter(done_at__isnull=False).exclude(handler="").values_list("event_id", "handler")
    )
    waiting = set(
        OutboxRow.objects.filter(done_at__isnull=True, failed_at__isnull=True)
        .exclude(handler="")
        .values_list("event_id", "handler")
    )
    events = OutboxRow.objects.filter(handler="", event__in=settings.OUTBOX_HANDLERS)
    for event_id, event, payload in events.values_list("event_id", "event", "payload").iterator():
        if _is_for_a_vendor(event, payload):
            continue
        for handler in settings.OUTBOX_HANDLERS[event]:
            check.looked_at += 1
            if done[event_id, handler] != 1 and (event_id, handler) not in waiting:
                check.wrong(f"{event} {event_id}: {handler} is done {done[event_id, handler]} times")


def _sweeps_are_done(check: Check, _site: Site) -> None:
    for sweep in Sweep.objects.annotate(undone=Count("chunks") - Count("chunks__done_at")):
        check.looked_at += 1
        if sweep.undone or sweep.finished_at is None:
            check.wrong(f"{sweep} is not finished; {sweep.undone} chunks are undone")
    finished = Counter(
        payload["sweep_id"]
        for payload in OutboxRow.objects.filter(handler="", event="sweep.finished").values_list(
            "payload", flat=True
        )
    )
    for sweep_id, times in finished.items():
        if times > 1:
            check.wrong(f"sweep {sweep_id} was finished {times} times")


def _the_reconciler_found_nothing(check: Check, site: Site) -> None:
    """Once the events have done their work, nothing is left for it. While workers die it may well step in."""
    before = json.loads((site.folder / SETTLED).read_text(encoding="utf-8"))["rounds"]
    runs = list(ReconcilerRun.objects.order_by("id"))
    check.looked_at = len(runs)
    for run in runs:
        if run.pk > before and (run.found_live or run.found_suspended):
            check.wrong(
                f"round {run.pk} took down {run.found_live} offers, brought {run.found_suspended} back"
            )
    stepped_in = sum(run.found_live + run.found_suspended for run in runs if run.pk <= before)
    check.said = f"kept; {stepped_in} offers moved under fire"


# --- whoever is told ----------------------------------------------------------------------------------------


def _was_called_off(message: SentMessage) -> bool:
    """A warning whose sender was killed, and which no longer held when the work was taken up: nobody is to be warned.

    As its mail may have gone out all the same, a mistake is corrected.
    """
    recall = message.revocation
    if message.kind != "recall" or recall is None or safety.stands(recall, at=clock.now()):
        return False
    if not recall.reinstatements.filter(is_mistake=True, is_partial=False).exists():
        return True
    return SentMessage.objects.filter(
        kind="recall.mistake", revocation=recall, recipient=message.recipient
    ).exists()


def _vendors_are_told_once(check: Check, _site: Site) -> None:
    for row in (
        SentMessage.objects.values("event_id", "kind", "recipient").annotate(n=Count("pk")).filter(n__gt=1)
    ):
        check.wrong(f"{row['recipient']} has {row['n']} messages {row['kind']} of {row['event_id']}")
    unmailed = SentMessage.objects.exclude(address="").filter(mailed_at__isnull=True)
    for message in unmailed.select_related("revocation")[:IDS]:
        if not _was_called_off(message):
            check.wrong(f"a message to {message.recipient} ({message.kind}) was never mailed")
    told = Counter(SentMessage.objects.filter(kind="delisted").values_list("sweep_id", "recipient"))
    taken_down = Delisting.objects.filter(sweep__isnull=False).values_list(
        "sweep_id", "offer__listing__vendor__name"
    )
    for sweep_id, vendor in set(taken_down):
        check.looked_at += 1
        if told[sweep_id, vendor] != 1:
            times = told[sweep_id, vendor]
            check.wrong(f"{vendor} was told {times} times of what sweep {sweep_id} took down")


def _removals_are_proven(check: Check, _site: Site) -> None:
    proofs = {proof.revocation_id: proof for proof in RemovalProof.objects.all()}
    # Taken back before its pages were removed: there is nothing to prove. (What its sweep took down all the same fell
    # for another reason.)
    undecided = [PendingChange.State.DECLINED, PendingChange.State.CANCELLED]
    for revocation in Revocation.objects.filter(sweep__finished_at__isnull=False).select_related("fact"):
        check.looked_at += 1
        proof = proofs.get(revocation.pk)
        if proof is None:
            is_taken_back = revocation.pending_changes.filter(state__in=undecided).exists()
            if not is_taken_back:
                check.wrong(f"{revocation}: no proof of removal")
        elif not verify_proof(proof):
            check.wrong(f"{revocation}: the proof does not verify")
        elif not verify_list(proof):
            check.wrong(f"{revocation}: the records do not give the list that was signed")
        elif proof.statement["late_orders"]:
            check.wrong(f"{revocation}: the proof admits {proof.statement['late_orders']} late orders")


def _the_ledger_verifies(check: Check, site: Site) -> None:
    check.looked_at = LedgerEntry.objects.count()
    checkpoint = site.folder / "checkpoint.json"
    said = io.StringIO()
    try:
        call_command("ledger", "seal", stdout=said)
        call_command("ledger", "checkpoint", "--out", str(checkpoint), stdout=said)
        call_command("ledger", "verify", "--checkpoint", str(checkpoint), stdout=said)
    except CommandError as error:
        check.wrong(str(error))


# --- speed and manners --------------------------------------------------------------------------------------


def _withdrawals_do_not_wait(check: Check, site: Site) -> None:
    waits = []
    for line in site.lines("withdrawn", "desk*.jsonl"):
        if line["wait_s"] is None:
            continue
        check.looked_at += 1
        ended = line["asked_at"] + line["wait_s"]
        if site.is_excused(line["asked_at"], ended, DATABASE_FAULTS):
            continue
        waits.append(line["wait_s"])
        if settings.DATABASES["default"]["ENGINE"].endswith("postgresql") and line["wait_s"] > LONGEST_WAIT_S:
            check.wrong(f"{line['change']} waited {line['wait_s']:.1f} s")
    if not waits:
        check.wrong("nothing was withdrawn")
        return
    check.said = (
        f"p50 {(percentile(waits, 0.5) or 0) * 1000:.0f} ms, p99 {(percentile(waits, 0.99) or 0) * 1000:.0f} ms,"
        f" longest {max(waits) * 1000:.0f} ms"
    )


def _no_answer_was_an_error(check: Check, site: Site) -> None:
    """Nobody meets a broken page but while something is broken."""
    counts = site.lines("counts", "load.jsonl")
    check.looked_at = (
        sum(value for name, value in counts[-1].items() if isinstance(value, int)) if counts else 0
    )
    excused = 0
    for line in site.lines("server_error", "load.jsonl"):
        if site.is_excused(line["t"], line["t"]):
            excused += 1
        else:
            check.wrong(f"{line['where']}: {line['status']} {line['said']}")
    check.said = f"kept; {excused} while something was broken"


CHECKS: dict[str, Callable[[Check, Site], None]] = {
    "no order is late": _no_order_is_late,
    "acknowledged orders exist, one each": _acknowledged_orders_exist,
    "units are conserved": _units_are_conserved,
    "money fits orders": _money_fits_orders,
    "withdrawn orders are held": _withdrawn_orders_are_held,
    "states are what is decided": _states_are_what_is_decided,
    "each fall: one record, entry, event": _each_fall_once,
    "offers move by their table": _offers_move_by_their_table,
    "pages offer what is allowed": _pages_offer_nothing_else,
    "API shows the same": _api_shows_nothing_else,
    "pages followed at the commit": _pages_followed_at_once,
    "no work is left or dead": _no_work_is_left,
    "readers' order has no gap": _readers_order_is_whole,
    "each act has its event": _each_act_has_its_event,
    "each event was reacted to": _each_event_was_reacted_to,
    "sweeps are done, once": _sweeps_are_done,
    "the reconciler found nothing": _the_reconciler_found_nothing,
    "vendors are told, once": _vendors_are_told_once,
    "removals are proven": _removals_are_proven,
    "the ledger verifies": _the_ledger_verifies,
    "withdrawals do not wait": _withdrawals_do_not_wait,
    "no answer was an error": _no_answer_was_an_error,
}
