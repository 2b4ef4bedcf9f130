"""Links of the published description: what can be called with what an answer says.

`POST /v1/webhook-endpoints` answers with an `id`, and every call under `/v1/webhook-endpoints/{endpoint_id}` takes it.
That holds all over this API, so links are made from the paths and the schemas.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

_LAST = re.compile(r"{(\w+)}$")
# An operation with more links than that tells nobody anything.
MOST = 16


def add_links(document: dict[str, Any]) -> None:
    """Adds to each answer that names a thing the calls on this thing."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if operation.get("deprecated"):
                continue
            for status, answer in operation["responses"].items():
                links = dict(_links_of(document, path, method, status, answer))
                if links:
                    answer["links"] = dict(list(links.items())[:MOST])


def _links_of(
    document: Mapping[str, Any], path: str, method: str, status: str, answer: Mapping[str, Any]
) -> Iterator[tuple[str, Any]]:
    schema = answer.get("content", {}).get("application/json", {}).get("schema")
    if schema is None or status not in ("200", "201", "202"):
        return
    at, members = _named_thing(schema, document["components"]["schemas"])
    base = _LAST.sub("", path).rstrip("/")
    if base != path and method == "delete":
        return
    for other, item in document["paths"].items():
        found = re.fullmatch(re.escape(base) + r"/{(\w+)}(/[a-z-]+)?", other)
        member = _member_for(found[1], members) if found is not None else None
        if found is None or member is None:
            continue
        given = {found[1]: f"$response.body#{at}/{member}"}
        # What stands in the path of this call stands in that of the other.
        for name in re.findall(r"{(\w+)}", base):
            given[name] = f"$request.path.{name}"
        for target in item.values():
            if target["operationId"] != document["paths"][path][method]["operationId"]:
                yield target["operationId"], {"operationId": target["operationId"], "parameters": given}


def _named_thing(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Where in the answer the thing stands (of a page: the first), and its members."""
    members = _resolve(schema, schemas).get("properties", {})
    if "data" in members and "has_more" in members:
        return "/data/0", _resolve(members["data"].get("items", {}), schemas).get("properties", {})
    return "", members


def _resolve(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" in schema:
        return _resolve(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    return schema


def _member_for(parameter: str, members: Mapping[str, Any]) -> str | None:
    """The member that holds what a path takes: `endpoint_id` is an endpoint's `id`, `acceptance_code` its `code`."""
    names = (parameter, parameter.rpartition("_")[2])
    return next((name for name in names if name in members), None)
