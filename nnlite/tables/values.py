"""The values of a category, and the classes of a target, however they are written: True and true, 1 and 01 and 1.0.

A file has `true` where pandas has True, and `01` where pandas has 1. A word is therefore looked up as it stands, else
as yes or no if all values are such, else as a whole number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from .cells import number

PAIRS = (("false", "true"), ("no", "yes"), ("f", "t"), ("n", "y"), ("off", "on"))
TRUTHS = {word: bool(place) for pair in PAIRS for place, word in enumerate(pair)}
BESIDE = frozenset(("0", "1", "0.0", "1.0", "false", "true", "no", "yes"))  # what may stand beside both words of a pair


def truth(word: str) -> bool | None:
    """Whether a word says yes or no; None if it says something else.

    >>> truth("TRUE"), truth("n"), truth("1.0"), truth("maybe")
    (True, False, True, None)
    """
    found = TRUTHS.get(word.lower())
    return {0.0: False, 1.0: True}.get(number(word)) if found is None else found


def _pair(words: Iterable[str]) -> tuple[str, str] | None:
    """The pair of words that these are: its own, with other words for the same at most if both are there."""
    found = {word.lower() for word in words}
    return next((pair for pair in PAIRS if found and (found <= {*pair} or {*pair} <= found <= {*pair} | BESIDE)), None)


def yes_or_no(words: Iterable[str]) -> bool:
    """Whether these are the values of a column of yes and no.

    >>> yes_or_no(["True", "false", "1"]), yes_or_no(["yes", "no", "maybe"]), yes_or_no(["0", "1"])
    (True, False, False)
    """
    return _pair(words) is not None


def spellings(counts: Mapping[str, int]) -> dict[str, str]:
    """The value that each of these words is: itself, or for yes and no the most frequent word for the same."""
    pair = _pair(counts)
    usual: dict[bool | None, str] = {}
    for word in sorted(counts, key=lambda word: (-counts[word], word)):
        if pair and word.lower() in pair:
            usual.setdefault(truth(word), word)
    return {word: usual.get(truth(word), word) if pair else word for word in counts}


def merged(counts: Mapping[str, int], same: Mapping[str, str]) -> dict[str, int]:
    """How often each value stands there, where `counts` says how often each word does, and `same` which value it is."""
    found: dict[str, int] = {}
    for word, n in counts.items():
        found[same[word]] = found.get(same[word], 0) + n
    return found


def places_of(words: Sequence[str], values: Sequence[str]) -> list[int]:
    """The place of each word among the values, −1 for a word that is none of them, or could be several."""
    exactly = {value: place for place, value in enumerate(values)}
    places = [exactly.get(word, -1) for word in words]
    if -1 not in places:
        return places
    like_truths = yes_or_no(values) or sorted(map(number, values)) == [0, 1]
    truths = {truth(value): place for value, place in exactly.items()} if like_truths else {}
    numbers: dict[int | None, int] = {}
    for value, place in exactly.items():
        whole = whole_number(value)
        numbers[whole] = -1 if whole in numbers else place
    numbers[None] = -1

    def otherwise(word: str) -> int:
        found = truths.get(truth(word), -1)
        return numbers.get(whole_number(word), -1) if found < 0 else found

    return [otherwise(word) if place < 0 else place for word, place in zip(words, places)]


def differ(words: Iterable[str]) -> bool:
    """Whether there are different whole numbers among words that are all the same float."""
    return len({whole_number(word) for word in words} - {None}) > 1


def whole_number(word: str) -> int | None:
    """The whole number that a word is, None if it is none; exact, where float() would turn 2⁵³ + 1 into 2⁵³."""
    value = number(word)
    if not np.isfinite(value) or value != np.floor(value):
        return None
    try:
        return int(word)
    except ValueError:  # 2.0, 1e3
        return int(value)
