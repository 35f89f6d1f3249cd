"""RavenDB's query language: a text and its parameters become a `Query`.

    from Orders as o where o.Freight > 10 and o.Company in ($companies)
    order by OrderedAt desc select OrderedAt, Lines[].Product as Products include Company limit 20, 10

What is beyond is refused with its place and the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import msgspec
from msgspec.structs import replace

from muniment.errors import InvalidQuery
from muniment.query import model
from muniment.query.keys import Number
from muniment.query.model import (
    COUNT,
    EVERYTHING,
    ID,
    SCORE,
    SUM,
    And,
    Column,
    Condition,
    EndsWith,
    Equal,
    Exists,
    Field,
    Group,
    Highlight,
    In,
    Not,
    Or,
    Order,
    Query,
    Range,
    Search,
    StartsWith,
)
from muniment.query.tokens import Token, error_at, tokens_of

T = TypeVar("T")

CLAUSES: Final = frozenset(
    "group where order load select include limit offset filter update filter_limit".split()
)  # what ends the one before it
_KINDS: Final[Mapping[str, model.As]] = {"string": "text", "long": "number", "double": "number"}
_BEYOND: Final = {
    "lucene": "write the condition in RQL: a = 'b', startsWith(a, 'b'), a between 1 and 2",
    "regex": "ask with startsWith, endsWith or search",
    "spatial.within": "keep latitude and longitude as fields, and ask for ranges of both",
    "morelikethis": "ask with search",
    "intersect": "ask with and",
    "proximity": "ask with search",
    "fuzzy": "ask with search and a word that ends in *",
    "cmpxchg": "read the value first, and give it as a parameter",
    "vector.search": "ask with search",
    "facet": "count by groups: from Orders group by Company select Company, count()",
    "suggest": "search for the beginning of words: search(Name, 'wor*')",
    "metadata": "select its members: select @metadata.Raven-Entity-Name",
    "counters": "keep the number in the document",
    "timeseries": "keep the values in documents of their own",
    "revisions": "GET versions?id=ID answers the versions of a document",
    "highlight": "find the words in the answer",
}
_SIGNS: Final = {"=", "==", "!=", "<>", "<", "<=", ">", ">="}


def parse(text: str, parameters: Mapping[str, Any] | None = None) -> Query:
    """The query that a text is; raises `InvalidQuery`, which says where it cannot be read and why."""
    query = _Parser(text, parameters or {}).query()
    model.check(query)
    return query


class _Parser:
    def __init__(self, text: str, parameters: Mapping[str, Any]) -> None:
        self._text = text
        self._parameters = {name.removeprefix("$"): value for name, value in parameters.items()}
        self._tokens = tokens_of(text)
        self._words = tuple(each.said.lower() if each.what in ("name", "sign") else None for each in self._tokens)
        self._at = 0
        self._depth = 0
        self._alias: str | None = None
        self._sums: list[Field] = []
        self._boosted: Token | None = None
        self._highlights: list[Highlight] = []

    # Words.

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    def _is(self, *words: str) -> bool:
        """Whether these words follow; they are compared without case, and quoted ones are none."""
        return self._words[self._at : self._at + len(words)] == words

    def _take(self, *words: str) -> bool:
        if self._is(*words):
            self._at += len(words)
            return True
        return False

    def _expect(self, *words: str) -> None:
        if not self._take(*words):
            raise self._wrong(f"expected {' '.join(words)!r}, found {self._next}")

    def _wrong(self, reason: str, hint: str = "", token: Token | None = None) -> InvalidQuery:
        return error_at(self._text, (token or self._next).place, reason, hint)

    def _advance(self) -> Token:
        token = self._next
        self._at += 1
        return token

    def _listed(self, item: Callable[[], T]) -> list[T]:
        items = [item()]
        while self._take(","):
            items.append(item())
        return items

    # Clauses.

    def query(self) -> Query:
        if self._is("declare"):
            raise self._wrong("functions in JavaScript are not evaluated", "select fields, and compute from the answer")
        self._expect("from")
        query = self._source()
        done: set[str] = set()
        while self._next.what != "end" and not self._is(";"):
            token = self._advance()
            clause = token.said.lower() if token.what == "name" else ""
            if clause in done:
                raise self._wrong(f"{clause!r} stands here a second time", token=token)
            done.add(clause)
            query = self._clause(clause, query, token)
        self._take(";")
        if self._next.what != "end":
            raise self._wrong(f"expected the end, found {self._next}")
        return self._complete(query)

    def _source(self) -> Query:
        index = self._take("index")
        token = self._advance()
        if token.what not in ("name", "text"):
            what = "an index" if index else "a collection"
            raise self._wrong(f"expected the name of {what}, found {token}", token=token)
        if self._take("as") or (self._next.what == "name" and self._next.said.lower() not in CLAUSES):
            self._alias = self._advance().said
        if index:
            return Query(index=token.said)
        return Query(None if token.said.lower() in ("@all_docs", "@all") else token.said)

    def _clause(self, clause: str, query: Query, token: Token) -> Query:
        match clause:
            case "group":
                self._expect("by")
                return replace(query, group=Group(tuple(self._listed(self._field))))
            case "where":
                return replace(query, where=self._or())
            case "order":
                self._expect("by")
                return replace(query, order=tuple(self._listed(self._order)))
            case "select":
                distinct = self._take("distinct")
                return replace(query, select=self._columns(), distinct=distinct)
            case "include":
                found = self._listed(self._include)
                return replace(query, include=tuple(filter(None, found)), highlight=tuple(self._highlights))
            case "limit":
                return self._limit(query)
            case "offset":
                return replace(query, skip=self._number())
            case "load":
                raise self._wrong("'load' is not evaluated", "use 'include', and put the documents together", token)
            case "update":
                raise self._wrong("this is no query but a change of documents", "send it as a patch by query", token)
            case "filter" | "filter_limit":
                raise self._wrong("'filter' is not known here", "say it with 'where', which needs no index", token)
        raise self._wrong(
            f"expected a clause (where, order by, select, include, limit) or the end, found {token}", token=token
        )

    def _complete(self, query: Query) -> Query:
        if query.group is None:
            if any(column.path[0] in (COUNT, SUM) for column in query.select):
                raise self._wrong("count() and sum() need 'group by'", "ask for the number of results otherwise")
            return query
        return replace(query, group=replace(query.group, sums=tuple(dict.fromkeys(self._sums))))

    # Conditions.

    def _or(self) -> Condition:
        items = [self._and()]
        while self._take("or"):
            items.append(self._and())
        return items[0] if len(items) == 1 else Or(tuple(items))

    def _and(self) -> Condition:
        items = [self._not()]
        while self._take("and"):
            items.append(self._not())
        return items[0] if len(items) == 1 else And(tuple(items))

    def _not(self) -> Condition:
        token = self._next
        self._depth += 1
        if self._depth > model.MAX_DEPTH:
            raise self._wrong(
                f"the conditions are nested more than {model.MAX_DEPTH} deep", "ask with fewer parentheses"
            )
        try:
            if self._take("not"):
                return Not(self._not())
            if self._take("("):
                inner = self._or()
                self._expect(")")
                return inner
            if self._take("true"):
                return EVERYTHING
            if token.what == "name" and self._tokens[self._at + 1].said == "(" and token.said.lower() != "id":
                return self._function()
            return self._comparison()
        finally:
            self._depth -= 1

    def _function(self) -> Condition:
        token = self._advance()
        name = token.said.lower()
        self._expect("(")
        match name:
            case "exists":
                condition: Condition = Exists(self._field())
            case "startswith" | "endswith":
                field = self._field()
                self._expect(",")
                kind = StartsWith if name == "startswith" else EndsWith
                condition = kind(field, self._text_value())
            case "search":
                condition = self._search()
            case "exact":
                condition = _exact(self._or())
            case "boost":  # which changes nothing where the order is not that of a score
                self._boosted = token
                condition = self._or()
                self._expect(",")
                self._value()
            case _:
                known = "exists, startsWith, endsWith, search, exact and id"
                raise self._wrong(f"{token.said}() is not evaluated; known are {known}", _BEYOND.get(name, ""), token)
        self._expect(")")
        return condition

    def _search(self) -> Condition:
        field = self._field()
        self._expect(",")
        text = self._text_value()
        every = False
        if self._take(","):
            every = self._take("and")
            if not every:
                self._expect("or")
        return Search(field, text, every)

    def _comparison(self) -> Condition:
        field, token = self._field(), self._next
        if self._take("between"):
            low = self._value()
            self._expect("and")
            return Range(field, low, self._value())
        if self._take("in"):
            return In(field, self._values())
        if self._take("all", "in"):
            return And(tuple(Equal(field, value) for value in self._values()))
        if token.said not in _SIGNS or token.what != "sign":
            raise self._wrong(f"expected =, !=, <, <=, >, >=, between or in, found {token}")
        self._at += 1
        value = self._value()
        if isinstance(value, list | tuple | dict):
            raise self._wrong(f"a field cannot be compared with {value!r}", "use 'in' for several values", token)
        return _compared(field, token.said, value)

    # Values.

    def _value(self) -> Any:
        token = self._advance()
        match token.what:
            case "text":
                return token.said
            case "number":
                return Number(token.said)
            case "parameter":
                if token.said[1:] not in self._parameters:
                    raise self._wrong(f"the parameter {token.said} is not given", "give a value for it", token)
                return self._parameters[token.said[1:]]
            case "name" if token.said.lower() in ("true", "false", "null"):
                return {"true": True, "false": False, "null": None}[token.said.lower()]
        raise self._wrong(f"expected a value, found {token}", "write texts in quotes, and parameters as $name", token)

    def _values(self) -> tuple[Any, ...]:
        bracketed = self._take("(")
        values = [] if bracketed and self._is(")") else self._listed(self._value) if bracketed else [self._value()]
        if bracketed:
            self._expect(")")
        return tuple(each for value in values for each in (value if isinstance(value, list | tuple) else [value]))

    def _text_value(self) -> str:
        token, value = self._next, self._value()
        if not isinstance(value, str) or isinstance(value, Number):
            raise self._wrong(f"expected a text, found {token}", token=token)
        return value

    def _number(self) -> int:
        token, value = self._next, self._value()
        if isinstance(value, Number) and value.isdigit():
            return int(value)
        if type(value) is int and value >= 0:
            return value
        raise self._wrong(f"expected a whole number, found {token}", token=token)

    # Fields.

    def _field(self) -> Field:
        return Field(self._path()[0])

    def _path(self) -> tuple[tuple[str, ...], str]:
        """A path, and how it is called where it has no other name."""
        if self._is("id", "("):
            self._at += 2
            if self._next.what == "name":
                self._at += 1
            self._expect(")")
            return (ID,), "Id"
        names = [self._name()]
        while True:
            if self._take("."):
                names.append(self._name())
            elif self._take("["):
                names.append(self._name())
                self._expect("]")
            elif not self._take("[]"):
                break
        if len(names) > 1 and names[0] == self._alias:
            del names[0]
        if self._is("("):
            raise self._wrong(f"{'.'.join(names)}() is not evaluated", _BEYOND.get(".".join(names).lower(), ""))
        return tuple(names), names[-1]

    def _name(self) -> str:
        token = self._advance()
        if token.what not in ("name", "text") or not token.said:
            raise self._wrong(f"expected a field, found {token}", token=token)
        if token.what == "name" and token.said.lower() in CLAUSES | {"from", "and", "or"}:
            raise self._wrong(f"expected a field, found {token}", "put it in quotes if a field has this name", token)
        return token.said

    def _order(self) -> Order:
        token = self._next
        if self._is("random", "("):
            raise self._wrong(f"documents are not ordered by {token.said}()", "order by a field", token)
        if self._take("score", "("):
            self._expect(")")
            if self._boosted:
                hint = "leave boost() out, or order by a field"
                raise self._wrong("boost() changes nothing in the order by score()", hint, self._boosted)
            field = Field((SCORE,))
        else:
            aggregate = self._aggregate()
            field = Field(aggregate[0]) if aggregate else self._field()
        if self._take("as"):
            token = self._advance()
            if token.said.lower() not in _KINDS:
                raise self._wrong(f"expected string, long or double, found {token}", token=token)
            field = Field(field.path, _KINDS[token.said.lower()])
        descending = self._take("desc") or self._take("descending")
        if not descending and not self._take("asc"):
            self._take("ascending")
        return Order(field, descending)

    def _columns(self) -> tuple[Column, ...]:
        if self._take("*"):
            return ()
        if self._is("{"):
            raise self._wrong("an object in JavaScript is not evaluated", "select fields: select Name, Address.City")
        return tuple(self._listed(self._column))

    def _column(self) -> Column:
        path, name = self._aggregate() or self._path()
        if self._take("as"):
            name = self._name()
        return Column(name, path)

    def _aggregate(self) -> tuple[tuple[str, ...], str] | None:
        if self._take("count", "("):
            self._expect(")")
            return (COUNT,), "Count"
        if self._take("key", "("):
            self._expect(")")
            return (model.KEY,), "Key"
        if self._take("sum", "("):
            path, name = self._path()
            self._expect(")")
            self._sums.append(Field(path))
            return (SUM, *path), name
        return None

    def _include(self) -> str | None:
        """The path of ids; None for what else there may be."""
        token = self._next
        if self._take("highlight", "("):
            self._highlights.append(self._highlight())
            return None
        if token.what == "name" and self._tokens[self._at + 1].said == "(":
            hint = _BEYOND.get(token.said.lower(), "include paths to the ids of documents")
            raise self._wrong(f"{token.said}() is not evaluated", hint, token)
        return ".".join(self._path()[0])

    def _highlight(self) -> Highlight:
        path, _ = self._path()
        found = Highlight(".".join(path), path)
        if self._take(","):
            found = replace(found, length=self._number())
        if self._take(","):
            found = replace(found, count=self._number())
        if self._take(","):
            token, marks = self._next, self._value()
            try:
                found = msgspec.convert({**msgspec.to_builtins(found), **_marks(marks)}, Highlight)
            except (msgspec.ValidationError, TypeError, KeyError, IndexError):
                reason = 'expected {"PreTags": ["<b>"], "PostTags": ["</b>"]} as a parameter'
                raise self._wrong(reason, token=token) from None
        self._expect(")")
        return found

    def _limit(self, query: Query) -> Query:
        first = self._number()
        if self._take(","):
            return replace(query, skip=first, take=self._number())
        if self._take("offset"):
            return replace(query, skip=self._number(), take=first)
        return replace(query, take=first)


def _marks(given: Any) -> dict[str, Any]:
    return {"before": given["PreTags"][0], "after": given["PostTags"][0]}


def _compared(field: Field, sign: str, value: Any) -> Condition:
    match sign:
        case "=" | "==":
            return Equal(field, value)
        case "!=" | "<>":
            return Not(Equal(field, value))
        case "<" | "<=":
            return Range(field, high=value, high_open=sign == "<")
    return Range(field, low=value, low_open=sign == ">")


def _exact(condition: Condition) -> Condition:
    match condition:
        case And(items) | Or(items):
            return type(condition)(tuple(map(_exact, items)))
        case Not(item):
            return Not(_exact(item))
        case Equal() | In():
            return replace(condition, exact=True)
    return condition
