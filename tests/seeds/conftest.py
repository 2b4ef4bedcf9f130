"""Shared by the tests of the seeds: a copy of the reference tables that a test may spoil."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from authorization.actors import Actor
from seeds.reference import loader
from seeds.reference.tables import read_tables

TABLES = Path(__file__).parents[2] / "seeds" / "reference"
EVE = datetime(2016, 1, 25, 15, 0, tzinfo=UTC)
BY = Actor("system", "test")


@pytest.fixture
def tables_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "tables"
    folder.mkdir()
    for path in TABLES.glob("*.csv"):
        shutil.copy(path, folder)
    return folder


@pytest.fixture
def eve() -> datetime:
    return EVE


@pytest.fixture
def reference(db: None) -> loader.Report:
    return loader.load(read_tables(TABLES), by=BY, at=EVE)
