"""Examples of the published description: one world, in which every body and answer of it is written.

An example is made from the schema it stands beside, by the name of each member where the table has one, so that it
cannot say what the schema does not. A test holds every example against its schema.
"""

from collections.abc import Mapping
from typing import Any

# What members are in the examples, by name.
_BY_NAME: dict[str, Any] = {
    "sku": "PX9-128-BLK",
    "variant": "example-px9-u1",
    "model": "example-px9-u1",
    "vendor": "prairie-wireless",
    "model_number": "PX9-U1",
    "device": "Example PX9",
    "brand": "Example",
    "marketing_name": "PX9",
    "hosts": ["north"],
    "host": "north",
    "territory": "US",
    "condition": "new",
    "channel": "web",
    "software": "7.0.5",
    "description": "Sealed box, 128 GB, black.",
    "amount": "199.00",
    "currency": "USD",
    "on_hand": 12,
    "answer": "allow",
    "outcome": "allow",
    "document": "AG-77",
    "code": "AGREEMENT_EXPIRED",
    "check": "agreement",
    "message": "Agreement AG-77 ended on 2026-11-20.",
    "cure": "A renewal of AG-77.",
    "cure_by": "vendor",
    "reason_codes": ["AGREEMENT_EXPIRED"],
    "id": "0b0c6b0e-6f5b-4a3a-8d5b-0a3a3c2b9d11",
    "event_id": "0b0c6b0e-6f5b-4a3a-8d5b-0a3a3c2b9d11",
    "decision_id": "0b0c6b0e-6f5b-4a3a-8d5b-0a3a3c2b9d11",
    "endpoint_id": "5d6ae2e4-9d1e-4b1c-8c43-3c50a2f3a0fe",
    "request_id": "5d6ae2e4-9d1e-4b1c-8c43-3c50a2f3a0fe",
    "revision": 41872,
    "position": 41872,
    "url": "https://vendor.example/hooks/shop",
    "event_types": ["listing.suspended"],
    "secret": "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
    "imei": "00 100001 000001 5",
    "tac": "00100001",
    "tacs": ["00100001"],
    "plmn": "310260",
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "href": "/v1/listings/PX9-128-BLK",
    "rel": "self",
    "method": "GET",
    "label": "sync job",
    "prefix": "sk_live_",
    "last_four": "f3a0",
    "slug": "prairie-wireless",
    "next_cursor": None,
    "has_more": False,
    "move": "take_in",
    "acceptance": "TA-1031",
    "approval": "CA-1031",
    "sales_version": "128 GB",
    "software_from": "7.0",
    "software_until": "8.0",
    "content_type": "application/pdf",
    "size": 48213,
    "downlink_mhz": [2110.0, 2155.0],
    "uplink_mhz": [1710.0, 1755.0],
    "tracking_number": "1Z999AA10123456784",
    "carrier": "UPS",
    "email": "pat@example.com",
    "country": "US",
}
_INSTANT = "2026-11-22T12:00:00Z"
_DAY = "2026-11-22"
# So deep an example tells nothing more.
_DEPTH = 8


def add_examples(document: dict[str, Any]) -> None:
    """Puts an example beside every body and every answer that is JSON and has none."""
    schemas = document["components"]["schemas"]
    items = [item for part in ("paths", "webhooks") for item in document[part].values()]
    for operation in (operation for item in items for operation in item.values()):
        places = [operation.get("requestBody", {}), *operation["responses"].values()]
        for content in (content for place in places for content in place.get("content", {}).items()):
            media_type, media = content
            if (
                "json" in media_type
                and "jsonl" not in media_type
                and not {"example", "examples"} & media.keys()
            ):
                media["example"] = example_of(media["schema"], schemas)


def example_of(schema: Mapping[str, Any], schemas: Mapping[str, Any], name: str = "", depth: int = 0) -> Any:
    if "$ref" in schema:
        return example_of(schemas[schema["$ref"].rpartition("/")[2]], schemas, name, depth)
    if "const" in schema:
        return schema["const"]
    if "default" in schema and name not in _BY_NAME:
        return schema["default"]
    for form in ("allOf", "oneOf", "anyOf"):
        if form in schema:
            return example_of(schema[form][0], schemas, name, depth)
    if name in _BY_NAME and _fits(_BY_NAME[name], schema):
        return _BY_NAME[name]
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = kind[0]
    match kind:
        case "object":
            members = schema.get("properties", {})
            return {
                member: example_of(inner, schemas, member, depth + 1)
                for member, inner in members.items()
                if depth < _DEPTH or member in schema.get("required", ())
            }
        case "array":
            if depth >= _DEPTH and not schema.get("minItems"):
                return []
            return [example_of(schema.get("items", {}), schemas, _one_of(name), depth + 1)]
        case "integer":
            return max(1, schema.get("minimum", 1))
        case "number":
            return 1.0
        case "boolean":
            return True
        case "string":
            return _text(schema, name)
    return "…"


def _one_of(name: str) -> str:
    return name.removesuffix("ies") + "y" if name.endswith("ies") else name.removesuffix("s")


def _fits(value: Any, schema: Mapping[str, Any]) -> bool:
    """Whether a value of the table is of the type, and one of the words, that are wanted here."""
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    known = schema.get("enum") or schema.get("x-extensible-enum")
    if known is not None and value not in known:
        return False
    if isinstance(value, list):
        inner = schema.get("items", {})
        return "array" in kinds and all(_fits(each, inner) for each in value)
    names = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}
    return names[type(value)] in kinds


def _text(schema: Mapping[str, Any], name: str) -> str:
    for words in ("enum", "x-extensible-enum"):
        if schema.get(words):
            return str(next(word for word in schema[words] if word))
    match schema.get("format"):
        case "date-time":
            return _INSTANT
        case "date":
            return _DAY
        case "uuid":
            return str(_BY_NAME["id"])
    return name.replace("_", " ")[: schema.get("maxLength", 1000)] or "text"
