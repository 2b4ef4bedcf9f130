"""The walls that import-linter cannot see: models, migrations, raw SQL, and a few house rules."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.apps import apps
from django.db.migrations.loader import MigrationLoader

ROOT = Path(__file__).parent.parent
FLOORS = {"carriers": 1, "catalog": 2, "authorization": 3, "storefront": 4, "seeds": 5}
SURFACES = ("storefront/admin", "storefront/api", "storefront/shop")


def sources(*folders: str) -> Iterator[tuple[Path, ast.Module]]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path, ast.parse(path.read_text(encoding="utf-8"), str(path))


def test_a_model_refers_to_its_own_floor_or_below():
    for model in apps.get_models():
        own = FLOORS.get(model._meta.app_label)
        if own is None:
            continue
        for field in model._meta.get_fields():
            if field.is_relation and not field.auto_created and field.related_model is not None:
                target = FLOORS.get(field.related_model._meta.app_label, 0)
                assert target <= own, (
                    f"{model.__name__}.{field.name} looks up to {field.related_model.__name__}"
                )


def test_a_migration_depends_on_its_own_floor_or_below():
    for (app, name), migration in MigrationLoader(None).disk_migrations.items():
        for dependency, _ in migration.dependencies:
            if app in FLOORS:
                assert FLOORS.get(dependency, 0) <= FLOORS[app], f"{app}.{name} depends on {dependency}"


def test_raw_sql_names_no_table_of_a_floor_above():
    table = re.compile(r"\b(carriers|catalog|authorization|storefront|seeds)_[a-z]+\b")
    for app, floor in FLOORS.items():
        for path, tree in sources(app):
            if "migrations" in path.parts:
                continue
            for node in ast.walk(tree):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    for named in table.findall(node.value):
                        assert FLOORS[named] <= floor, (
                            f"{path.relative_to(ROOT)}:{node.lineno} names a table of {named}"
                        )


def test_no_rooms_for_everything():
    for app in FLOORS:
        for path in (ROOT / app).rglob("*"):
            assert path.stem not in {"utils", "helpers", "common", "core", "misc", "signals"}, (
                path.relative_to(ROOT)
            )


def test_no_signals_for_domain_events():
    for path, tree in sources(*FLOORS):
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                assert node.module not in {"django.dispatch", "django.db.models.signals"}, path.relative_to(
                    ROOT
                )


def test_surfaces_write_no_state():
    """They call the act that does, which locks, checks, records and announces."""
    for path, tree in sources(*SURFACES):
        for node in ast.walk(tree):
            where = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Assign):
                targets = [target.attr for target in node.targets if isinstance(target, ast.Attribute)]
                assert "state" not in targets, f"{where} writes a state"
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "update"
            ):
                assert "state" not in {keyword.arg for keyword in node.keywords}, f"{where} writes a state"


def test_only_the_fence_touches_its_lock():
    for path, _ in sources(*FLOORS):
        if path.name != "fence.py":
            assert "pg_advisory_xact_lock" not in path.read_text(encoding="utf-8"), path.relative_to(ROOT)


def test_a_transaction_is_a_block_not_a_decorator():
    """Django uses one object again for each call of a decorated function; the fence tells transactions by theirs."""
    for path, tree in sources(*FLOORS):
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                said = [ast.unparse(decorator) for decorator in node.decorator_list]
                assert not [name for name in said if "atomic" in name], (
                    f"{path.relative_to(ROOT)}:{node.lineno}"
                )


def test_business_time_never_rides_on_celery():
    for path, tree in sources(*FLOORS):
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                asked = {keyword.arg for keyword in node.keywords}
                assert not asked & {"countdown", "eta"}, f"{path.relative_to(ROOT)}:{node.lineno}"


@pytest.mark.parametrize("module", ["authorization/rules.py", "carriers/compatibility.py"])
def test_rules_are_pure(module):
    tree = ast.parse((ROOT / module).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in names:
            assert name.split(".")[0] not in {"django", "celery", "structlog", *FLOORS}, (
                f"{module} imports {name}"
            )


def test_nothing_but_tests_calls_the_naive_evaluator():
    """It shares nothing with the one that decides, and decides nothing."""
    for path in sorted(ROOT.glob("*/**/*.py")):
        if path.is_relative_to(ROOT / "tests") or ".venv" in path.parts or path.name == "spec.py":
            continue
        imported = re.findall(r"^\s*(?:from|import)\s+authorization[^\n]*\bspec\b", path.read_text(), re.M)
        assert not imported, path
