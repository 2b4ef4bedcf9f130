"""The soak's own parts: that it throws everything, that its guards are where they are taken out, that its checks bite.

The soak itself is a step of `./dev test` (seeds/sandbox/verification.py), not a test in here: it takes minutes.
"""

import itertools
import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db.models import F

from authorization import clock, ledger, outbox
from authorization.actors import SYSTEM
from authorization.clock import read_clock, write_clock
from authorization.models import Delisting, LedgerEntry, OutboxRow, ReconcilerRun
from authorization.pending_changes import SETTLED_UNMET
from catalog.models import ListingHost, OfferState, Stock
from seeds.factories import World, make_sellable
from seeds.sandbox import commands
from seeds.sandbox.processes import PROJECT, Service, ServiceFailed, Supervisor
from seeds.sandbox.stack import Plan, Stack
from seeds.soak import checks, guards, journal, schedule
from seeds.soak.browser import Answer
from seeds.soak.checks import CHECKS, Check, Site
from seeds.soak.faults import NOTHING, Faults, shift_clock
from seeds.soak.report import Report
from seeds.soak.soaked import SETTLED, Group, Item, Soaked, Vendor

KINDS = [f"kind {number}" for number in range(23)]


# --- what is thrown ---------------------------------------------------------------------------------------------


def test_three_minutes_are_enough_for_each_kind():
    thrown = list(schedule.plan(KINDS, seconds=180, seed=1))
    assert {kind for _, kind in thrown} == set(KINDS)
    assert [at for at, _ in thrown] == sorted(at for at, _ in thrown)
    assert thrown[0][0] > 0
    assert thrown[-1][0] < 180


def test_a_schedule_follows_from_its_seed():
    first, again, other = (list(schedule.plan(KINDS, seconds=600, seed=seed)) for seed in (1, 1, 2))
    assert first == again != other
    assert list(schedule.plan([], seconds=600, seed=1)) == []


@pytest.fixture
def faults(tmp_path: Path) -> Iterator[Faults]:
    with Supervisor() as supervisor:
        stack = Stack("test", {}, tmp_path, None, supervisor, plan=Plan(workers=3))
        yield Faults(
            stack, journal.Journal(tmp_path / "faults.jsonl"), seed=1, lease_s=3, start_task=lambda *_: None
        )


def test_faults_are_chosen_by_name_and_a_mistyped_one_is_refused(faults: Faults):
    assert faults.named(None) == sorted(faults.kinds)
    assert faults.named(("broker flushed", "worker killed")) == ["broker flushed", "worker killed"]
    assert faults.named((NOTHING,)) == []
    with pytest.raises(ServiceFailed, match="Nobody throws worker klled"):
        faults.named(("worker klled",))


def test_a_clock_can_be_set_back(tmp_path: Path):
    file = tmp_path / "clock.json"
    begin = clock.now()
    write_clock(file, virtual=begin, rate=0)
    shift_clock(file, -90)
    assert (read_clock(file).now() - begin).total_seconds() == -90
    shift_clock(file, 90)
    assert read_clock(file).now() == begin


def test_each_service_may_have_its_own_clock(tmp_path: Path):
    file = tmp_path / "clock.json"
    write_clock(file, virtual=clock.now(), rate=0)
    with Supervisor() as supervisor:
        stack = Stack("test", {"A": "b"}, tmp_path, file, supervisor, plan=Plan(own_clocks=True))
        own = stack.env_of("worker1")
        assert own["CLEARLINE_CLOCK_FILE"] != stack.env_of("web")["CLEARLINE_CLOCK_FILE"]
        shift_clock(Path(own["CLEARLINE_CLOCK_FILE"]), 60)
        # Made once: a restart of the service does not put its clock right.
        assert (
            read_clock(Path(stack.env_of("worker1")["CLEARLINE_CLOCK_FILE"])).now() > read_clock(file).now()
        )


