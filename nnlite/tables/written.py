"""Numbers, dates and times as people write them: $1,234.50, 12 %, 5 km, 1.2M, 31/12/1999, 1 Jan 2000, 11:30 PM."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterable, Sequence
from datetime import datetime

import numpy as np

from .cells import number

UNIT = r"(?:[$€£¥₹%]|USD|EUR|GBP|CHF|JPY)"
UNITS = re.compile(rf"^([+-]?)\s*{UNIT}\s*|\s*{UNIT}$")
CODES = {"$": "USD", "€": "EUR", "£": "GBP", "¥": "JPY"}
BARE = re.compile(r"[+-]?[\d.,]+", re.ASCII)  # without a unit
BLANKS = " '’\u00a0\u202f"  # between groups of three digits, besides commas or points
GROUPED = {
    comma: re.compile(rf"[+-]?[1-9]\d{{0,2}}(?:([{mark}{BLANKS}])\d{{3}})(?:\1\d{{3}})*(?:{point}\d*)?")
    for comma, mark, point in ((False, ",", r"\."), (True, ".", ","))
}


def parsed(text: str, comma: bool = False) -> float:
    """The number in a text with currency signs, percent or groups of digits, NaN if there is none; 12 % is 12.

    comma: whether 1,5 is one and a half, and not 1.5.

    >>> parsed("$1,234.50"), parsed("(1.234,50 €)", comma=True), parsed("12 %"), parsed("1.2×10^6")
    (1234.5, -1234.5, 12.0, 1200000.0)
    """
    text, negative = text.strip(), False
    if "×10^" in text:
        text, _, exponent = text.partition("×10^")
        return number(f"{parsed(text, comma)!r}e{exponent}")
    if not BARE.fullmatch(text):  # most are
        text = text.replace("−", "-")
        negative = text.startswith("(") and text.endswith(")")
        text = UNITS.sub(r"\1", UNITS.sub(r"\1", text[1:-1] if negative else text)).strip()
    match = GROUPED[comma].fullmatch(text)
    if match:
        text = text.replace(match[1], "")
    elif comma and "." in text:
        return math.nan
    if comma:
        text = text.replace(",", ".", 1)
    return -number(text) if negative else number(text)


# A number, perhaps with a sign before it, and a text without digits behind it.
BEHIND = re.compile(rf"[+\-−]?(?:{UNIT}\s*)?\.?\d[\d.,{BLANKS}]*?\s*([^\d\s.,][^\d]*)")
ORDINALS = frozenset(("st", "nd", "rd", "th"))


def behind(text: str) -> str:
    """The text behind the number in this one, such as km/h; "" if there is none, or none but a sign that is read.

    >>> behind("12.5 km/h"), behind("-3°C"), behind("12 %"), behind("10-20"), behind("km")
    ('km/h', '°C', '', '', '')
    """
    found = BEHIND.fullmatch(text.strip())
    return found[1] if found and found[1] not in ORDINALS and is_behind(found[1]) else ""


@functools.lru_cache(1000)
def is_behind(unit: str) -> bool:
    """Whether a unit is none of the signs that `parsed` knows, so that it can only be a text behind numbers."""
    return math.isnan(parsed(f"1{unit}"))


# Powers of ten behind numbers, by the unit that stands for all of them in a column. Small letters may be metres, miles,
# minutes or tonnes.
AMOUNTS, BYTES = "K, M, B", "KB, MB, GB"
EXPONENTS = {
    AMOUNTS: {"k": 3, "K": 3, "M": 6, "mn": 6, "Mn": 6, "B": 9, "bn": 9, "Bn": 9, "T": 12},
    BYTES: {"B": 0} | {f"{way}{b}": 3 * i for i, k in enumerate("KMGT", 1) for way in (k, k.lower()) for b in "Bb"},
}


def like_an_amount(text: str) -> bool:
    """Whether a number with a power of ten is hardly a code: it has a sign before it or a fraction, or is 100 or more.

    >>> like_an_amount("€3M"), like_an_amount("1.2K"), like_an_amount("565K"), like_an_amount("12K")
    (True, True, True, False)
    """
    return not text[:1].isdigit() or re.match(r"\d+[.,]\d|\d{3}", text) is not None


def without(text: str, unit: str) -> str:
    """The text without this unit at its end; powers of ten stay, in figures.

    >>> without("12 km", "km"), without("€1.2M", AMOUNTS), without("900", AMOUNTS)
    ('12', '€1.2×10^6', '900')
    """
    text = text.strip()
    if unit not in EXPONENTS:
        return text.removesuffix(unit).rstrip()
    found = behind(text)
    exponent = EXPONENTS[unit].get(found)
    return text if exponent is None else f"{text.removesuffix(found).rstrip()}×10^{exponent}"


def unit(texts: Iterable[str]) -> str:
    """The signs of percent and currencies at the ends of these texts, with blanks between different ones."""
    found = (UNITS.search(text.strip().lstrip("(").rstrip(")")) for text in texts)
    return " ".join(sorted({match[0].lstrip("+-").strip() for match in found if match}))


def same_unit(one: str, other: str) -> bool:
    """Whether two units mean the same: € is EUR.

    >>> same_unit("€ %", "% EUR"), same_unit("$", "GBP")
    (True, False)
    """
    return {CODES.get(sign, sign) for sign in one.split()} == {CODES.get(sign, sign) for sign in other.split()}


def may_differ(one: str, other: str) -> bool:
    """Whether numbers with one unit may mean something else than with the other: 50 % may be 50 or 0.5.

    >>> may_differ("%", ""), may_differ("$", "GBP"), may_differ("$", "")
    (True, True, False)
    """
    return not same_unit(one, other) and ("%" in one + other or bool(one and other))


# ---- dates --------------------------------------------------------------------------------------------------------

MONTHS = {
    name: i + 1
    for i, name in enumerate(("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"))
}
CLOCK = r"(?P<H>\d{1,2}):(?P<M>\d{2})(?::(?P<S>\d{2})(?:\.\d+)?)?\s*(?P<half>[AaPp][Mm])?"
TIME = rf"(?:[T ,]+{CLOCK}\s*(?:Z|UTC|[+-]\d\d:?\d\d)?)?"
NAME = r"(?P<name>[A-Za-z]{3,9})\.?"
YEAR = r"(?P<y>\d{4}|\d{2})"
DAY = r"(?P<d>\d{1,2})(?:st|nd|rd|th)?"
DATES = [
    re.compile(pattern + TIME)
    for pattern in (
        r"(?P<y>\d{4})[-/.](?P<m>\d{1,2})(?:[-/.](?P<d>\d{1,2}))?",
        rf"(?P<first>\d{{1,2}})[-/.](?P<second>\d{{1,2}})[-/.]{YEAR}",
        rf"{DAY}[- ]{NAME}[- ,]+{YEAR}",
        rf"{NAME}[- ]{DAY}[- ,]+{YEAR}",
        rf"{NAME}[- ](?P<y>\d{{4}})",
        r"(?P<y>19\d\d|20\d\d|2100)(?P<m>\d\d)(?P<d>\d\d)(?:\.0)?",  # as whole numbers, which a gap makes floats
    )
]
TIME_OF_DAY = re.compile(CLOCK)
WHEELS = {"year": 365.2425, "week": 7.0, "day": 1.0}  # days of one turn
START = datetime(1970, 1, 1)  # a Thursday


def date(text: str, day_first: bool = False) -> datetime | None:
    """The date in a text, None if there is none. day_first: whether 1/2/2000 is the first of February.

    A time alone is one of the first day from which days are counted.

    >>> date("31/12/1999 23:59", day_first=True), date("6:30 pm")
    (datetime.datetime(1999, 12, 31, 23, 59), datetime.datetime(1970, 1, 1, 18, 30))
    """
    text = text.strip()
    if TIME_OF_DAY.fullmatch(text):
        text = f"{START:%Y-%m-%d} {text}"
    for pattern in DATES:
        found = pattern.fullmatch(text)
        if found:
            break
    else:
        return None
    part = found.groupdict()
    month = part.get("m") or MONTHS.get((part.get("name") or "")[:3].lower())
    day = part.get("d") or 1
    if part.get("first"):
        day, month = (part["first"], part["second"]) if day_first else (part["second"], part["first"])
    year = int(part["y"]) + (0 if len(part["y"]) > 2 else 1900 if int(part["y"]) > 68 else 2000)
    hour = int(part["H"] or 0)
    if part["half"]:
        hour = hour % 12 + (12 if part["half"].lower() == "pm" else 0)
    try:
        return datetime(year, int(month or 0), int(day), hour, int(part["M"] or 0), int(part["S"] or 0))
    except ValueError:
        return None


def ordered(text: str) -> bool:
    """Whether a text is a date such as 1/2/2000, in which either number may be the day, as far as it is 12 or less."""
    return DATES[1].fullmatch(text.strip()) is not None


def days(texts: Sequence[str], day_first: bool) -> np.ndarray:
    """Days since 1970 (n,) of each text, NaN where it is no date."""
    dates = [date(text, day_first) for text in texts]
    return np.array([math.nan if day is None else (day - START).total_seconds() / 86400 for day in dates], np.float64)


def turn(days: np.ndarray, wheel: str) -> np.ndarray:
    """The place in the year, the week or the day as an angle's sine and cosine (N, 2): its end is near its start."""
    angle = 2 * np.pi * ((days + (4 if wheel == "week" else 0)) / WHEELS[wheel] % 1)
    return np.stack([np.sin(angle), np.cos(angle)], axis=1)


def goes_round(days: np.ndarray, wheel: str) -> bool:
    """Whether dates (N,) lie at several places of the year, the week or the day, and not all close to a single one.

    Scaled to deviation 1, the tiny differences of annual dates would make any other date larger than all numbers. The
    mean of places on a circle is a point within it, the closer they are the nearer to it (Fisher 1993, section 2.3).
    """
    return bool(np.hypot(*turn(days, wheel).mean(axis=0)) < 1 - 1e-3)  # a deviation of 2.6 days in a year
