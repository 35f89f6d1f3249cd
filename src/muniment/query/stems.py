"""Porter's algorithm (1980): what English words begin with before their endings, so that one finds the others."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

_VOWELS: Final = frozenset("aeiou")
_LONGEST: Final = 64
# Endings, and what becomes of them where enough is left before; of several that fit, the longest counts.
_STEP_2: Final = {
    "ational": "ate", "tional": "tion", "enci": "ence", "anci": "ance", "izer": "ize", "logi": "log", "bli": "ble",
    "alli": "al", "entli": "ent", "eli": "e", "ousli": "ous", "ization": "ize", "ation": "ate", "ator": "ate",
    "alism": "al", "iveness": "ive", "fulness": "ful", "ousness": "ous", "aliti": "al", "iviti": "ive",
    "biliti": "ble",
}  # fmt: skip
_STEP_3: Final = {
    "icate": "ic", "ative": "", "alize": "al", "iciti": "ic", "ical": "ic", "ful": "", "ness": "",
}  # fmt: skip
_STEP_4: Final = tuple(
    "al ance ence er ic able ible ant ement ment ent ion ou ism ate iti ous ive ize".split()
)  # fmt: skip


def stem(word: str) -> str:
    """The stem of a word in small letters; one that is not English in ASCII, short or very long, is its own."""
    if not 3 <= len(word) <= _LONGEST or not (word.isascii() and word.isalpha()):
        return word
    return _known(word)


@lru_cache(1 << 16)  # of short words alone: so many long ones would fill the memory
def _known(word: str) -> str:
    for step in (_plurals, _past, _last_y, _double, _single, _suffix, _last_e):
        word = step(word)
    return word


def _consonants(word: str) -> str:
    """The word with `c` for each consonant and `v` for each vowel; a `y` after a consonant is one."""
    kinds = ""
    for letter in word:
        vowel = letter in _VOWELS or (letter == "y" and kinds[-1:] == "c")
        kinds += "v" if vowel else "c"
    return kinds


def _measure(word: str) -> int:
    """How many times consonants follow vowels."""
    return _consonants(word).count("vc")


def _has_vowel(word: str) -> bool:
    return "v" in _consonants(word)


def _is_short(word: str) -> bool:
    """Whether it ends in consonant, vowel, consonant, the last of which is no w, x or y."""
    return _consonants(word)[-3:] == "cvc" and word[-1] not in "wxy"


def _plurals(word: str) -> str:
    if word.endswith(("sses", "ies")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word


def _past(word: str) -> str:
    if word.endswith("eed"):
        return word[:-1] if _measure(word[:-3]) > 0 else word
    for ending in ("ed", "ing"):
        if word.endswith(ending):
            begin = word[: -len(ending)]
            return _tidied(begin) if _has_vowel(begin) else word
    return word


def _tidied(word: str) -> str:
    """What is before an ending that was taken away, as it is written without it."""
    if word.endswith(("at", "bl", "iz")):
        return word + "e"
    if word[-1:] == word[-2:-1] and _consonants(word)[-1:] == "c" and word[-1] not in "lsz":
        return word[:-1]
    return word + "e" if _measure(word) == 1 and _is_short(word) else word


def _last_y(word: str) -> str:
    return word[:-1] + "i" if word.endswith("y") and _has_vowel(word[:-1]) else word


def _double(word: str) -> str:
    return _replaced(word, _STEP_2)


def _single(word: str) -> str:
    return _replaced(word, _STEP_3)


def _replaced(word: str, endings: dict[str, str]) -> str:
    for size in range(min(7, len(word)), 2, -1):
        if word[-size:] in endings:
            begin = word[:-size]
            return begin + endings[word[-size:]] if _measure(begin) > 0 else word
    return word


def _suffix(word: str) -> str:
    found = max((ending for ending in _STEP_4 if word.endswith(ending)), key=len, default="")
    begin = word[: len(word) - len(found)]
    if not found or _measure(begin) < 2 or (found == "ion" and begin[-1:] not in ("s", "t")):
        return word
    return begin


def _last_e(word: str) -> str:
    if word.endswith("e"):
        begin = word[:-1]
        size = _measure(begin)
        if size > 1 or (size == 1 and not _is_short(begin)):
            word = begin
    return word[:-1] if word.endswith("ll") and _measure(word) > 1 else word
