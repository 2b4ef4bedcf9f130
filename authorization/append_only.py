"""What is written once is kept so by the database itself: triggers refuse the change, whoever asks for it.

PostgreSQL refuses UPDATE and DELETE, SQLite UPDATE (docs/ledger.md says why not more). A later migration that alters
one of these tables must call `install` again as its last step: SQLite rebuilds an altered table, and its triggers
are gone. A system check and a test find those that are missing.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import apps as installed_apps
from django.core.checks import CheckMessage, Error, Tags, register
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.recorder import MigrationRecorder
from django.db.models import Model

FLOORS = ("carriers", "catalog", "authorization")
# Beside these: versions of facts, which may be closed once, and the rows that belong to a version.
FROZEN = {
    "authorization.acceptancefile",
    "authorization.acceptancemove",
    "authorization.acceptanceresult",
    "authorization.decision",
    "authorization.decisionevidence",
    "authorization.ledgerentry",
    "authorization.ledgerleaf",
    "authorization.ledgerseal",
    "authorization.revision",
}
MIGRATION = ("authorization", "0004_append_only")
SUFFIX = "_append_only"

# Violations come up as IntegrityError on both databases.
_FUNCTION = """
CREATE OR REPLACE FUNCTION authorization_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND TG_ARGV[0] = 'may be closed' THEN
        IF OLD.rev_to IS NULL AND NEW.rev_to IS NOT NULL THEN
            OLD.rev_to := NEW.rev_to;
            IF NOT (NEW *<> OLD) THEN
                RETURN NEW;
            END IF;
        END IF;
    END IF;
    RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'restrict_violation';
END
$$
"""


def install(connection: BaseDatabaseWrapper, apps: Any = installed_apps) -> None:
    """Put the triggers of all tables in place, or in place anew. `apps`: a migration's, or the running ones."""
    remove(connection, apps)
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(_FUNCTION)
        for model in protected_models(apps):
            cursor.execute(_trigger(connection, model))


def remove(connection: BaseDatabaseWrapper, apps: Any = installed_apps) -> None:
    """Take them away: for a migration that must rewrite such rows, which puts them back at its end."""
    quote = connection.ops.quote_name
    with connection.cursor() as cursor:
        for model in protected_models(apps):
            table = model._meta.db_table
            where = f" ON {quote(table)}" if connection.vendor == "postgresql" else ""
            cursor.execute(f"DROP TRIGGER IF EXISTS {quote(table + SUFFIX)}{where}")


def protected_models(apps: Any = installed_apps) -> Iterator[type[Model]]:
    """The append-only tables among these models."""
    for floor in FLOORS:
        for model in apps.get_app_config(floor).get_models():
            if model._meta.label_lower in FROZEN or _is_version(model) or _belongs_to_version(model):
                yield model


def missing_triggers(connection: BaseDatabaseWrapper) -> list[str]:
    """The append-only tables that stand unprotected. A table that is not there yet is none of them."""
    postgresql = (
        "SELECT tgname, '' FROM pg_trigger WHERE NOT tgisinternal AND tgenabled IN ('O', 'A')"
        " AND tgrelid IN (SELECT oid FROM pg_class WHERE pg_table_is_visible(oid))"
    )
    sqlite = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
    with connection.cursor() as cursor:
        tables = set(connection.introspection.table_names(cursor))
        cursor.execute(postgresql if connection.vendor == "postgresql" else sqlite)
        found = dict(cursor.fetchall())
    return [
        model._meta.db_table
        for model in protected_models()
        if model._meta.db_table in tables and not _is_protected(connection, model, found)
    ]


@register(Tags.database)
def check_triggers(databases: Sequence[str] | None = None, **_: Any) -> Sequence[CheckMessage]:
    """Runs with `manage.py check --database default`, and before every `migrate`."""
    problems: list[CheckMessage] = []
    for alias in databases or ():
        connection = connections[alias]
        if MIGRATION not in MigrationRecorder(connection).applied_migrations():
            continue
        if missing := missing_triggers(connection):
            problems.append(
                Error(
                    f"The database would let rows be changed that are written once: {', '.join(missing)}.",
                    hint="Run `manage.py ledger protect`, and call append_only.install at the end of the migration"
                    " that altered them.",
                    id="authorization.E005",
                )
            )
    return problems


def _is_version(model: type[Model]) -> bool:
    # By its columns: the models of a migration do not inherit from FactVersion.
    return {"rev_from", "rev_to"} <= {field.name for field in model._meta.concrete_fields}


def _belongs_to_version(model: type[Model]) -> bool:
    return any(
        field.name == "version" and field.related_model is not None and _is_version(field.related_model)
        for field in model._meta.concrete_fields
    )


def _is_protected(connection: BaseDatabaseWrapper, model: type[Model], found: dict[str, str]) -> bool:
    name = model._meta.db_table + SUFFIX
    if connection.vendor == "postgresql":
        return name in found
    # SQLite's trigger names the columns: a column that came later is not among them.
    return found.get(name) == _trigger(connection, model)


def _trigger(connection: BaseDatabaseWrapper, model: type[Model]) -> str:
    quote = connection.ops.quote_name
    table, may_be_closed = model._meta.db_table, _is_version(model)
    name = quote(table + SUFFIX)
    if connection.vendor == "postgresql":
        argument = "may be closed" if may_be_closed else "frozen"
        return (
            f"CREATE TRIGGER {name} BEFORE UPDATE OR DELETE ON {quote(table)}"
            f" FOR EACH ROW EXECUTE FUNCTION authorization_refuse_change('{argument}')"
        )
    condition = ""
    if may_be_closed:
        # Sorted: a migration's models have theirs in another order than the running ones.
        columns = sorted(field.column for field in model._meta.concrete_fields if field.column)
        kept = [quote(column) for column in columns if column != "rev_to"]
        same = " AND ".join(f"NEW.{column} IS OLD.{column}" for column in kept)
        condition = f" WHEN NOT (OLD.rev_to IS NULL AND NEW.rev_to IS NOT NULL AND {same})"
    return (
        f"CREATE TRIGGER {name} BEFORE UPDATE ON {quote(table)}{condition}"
        f" BEGIN SELECT RAISE(ABORT, '{table} is append-only: UPDATE refused'); END"
    )
