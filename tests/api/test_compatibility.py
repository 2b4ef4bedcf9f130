"""What the API says of radios: one variant with its verdict on each host, and the networks of the hosts."""

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from authorization import groundwork
from carriers.models import HostCarrier, HostPlmn, Network
from catalog.models import Variant
from seeds import factories
from tests.api.conftest import Caller, SmallWorld, pointers, problem

SINCE = datetime(2014, 1, 1, tzinfo=UTC)
ON = date(2026, 11, 22)


def read(api: Caller, path: str) -> Any:
    response = api.get(path)
    assert response.status_code == 200, response.content
    return json.loads(response.content)


def make_network(host: HostCarrier, *, era: str = "2026", until: date | None = None, **fields: str) -> None:
    with groundwork.recording(by=factories.BUILDER, at=SINCE, reason="a network") as recorder:
        recorder.network(
            host=host,
            era=era,
            fields={"admission": "open", "source": "MCC", "confidence": "H"} | fields,
            bands=[
                {"rat": "UMTS", "band": "B2", "group": "umts", "voice": "CS", "in_service_until": until},
                {
                    "rat": "LTE",
                    "band": "B12",
                    "group": "lte_core",
                    "voice": "VoLTE",
                    "role": "low band coverage",
                    "is_coverage_critical": True,
                    "in_service_from": "2014-12",
                    "source": "MACR",
                    "confidence": "L",
                },
            ],
            valid_from=SINCE,
        )


def make_radio(variant: Variant, ims: dict[str, str], **fields: str) -> None:
    with groundwork.recording(by=factories.BUILDER, at=SINCE, reason="a radio") as recorder:
        recorder.variant_radio(
            variant=variant,
            fields={"lte_confidence": "L", "ims_source": "K", "ims_confidence": "M"} | fields,
            bands=[
                {"rat": "LTE", "band": "B12", "source": "TUTTO", "confidence": "L"},
                {"rat": "LTE", "band": "B29", "is_sw_disabled": True},
                {"rat": "UMTS", "band": "B2"},
            ],
            ims=ims,
            valid_from=SINCE,
        )


class TestVariant:
    def test_its_verdict_on_each_host_with_reasons_and_cautions(self, world: SmallWorld, api: Caller) -> None:
        make_network(world.north, until=date(2022, 7, 1))
        make_radio(world.approved, {"north": "yes"})
        shown = read(api, f"/v1/variants/PX9-U1?on={ON}")
        assert (shown["variant"], shown["on"]) == ("maker-px9-u1", "2026-11-22")
        north, south = shown["compatibility"]
        # Of the other host no network is recorded: nothing is known, which is no bad verdict.
        assert south == {"host": "south", "verdict": None, "cautions": [], "plans": []}
        assert north["host"] == "north"
        assert (north["verdict"], north["sub"], north["voice"], north["data"]) == (
            "FULL",
            None,
            "VOLTE",
            "LTE_FULL",
        )
        assert north["reasons"] == []
        assert north["network_era"] == "2026"
        assert north["summary"].endswith("(unverified)")
        assert [caution["code"] for caution in north["cautions"]] == [
            "BANDS_UNVERIFIED",
            "VOLTE_UNVERIFIED",
            "NETWORK_UNVERIFIED",
            "BANDS_STALE",
            "NETWORK_STALE",
        ]
        assert north["cautions"][1]["message"].endswith("no source was read for it")

    @pytest.mark.parametrize("path", ["/v1/variants/PX9-U1", "/v1/hosts"])
    def test_a_day_on_which_what_never_ends_would_have_ended_is_refused(
        self, world: SmallWorld, api: Caller, path: str
    ) -> None:
        response = api.get(f"{path}?on=9999-12-31")
        assert response.status_code == 400
        assert "Give a day before 9999-01-01." in response.content.decode()
        assert api.get(f"{path}?on=9998-12-31").status_code == 200

    def test_whether_each_plan_of_the_host_fits(self, world: SmallWorld, api: Caller) -> None:
        make_network(world.north, until=date(2022, 7, 1))
        make_radio(world.approved, {"north": "no"})
        hosting = factories.HostingFactory.create(host=world.north, product_name="Speed")
        for slug, voice in (("calls", True), ("data", False)):
            factories.PlanFactory.create(
                hosting=hosting, slug=slug, name=slug, needs_voice=voice, needs_data=True, needs_volte=False
            )
        factories.PlanFactory.create(slug="elsewhere")
        shown = {row["host"]: row for row in read(api, f"/v1/variants/PX9-U1?on={ON}")["compatibility"]}
        assert shown["north"]["plans"] == [
            {"plan": "calls", "name": "calls", "fits": False, "limits": ["NO_VOICE_PATH"]},
            {"plan": "data", "name": "data", "fits": True, "limits": []},
        ]
        hosts = {row["host"]: row for row in read(api, "/v1/hosts")["data"]}
        offered = hosts["north"]["plans"]
        assert [(plan["plan"], plan["needs_voice"]) for plan in offered] == [("calls", True), ("data", False)]

    def test_its_bands_have_the_edges_of_the_standard(self, world: SmallWorld, api: Caller) -> None:
        make_radio(world.approved, {})
        b12, b29, umts = read(api, "/v1/variants/maker-px9-u1")["radio"]["bands"]
        assert (b12["downlink_mhz"], b12["uplink_mhz"], b12["source"]) == ([729, 746], [699, 716], "TUTTO")
        assert (b29["uplink_mhz"], b29["is_disabled_by_software"]) == (None, True)
        assert umts["downlink_mhz"] == [1930, 1990]

    def test_of_a_day_before_the_switch_off_it_says_what_was_true_then(
        self, world: SmallWorld, api: Caller
    ) -> None:
        make_network(world.north, until=date(2022, 7, 1))
        make_radio(world.approved, {"north": "no"})
        voices = [
            read(api, f"/v1/variants/PX9-U1?on={day}")["compatibility"][0]["voice"]
            for day in ("2022-06-30", "2022-07-01")
        ]
        assert voices == ["CS", "NONE"]

    def test_nothing_recorded_is_null(self, world: SmallWorld, api: Caller) -> None:
        shown = read(api, "/v1/variants/PX9-U2")
        assert shown["radio"] is None
        assert [pair["verdict"] for pair in shown["compatibility"]] == [None, None]

    def test_an_old_check_is_said(self, world: SmallWorld, api: Caller) -> None:
        make_network(world.north)
        make_radio(world.approved, {})
        Variant.objects.filter(pk=world.approved.pk).update(
            checked_at=datetime.combine(ON, datetime.min.time(), UTC) - timedelta(days=366)
        )
        cautions = read(api, f"/v1/variants/PX9-U1?on={ON}")["compatibility"][0]["cautions"]
        assert "BANDS_STALE" in [caution["code"] for caution in cautions]

    def test_an_unknown_one_is_404_with_near_names(self, world: SmallWorld, api: Caller) -> None:
        body = problem(api.get("/v1/variants/PX9-U9"), 404, "not_found")
        assert "Nearest model numbers: PX9-U2, PX9-U1." in body["detail"]
        problem(api.get("/v1/variants/%00"), 404, "not_found")

    @pytest.mark.parametrize("day", ["", "2016-2-2", "20160202", "2016-W05-2", "2016-02-30", "today"])
    @pytest.mark.parametrize("path", ["/v1/variants/PX9-U1", "/v1/hosts"])
    def test_a_day_is_written_in_one_way(self, world: SmallWorld, api: Caller, path: str, day: str) -> None:
        assert pointers(problem(api.get(f"{path}?on={day}"), 400, "invalid_request")) == {"/on"}

    def test_a_stranger_reads_nothing(self, world: SmallWorld) -> None:
        problem(Caller().get("/v1/variants/PX9-U1"), 401, "unauthenticated")


