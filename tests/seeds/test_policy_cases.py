"""Policy tests as data: those that are shipped hold, and the runner tells what does not."""

import json
from contextlib import nullcontext
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, connections, transaction

from authorization import outbox
from authorization.models import Fact, OutboxRow, Revision
from seeds.factories import make_sellable
from seeds.policy_cases import cases
from seeds.policy_cases.reading import Unreadable

pytestmark = pytest.mark.django_db

SHIPPED = sorted((Path(__file__).parents[2] / "seeds" / "policies").glob("*.yaml"))
KIN = {f"k{number}" for number in range(1, 13)}

SMALL = """\
title: small
recorded_at: 2016-01-01
world:
  hosts: {tmobile: {name: T-Mobile}}
  organizations:
    maker: {kind: manufacturer}
    shop: {kind: vendor}
  devices: {phone: {manufacturer: maker}}
  variants:
    phone-a: {device: phone, attributes: {chip: X}}
    phone-b: {device: phone}
  hostings: [{host: tmobile}]
  policies: [{use: gate shut}]
  agreements: {AG-1: {grantor: maker, grantee: shop}}
  approvals: {CA-1: {host: tmobile, variant: phone-a}}
then:
  - {at: 2016-03-01, revoke: AG-1}
defaults: {vendor: shop, variant: phone-a, host: tmobile}
cases:
  - {name: before, at: 2016-02-01, expect: allow, evidence: [AG-1, CA-1], expires_at: 2016-03-01}
  - {name: after, at: 2016-03-01, expect: deny, reasons: [AGREEMENT_REVOKED]}
sweep:
  variant: [phone-a, phone-b]
"""


@pytest.fixture
def small(tmp_path):
    def write(*changes):
        said = SMALL
        for old, new in changes:
            assert old in said
            said = said.replace(old, new)
        path = tmp_path / "small.yaml"
        path.write_text(said, encoding="utf-8")
        return path

    return write


def policy_test(*paths, **options):
    out, err = StringIO(), StringIO()
    code = 0
    try:
        call_command("policy", "test", *map(str, paths), stdout=out, stderr=err, **options)
    except CommandError as error:
        code = error.returncode
    return code, out.getvalue(), err.getvalue()


def faults(path):
    code, _, err = policy_test(path)
    assert code == 2
    return err


# --- what is shipped ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_shipped_cases_hold_in_the_database_of_the_suite(path):
    """Asked of the database that the suite runs on; each world is undone before the next."""

    class Undone(nullcontext):
        def __enter__(self):
            self.block = transaction.atomic()
            self.block._from_testcase = True  # type: ignore[attr-defined]
            self.block.__enter__()

        def __exit__(self, *exc_info):
            transaction.set_rollback(True)
            self.block.__exit__(*exc_info)

    result = cases.run(cases.read_file(path), Undone)

    assert not [line for failure in result.failures for line in failure.as_lines()]
    assert Revision.objects.count() == 0


def test_every_incident_is_among_them_and_there_are_sixty():
    tests = [cases.read_file(path) for path in SHIPPED]
    stories = {test.path.rsplit("/", 1)[-1].split("-")[0] for test in tests}

    assert sum(len(test.cases) for test in tests) >= 60
    assert stories >= KIN | {"2016"}
    assert [test.path for test in tests if test.sweep is None] == []


# --- the command --------------------------------------------------------------------------------------------


def test_all_pass_is_0_and_says_how_many(small):
    code, out, err = policy_test(small())

    assert (code, err) == (0, "")
    # Of the sweep: phone-b, at the two moments of the cases.
    assert "2 cases, 2 questions, 2 more must be denied: small" in out


def test_the_shop_is_neither_read_nor_written(small):
    world = make_sellable()
    before = Revision.objects.count(), Fact.objects.count(), OutboxRow.objects.count()
    shop = connection.settings_dict["NAME"]
    code, _, _ = policy_test(small(("AG-1", world.agreement.code)))

    assert code == 0
    assert connection.settings_dict["NAME"] == shop
    assert (Revision.objects.count(), Fact.objects.count(), OutboxRow.objects.count()) == before


def test_no_bell_rings_for_the_workers_of_the_shop(small, monkeypatch):
    rung = []
    monkeypatch.setattr(outbox, "ring", lambda: rung.append(1))

    assert policy_test(small())[0] == 0
    assert rung == []


def test_the_shop_is_back_after_a_world_that_could_not_be_built(small):
    shop = connections["default"]
    faults(small(("grantor: maker", "grantor: shop")))

    assert connections["default"] is shop


