"""The database itself refuses to change what is written once."""

from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import IntegrityError, connection, models, transaction
from django.db.migrations.recorder import MigrationRecorder

from authorization import append_only, clock, outbox, sealing
from authorization.actors import Actor
from authorization.models import AgreementVersion, Decision, LedgerEntry, LedgerLeaf, Revision
from carriers.versions import FactVersion
from seeds.factories import make_sellable
from tests.authorization.tampering import tampering

pytestmark = pytest.mark.django_db

DESK = Actor("user", "desk")
MODELS = {model._meta.db_table: model for model in append_only.protected_models()}
VERSIONS = {table: model for table, model in MODELS.items() if issubclass(model, FactVersion)}
NAMED = {
    "authorization_acceptancefile", "authorization_acceptancemove", "authorization_acceptanceresult",
    "catalog_variantsource",
    "authorization_agreementversion", "authorization_approvalversion", "authorization_decision",
    "authorization_decisionevidence", "authorization_holdtarget", "authorization_holdversion",
    "authorization_ledgerentry", "authorization_ledgerleaf", "authorization_ledgerseal",
    "authorization_policyversion", "authorization_revision", "authorization_scopeterm", "carriers_hostingversion",
    "carriers_networkband", "carriers_networkversion", "catalog_variantband", "catalog_variantims",
    "catalog_variantversion",
}  # fmt: skip
refused = pytest.raises(IntegrityError, match="append-only")


def some_row(model):
    """One row of the table, with whatever in its columns: only the triggers are asked."""
    values: dict[str, Any] = {}
    for field in model._meta.concrete_fields:
        if isinstance(field, models.DateTimeField):
            values[field.attname] = clock.now()
        elif isinstance(field, models.DateField):
            values[field.attname] = clock.now().date()
        elif isinstance(field, models.BooleanField):
            values[field.attname] = False
        elif isinstance(field, models.JSONField):
            values[field.attname] = {"a": 1}
        elif isinstance(field, models.BinaryField):
            values[field.attname] = b"x"
        elif isinstance(field, models.CharField | models.TextField):
            values[field.attname] = "x"
        elif not isinstance(field, models.UUIDField):
            values[field.attname] = 1
    values["rev_to"] = None
    # States and intervals that the tables' own rules accept.
    values |= {"valid_until": clock.now() + timedelta(days=1), "state": "approved", "revoked_at": None}
    if model._meta.model_name in ("agreementversion", "equipmentversion"):
        values["state"] = "active"
    if "parent_id" in values:
        values |= {"parent_id": 1, "child_id": 2}
    values |= {"grantor_id": 1, "grantee_id": 2, "waived_until": None}
    values |= {"software_from_key": "", "software_until_key": ""}
    values |= {"reach": "sale", "minimum_radio": "", "minimum_assurance": "claimed"}
    values["granted_at"] = values.get("valid_from")
    names = {field.attname for field in model._meta.concrete_fields}
    return model._default_manager.create(**{name: value for name, value in values.items() if name in names})


def other_value(field):
    if isinstance(field, models.DateTimeField):
        return clock.now() + timedelta(hours=1)
    if isinstance(field, models.DateField):
        return clock.now().date() + timedelta(days=1)
    if isinstance(field, models.BooleanField):
        return True
    if isinstance(field, models.JSONField):
        return {"a": 2}
    if isinstance(field, models.BinaryField):
        return b"y"
    if isinstance(field, models.UUIDField):
        return "00000000-0000-0000-0000-000000000001"
    if isinstance(field, models.CharField | models.TextField):
        return "y"
    return 77


def update(model, row, **values):
    with transaction.atomic():
        return model._default_manager.filter(pk=row.pk).update(**values)


