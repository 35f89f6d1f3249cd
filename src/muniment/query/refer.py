"""The ids that a document has at a path: those of the documents to be included."""

from __future__ import annotations

import re
from collections.abc import Iterator

from muniment.document import Document
from muniment.errors import InvalidDocument
from muniment.query.extract import flat


def referred(document: Document, path: str) -> Iterator[str]:
    """The ids at a path: `CustomerId`, `Lines,Product`, `Lines[].Product`, `Customer.Id`, `CustomerId(customers/)`."""
    matched = re.fullmatch(r"(.*?)(?:\(([^()]*)\))?", path, re.DOTALL)
    assert matched is not None
    steps = [step for step in re.split(r"[.,]", matched[1].replace("[]", "")) if step]
    try:
        values = [document.json()]
    except InvalidDocument:
        return
    for step in steps:
        values = [value[step] for value in flat(values) if isinstance(value, dict) and step in value]
    prefix = matched[2] or ""
    for value in flat(values):
        if isinstance(value, str) or (prefix and isinstance(value, int | float) and not isinstance(value, bool)):
            yield f"{prefix}{value}"
