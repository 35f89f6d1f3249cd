"""Values held against the part of JSON Schema that our documents use."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def wrong(value: Any, schema: dict[str, Any], where: str = "$", *, document: dict[str, Any]) -> Iterator[str]:
    """What of a value is not as the schema says, a member that it does not name too."""
    if "$ref" in schema:
        found = document
        for step in schema["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        schema = found
    if "anyOf" in schema:
        tried = [list(wrong(value, each, where, document=document)) for each in schema["anyOf"]]
        yield from () if [] in tried else min(tried, key=len)
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{where} is {value!r}, none of {schema['enum']}"
    if "minimum" in schema and value < schema["minimum"]:
        yield f"{where} is {value!r}, less than {schema['minimum']}"
    kinds: dict[str, Any] = {
        "object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool,
        "null": type(None),
    }  # fmt: skip
    expected = schema.get("type")
    if expected and (not isinstance(value, kinds[expected]) or (value is True and expected in ("integer", "number"))):
        yield f"{where} is {value!r}, not {expected}"
    elif expected == "array" and "items" in schema:
        for index, item in enumerate(value):
            yield from wrong(item, schema["items"], f"{where}[{index}]", document=document)
    elif expected == "object":
        yield from (f"{where}.{name} is missing" for name in schema.get("required", ()) if name not in value)
        more = schema.get("additionalProperties", {} if "properties" not in schema else None)
        for name, item in value.items():
            known = schema.get("properties", {}).get(name, more)
            if known is None:
                yield f"{where}.{name} is not named"
            else:
                yield from wrong(item, known, f"{where}.{name}", document=document)
