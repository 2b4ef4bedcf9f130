"""The exercise's clock: shared by file, forward only."""

import time
from datetime import UTC, datetime, timedelta

import pytest

from authorization import clock

DAY = datetime(2016, 2, 1, tzinfo=UTC)


def test_it_stands_where_it_was_set_and_runs_at_its_rate(tmp_path, settings, monkeypatch):
    settings.CLOCK_FILE = str(tmp_path / "clock.json")
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0)
    clock.write_clock(tmp_path / "clock.json", virtual=DAY, rate=60)
    assert clock.now() == DAY
    monkeypatch.setattr(time, "monotonic", lambda: 1002.0)
    assert clock.now() == DAY + timedelta(minutes=2)


def test_it_moves_forward_only(tmp_path):
    clock.write_clock(tmp_path / "clock.json", virtual=DAY, rate=0)
    clock.write_clock(tmp_path / "clock.json", virtual=DAY + timedelta(days=1), rate=0)
    with pytest.raises(ValueError, match="forward only"):
        clock.write_clock(tmp_path / "clock.json", virtual=DAY, rate=0)


def test_the_live_clock_is_in_utc(settings):
    settings.CLOCK_FILE = ""
    assert clock.now().tzinfo is UTC
