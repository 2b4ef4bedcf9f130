"""Agreements that were recorded before there were warnings get theirs with the migration."""

from datetime import timedelta
from importlib import import_module

import pytest
from django.apps import apps
from django.db import connection

from authorization import clock
from authorization.models import OutboxRow
from seeds import factories

pytestmark = pytest.mark.django_db
migration = import_module("authorization.migrations.0008_agreement_warnings")


def test_each_gets_the_warning_that_the_act_itself_writes_now():
    at = clock.now()
    maker = factories.OrganizationFactory.create(kind="manufacturer")
    for days in (400, 20, 3, 0.5):
        factories.make_agreement(
            grantor=maker,
            grantee=factories.OrganizationFactory.create(),
            at=at,
            valid_until=at + timedelta(days=days),
        )
    factories.make_agreement(grantor=maker, grantee=factories.OrganizationFactory.create(), at=at)
    warnings = OutboxRow.objects.filter(event="agreement.to_warn").exclude(handler="")
    written = sorted(warnings.values_list("handler", "due_at", "payload__fact_id", "payload__days"))
    assert len(written) == 3, "the last day of one has begun, and one has no end"
    warnings.delete()
    migration.warn_of_ends(apps, connection.schema_editor())
    assert sorted(warnings.values_list("handler", "due_at", "payload__fact_id", "payload__days")) == written
