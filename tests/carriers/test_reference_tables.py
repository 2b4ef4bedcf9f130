"""The reference tables hang together: every join finds its row, every value is one the code knows."""

import ast
from pathlib import Path

import pytest

import carriers.compatibility
from carriers.compatibility import Admission, Confidence, Ims, Rat
from tests.carriers.reference import EXAMPLES, TABLES, device_bands, network_bands, rows, table

HOSTS = {"tmobile", "att", "verizon"}
WIDE_COLUMNS = {
    "GSM": "gsm_bands",
    "UMTS": "umts_bands",
    "CDMA": "cdma_bands",
    "LTE": "lte_bands",
    "NR": "nr_bands",
}
KEYS = {
    "devices": ("variant_id",),
    "device_bands": ("variant_id", "rat", "band"),
    "networks": ("network", "era", "rat", "band"),
    "network_rules": ("network", "era"),
    "mvno_hosts": ("mvno", "host", "product_name"),
    "bands": ("rat", "band"),
    "sources": ("code",),
}


def values(name: str, *columns: str) -> set[tuple[str, ...]]:
    return {tuple(row[column] for column in columns) for row in table(name)}


@pytest.mark.parametrize("name", KEYS)
def test_keys_are_unique_and_the_files_are_tidy(name: str) -> None:
    assert len(values(name, *KEYS[name])) == len(table(name)) > 0
    raw = (TABLES / f"{name}.csv").read_bytes()
    assert b"\r" not in raw
    assert raw.endswith(b"\n")


def test_model_numbers_name_one_variant_and_marketing_names_do_not() -> None:
    assert len(values("devices", "model_number")) == len(table("devices"))
    assert len(values("devices", "marketing_name")) < len(table("devices"))


def test_every_band_is_defined() -> None:
    defined = values("bands", "rat", "band")
    assert values("networks", "rat", "band") <= defined
    assert values("device_bands", "rat", "band") <= defined


def test_the_long_band_table_says_the_same_as_the_wide_one() -> None:
    assert values("device_bands", "variant_id") <= values("devices", "variant_id")
    for row in table("devices"):
        bands = device_bands(row["variant_id"])
        wide = {
            (rat, name) for rat, column in WIDE_COLUMNS.items() for name in row[column].split(";") if name
        }
        assert {(band.rat, band.band) for band in bands} == wide
        off = {band.band for band in bands if band.sw_disabled}
        assert off == {band for band in row["lte_sw_disabled"].split(";") if band}


def test_hosts_and_eras_join() -> None:
    assert values("network_rules", "network") == {(host,) for host in HOSTS}
    assert values("network_rules", "network", "era") <= values("networks", "network", "era")
    assert values("mvno_hosts", "host") <= {(host,) for host in HOSTS}


def test_every_value_is_one_the_code_knows() -> None:
    for row in table("network_rules"):
        Admission(row["admission"])
        assert network_bands(row["network"], row["era"])
    for row in table("devices"):
        for host in HOSTS:
            Ims(row[f"ims_{host}"])
    for row in table("bands"):
        Rat(row["rat"])


@pytest.mark.parametrize("name", KEYS)
def test_every_source_is_explained_and_every_mark_is_known(name: str) -> None:
    known = {row["code"] for row in table("sources")}
    for row in table(name):
        for column, value in row.items():
            if column.endswith("_src") or (column in ("source", "date_source") and name != "sources"):
                assert set(value.split("+")) <= known
                # What nobody has read a source for is never sure.
                confidence = row[column.replace("_src", "_conf").replace("source", "confidence")]
                assert confidence in {"", *Confidence}
                if value == "K" and name != "bands":
                    assert confidence != "H"


def test_examples_join() -> None:
    examples = {(row["variant_id"], row["model_number"]) for row in rows(EXAMPLES)}
    assert examples <= values("devices", "variant_id", "model_number")


def test_the_table_under_a_licence_carries_its_notice() -> None:
    notice = (TABLES / "README.md").read_text(encoding="utf-8")
    assert "Copyright (c) 2022 Breno" in notice
    assert "The above copyright notice and this permission notice shall be included" in notice


def test_the_verdict_knows_no_framework_no_clock_and_no_other_part_of_the_shop() -> None:
    tree = ast.parse(Path(carriers.compatibility.__file__).read_text(encoding="utf-8"))
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported == {"collections", "dataclasses", "datetime", "enum", "typing"}
    called = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not called & {"today", "now", "utcnow"}
