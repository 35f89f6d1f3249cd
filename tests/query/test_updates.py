from __future__ import annotations

import pytest

from muniment.errors import InvalidQuery
from muniment.query.updates import parse

CASES = [
    ("from Orders update { this.x = 1 }", "from Orders ", " this.x = 1 ", None),
    ("from 'Orders' as o where o.x = 'update {' UPDATE\n{ o.y = `}`; };", None, " o.y = `}`; ", "o"),
    ("from index 'A/B' i where i.x in ($update) update{if (i.x) { i.y = '~' }}", None, "if (i.x) { i.y = '~' }", "i"),
    ("from @all_docs where 'update' = 1 update {}", "from @all_docs where 'update' = 1 ", "", None),
    ("from index A update { }", "from index A ", " ", None),
]


@pytest.mark.parametrize(("text", "query", "script", "alias"), CASES)
def test_a_query_and_its_script(text: str, query: str | None, script: str, alias: str | None) -> None:
    found = parse(text)
    assert (found.script, found.alias) == (script, alias)
    assert text.startswith(found.query)
    assert query is None or found.query == query


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("from Orders", "column 12"),
        ("from Orders where x = 'update { }'", "column 35"),
        ("from Orders update this.x = 1", "column 19"),
        ("from Orders update { this.x = 1", "column 19"),
        ("from Orders where ~ update { }", "column 19"),
    ],
)
def test_what_is_no_update(text: str, place: str) -> None:
    with pytest.raises(InvalidQuery, match=place):
        parse(text)
