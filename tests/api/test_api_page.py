"""docs/api.md: its session works as written, and its tables are the tables of the code."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

from django.http import HttpResponse

from authorization import clock
from authorization.rules import REASON_CODES
from seeds import factories
from storefront.api import budgets, urls
from storefront.api.problem_types import PROBLEM_TYPES
from storefront.api.views import KeyedView
from tests.api.conftest import Caller, SmallWorld, caller_of

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "api.md").read_text(encoding="utf-8")
CONVENTIONS = (DOCS / "api-conventions.md").read_text(encoding="utf-8")
BASE = "http://testserver"
_VIEWS = [getattr(pattern.callback, "view_class", KeyedView) for pattern in urls.urlpatterns]
NEEDING = {view for view in _VIEWS if view.needs_idempotency_key}


def commands(page: str = PAGE) -> list[list[str]]:
    blocks = re.findall(r"^```sh\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    lines = shlex.shlex("".join(blocks).replace("\\\n", " "), posix=True, punctuation_chars="\n")
    lines.whitespace = " \t"
    lines.whitespace_split = True
    found: list[list[str]] = [[]]
    for word in lines:
        if word.strip("\n"):
            found[-1].append(word)
        else:
            found.append([])
    return [words for words in found if words]


def run(words: list[str], key: str) -> HttpResponse:
    """What curl would do with these words."""
    assert words[:2] == ["curl", "-sS"]
    method, headers, body, url = "GET", {}, b"", ""
    rest = iter(word.replace("$BASE", BASE).replace("$KEY", key) for word in words[2:])
    for word in rest:
        if word == "-X":
            method = next(rest)
        elif word == "-H":
            name, _, value = next(rest).partition(": ")
            headers[name] = value
        elif word == "-d":
            body = next(rest).encode()
        else:
            url = word
    assert url.startswith(BASE)
    return Caller().call(method, url.removeprefix(BASE), body or None, **headers)


def test_the_session_leads_from_a_key_to_a_live_listing(db: None) -> None:
    at = clock.now()
    factories.ensure_policy(at=at)
    maker = factories.OrganizationFactory.create(kind="manufacturer", slug="samsung")
    device = factories.DeviceFactory.create(manufacturer=maker, brand="Galaxy", marketing_name="Galaxy S6")
    variant = factories.VariantFactory.create(device=device, slug="samsung-s6-g920t", model_number="SM-G920T")
    host = factories.HostCarrierFactory.create(code="tmobile")
    factories.HostingFactory.create(host=host, at=at)
    vendor = factories.OrganizationFactory.create(slug="vendor")
    factories.make_agreement(grantor=maker, grantee=vendor, at=at, code="AG-1")
    factories.make_approval(host=host, variant=variant, at=at)
    key = caller_of(vendor).secret

    answers = [run(words, key) for words in commands()]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 200, 201, 200, 200, 200, 200]
    _, variants, hosts, restrictions, _, published, listing, decisions, checked = (
        json.loads(answer.content) for answer in answers
    )
    assert [row["model_number"] for row in variants["data"]] == ["SM-G920T"]
    assert [row["host"] for row in hosts["data"]] == ["tmobile"]
    assert restrictions["restrictions"] == []
    assert published["status"] == listing["status"] == "LIVE"
    assert decisions["data"][0]["outcome"] == "allow"
    assert (checked["kind"], checked["number"]["tac"]) == ("unknown_model", "00100001")


def test_the_requests_of_the_conventions_are_answered(world: SmallWorld, api: Caller) -> None:
    made, tried = (run(words, api.secret) for words in commands(CONVENTIONS))
    assert (made.status_code, tried.status_code) == (201, 200)
    [again, _] = (run(words, api.secret) for words in commands(CONVENTIONS))
    assert again["Idempotent-Replayed"] == "true"


def test_the_conventions_name_the_budgets_and_who_needs_a_key(settings: Any) -> None:
    told = {
        row[0].strip("`"): (row[2], row[3].strip("`")) for row in table_after("## Rate limits", CONVENTIONS)
    }
    assert told == {
        name: (str(getattr(settings, setting)), f"CLEARLINE_{setting}")
        for name, setting in budgets.SETTING_OF.items()
    }
    said = CONVENTIONS.partition("* `POST /v1/takedown-requests`")[2].partition("\n* ")[0]
    needed = {str(p.pattern) for p in urls.urlpatterns if getattr(p.callback, "view_class", None) in NEEDING}
    assert {path.replace("<int:claim_id>", "{id}") for path in needed} == {
        "takedown-requests",
        *re.findall(r"/v1/([a-z{}/-]+)", said),
    }


def table_after(heading: str, page: str = PAGE) -> list[list[str]]:
    lines = page.partition(heading)[2].partition("\n## ")[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return rows[2:]


def test_the_reasons_are_those_of_the_table() -> None:
    assert table_after("## Reasons") == [
        [f"`{row.code}`", row.check, row.title, "yes" if row.curable else "no", row.cure_by]
        for row in REASON_CODES.values()
    ]


def test_the_errors_are_those_of_the_table() -> None:
    assert table_after("## Errors") == [
        [str(row.status), f"`{code}`", row.title, row.cure] for code, row in PROBLEM_TYPES.items()
    ]
