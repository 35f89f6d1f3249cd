"""Lucene's query syntax, as RavenDB 3 and its clients write queries: a text becomes a condition.

The grammar is luqum's; the words are read here, as RavenDB has more of them. Each
term is a text there, so `Freight:10` finds the number and the text. What is excluded among alternatives (`a OR -b`) is
excluded from all of them, as Lucene does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias

import msgspec

from muniment.errors import InvalidInput, InvalidQuery
from muniment.later import Later
from muniment.query import keys, model
from muniment.query.keys import Number
from muniment.query.model import (
    EVERYTHING,
    ID,
    MAX_CLAUSES,
    And,
    As,
    Condition,
    Contains,
    EndsWith,
    Equal,
    Exists,
    Field,
    In,
    Not,
    Or,
    Range,
    Search,
    StartsWith,
)
from muniment.query.tokens import error_at

if TYPE_CHECKING:
    from luqum import exceptions, head_tail, parser, tree
    from ply import lex
else:
    exceptions = Later("luqum.exceptions")
    head_tail = Later("luqum.head_tail")
    parser = Later("luqum.parser")
    tree = Later("luqum.tree")
    lex = Later("ply.lex")

_DOCUMENT_ID: Final = "__document_id"
_RANGE: Final = "_Range"  # what RavenDB calls the number in a field
_SEE: Final = "see docs/queries.md"


class Compared(NamedTuple):
    """What a name in a query stands for: fields, one of which has to be as asked for, and how their texts compare."""

    paths: tuple[tuple[str, ...], ...]
    texts: Literal["folded", "words", "stems", "exact"] = "folded"


Naming: TypeAlias = Callable[[str], Compared]


def named(name: str) -> Compared:
    """The field of documents that has this name: `Company`, `ShipTo.City`, `Lines,Product`, `__document_id`."""
    if name == _DOCUMENT_ID:
        return Compared(((ID,),))
    if name.startswith("@metadata."):
        return Compared(((model.METADATA, name.removeprefix("@metadata.")),))
    return Compared((model.field(name).path,))


def number_field(name: str) -> str:
    """The name of the field whose number this is: `Freight` for `Freight_Range`."""
    return name.removesuffix(_RANGE)


def parse(text: str, *, every: bool = False, default: str = "", naming: Naming = named) -> Condition:
    """The condition that a query states; raises `InvalidQuery` with the place of what cannot be read.

    With `every`, what is joined by nothing is joined by AND. `default` is the field of terms that name none.
    """
    reader = _Reader(text, every, default, naming)
    parts = [reader.condition(words) for words in _parts(list(_words(text)))]
    return parts[0] if len(parts) == 1 else And(tuple(parts))


class _Word(NamedTuple):
    """A word: what the grammar calls it, what it is there, and the place of its first character."""

    type: str
    value: Any
    place: int


_word: Final = re.compile(
    r"""(?P<space>\s+)
    |(?P<SPECIAL>\[\[[A-Z_]+\]\])
    |(?P<RANGE>[\[{]\s*(?P<low>"(?:[^"\\]|\\.)*"|(?:[^\s\]}"\\]|\\.)+)\s+TO\s+(?P<high>"(?:[^"\\]|\\.)*"|(?:[^\s\]}"\\]|\\.)+)\s*[\]}])
    |@(?P<IN>in|emptyIn)<(?P<field>(?:[^<>\\]|\\.)+)>:\(
    |(?P<PHRASE>"(?:[^"\\]|\\.)*")
    |(?P<AND_OP>&&)|(?P<OR_OP>\|\|)|(?P<NOT>!)|(?P<MINUS>(?<!:)-(?=\S))|(?P<PLUS>\+(?=\S))
    |(?P<COLUMN>:)|(?P<LPAREN>\()|(?P<RPAREN>\))
    |(?P<BOOST>\^[0-9.]*)|(?P<APPROX>~[0-9.]*)
    |(?P<TERM>(?:[^\s:^~(){}\[\]"\\]|\\.|(?<=T\d\d):\d\d(?::\d\d)?)+)""",
    re.VERBOSE | re.DOTALL,
)
_listed: Final = re.compile(r'\s*("(?:[^"\\]|\\.)*"|(?:[^\s,()"\\]|\\.)(?:[^,()"\\]|\\.)*)\s*([,)])', re.DOTALL)
_OPERATORS: Final = {"AND": "AND_OP", "OR": "OR_OP", "NOT": "NOT", "INTERSECT": "INTERSECT"}
_CLAUSES: Final = ("TERM", "PHRASE", "SPECIAL", "RANGE")


def _words(text: str) -> Iterator[_Word]:
    place = clauses = 0
    while place < len(text):
        found = _word.match(text, place)
        if found is None:
            raise error_at(text, place, _unknown(text[place]), _SEE)
        kind, end = found.lastgroup, found.end()
        if found["IN"]:
            values, end = _values(text, end)
            clauses += len(values)
            said = (found["field"], () if found["IN"] == "emptyIn" else values)
            yield _Word("TERM", _item("In", text[place:end], said, place), place)
        elif kind != "space":
            type = _OPERATORS.get(found[0], "TERM") if kind == "TERM" else str(kind)
            if found["RANGE"]:
                type = "RANGE"
            clauses += (type in _CLAUSES) - (type == "COLUMN")  # what stands before it is no clause
            yield _Word("TERM" if type in ("SPECIAL", "RANGE") else type, _value(type, found), place)
        if clauses > MAX_CLAUSES:
            raise error_at(text, place, f"there are more than {MAX_CLAUSES:,} clauses", "ask with several queries")
        place = end


def _unknown(letter: str) -> str:
    if letter == '"':
        return "this quote is not closed"
    if letter in "[{":
        return f"expected a range, [a TO b] or {{a TO b}}, after {letter!r}"
    return f"{letter!r} means nothing here"


def _values(text: str, place: int) -> tuple[tuple[str, ...], int]:
    values: list[str] = []
    while True:
        found = _listed.match(text, place)
        if found is None:
            if not values and text[place : place + 1] == ")":
                return (), place + 1
            raise error_at(text, min(place, len(text)), "expected a value, and ',' or ')' after it", _SEE)
        values.append(_plain(found[1]))
        place = found.end()
        if found[2] == ")":
            return tuple(values), place


def _item(kind: str, text: str, said: Any, place: int) -> Any:
    """What the grammar takes for a term; `kind` says what condition it is, and `said` what that is of."""
    item = tree.Word(text)
    item.kind, item.said, item.pos, item.size = kind, said, place, len(text)
    return item


def _value(type: str, found: re.Match[str]) -> Any:
    text, place = found[0], found.start()
    if type == "SPECIAL":
        return _item("Special", text, text, place)
    if type == "RANGE":
        low_open, high_open = text[0] == "{", text[-1] == "}"
        return _item("Range", text, (found["low"], found["high"], low_open, high_open, False), place)
    if type == "TERM":
        return _item("Term", text, text, place)
    value = tree.Phrase(text) if type == "PHRASE" else head_tail.TokenValue(text)
    if type in ("BOOST", "APPROX"):
        value = head_tail.TokenValue(text[1:] or None)
    value.pos, value.size = place, len(text)
    return value


def _parts(words: list[_Word]) -> list[list[_Word]]:
    """The words between those that say INTERSECT, which joins whole queries."""
    parts: list[list[_Word]] = [[]]
    for word in words:
        if word.type == "INTERSECT":
            parts.append([])
        else:
            parts[-1].append(word)
    return parts


class _Words:
    """Gives the grammar one word after the other."""

    def __init__(self, words: Sequence[_Word]) -> None:
        self._left = iter(words)
        self.last: _Word | None = None

    def input(self, text: str) -> None:
        """The grammar says what it reads; the words are there already."""

    def token(self) -> Any:
        """The next word, None at the end."""
        self.last = next(self._left, None)
        if self.last is None:
            return None
        token = lex.LexToken()
        token.type, token.value, token.lexpos, token.lineno = *self.last, 1
        return token


# What may come next, in a reader's words.
_NEXT: Final = {
    "TERM": "a term", "PHRASE": "a phrase", "LPAREN": "'('", "RPAREN": "')'", "COLUMN": "':'", "AND_OP": "AND",
    "OR_OP": "OR", "NOT": "NOT", "$end": "the end",
}  # fmt: skip


class _Reader:
    """Makes conditions of the tree that the grammar gives."""

    def __init__(self, text: str, every: bool, default: str, naming: Naming) -> None:
        self._text = text
        self._every = every
        self._default = default
        self._naming = naming

    def condition(self, words: Sequence[_Word]) -> Condition:
        """The condition that these words state."""
        if not words and not self._text.strip():
            return EVERYTHING
        try:
            return self._of(self._tree(words), None)
        except RecursionError:
            hint = "ask with fewer parentheses"
            raise error_at(self._text, words[0].place, "this is nested too deep", hint) from None

    def _tree(self, words: Sequence[_Word]) -> Any:
        source, reading = _Words(words), copy(parser.parser)  # which keeps what it is at
        try:
            # luqum has put a function in the place of the method, which knows one parser only.
            return type(reading).parse(reading, self._text, lexer=source, tokenfunc=source.token)
        except exceptions.ParseError:
            can = reading.action[reading.statestack[-1]]
            expected = " or ".join(said for type, said in _NEXT.items() if type in can)
            place = source.last.place if source.last else len(self._text)
            found = repr(str(source.last.value)) if source.last else "the end"
            raise error_at(self._text, place, f"expected {expected}, found {found}", _SEE) from None

    def _wrong(self, node: Any, reason: str, hint: str = _SEE) -> InvalidQuery:
        return error_at(self._text, node.pos or 0, reason, hint)

    def _of(self, node: Any, field: Compared | None) -> Condition:
        match type(node).__name__:
            case "SearchField":
                if node.name == "*" and getattr(node.expr, "value", "") == "*":
                    return EVERYTHING
                name = _plain(node.name)
                if getattr(node.expr, "kind", "") == "Range" and number_field(name) != name:
                    name, node.expr.said = number_field(name), (*node.expr.said[:4], True)
                return self._of(node.expr, self._field(node, name))
            case "Group" | "FieldGroup":
                if field is not None and field.texts == "folded" and (words := _words_in(node.expr)):
                    return _any(field, lambda path: _one_of(path, words))
                return self._of(node.expr, field)
            case "AndOperation" | "OrOperation" | "UnknownOperation" as kind:
                every = kind == "AndOperation" or (kind == "UnknownOperation" and self._every)
                return self._joined(node.children, field, every)
            case "Not" | "Prohibit":
                return Not(self._of(node.a, field))
            case "Plus":
                return self._of(node.a, field)
            case "Boost":  # the order is never that of a score, so it changes nothing
                return self._of(node.expr, field)
            case "Word" | "Phrase":
                return self._leaf(node, field)
            case "Fuzzy":
                raise self._wrong(node, "terms that are alike ('~') are not searched for", "search for the beginning")
        raise self._wrong(node, "words that are near ('~') are not searched for", "search for all of them with AND")

    def _joined(self, nodes: Sequence[Any], field: Compared | None, every: bool) -> Condition:
        found = [(type(node).__name__, self._of(node, field)) for node in nodes]
        if every:
            return And(tuple(each for _, each in found))
        needed = [each for kind, each in found if kind in ("Plus", "Not", "Prohibit")]
        others = tuple(each for kind, each in found if kind not in ("Plus", "Not", "Prohibit"))
        if others and not any(kind == "Plus" for kind, _ in found):
            needed.append(others[0] if len(others) == 1 else Or(others))
        return needed[0] if len(needed) == 1 else And(tuple(needed))

    def _field(self, node: Any, name: str) -> Compared:
        try:
            return self._naming(name)
        except InvalidQuery:
            raise
        except InvalidInput as error:
            raise self._wrong(node, error.message, error.hint) from error

    def _leaf(self, node: Any, field: Compared | None) -> Condition:
        kind = getattr(node, "kind", "Phrase")
        if kind == "In":
            name, values = node.said
            compared = self._field(node, _plain(name))
            return _any(compared, lambda path: _among(path, values, compared.texts))
        if field is None:
            if not self._default:
                raise self._wrong(node, "expected a field and ':' before this", "write Name:value")
            field = self._field(node, self._default)
        compared = field
        if kind == "Range":
            return _any(compared, lambda path: self._range(node, path))
        if kind == "Special":
            return _any(compared, lambda path: self._special(node, path))
        if kind == "Phrase":
            text = _plain(node.value)
            return _any(compared, lambda path: _phrase(path, text, compared.texts))
        return _any(compared, lambda path: self._term(node, path, compared.texts))

    def _special(self, node: Any, path: tuple[str, ...]) -> Condition:
        if node.said not in ("[[NULL_VALUE]]", "[[EMPTY_STRING]]"):
            raise self._wrong(node, f"expected [[NULL_VALUE]] or [[EMPTY_STRING]], found {node.said}")
        return Equal(Field(path), None if node.said == "[[NULL_VALUE]]" else "")

    def _term(self, node: Any, path: tuple[str, ...], texts: str) -> Condition:
        pieces = re.findall(r"\\.|[^\\]", node.said, re.DOTALL)
        wild = [place for place, piece in enumerate(pieces) if piece in "*?"]
        text = _plain(node.said)
        if not wild:
            return _among(path, (text,), texts)
        if wild == [0] and text == "*":
            return Exists(Field(path))
        last = len(pieces) - 1
        if "?" in [pieces[place] for place in wild] or not set(wild) <= {0, last}:
            raise self._wrong(node, "'*' stands at the beginning or the end of a term only, and '?' nowhere")
        if texts in ("words", "stems") and wild == [last]:
            return _searched(path, text, texts)
        inner = "".join(piece[-1] for piece in pieces if piece != "*")
        if wild == [last]:
            return StartsWith(_texts_in(path, inner), inner)
        return EndsWith(_texts_in(path, inner), inner) if wild == [0] else Contains(_texts_in(path, inner), inner)

    def _range(self, node: Any, path: tuple[str, ...]) -> Condition:
        low, high, low_open, high_open, numbers = node.said
        first, last = _bound(low, numbers), _bound(high, numbers)
        given = [end for end in (first, last) if end is not msgspec.UNSET]
        if len({type(end) for end in given}) > 1:
            raise self._wrong(node, "expected both ends of the range as numbers, as in [Dx1 TO Dx9]")
        kind: As = "text" if any(type(end) is str and keys.is_number(end) for end in given) else "value"
        found: Condition = Range(Field(path, kind), first, last, low_open, high_open)
        if any(each.startswith("Lx") for each in (low, high)):  # the ticks of a length of time are there too
            found = Or((found, Range(Field(path, "duration"), first, last, low_open, high_open)))
        return found


_number: Final = re.compile(r"[DFIL]x(.+)", re.DOTALL)


def _bound(said: str, numbers: bool) -> Any:
    """An end of a range: UNSET for none, a `Number` for `Dx10`, and where all are `numbers` for 10; else a text."""
    if said in ("*", "NULL"):
        return msgspec.UNSET
    number = _number.fullmatch(said)
    if number and keys.is_number(number[1]):
        return Number(number[1])
    if numbers and keys.is_number(said):
        return Number(said)
    return _plain(said)


def _plain(said: str) -> str:
    """A word as it is meant: without quotes, and without what keeps a letter from meaning something."""
    if len(said) > 1 and said[0] == said[-1] == '"':
        said = said[1:-1]
    return re.sub(r"\\(.)", r"\1", said, flags=re.DOTALL)


def _any(compared: Compared, condition: Callable[[tuple[str, ...]], Condition]) -> Condition:
    found = tuple(map(condition, compared.paths))
    return found[0] if len(found) == 1 else Or(found)


def _among(path: tuple[str, ...], texts: Sequence[str], how: str) -> Condition:
    values = [value for text in texts for value in _meant(text)]
    if how in ("words", "stems"):
        found = tuple(_searched(path, text, how) for text in texts)
        return found[0] if len(found) == 1 else Or(found)
    return In(Field(path), tuple(values), how == "exact")


def _meant(text: str) -> Iterator[Any]:
    """The values whose text this is in an index of RavenDB."""
    yield text
    if keys.is_number(text):
        yield Number(text)
    elif text.lower() in ("true", "false"):
        yield text.lower() == "true"
    elif text == "[[NULL_VALUE]]":
        yield None
    elif text == "[[EMPTY_STRING]]":
        yield ""


def _phrase(path: tuple[str, ...], text: str, how: str) -> Condition:
    if how not in ("words", "stems"):
        return _among(path, (text,), how)
    return _searched(path, '"' + re.sub('["*]', " ", text) + '"', how)


def _searched(path: tuple[str, ...], text: str, how: str) -> Condition:
    return Search(Field(path), text, True, how == "stems")


def _words_in(node: Any) -> list[str]:
    """The words in brackets where there is nothing else."""
    items = node.children if type(node).__name__ == "UnknownOperation" else [node]
    plain = all(getattr(each, "kind", "") == "Term" for each in items)
    return [each.said for each in items] if plain else []


def _one_of(path: tuple[str, ...], words: Sequence[str]) -> Condition:
    """`Name:(red car)`: one of these words is in the text, or is the text."""
    texts = tuple(map(_plain, words))
    searched = " ".join(text for text in texts if "*" not in text.rstrip("*"))
    return Or((Search(Field(path), searched), _among(path, texts, "folded")))


def _texts_in(path: tuple[str, ...], text: str) -> Field:
    """The field, in which a number begins and ends as its text does."""
    return Field(path, "text" if not text or set(text) <= set("0123456789.-+eE") else "value")