@contextmanager
def unchecked():
    """Undo it all at the end, foreign keys that lead nowhere included."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def test_the_tables_that_are_written_once_are_among_them():
    assert set(MODELS) >= NAMED
    facts = {
        model._meta.db_table
        for model in FactVersion.__subclasses__()
        if model._meta.app_label in append_only.FLOORS
    }
    assert set(VERSIONS) == facts


def test_all_of_them_have_their_triggers():
    assert append_only.missing_triggers(connection) == []


@pytest.mark.parametrize("table", sorted(MODELS))
def test_no_column_can_be_changed(table):
    model = MODELS[table]
    with unchecked():
        row = some_row(model)
        for field in model._meta.concrete_fields:
            if field.attname != "rev_to":
                with refused:
                    update(model, row, **{field.attname: other_value(field)})
        with refused:
            # Not even to what it is.
            update(model, row, **{model._meta.pk.attname: row.pk})


@pytest.mark.parametrize("table", sorted(VERSIONS))
def test_a_version_is_closed_once_and_alone(table):
    model = VERSIONS[table]
    with unchecked():
        row = some_row(model)
        for field in model._meta.concrete_fields:
            if field.attname != "rev_to":
                with refused:
                    update(model, row, **{field.attname: other_value(field), "rev_to": 9})
        assert update(model, row, rev_to=9) == 1
        for value in (10, 9, None):
            with refused:
                update(model, row, rev_to=value)


@pytest.mark.parametrize("table", sorted(MODELS))
@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite: docs/ledger.md")
def test_no_row_can_be_deleted(table):
    model = MODELS[table]
    with unchecked():
        row = some_row(model)
        with refused, transaction.atomic():
            model._default_manager.filter(pk=row.pk)._raw_delete(connection.alias)


def test_the_store_itself_goes_on():
    """What the acts do to these tables is allowed: a sellable world, a publication, a seal."""
    make_sellable()
    outbox.pump()
    sealing.seal(at=clock.now())
    assert LedgerLeaf.objects.count() == LedgerEntry.objects.count() > 0
    assert Decision.objects.exists()
    with refused, transaction.atomic():
        AgreementVersion.objects.update(valid_until=clock.now() + timedelta(days=1))
    with refused, transaction.atomic():
        Revision.objects.update(reason="another")


def test_without_the_triggers_all_of_it_would_pass():
    with unchecked():
        append_only.remove(connection)
        for model in MODELS.values():
            row = some_row(model)
            assert update(model, row, **{model._meta.pk.attname: row.pk}) == 1, model


def test_a_lost_trigger_stops_the_start_and_the_command_brings_it_back(capsys):
    assert append_only.check_triggers(databases=["default"]) == []
    with connection.cursor() as cursor:
        where = " ON authorization_ledgerentry" if connection.vendor == "postgresql" else ""
        cursor.execute(f"DROP TRIGGER authorization_ledgerentry_append_only{where}")
    (found,) = append_only.check_triggers(databases=["default"])
    assert found.id == "authorization.E005"
    assert "authorization_ledgerentry" in found.msg
    assert "ledger protect" in (found.hint or "")
    call_command("ledger", "protect")
    assert append_only.check_triggers(databases=["default"]) == []


@pytest.mark.skipif("connection.vendor != 'sqlite'", reason="PostgreSQL's trigger compares whole rows")
def test_a_trigger_that_does_not_know_a_column_counts_as_lost():
    with connection.cursor() as cursor:
        cursor.execute("SELECT sql FROM sqlite_master WHERE name = 'catalog_variantversion_append_only'")
        (sql,) = cursor.fetchone()
        cursor.execute("DROP TRIGGER catalog_variantversion_append_only")
        cursor.execute(sql.replace('NEW."ims_source" IS OLD."ims_source" AND ', ""))
    assert append_only.missing_triggers(connection) == ["catalog_variantversion"]


def test_before_its_migration_nothing_is_asked():
    """`migrate` runs the check first: it must not keep the migration away that makes the triggers."""
    app, name = append_only.MIGRATION
    MigrationRecorder(connection).record_unapplied(app, name)
    append_only.remove(connection)
    assert append_only.check_triggers(databases=["default"]) == []


def test_the_check_runs_with_the_others():
    call_command("check", databases=["default"])


def test_tampering_puts_them_back():
    with tampering():
        assert append_only.missing_triggers(connection)
    assert append_only.missing_triggers(connection) == []
