"""What the replay measures, and what it counts as wrong: by hand, without a store."""

import itertools
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from seeds.replay.findings import POLICY_2016, POLICY_GATE_SHUT, Findings, Told, Withdrawal, spread
from seeds.replay.measure import (
    Overdue,
    Sample,
    Target,
    Watcher,
    gone_after_ms,
    offered_although,
    percentile,
    wait_for,
)
from seeds.replay.story import ARTICLE, PRESS, STORIES, Story


def samples(text: str) -> list[Sample]:
    """One sample a second, asked on the second and answered half a second later: `+` offers, `-` does not."""
    return [Sample(float(at), at + 0.5, sign == "+") for at, sign in enumerate(text)]


# --- pages ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "since", "expected"),
    [
        ("+++--", 2.0, 1500.0),
        ("+++--", 3.25, 250.0),
        # It came back: only the run that lasts to the end counts.
        ("++-+-", 1.0, 3500.0),
        ("+++++", 1.0, None),
        ("--+", 0.0, None),
        # Nobody looked after the instant, so nothing is known.
        ("---", 9.0, None),
        ("", 0.0, None),
        # It was never on offer: gone at the first look.
        ("---", 0.0, 500.0),
    ],
)
def test_gone_after(text: str, since: float, expected: float | None) -> None:
    assert gone_after_ms(samples(text), since) == expected


def test_a_question_asked_before_the_instant_proves_nothing_against_the_store() -> None:
    # Asked at 2.0, answered at 2.5: the page may have been made before 2.2.
    assert offered_although(samples("+++--"), 2.2) == 0
    assert offered_although(samples("++++-"), 2.2) == 1


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([], 0.5, None),
        ([7.0], 0.95, 7.0),
        ([3.0, 1.0, 2.0, 4.0], 0.5, 2.0),
        ([3.0, 1.0, 2.0, 4.0], 0.95, 4.0),
    ],
)
def test_percentile_is_one_of_the_values(values: list[float], share: float, expected: float | None) -> None:
    assert percentile(values, share) == expected


def test_spread_of_nothing_says_nothing() -> None:
    assert spread([]) == {"p50": None, "p95": None, "max": None}


def test_waiting_says_what_it_waited_for() -> None:
    with pytest.raises(Overdue, match="waited 0 s for the sweep"):
        wait_for("the sweep", lambda: None, within_s=0.0, every_s=0.0)
    assert wait_for("it", lambda: "here") == "here"


def test_the_watcher_takes_failures_for_no_evidence() -> None:
    served = itertools.cycle(["offer", "broken", "gone"])
    enough = threading.Event()

    def answer(request: httpx.Request) -> httpx.Response:
        what = next(served)
        if what == "gone":
            enough.set()
        return httpx.Response(500 if what == "broken" else 200, text=what)

    client = httpx.Client(transport=httpx.MockTransport(answer), base_url="http://store.example")
    target = Target("phone", "/devices/phone/", lambda response: response.text == "offer")
    with Watcher(client, [target]) as watcher:
        assert enough.wait(timeout=10)
    seen = [sample.is_offered for sample in watcher.samples("phone")]
    assert seen[0] is True
    assert watcher.failed_requests > 0
    assert watcher.ever_offered() == ["phone"]


# --- the story --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES)
def test_a_story_moves_forward_only(story: Story) -> None:
    instants = [
        story.eve,
        story.listed.at,
        story.bought.at,
        story.next_morning.at,
        story.maker_speaks.at,
        story.maker_decided_at,
        story.carrier_speaks.at,
        story.carrier_decided_at,
        story.answered.at,
        story.looked_back_at,
    ]
    assert instants == sorted(instants)
    assert len(set(instants)) == len(instants)


def test_hours_stay_inside_what_the_sources_allow() -> None:
    # The time zone of "10:59 AM" is not given: the earliest it can mean in the US is Eastern time.
    assert PRESS.carrier_decided_at.isoformat() < "2016-02-02T15:59:00+00:00"
    assert PRESS.answered.at.isoformat() < "2016-02-03T10:00:00+00:00"
    assert (ARTICLE.maker_speaks.at - ARTICLE.listed.at).total_seconds() < 24 * 3600


# --- the verdict ------------------------------------------------------------------------------------------


def good_run(policy: str = POLICY_2016) -> Findings:
    if policy == POLICY_GATE_SHUT:
        return Findings(policy=policy, dates="press", story="")
    word = Withdrawal(
        "Xiaomi",
        "AG-1",
        ["A"],
        1,
        1,
        20.0,
        {"a": 90.0},
        {"A": 400.0},
        proof="/proofs/1/",
        is_proof_valid=True,
    )
    return Findings(
        policy=policy,
        dates="press",
        story="",
        withdrawals=[word],
        went_live=["A"],
        should_go_live=["A"],
        notice="/notices/n/",
        told=[Told("2016-02-02T13:30:00", "Xiaomi", "proof")],
        logins={"desk": "secret"},
    )


@pytest.mark.parametrize("policy", [POLICY_2016, POLICY_GATE_SHUT])
def test_a_good_run_has_no_problems(policy: str) -> None:
    assert good_run(policy).problems() == []


@pytest.mark.parametrize(
    ("policy", "change", "expected"),
    [
        (POLICY_2016, {"late_orders": 1}, "Orders after a withdrawal"),
        (POLICY_2016, {"honest_fell": ["PWS-S6"]}, "honest listing PWS-S6 fell"),
        (POLICY_2016, {"notice": ""}, "No public notice"),
        (POLICY_2016, {"overdue": "waited 60 s for the notice"}, "gave up: waited 60 s"),
        (POLICY_2016, {"went_live": []}, "should have gone live"),
        (POLICY_GATE_SHUT, {"went_live": ["A"]}, "although the gate is shut"),
        (POLICY_GATE_SHUT, {"offered_pages": ["mi-4"]}, "although the gate is shut"),
    ],
)
def test_what_must_not_be_is_a_problem(policy: str, change: dict[str, Any], expected: str) -> None:
    findings = good_run(policy)
    for name, value in change.items():
        setattr(findings, name, value)
    (problem,) = findings.problems()
    assert expected in problem


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"orders_after": 2}, "Orders after a withdrawal: 2"),
        ({"not_gone": ["mi-4"]}, "mi-4 stayed on sale"),
        ({"late_pages": 3}, "still offered a phone"),
        ({"proof": ""}, "No proof of removal"),
        ({"is_proof_valid": False}, "does not verify"),
    ],
)
def test_what_a_withdrawal_must_not_leave_is_a_problem(change: dict[str, Any], expected: str) -> None:
    findings = good_run()
    for name, value in change.items():
        setattr(findings.withdrawals[0], name, value)
    (problem,) = findings.problems()
    assert expected in problem


def test_findings_survive_the_way_between_processes_and_keep_logins_out_of_files(tmp_path: Path) -> None:
    from dataclasses import asdict

    findings = good_run()
    assert Findings.from_json(asdict(findings)) == findings
    kept = findings.as_json()
    assert "secret" not in str(kept)
    assert kept["page_gone_ms"] == {"p50": 90.0, "p95": 90.0, "max": 90.0}
    assert kept["problems"] == []
