"""docs/api-listings.md: its calls run as they are written."""

import json
from pathlib import Path

from authorization import clock
from seeds import factories
from tests.api.conftest import caller_of
from tests.api.test_api_page import commands, run

PAGE = (Path(__file__).parents[2] / "docs" / "api-listings.md").read_text(encoding="utf-8")


def test_the_calls_of_the_page_run_as_written(db: None) -> None:
    at = clock.now()
    factories.ensure_policy(at=at)
    maker = factories.OrganizationFactory.create(kind="manufacturer", slug="samsung")
    device = factories.DeviceFactory.create(
        manufacturer=maker, brand="Samsung", marketing_name="Galaxy S6", slug="samsung-galaxy-s6"
    )
    variant = factories.VariantFactory.create(device=device, model_number="SM-G920T")
    host = factories.HostCarrierFactory.create(code="tmobile")
    vendor = factories.OrganizationFactory.create(slug="vendor")
    factories.make_sellable(vendor=vendor, variant=variant, host=host, at=at, sku="S6-32-BLK")
    key = caller_of(vendor).secret

    answers = [run(words, key) for words in commands(PAGE)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 207, 200, 200, 200, 200, 200]
    devices, variants, patched, batch, copied, changed, one, summary, exposed = (
        json.loads(answer.content) for answer in answers
    )
    assert [row["device"] for row in devices["data"]] == ["samsung-galaxy-s6"]
    assert [row["model_number"] for row in variants["data"]] == ["SM-G920T"]
    assert patched["price"]["amount"] == "549.00"
    assert batch["counts"] == {"CREATED": 1}
    assert [row["sku"] for row in copied["data"]] == ["S6-32-BLK", "S6-64-WHT"]
    assert {row["sku"] for row in changed["data"]} <= {"S6-32-BLK", "S6-64-WHT"}
    assert {"issues", "decisions"} <= one.keys()
    assert summary["listings"]["LIVE"] == 1
    assert exposed["data"] == []