def test_a_policy_that_is_asked_under_takes_the_place_of_the_others(small):
    under = small(
        (
            "expect: deny, reasons: [AGREEMENT_REVOKED]",
            'under: "2016", expect: deny, reasons: [AGREEMENT_REVOKED]',
        )
    )

    assert policy_test(under)[0] == 0
    more = under.read_text().replace(
        "sweep:", '  - {name: b, at: 2016-02-01, under: "2016", variant: phone-b, expect: allow}\nsweep:'
    )
    under.write_text(
        more.replace("sweep:", '  - {name: a, at: 2016-02-01, under: "2016", expect: allow}\nsweep:')
    )
    assert policy_test(under)[0] == 0


def test_another_answer_is_1_with_a_diff(small):
    code, out, _ = policy_test(small(("reasons: [AGREEMENT_REVOKED]", "reasons: [AGREEMENT_EXPIRED]")))

    assert code == 1
    assert "small.yaml:21  after" in out
    assert "- expected: deny AGREEMENT_EXPIRED" in out
    assert "+ answered: deny AGREEMENT_REVOKED" in out
    assert "AG-1 was revoked on 2016-03-01" in out


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("expect: allow, evidence: [AG-1, CA-1]", "expect: allow, evidence: [AG-1]", "evidence: AG-1, CA-1"),
        ("expires_at: 2016-03-01", "expires_at: 2016-03-02", "expires_at: 2016-03-01T00:00:00+00:00"),
        ("expect: deny, reasons: [AGREEMENT_REVOKED]", "expect: allow", "answered: deny AGREEMENT_REVOKED"),
        ("revoke: AG-1", "suspend: AG-1", "answered: deny AGREEMENT_SUSPENDED"),
        ("variant: phone-a}}", "variant: phone-a}, CA-2: {host: tmobile, variant: phone-b}}", "that no case lists"),
    ],
)  # fmt: skip
def test_each_kind_of_difference_fails(small, old, new, said):
    code, out, _ = policy_test(small((old, new)))

    assert code == 1
    assert said in out


def test_as_json(small):
    code, out, _ = policy_test(small(("[AGREEMENT_REVOKED]", "[ON_HOLD]")), as_json=True)
    said = json.loads(out)

    assert code == 1
    assert said["passed"] is False
    [failure] = said["files"][0]["failures"]
    assert (failure["line"], failure["case"]) == (21, "after")


# --- files that are none ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "line", "cure"),
    [
        ("  approvals:", "  aprovals:", 15, "did you mean 'approvals'?"),
        ("grantee: shop}", "grantee: shop, teritories: [US]}", 14, "did you mean 'territories'?"),
        ("expect: allow", "expects: allow", 20, "did you mean 'expect'?"),
        ("expect: allow", "expect: yes", 20, "take one of: allow, deny, undetermined"),
        (", reasons: [AGREEMENT_REVOKED]", "", 21, "add `reasons: [...]`"),
        ("[AGREEMENT_REVOKED]", "[AGREEMENT_REVOKD]", 21, "did you mean 'AGREEMENT_REVOKED'?"),
        ("at: 2016-02-01", "at: 1 Feb 2016", 20, "which is no instant; write 2016-02-01"),
        ("revoke: AG-1", "revoke: AG-2", 17, "did you mean 'AG-1'?"),
        ("revoke: AG-1", "revok: AG-1", 17, "An act is exactly one of"),
        ("grantor: maker", "grantor: makr", 14, "did you mean 'maker'?"),
        ("use: gate shut", "use: gate open", 13, "take one of: 2016, gate shut, today"),
        ("{kind: vendor}", "{kind: vendr}", 7, "did you mean 'vendor'?"),
        ("{kind: vendor}", "{kind: vendor, kind: vendor}", 7, "stands twice"),
        ("variant: phone-a, host", "variant: phone-z, host", 20, "The world has no variant 'phone-z'"),
        ("{host: tmobile, variant: phone-a}", "{host: tmobile, variant: phone-a, state: fine}", 15, "Take one of"),
        ("title: small", "title: [", 3, "This is not YAML"),
        ("title: small\n", "", 1, "lacks the key 'title'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_2_with_line_and_cure(small, old, new, line, cure):
    said = faults(small((old, new)))

    assert f"small.yaml:{line}: " in said
    assert cure in said


def test_a_file_that_is_not_there_or_empty(tmp_path):
    empty = tmp_path / "empty.yaml"
    empty.touch()

    assert "cannot be read" in faults(tmp_path / "none.yaml")
    assert "The file is empty" in faults(empty)
    assert "holds no .yaml file" in faults((tmp_path / "folder").mkdir() or tmp_path / "folder")


def test_acts_stand_in_the_order_of_time(small):
    later_first = small(("revoke: AG-1}", "revoke: AG-1}\n  - {at: 2016-02-20, verify: AG-1}"))

    assert "put them in order of time" in faults(later_first)


def test_a_tag_constructs_nothing(small):
    with pytest.raises(Unreadable, match="must be one value"):
        cases.run(
            cases.read_file(small(("kind: vendor", "kind: !!python/object/apply:os.system [ls]"))),
            nullcontext,
        )
