"""A signed statement in words, for who reads it. What was signed is the statement itself, to the letter."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from authorization.revocations import WITHDRAWAL_REASONS
from authorization.rules import REASON_CODES

_LABELS: Mapping[str, str] = {
    "fact": "What was withdrawn",
    "kind": "Kind",
    "requested_by": "On whose word",
    "reason_code": "Reason",
    "word_received_at": "Word received",
    "decided_at": "Sale stopped",
    "revision": "Number of the change in our records",
    "first_delisted_at": "First offer taken off sale",
    "last_delisted_at": "Last offer taken off sale",
    "offer_count": "Offers taken off sale",
    "by_reason": "By reason",
    "by_host": "By network",
    "offers": "Which offers were taken off sale",
    "list": "The list of all of them",
    "survivors": "Offers still on sale, on other authority",
    "orders_before": "Orders placed before the sale stopped",
    "late_orders": "Orders sold after the sale stopped",
    "sku": "Seller's item number",
    "model_number": "Model number",
    "host": "Network",
    "delisted_at": "Taken off sale",
    "reason_codes": "Why",
    "event_id": "Event",
}
_KINDS: Mapping[str, str] = {
    "agreement": "Reseller agreement, revoked",
    "approval": "Carrier approval, revoked",
    "equipment": "Equipment authorization, revoked",
    "narrowing": "Reseller agreement, narrowed",
    "hold": "Hold, placed",
    "restriction": "Carrier approval, limited",
    "exemption": "Exemption, ended",
    "affiliation": "Affiliation, ended",
    "policy": "Policy of the shop, set",
    "groundwork": "Bands, network or hosting, corrected",
}


@dataclass(frozen=True)
class Fact:
    """One line of a signed statement: a value, or a table of them."""

    label: str
    value: str = ""
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()


def statement_facts(statement: Mapping[str, Any], *, host_names: Mapping[str, str]) -> list[Fact]:
    """Every key of the statement in its own order, nothing left out. `host_names` are by code."""
    return [_fact(key, value, host_names) for key, value in statement.items()]


def statement_text(statement: Mapping[str, Any]) -> str:
    """The statement itself, with its codes and every digit of its instants."""
    return json.dumps(statement, indent=2, ensure_ascii=False)


def _fact(key: str, value: Any, host_names: Mapping[str, str]) -> Fact:
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        keys = list(value[0])
        return Fact(
            _label(key),
            columns=[_label(key) for key in keys],
            rows=[[_value(key, item.get(key), host_names) for key in keys] for item in value],
        )
    return Fact(_label(key), _value(key, value, host_names))


def _value(key: str, value: Any, host_names: Mapping[str, str]) -> str:
    if key.endswith("_at") and isinstance(value, str):
        return f"{datetime.fromisoformat(value):%-d %B %Y, %H:%M:%S} UTC"
    match key:
        case "by_reason" if isinstance(value, dict) and value:
            return "; ".join(f"{_title(code)}: {count}" for code, count in value.items())
        case "by_host" if isinstance(value, dict) and value:
            return "; ".join(f"{host_names.get(code, code)}: {count}" for code, count in value.items())
        case "list" if isinstance(value, dict):
            return f"{value['offers']} lines, SHA-256 {value['sha256']}"
        case "kind":
            return _KINDS.get(str(value), str(value))
        case "host":
            return host_names.get(str(value), str(value))
        case "reason_code":
            return WITHDRAWAL_REASONS.get(str(value), str(value))
        case "reason_codes" if isinstance(value, list):
            codes = [str(code) for code in value]
            return "; ".join(map(_title, codes))
    return _plain(value)


def _title(code: str) -> str:
    return REASON_CODES[code].title if code in REASON_CODES else code


def _label(key: str) -> str:
    return _LABELS.get(key) or key.replace("_", " ").capitalize()


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{_label(key)}: {_plain(item)}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(_plain(item) for item in value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)
