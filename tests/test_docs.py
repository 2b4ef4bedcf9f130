"""The docs say what is: settings, links, commands."""

import re
from pathlib import Path

import pytest

from seeds.sandbox.commands import COMMANDS

ROOT = Path(__file__).parent.parent
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]


def test_every_setting_is_documented_and_every_documented_one_exists():
    source = (ROOT / "storefront" / "settings.py").read_text(encoding="utf-8")
    read = set(re.findall(r'\benv\.\w+\(\s*"([A-Z_]+)"', source))
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    rows = {
        name
        for line in page.splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`([A-Z_]+)`", line.split("|")[1])
    }
    assert rows == read


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_exist(page):
    for name in re.findall(r"\./dev ([a-z]+)", page.read_text(encoding="utf-8")):
        assert name in COMMANDS, f"{page.name} speaks of ./dev {name}"


def test_files_that_the_docs_name_exist():
    named = re.compile(r"`((?:carriers|catalog|authorization|storefront|seeds|tests)/[\w/.]+\.py)`")
    for page in PAGES:
        for path in named.findall(page.read_text(encoding="utf-8")):
            assert (ROOT / path).exists(), f"{page.name} names {path}"