class TestHosts:
    def test_the_network_of_the_day_with_roles_dates_and_sources(
        self, world: SmallWorld, api: Caller
    ) -> None:
        make_network(world.north, until=date(2022, 7, 1), ims_policy="VoLTE to activate", cs_voice="GSM;UMTS")
        HostPlmn.objects.create(host=world.north, plmn="310-160", note="older", source="MBPI", confidence="H")
        Network.objects.update(checked_at=datetime(2026, 11, 1, tzinfo=UTC))
        north, south = read(api, f"/v1/hosts?on={ON}")["data"]
        assert south["network"] is None
        assert north["plmn"] == "310-260"
        assert north["further_plmns"] == [
            {"plmn": "310-160", "note": "older", "source": "MBPI", "confidence": "H"}
        ]
        assert [hosting["product_name"] for hosting in north["hostings"]] == [""]
        network = north["network"]
        assert (network["era"], network["admission"], network["on"]) == ("2026", "open", "2026-11-22")
        assert network["voice_over_lte_rule"] == "VoLTE to activate"
        assert network["circuit_switched_voice"] == ["GSM", "UMTS"]
        assert network["checked_at"] == "2026-11-01T00:00:00Z"
        assert [caution["code"] for caution in network["cautions"]] == ["NETWORK_UNVERIFIED"]
        umts, lte = network["bands"]
        assert (umts["in_service_until"], umts["is_in_service"]) == ("2022-07-01", False)
        for day, is_on in (("2022-06-30", True), ("2022-07-01", False)):
            there = read(api, f"/v1/hosts?on={day}")["data"][0]["network"]["bands"][0]
            assert there["is_in_service"] == is_on
        assert lte == {
            "technology": "LTE",
            "band": "B12",
            "role": "low band coverage",
            "group": "lte_core",
            "is_coverage_critical": True,
            "voice": "VoLTE",
            "in_service_from": "2014-12",
            "in_service_until": None,
            "is_in_service": True,
            "downlink_mhz": [729, 746],
            "uplink_mhz": [699, 716],
            "source": "MACR",
            "confidence": "L",
            "note": "",
        }

    def test_of_another_day_the_hosts_of_that_day(self, world: SmallWorld, api: Caller) -> None:
        gone = factories.HostCarrierFactory.create(code="gone")
        factories.HostingFactory.create(
            host=gone,
            at=world.at,
            valid_from=datetime(2016, 1, 1, tzinfo=UTC),
            valid_until=datetime(2017, 1, 1, tzinfo=UTC),
        )
        assert "gone" not in [row["host"] for row in read(api, "/v1/hosts")["data"]]
        assert "gone" in [row["host"] for row in read(api, "/v1/hosts?on=2016-12-31")["data"]]
        assert "gone" not in [row["host"] for row in read(api, "/v1/hosts?on=2017-01-01")["data"]]

    def test_the_number_of_queries_does_not_grow(self, world: SmallWorld, api: Caller) -> None:
        counts = []
        for _ in range(2):
            with CaptureQueriesContext(connection) as seen:
                read(api, "/v1/hosts")
            counts.append(len(seen))
            for _ in range(3):
                host = factories.HostCarrierFactory.create()
                factories.HostingFactory.create(host=host, at=world.at)
                make_network(host)
        # One more prefetch: the first time no network had bands to fetch.
        assert counts[1] <= counts[0] + 1
