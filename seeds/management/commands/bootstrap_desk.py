"""`manage.py bootstrap_desk`: what a new store needs before its first day. Safe to repeat."""

import json
import secrets
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from authorization import clock, policies
from authorization.actors import Actor
from authorization.models import PolicyVersion
from seeds.plans import PLANS_OF_TODAY, ensure_plans
from storefront.models import PrepaidPlan
from storefront.roles import ensure_roles

OPERATOR = Actor("system", "bootstrap_desk")


class Command(BaseCommand):
    help = "Make what is missing of: the first login of the desk, the roles, the default policy, the plans."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--username", default="desk", help="name of the first login (default: desk)")
        parser.add_argument("--json", action="store_true", help="print one JSON object instead of sentences")

    def handle(self, *args: Any, **options: Any) -> None:
        at = clock.now()
        username: str = options["username"]
        ensure_roles()
        password = self._first_login(username)
        is_policy_new = not PolicyVersion.objects.current().exists()
        if is_policy_new:
            policies.set_policy(
                **policies.POLICY_GATE_SHUT, by=OPERATOR, at=at, reason="the default of a new store"
            )
        with transaction.atomic():
            plans = ensure_plans(PLANS_OF_TODAY, at=at)
        if options["json"]:
            made = {"username": username if password else None, "password": password}
            self.stdout.write(json.dumps({**made, "is_policy_new": is_policy_new, "plans_made": plans}))
            return
        self._tell(username, password, is_policy_new, plans)

    def _first_login(self, username: str) -> str | None:
        """The password of the login that was made; None when the desk has staff already."""
        if User.objects.filter(is_staff=True, is_active=True).exists():
            return None
        if User.objects.filter(username=username).exists():
            raise CommandError(
                f"{username!r} exists and is not of the staff. Choose another name with --username, "
                "or make that login staff in the admin."
            )
        password = secrets.token_urlsafe(12)
        user = User(username=username, is_staff=True, is_superuser=True)
        user.set_password(password)
        try:
            user.full_clean()
        except ValidationError as error:
            raise CommandError(f"--username {username!r}: {' '.join(error.messages)}") from None
        user.save()
        return password

    def _tell(self, username: str, password: str | None, is_policy_new: bool, plans: int) -> None:
        if password is None:
            self.stdout.write("The desk has a login already; none was made.")
        else:
            self.stdout.write(f"Login of the desk: {username}\nPassword (shown only now): {password}")
        if is_policy_new:
            self.stdout.write(f"Policy set: {policies.POLICY_GATE_SHUT['name']}.")
        else:
            self.stdout.write("A policy is on record already; it was left as it is.")
        if plans:
            self.stdout.write(f"Simulated plans made: {plans}.")
        elif PrepaidPlan.objects.exists():
            self.stdout.write("No plans were missing.")
        else:
            self.stdout.write(
                f"No plans made: no hosting of {settings.SHOP_MVNO} is in force. "
                "Run load_reference first, or set CLEARLINE_MVNO to a name that it loads."
            )
