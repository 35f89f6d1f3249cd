"""Words and their stems, against FTS5's own where it has them."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path
from sys import getrefcount

import apsw
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from muniment.query.stems import stem
from muniment.query.words import GAP, Place, Term, in_order, places, terms_of, text_of, times, words_of

DOCS = Path(__file__).parents[2] / "docs"


def test_stems_are_those_of_fts5() -> None:
    words = set(re.findall("[a-z]+", " ".join(path.read_text().lower() for path in DOCS.glob("*.md")))) - {"ies", "eed"}
    words |= set("relational conditional valenci digitizer radicalli vileli analogousli feudalism sensibiliti".split())
    words |= set("hopping tanned falling hissing fizzed failing filing happy sky agreed plastered motoring".split())
    connection = apsw.Connection(":memory:")
    porter = connection.fts5_tokenizer("porter", ["ascii"])
    flags = apsw.FTS5_TOKENIZE_DOCUMENT
    theirs = {
        word: next(iter(porter(word.encode(), flags, None, include_offsets=False, include_colocated=False)))
        for word in words
    }
    connection.close()
    assert len(words) > 2000
    assert {word: stem(word) for word in words} == theirs


def test_long_words_are_not_remembered() -> None:
    word = "a" * 30_000
    before = getrefcount(word)
    assert stem(word) == word
    assert getrefcount(word) == before


@pytest.mark.parametrize("word", ["straße", "o'neil", "a1s", "is", "s" * 65, ""])
def test_what_is_no_english_word_is_its_own_stem(word: str) -> None:
    assert stem(word) == word


_PIECES = st.sampled_from(
    ["Two", "cars", "'", "'s", "'S", "’s", "_", "é", "e\u0301", "ΣΑΣ", "ﬁ", "\0", "!", "\xa8", "9"]
)
_PLAIN = st.sampled_from(["Dog", "a", "S", "'", "'s", "'S", "_", " ", "-", "\n", "7"])


@given(st.text() | st.lists(_PIECES | st.just(" ")).map("".join) | st.lists(_PLAIN).map("".join))
@example("the dog's o'neil's's 'quoted' a''s s' 's _'s")
def test_fts5_cuts_the_same_words_out_of_a_text(text: str) -> None:
    """And each piece of a text is cut as the whole is."""
    words = [word.encode() for word in words_of(text)]
    assert in_order(text, stems=False) == (found := [*words, GAP] if words else [])
    assert in_order(text, stems=True) == [stem(word.decode()).encode() if word != GAP else GAP for word in found]
    with closing(apsw.Connection(":memory:")) as connection:
        cut = connection.fts5_tokenizer("ascii", ["tokenchars", "_'"])
        for stems in (False, True):
            said = text_of(text, stems=stems)
            there = cut(said, apsw.FTS5_TOKENIZE_DOCUMENT, None, include_offsets=False, include_colocated=False)
            assert [str(word).encode() for word in there] == in_order(text, stems=stems)


def test_words_are_without_case_accents_and_other_forms() -> None:
    text = "The ﬁrst CAFÉ’s O’Neil\u0301 Ｗide straße_1 ΣΑΣ"
    assert list(words_of(text)) == ["the", "first", "cafe", "o'neil", "wide", "straße_1", "σας"]
    assert [text[place.start : place.end] for place in places(text, stems=False)] == [
        "The", "ﬁrst", "CAFÉ’s", "O’Neil", "Ｗide", "straße_1", "ΣΑΣ"
    ]  # fmt: skip
    assert [place.word for place in places(text, stems=False)] == list(words_of(text))
    assert places("two cars", stems=True)[1] == Place("car", 4, 8)


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("red CAR red", [(("red",), False), (("car",), False)]),
        ("wor* San-Jose*", [(("wor",), True), (("san",), False), (("jose",), True)]),
        ('"red car" "blue bi*" "green"*', [(("red", "car"), False), (("blue", "bi"), True), (("green",), True)]),
        ('"unclosed quote', [(("unclosed",), False), (("quote",), False)]),
        ('"" ! * "*"', []),
    ],
)
def test_what_is_searched_for(text: str, terms: list[tuple[tuple[str, ...], bool]]) -> None:
    expected = [Term(tuple(word.encode() for word in words), prefix) for words, prefix in terms]
    assert list(terms_of(text, stems=False)) == expected


def test_how_often_a_term_is_there() -> None:
    words = [word.encode() for word in "red red car red carts red".split()]
    [phrase, begun, single] = terms_of('"red car" "red car"* red', stems=False)
    assert [times(words, each) for each in (phrase, begun, single)] == [1, 2, 4]
