"""Sheets of variants for the tests of imports, and a phone in the shop that they are about."""

import csv
import io
from datetime import UTC, datetime
from typing import Any

from authorization import clock, groundwork, outbox
from carriers.models import ReferenceSource
from seeds.factories import BUILDER, World, make_policy, make_sellable

LONG_AGO = datetime(2016, 1, 1, tzinfo=UTC)


def sheet(*rows: dict[str, Any], delimiter: str = ",") -> str:
    text = io.StringIO(newline="")
    columns = list(dict.fromkeys(column for row in rows for column in row))
    writer = csv.DictWriter(text, columns, delimiter=delimiter, lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def row_of(world: World, **changes: Any) -> dict[str, Any]:
    """What the store says of the phone, as a row of a sheet."""
    device = world.variant.device
    return {
        "variant_id": world.variant.slug,
        "manufacturer": device.manufacturer.name,
        "brand": device.brand,
        "marketing_name": device.marketing_name,
        "model_number": world.variant.model_number,
        "lte_bands": "B4",
        "lte_sw_disabled": "",
        f"ims_{world.host.code}": "yes",
        "lte_src": "MM",
        "lte_conf": "M",
        **changes,
    }


def make_heard() -> World:
    """A phone that is on sale only because of band 4: its host has no other, and the policy asks for LTE."""
    for code in ("MM", "ADL", "K"):
        words = {
            "kind": "dataset",
            "source": f"Source {code}",
            "url": f"https://{code}.example/",
            "terms": "free",
        }
        ReferenceSource.objects.get_or_create(code=code, defaults=words)
    world = make_sellable()
    band: dict[str, Any] = dict.fromkeys(("role", "in_service_from", "source", "confidence", "note"), "")
    band |= {"rat": "LTE", "band": "B4", "group": "lte_core", "voice": "VoLTE", "is_coverage_critical": False}
    with groundwork.recording(by=BUILDER, at=clock.now(), reason="test") as recorder:
        recorder.network(
            host=world.host,
            era="2016",
            fields={"admission": "open", "ims_policy": "", "cs_voice": "", "source": "", "confidence": ""},
            bands=[band | {"in_service_until": None}],
            valid_from=LONG_AGO,
        )
        recorder.variant_radio(
            variant=world.variant,
            fields={"lte_confidence": "M"},
            bands=[{"rat": "LTE", "band": "B4", "is_sw_disabled": False, "source": "MM", "confidence": "M"}],
            ims={world.host.code: "yes"},
            attributes=[("module", "X")],
            sources={"lte": ("MM", "M")},
            hardware_revision="P2",
            valid_from=LONG_AGO,
        )
    make_policy(minimum_radio="PARTIAL_LTE", at=clock.now())
    outbox.pump()
    return world
