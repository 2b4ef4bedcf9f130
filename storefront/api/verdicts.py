"""Verdicts, bands and cautions as the API shows them."""

from collections.abc import Iterable
from datetime import date
from typing import Any

from rest_framework import serializers

from carriers import bands
from carriers.cautions import Caution
from carriers.compatibility import Rat
from carriers.verdict_words import describe
from carriers.versions import FOREVER
from catalog.selectors import Judged
from storefront.api.fields import Text


class Day(Text):
    """A day as YYYY-MM-DD, before the one on which records that never end are kept as ending."""

    def to_internal_value(self, data: Any) -> Any:
        text = super().to_internal_value(data)
        try:
            # The form with dashes only: others that Python reads are a guess at what was meant.
            if len(text) != len("2026-11-22") or text[4] != "-" or text[7] != "-":
                raise ValueError
            day = date.fromisoformat(text)
        except ValueError:
            raise serializers.ValidationError(
                "Give a day as YYYY-MM-DD, e.g. 2016-02-02.", code="invalid_form"
            ) from None
        if day >= FOREVER.date():
            raise serializers.ValidationError(f"Give a day before {FOREVER:%Y-%m-%d}.", code="max_value")
        return day


def present_judged(judged: Judged) -> dict[str, Any]:
    verdict = judged.verdict
    return {
        "verdict": verdict.level,
        "sub": verdict.sub or None,
        "voice": verdict.voice,
        "data": verdict.data,
        "reasons": list(verdict.reasons),
        "certification_blockers": list(verdict.certification_blockers),
        "input_confidence": verdict.input_confidence,
        "summary": describe(verdict),
        "network_era": judged.network_era,
        "cautions": present_cautions(judged.cautions),
    }


def present_cautions(cautions: Iterable[Caution]) -> list[dict[str, str]]:
    return [{"code": caution.code, "message": caution.words} for caution in cautions]


def present_edges(rat: str, name: str) -> dict[str, Any]:
    """The edges in MHz; null where the band lacks the direction, or where nobody knows the band."""
    edges = bands.band(Rat(rat), name)
    if edges is None:
        return {"downlink_mhz": None, "uplink_mhz": None}
    return {
        "downlink_mhz": None if edges.dl_low is None else [edges.dl_low, edges.dl_high],
        "uplink_mhz": None if edges.ul_low is None else [edges.ul_low, edges.ul_high],
    }
