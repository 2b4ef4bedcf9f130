"""An answer told rule by rule: what was asked in which order, what passed on what, what failed, and who can cure it.

Plain dictionaries and lists with text, numbers and true or false in them, so that the command prints them, the desk's
page shows them, and JSON takes them as they are. Pure: no database, no Django.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from authorization.rules import CHECKS, FAILED, NOT_ENFORCED, PASSED, REASON_CODES, Evidence, Ground, Reason

if TYPE_CHECKING:
    from authorization.decisions import Answer

NOT_ASKED = "not_asked"

TITLES = {
    "policy": "A policy of the shop is in force",
    "vendor": "The vendor is not suspended",
    "host": "The shop has service on the host",
    "agreement": "Agreements lead from the manufacturer to the vendor",
    "approval": "The host carrier has approved the variant",
    "equipment": "The regulator lets it be marketed in the territory",
    "radio": "The phone works on the host's network",
    "hold": "No hold stops the sale",
}
SAID = {
    PASSED: "passed",
    FAILED: "failed",
    NOT_ENFORCED: "not enforced by the policy",
    NOT_ASKED: "not asked",
}
SIGNS = {PASSED: "ok", FAILED: "NO", NOT_ENFORCED: "--", NOT_ASKED: "--"}

# As authorization.findings: no answer is promised for longer.
_HORIZON = timedelta(days=365)
# As carriers.versions.FOREVER.
_FOREVER = datetime(9999, 1, 1, tzinfo=UTC)

Check = dict[str, Any]
Tree = dict[str, Any]


def explain(answer: "Answer") -> Tree:
    """The tree of one answer. A check that was not reached (there is no policy) is there as `not_asked`."""
    grounds = {ground.check: ground for ground in answer.grounds}
    return {
        "outcome": answer.outcome,
        "valid_at": answer.valid_at.isoformat(),
        "revision": answer.revision,
        "expires_at": answer.expires_at.isoformat(),
        "reason_codes": answer.reason_codes,
        "checks": [_check(name, grounds.get(name), answer.valid_at) for name in CHECKS],
    }


def _check(name: str, ground: Ground | None, at: datetime) -> Check:
    result = ground.result if ground is not None else NOT_ASKED
    stands = ground is not None and result in (PASSED, FAILED)
    is_open = ground is None or ground.until >= _horizon(at)
    return {
        "check": name,
        "title": TITLES[name],
        "result": result,
        "said": SAID[result],
        # Until when this result stands by itself; None: nothing on record will end it within a year.
        "until": None if ground is None or not stands or is_open else ground.until.isoformat(),
        "evidence": [_evidence(item) for item in (ground.evidence if ground is not None else ())],
        "reasons": [_reason(reason) for reason in (ground.reasons if ground is not None else ())],
    }


def _horizon(at: datetime) -> datetime:
    return at + _HORIZON if at < _FOREVER - _HORIZON else _FOREVER


def _evidence(item: Evidence) -> dict[str, Any]:
    return {"kind": item.kind, "code": item.code, "fact_id": item.fact_id, "version_no": item.version_no}


def _reason(reason: Reason) -> dict[str, Any]:
    """`nearest_miss`: what is there and why it is not enough, in full: only staff reads a tree."""
    return {
        "code": reason.code,
        "title": REASON_CODES[reason.code].title,
        "nearest_miss": reason.detail or reason.message,
        "document": reason.document,
        "curable": reason.curable,
        "cure_by": reason.cure_by,
        "cure": reason.cure,
    }


# --- as text ----------------------------------------------------------------------------------------------------


def as_lines(tree: Tree) -> Iterator[str]:
    """The tree for a terminal."""
    yield f"{tree['outcome']}, valid at {tree['valid_at']}, as known at revision {tree['revision']}"
    yield f"stands until {tree['expires_at']}, if nothing is changed"
    for check in tree["checks"]:
        yield f"[{SIGNS[check['result']]}] {check['check']}: {check['title']}: {check['said']}{_until(check)}"
        for item in check["evidence"]:
            yield f"     on {say_evidence(item)}"
        for reason in check["reasons"]:
            document = f" ({reason['document']})" if reason["document"] else ""
            yield f"     {reason['code']}{document}: {reason['nearest_miss']}"
            yield f"       {say_cure(reason)}"


def say_evidence(item: Mapping[str, Any]) -> str:
    return f"{item['kind']} {item['code']} v{item['version_no']}"


def say_cure(reason: Mapping[str, Any]) -> str:
    who = "can be cured by" if reason["curable"] else "not in the vendor's hands; it is up to"
    return f"{who} {reason['cure_by']}: {reason['cure']}"


def _until(check: Check) -> str:
    return f", until {check['until']}" if check["until"] else ""


# --- two answers side by side -----------------------------------------------------------------------------------


def compare(left: Tree, right: Tree) -> list[dict[str, Any]]:
    """The checks of two answers in pairs. `differs`: another result, other records, or other reasons."""
    return [
        {
            "check": one["check"],
            "title": one["title"],
            "left": one,
            "right": other,
            "differs": _gist(one) != _gist(other),
        }
        for one, other in zip(left["checks"], right["checks"], strict=True)
    ]


def _gist(check: Check) -> Sequence[Any]:
    cited = [(item["kind"], item["fact_id"], item["version_no"]) for item in check["evidence"]]
    said = [(reason["code"], reason["document"]) for reason in check["reasons"]]
    return check["result"], cited, said
