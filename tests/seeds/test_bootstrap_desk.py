"""`manage.py bootstrap_desk`: the first login once, and a gate that is shut from the first day."""

import json
from io import StringIO

import pytest
from django.contrib.auth import authenticate
from django.contrib.auth.models import Group, User
from django.core.management import CommandError, call_command

from authorization import clock, policies
from authorization.actors import SYSTEM
from authorization.policies import current_policy
from seeds.factories import UserFactory
from seeds.reference.loader import Report
from storefront.models import PrepaidPlan

pytestmark = pytest.mark.django_db


def bootstrap(*arguments: str) -> str:
    out = StringIO()
    call_command("bootstrap_desk", *arguments, stdout=out)
    return out.getvalue()


def test_the_first_run_makes_a_login_that_works(reference: Report) -> None:
    made = json.loads(bootstrap("--json", "--username", "ada"))
    user = authenticate(username="ada", password=made["password"])
    assert isinstance(user, User)
    assert user.is_superuser
    assert Group.objects.filter(name="desk").exists()
    policy = current_policy(clock.now())
    assert policy is not None
    assert policy.is_carrier_approval_enforced
    assert policy.minimum_assurance == "verified"
    assert made["plans_made"] == PrepaidPlan.objects.count() > 0
    assert not PrepaidPlan.objects.filter(is_simulated=False).exists()


def test_the_second_run_changes_nothing_and_says_so(reference: Report) -> None:
    first = bootstrap()
    assert "Password (shown only now)" in first
    again = bootstrap()
    assert "has a login already" in again
    assert "left as it is" in again
    assert "No plans were missing" in again
    assert "Password" not in again
    assert User.objects.count() == 1


def test_a_policy_that_the_desk_chose_stays() -> None:
    at = clock.now()
    policies.set_policy(**policies.POLICY_2016, by=SYSTEM, at=at, reason="a test")
    bootstrap()
    policy = current_policy(clock.now())
    assert policy is not None
    assert policy.name == policies.POLICY_2016["name"]


def test_a_name_that_a_shopper_has_is_refused_with_the_cure() -> None:
    UserFactory.create(username="desk", is_staff=False)
    with pytest.raises(CommandError, match="--username"):
        bootstrap()


def test_a_name_that_cannot_be_one_is_refused() -> None:
    with pytest.raises(CommandError, match="--username"):
        bootstrap("--username", "not a name!")


def test_without_reference_data_it_says_why_there_are_no_plans() -> None:
    assert "Run load_reference first" in bootstrap()
