"""An answer told rule by rule, and revisions by instants."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from authorization import decisions, explanations, revisions
from authorization.decisions import Answer, InvalidQuestion
from authorization.models import Revision
from authorization.rules import CHECKS, Evidence, Ground, Question, conclude, host_not_served, no_approval
from seeds.factories import make_hold, make_sellable
from tests.storefront.conftest import revoke_agreement

AT = datetime(2016, 2, 1, 12, tzinfo=UTC)
LATER = AT + timedelta(days=3)
HORIZON = AT + timedelta(days=365)
QUESTION = Question(1, 2, 3, 4, 5, "US", "web", "new")


def answer(*grounds):
    return Answer(QUESTION, conclude(grounds, HORIZON), AT, 7)


def checks(tree):
    return {check["check"]: check for check in tree["checks"]}


def test_every_check_is_there_in_its_order_and_as_plain_data():
    policy = Ground("policy", "passed", LATER, evidence=(Evidence("policy", "P-1", 9, 2),))
    tree = explanations.explain(answer(policy, Ground("radio", "not_enforced", HORIZON)))

    assert [check["check"] for check in tree["checks"]] == list(CHECKS)
    assert json.loads(json.dumps(tree)) == tree
    assert checks(tree)["policy"]["evidence"] == [
        {"kind": "policy", "code": "P-1", "fact_id": 9, "version_no": 2}
    ]
    assert checks(tree)["policy"]["until"] == LATER.isoformat()
    assert checks(tree)["radio"]["said"] == "not enforced by the policy"
    assert checks(tree)["host"]["result"] == "not_asked"


def test_what_nothing_on_record_ends_has_no_end():
    tree = explanations.explain(answer(Ground("policy", "passed", HORIZON)))

    assert checks(tree)["policy"]["until"] is None


def test_each_failing_reason_says_the_nearest_miss_who_cures_it_and_how():
    tree = explanations.explain(
        answer(
            Ground("host", "failed", LATER, reasons=(host_not_served(),)),
            Ground("approval", "failed", LATER, reasons=(no_approval(),)),
        )
    )
    said = "\n".join(explanations.as_lines(tree))

    assert tree["reason_codes"] == ["HOST_NOT_SERVED", "CARRIER_NOT_APPROVED"]
    [reason] = checks(tree)["approval"]["reasons"]
    assert reason["cure_by"] == "carrier"
    assert not reason["curable"]
    for text in (reason["nearest_miss"], reason["cure"], "[NO] approval", "[--] policy", "until 2016-02-04"):
        assert text in said


def test_the_pairs_of_two_answers_mark_what_differs():
    before = explanations.explain(answer(Ground("policy", "passed", LATER), Ground("host", "passed", LATER)))
    after = explanations.explain(
        answer(
            Ground("policy", "passed", HORIZON),
            Ground("host", "failed", LATER, reasons=(host_not_served(),)),
        )
    )
    pairs = explanations.compare(before, after)

    # Another end alone is no other answer.
    assert [pair["check"] for pair in pairs if pair["differs"]] == ["host"]


def test_another_version_of_a_record_differs():
    one, other = (
        explanations.explain(
            answer(Ground("policy", "passed", LATER, evidence=(Evidence("policy", "P", 1, n),)))
        )
        for n in (1, 2)
    )

    assert explanations.compare(one, other)[0]["differs"]


@pytest.mark.django_db
def test_a_real_answer_with_every_kind_of_result():
    world = make_sellable()
    revoke_agreement(world)
    make_hold(targets=[("host", str(world.host.pk))], at=Revision.objects.order_by("-n")[0].recorded_at)
    at = decisions.present(AT)[1]
    question = decisions.question_for_offer(world.offer)

    tree = explanations.explain(decisions.decide(question, at=at))

    results = {name: check["result"] for name, check in checks(tree).items()}
    assert results == {
        "policy": "passed",
        "vendor": "passed",
        "host": "passed",
        "agreement": "failed",
        "approval": "passed",
        "equipment": "not_enforced",
        "radio": "not_enforced",
        "hold": "failed",
    }
    assert json.dumps(tree)


# --- revisions --------------------------------------------------------------------------------------------------


@pytest.fixture
def two_revisions(db):
    for n, recorded_at in ((1, AT), (2, LATER)):
        Revision.objects.create(n=n, recorded_at=recorded_at, actor="test", reason="test", snapshot="0")


@pytest.mark.parametrize(
    ("instant", "known"),
    [
        (AT - timedelta(microseconds=1), 0),
        (AT, 1),
        (LATER - timedelta(microseconds=1), 1),
        (LATER, 2),
        (LATER + timedelta(days=999), 2),
    ],
)
@pytest.mark.usefixtures("two_revisions")
def test_the_revision_of_an_instant_is_the_last_at_or_before_it(instant, known):
    assert revisions.revision_at(instant) == known


@pytest.mark.usefixtures("two_revisions")
def test_a_revision_is_written_as_its_number_or_as_an_instant():
    assert revisions.read_known_at("2", at=LATER) == 2
    assert revisions.read_known_at("2016-02-01T07:00:00-05:00", at=LATER) == 1
    assert revisions.recorded_at(1) == AT
    assert revisions.recorded_at(3) is None


@pytest.mark.parametrize("text", ["yesterday", "2016-02-01T12:00", "-1", "9" * 30])
@pytest.mark.usefixtures("two_revisions")
def test_what_is_neither_is_refused_with_the_cure(text):
    with pytest.raises(InvalidQuestion, match=r"2016-02-01T12:00:00|add one") as refused:
        revisions.read_known_at(text, at=LATER)
    assert refused.value.field == "known_at"


@pytest.mark.usefixtures("two_revisions")
def test_what_will_be_known_is_not_said():
    assert revisions.read_known_at(LATER.isoformat(), at=LATER) == 2
    with pytest.raises(InvalidQuestion, match="is to come") as refused:
        revisions.read_known_at((LATER + timedelta(seconds=1)).isoformat(), at=LATER)
    assert refused.value.field == "known_at"


@pytest.mark.parametrize(
    "text", ["9999-12-31T23:59:59Z", "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00"]
)
def test_an_instant_beyond_what_is_recorded_is_refused(text):
    with pytest.raises(InvalidQuestion) as refused:
        revisions.read_instant(text, field="at")
    assert refused.value.field == "at"