def test_a_task_may_end_and_a_service_be_ended_by_another_signal():
    failures: list[str] = []
    asleep = [sys.executable, "-c", "import signal; print('up', flush=True); signal.pause()"]
    with Supervisor(report=failures.append) as supervisor:
        supervisor.start(
            Service("task", [sys.executable, "-c", "raise SystemExit(3)"], {}, ends_by_itself=True)
        )
        assert supervisor.wait_ended("task", 30) == 3
        supervisor.start(Service("server", asleep, {}))
        assert supervisor.wait_ended("server", 0.05) is None
        supervisor.end_by("server", signal.SIGQUIT)
        assert not supervisor.is_running("server")
    assert failures == []


# --- guards -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("guard", guards.GUARDS, ids=[guard.name for guard in guards.GUARDS])
def test_a_guard_is_where_it_is_taken_out(guard: guards.Guard):
    texts: dict[str, str] = {}
    for patch in (guards._IMPATIENT, *guard.patches):
        text = texts.get(patch.path) or (PROJECT / patch.path).read_text(encoding="utf-8")
        assert text.count(patch.old) == 1, f"{patch.path} changed: adapt seeds/soak/guards.py"
        texts[patch.path] = text.replace(patch.old, patch.new)
    for path, text in texts.items():
        compile(text, path, "exec")


@pytest.mark.parametrize("guard", guards.GUARDS, ids=[guard.name for guard in guards.GUARDS])
def test_what_is_to_notice_it_is_looked_at(guard: guards.Guard):
    assert guard.caught_by
    assert set(guard.caught_by) <= {*CHECKS, "quiet"}


def test_an_unknown_guard_is_refused_with_those_that_there_are():
    with pytest.raises(guards.UnknownGuard, match="take one of fence, "):
        guards.find("fense")


def test_a_text_that_is_gone_is_no_guard_taken_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    project = tmp_path / "project"
    project.mkdir()
    (project / "a.py").write_text("one\n")
    monkeypatch.setattr(guards, "_IMPATIENT", guards.Patch("a.py", "o", "o"))
    monkeypatch.setattr(guards, "PROJECT", project)
    gone = guards.Guard("gone", "", ("quiet",), (guards.Patch("a.py", "two", "three"),))
    with pytest.raises(guards.NoSuchText, match="'gone' is not, once"):
        guards.copy_without(gone, tmp_path / "copy")
    there = guards.Guard("there", "", ("quiet",), (guards.Patch("a.py", "one", "three"),))
    guards.copy_without(there, tmp_path / "other")
    assert (tmp_path / "other" / "a.py").read_text() == "three\n"


# --- what is told -----------------------------------------------------------------------------------------------


def report(**changes: object) -> Report:
    fields = {
        "order": {"minutes": 1, "seed": 1, "database": "sqlite"},
        "seconds": 60.0,
        "thrown": [{"what": "fault", "kind": "broker flushed", "seen": "+OK", "at_s": 7.0}],
        "counts": {"bought": 3},
        "settled": {"seconds": 2.0, "stuck": []},
        "checks": [Check("no order is late", 3).as_json()],
    }
    return Report(**(fields | changes))  # type: ignore[arg-type]


def test_a_good_report_has_no_problems(capsys: pytest.CaptureFixture[str]):
    good = report()
    good.tell()
    assert good.problems() == good.failed() == []
    said = capsys.readouterr().out
    assert "broker flushed" in said
    assert "Every promise was kept." in said
    assert json.loads(json.dumps(good.as_json()))["faults"] == [
        {"at_s": 7.0, "kind": "broker flushed", "seen": "+OK"}
    ]


@pytest.mark.parametrize(
    ("changes", "failed"),
    [
        ({"wrong": ["desk0 ended with 1"]}, ["the soak itself"]),
        ({"settled": {"seconds": 180, "stuck": ["3 sweeps"]}}, ["quiet"]),
        ({"checks": [Check("no order is late", 3, ["order 1"]).as_json()]}, ["no order is late"]),
    ],
)
def test_whatever_is_wrong_makes_it_fail(changes: dict[str, object], failed: list[str]):
    bad = report(**changes)
    assert bad.failed() == failed
    assert len(bad.problems()) == 1


