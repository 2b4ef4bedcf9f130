"""What `./dev bench compat` measures: phones that are all different, and a judge that is right."""

import pytest

from benchmarks import compat
from carriers import compatibility
from carriers.compatibility import Rat


def test_the_phones_are_all_different_and_the_same_for_the_same_seed() -> None:
    radios = compat.make_radios(500, seed=1)
    assert radios == compat.make_radios(500, seed=1)
    assert radios != compat.make_radios(500, seed=2)
    assert (
        len({tuple(sorted((rat, *sorted(names)) for rat, names in each.bands.items())) for each in radios})
        == 500
    )
    # Not only poor ones, which would be judged quickly, and not only one way of calls.
    assert max(len(each.bands[Rat.LTE]) for each in radios) >= 28
    assert len({(each.ims, each.confidence) for each in radios}) == 16


def test_each_snapshot_of_each_host_has_its_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compat, "VARIANTS", 1000)
    figures = compat.main(seconds=0)
    assert figures["variants, all different"] == 1000
    ratios = {name: value for name, value in figures.items() if name.endswith(": ratio")}
    assert len(ratios) == 6
    assert figures["lowest ratio"] == min(ratios.values())


def test_a_judge_that_is_wrong_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compat, "VARIANTS", 1000)
    monkeypatch.setattr(compatibility, "_bands_that_reach", lambda rat, band: {band})
    with pytest.raises(SystemExit, match="phones differ"):
        compat.main(seconds=0)