def test_a_torn_line_of_a_process_that_was_killed_is_passed_over(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    journal.Journal(path).note("one", x=1)
    path.write_text(path.read_text() + '{"what": "two", ')
    assert [line["what"] for line in journal.read(path)] == ["one"]
    assert list(journal.read(tmp_path / "none.jsonl")) == []


def test_a_page_is_read_for_offers_and_forms():
    page = Answer(
        200,
        "",
        '<form action="/cart/add/"><input type="hidden" name="offer" value="7"></form>'
        '<form action="/checkout/"><input type="hidden" name="checkout_key" value="k"></form>',
    )
    assert page.offer_ids == {7}
    assert page.hidden_fields("/checkout/") == {"checkout_key": "k"}
    assert page.hidden_fields("/elsewhere/") == {}


def test_the_command_takes_what_it_says():
    parsed = commands.parse(
        ["soak", "--minutes", "0.5", "--seed", "7", "--database", "sqlite", "--throw", "nothing"]
    )
    assert parsed is not None
    options = parsed[1]
    assert (options.minutes, options.seed, options.database, options.throw) == (0.5, 7, "sqlite", "nothing")
    assert not options.guards


# --- checks -----------------------------------------------------------------------------------------------------


@pytest.fixture
def world(db: None) -> World:
    made = make_sellable()
    outbox.stamp_positions()
    OutboxRow.objects.exclude(handler="").update(done_at=clock.now())
    return made


@pytest.fixture
def site(tmp_path: Path, world: World) -> Site:
    item = Item(world.listing.sku, world.variant.slug, "199.00", False, world.listing.pk)
    soaked = Soaked(
        hosts=(world.host.code,),
        devices=[],
        groups=[Group()],
        vendors=[Vendor(world.vendor.name, "key", [item])],
        on_hand=20,
    )
    (tmp_path / SETTLED).write_text('{"rounds": 1}')
    return Site(tmp_path, soaked, "http://127.0.0.1:1")


def problems(name: str, site: Site) -> list[str]:
    check = Check(name)
    CHECKS[name](check, site)
    return check.problems


# What needs no page, no payment and no sweep: these must be content with a world in order, and not with another.
ASKED_OF_ROWS = [
    "no order is late",
    "units are conserved",
    "states are what is decided",
    "each fall: one record, entry, event",
    "offers move by their table",
    "no work is left or dead",
    "readers' order has no gap",
    "each act has its event",
    "sweeps are done, once",
    "the reconciler found nothing",
]


@pytest.mark.parametrize("name", ASKED_OF_ROWS)
def test_a_world_in_order_passes(name: str, site: Site):
    assert problems(name, site) == []


def test_units_that_vanish_are_missed(site: Site, world: World):
    Stock.objects.filter(listing=world.listing).update(on_hand=F("on_hand") - 1)
    assert "19 on hand and 0 sold are not 20" in problems("units are conserved", site)[0]


def test_an_offer_in_the_wrong_state_is_found(site: Site, world: World):
    ListingHost.objects.filter(pk=world.offer.pk).update(state=OfferState.SUSPENDED)
    assert problems("states are what is decided", site) == [
        f"offer {world.offer.pk} is suspended although it may be sold"
    ]


def test_a_fall_that_nobody_was_told_of_is_found(site: Site, world: World):
    Delisting.objects.create(
        offer=world.offer, decision_id=str(world.offer.decision_id), reason_codes=["X"], at=clock.now()
    )
    found = problems("each fall: one record, entry, event", site)
    assert "1 delistings, 0 in the ledger, 0 events" in found[0]
    assert any("says allow" in problem for problem in found)


def test_two_falls_in_a_row_are_found(site: Site, world: World):
    for _ in range(2):
        LedgerEntry.objects.create(
            at=clock.now(), actor="test", act="listing.suspended", subject_kind="offer",
            subject_id=str(world.offer.pk), evidence={"decision": "x"},
        )  # fmt: skip
    assert any(
        "listing.suspended after listing.suspended" in p for p in problems("offers move by their table", site)
    )


def test_a_gap_in_the_readers_order_is_found(site: Site):
    last = OutboxRow.objects.filter(handler="").order_by("-position")[0]
    OutboxRow.objects.filter(pk=last.pk).update(position=F("position") + 1)
    assert len(problems("readers' order has no gap", site)) == 1


def test_a_dead_row_and_one_that_waits_are_found(site: Site):
    rows = list(itertools.islice(OutboxRow.objects.exclude(handler="").order_by("id"), 2))
    OutboxRow.objects.filter(pk=rows[0].pk).update(is_dead=True, failed_at=clock.now(), done_at=None)
    OutboxRow.objects.filter(pk=rows[1].pk).update(done_at=None)
    found = problems("no work is left or dead", site)
    assert any("is dead" in problem for problem in found)
    assert any("due and not done" in problem for problem in found)


def test_what_the_reconciler_finds_after_quiet_was_missed_by_the_events(site: Site):
    for _ in range(2):
        ReconcilerRun.objects.create(started_at=clock.now(), revision=1, found_live=1)
    first, second = ReconcilerRun.objects.order_by("id")
    (site.folder / SETTLED).write_text(json.dumps({"rounds": first.pk}))
    assert problems("the reconciler found nothing", site) == [
        f"round {second.pk} took down 1 offers, brought 0 back"
    ]


def test_an_act_without_its_event_and_a_revision_without_one_are_found(site: Site):
    OutboxRow.objects.filter(event="listing.published").delete()
    OutboxRow.objects.filter(event="authority.changed", handler="").delete()
    found = problems("each act has its event", site)
    assert any("1 in the ledger, 0 events" in problem for problem in found)
    assert any("was announced to nobody" in problem for problem in found)


def test_a_withdrawal_that_was_undone_on_its_day_before_anybody_met_it_lacks_no_event(site: Site):
    row: dict[str, Any] = {
        "subject_kind": "revocation", "subject_id": 10**6, "by": SYSTEM, "at": clock.now()
    }  # fmt: skip
    ledger.record(act="authority.withdrawn", **row)
    assert problems("each act has its event", site) == [
        "authority.withdrawn of 1000000: 1 in the ledger, 0 events"
    ]
    ledger.record(act=SETTLED_UNMET, **row)
    assert problems("each act has its event", site) == []


def test_an_event_for_a_vendor_wants_no_reaction_and_the_one_of_the_order_does(site: Site):
    outbox.tell_many(event="order.shipped", payloads=[{"order_id": 1, "vendor_id": 1}], at=clock.now())
    assert problems("each event was reacted to", site) == []
    outbox.tell_many(event="order.shipped", payloads=[{"order_id": 1}], at=clock.now())
    [problem] = problems("each event was reacted to", site)
    assert "tell_buyer is done 0 times" in problem


def test_an_order_that_was_acknowledged_and_is_gone_is_found(site: Site):
    line = {"order": "1d1c8e58-5b4c-4a5e-9e0d-3a2d5b0f6a11", "key": "6a9a2f0e-43d6-4a5f-8b0e-4b7e5c1a2f33"}
    journal.Journal(site.folder / "load.jsonl").note("bought", **line)
    assert "kept is None" in problems("acknowledged orders exist, one each", site)[0]


def test_a_page_that_still_offers_and_a_slow_withdrawal_are_found(site: Site):
    desk = journal.Journal(site.folder / "desk0.jsonl")
    desk.note("looked", slug="phone", still_shown=[3])
    desk.note("withdrawn", revocation=1, change="PlaceHold", asked_at=100.0, wait_s=0.2, falls=1)
    assert "still offered [3]" in problems("pages followed at the commit", site)[0]
    assert problems("withdrawals do not wait", site) == []


def test_errors_are_excused_while_something_is_broken_and_not_otherwise(site: Site):
    load = journal.Journal(site.folder / "load.jsonl")
    load.note("counts", bought=1)
    journal.Journal(site.folder / "faults.jsonl").note("fault", kind="broker killed", began=0.0, ended=1.0)
    load.note("server_error", where="pay", status=500, said="x")
    assert len(problems("no answer was an error", site)) == 1
    assert site.is_excused(2.0, 2.0)
    assert not site.is_excused(2.0, 2.0, checks.DATABASE_FAULTS)


def test_a_check_that_fails_itself_is_a_problem(site: Site, monkeypatch: pytest.MonkeyPatch):
    def fail(check: Check, site: Site) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(checks, "CHECKS", {"one": fail})
    assert checks.run_all(site.folder, site.soaked, "")[0].problems == [
        "it could not be checked: RuntimeError: no"
    ]
