"""A model of a table as a file of C99: the network, and before it what the decisions make of the cells of a row.

D features, K outputs
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from ..atomic import replacing
from ..exporting import c, traced
from ..network import Sequential
from .cells import MISSING
from .columns import Category, Column, Date, Number
from .decisions import Decisions
from .values import yes_or_no
from .written import EXPONENTS, WHEELS

# What a kind of column becomes in x; each returns where the next column begins. Only those that are used are written.
NUMBER = """#if defined __FAST_MATH__ || (defined __FINITE_MATH_ONLY__ && __FINITE_MATH_ONLY__)
#error "with -ffast-math, a missing number cannot be told from others"
#endif

static {kind} *number(double value, double fill, int flag, int *gaps, {kind} *x)
{{
    int gap = !isfinite(value);
    *gaps += gap;
    *x++ = ({kind}) (gap ? fill : value);
    if (flag) *x++ = ({kind}) gap;
    return x;
}}
"""
TURN = """/* The place of a date in the year, the week or the day, as an angle's sine and cosine. */
static {kind} *turn(double days, double fill, double wheel, {kind} *x)
{{
    double turns = ((isfinite(days) ? days : fill) + (wheel == 7 ? 4 : 0)) / wheel;
    double angle = 2 * 3.14159265358979323846 * (turns - floor(turns));
    *x++ = ({kind}) sin(angle);
    *x++ = ({kind}) cos(angle);
    return x;
}}
"""
CATEGORY = """/* Whether a text stands for a missing value, in capitals or not. */
static int missing(const char *text)
{{
    static const char *const words[{count}] = {{{words}}};
    if (!text) return 1;
    for (int i = 0; i < {count}; i++) {{
        const char *a = text, *b = words[i];
        while (*b && (*a >= 'A' && *a <= 'Z' ? *a + 'a' - 'A' : *a) == *b) a++, b++;
        if (!*a && !*b) return 1;
    }}
    return 0;
}}

/* One number for each of the values from `first` on, 1 for that of the text; if a flag is asked for, then whether there
   is none. `others`: whether values that are not among these are all 0, and not taken as missing. */
static {kind} *category(const char *text, const char *const *values, int count, int first, int fill, int others,
                        int flag, int *gaps, {kind} *x)
{{
    int place = -1, gap;
    for (int i = 0; i < count && place < 0 && text; i++) if (!strcmp(text, values[i])) place = i;
    *gaps += place < 0;
    gap = place < 0 && (!others || missing(text));
    if (gap) place = fill;
    for (int i = first; i < count; i++) *x++ = i == place;
    if (flag) *x++ = ({kind}) gap;
    return x;
}}
"""


def export(
    network: Sequential,
    decisions: Decisions,
    classes: Sequence[str],
    path: str | os.PathLike[str],
    function: str,
) -> None:
    """Write the network and what it needs of a table; `classes` are none for numbers."""
    text = c.source(traced(network), network, function) + _of_table(network, decisions, classes, function)
    c.refuse_twice(text, function, 3)  # it is declared, defined and called
    with replacing(path) as file:
        file.write(text.encode())


def _of_table(network: Sequential, decisions: Decisions, classes: Sequence[str], function: str) -> str:
    """The function `…_row`, which calls the one that is the network's."""
    kind = c.TYPES[str(network.dtype)]
    used = [column for column in decisions.columns if column.features]
    texts = [column for column in used if isinstance(column, Category)]
    numbers = [column for column in used if not isinstance(column, Category)]
    parameters = ["const double *numbers"] * bool(numbers) + ["const char *const *texts"] * bool(texts)
    turns = any(isinstance(column, Date) and column.wheels for column in used)
    parts = [NUMBER] * bool(numbers) + [TURN] * turns + [CATEGORY] * bool(texts)
    words = sorted(MISSING)
    goal = decisions.target.name if decisions.target else "the answer"
    lines = [*_comment(function, numbers, texts), "", *_answer(goal, classes, network.outputs or 0, function), ""]
    lines += ["#include <string.h>", ""] if texts else []
    head = f"int {function}_row({', '.join([*parameters, f'{kind} *y'])})"
    lines += [*c.LINKED[0], *[f"extern const char *const {function}_classes[{len(classes)}];"] * bool(classes)]
    lines += [f"{head};", *c.LINKED[1], ""]
    if classes:
        lines += [f"const char *const {function}_classes[{len(classes)}] = {{", *_listed(classes), "};", ""]
    for part in parts:
        filled = part.format(kind=kind, count=len(words), words=", ".join(map(_string, words)))
        lines += filled.splitlines() + [""]
    for i, each in enumerate(texts):
        lines += [f"static const char *const values_{i}[{len(each.values)}] = {{", *_listed(each.values), "};", ""]
    lines += [
        head,
        "{",
        f"    {kind} x[{len(decisions.features)}], *next = x;",
        "    int gaps = 0;",
    ]
    for column in used:
        lines.append(f"    /* {_plain(column.name)} */")
        lines += _statements(column, numbers, texts)
    return "\n".join(["", *lines, f"    {function}(x, y);", "    return gaps;", "}", ""])


def _statements(column: Column, numbers: Sequence[Column], texts: Sequence[Column]) -> list[str]:
    """The statements that make a column's features."""
    if isinstance(column, Category):
        i = texts.index(column)
        fill = column.values.index(column.fill) if column.fill in column.values else -1
        first = len(column.values) - (len(column.features) - column.flag)
        told = f"{len(column.values)}, {first}, {fill}, {int(column.others)}, {int(column.flag)}, &gaps"
        return [f"    next = category(texts[{i}], values_{i}, {told}, next);"]
    assert isinstance(column, Number)
    cell, middle = f"numbers[{numbers.index(column)}]", c.number(column.fill, "float64")
    lines = [f"    next = number({cell}, {middle}, {int(column.flag)}, &gaps, next);"]
    if isinstance(column, Date):
        lines += [f"    next = turn({cell}, {middle}, {WHEELS[wheel]}, next);" for wheel in column.wheels]
    return lines


def _comment(function: str, numbers: Sequence[Column], texts: Sequence[Category]) -> list[str]:
    """What the function reads; the comment ends with `_answer`."""
    names = [name for name, columns in (("numbers", numbers), ("texts", texts)) if columns]
    lines = [f"/* {function}_row({', '.join([*names, 'y'])}) reads the columns of a table as they are:", ""]
    for i, column in enumerate(numbers):
        lines.append(f"   numbers[{i}]  {_plain(column.name)}{_plain(_unit(column))}; NAN if it is missing")
    for i, column in enumerate(texts):
        words = f", {' or '.join(map(_string, column.values))}" if yes_or_no(column.values) else ""
        lines.append(f"   texts[{i}]  {_plain(column.name)}{_plain(words)}, as in values_{i}; NULL if it is missing")
    return lines


def _unit(column: Column) -> str:
    """What a number counts, as far as the table says it."""
    assert isinstance(column, Number)
    if isinstance(column, Date):
        return ", in days since 1970-01-01" + (" (0.5 is noon)" if "day" in column.wheels else "")
    if column.unit == "%":
        return ", in percent: 50 for 50 %"
    if column.truths:
        return ", 0 or 1 (1 for yes)"
    if column.unit in EXPONENTS:
        return ", in figures: 1200 for 1.2K"
    return f", in {column.unit}" + (", without the sign" if column.unit != "seconds" else "") if column.unit else ""


def _answer(goal: str, classes: Sequence[str], outputs: int, function: str) -> list[str]:
    """What the function writes."""
    what = "a number" if outputs == 1 else "numbers"
    if classes:
        of = f"{function}_classes[1]" if outputs == 1 else f"each of {function}_classes"
        what = f"the probability of {of}"
    spelt = [
        "   Texts are as in training, letter by letter; `nnlite predict` also knows other spellings, as YES for yes.",
        "   It returns how many columns are missing, or have a text that is not among their values.",
    ]
    return [f"   It writes y[{outputs}], {what}: {_plain(goal)}.", *spelt, "*/"]


def _listed(texts: Sequence[str]) -> list[str]:
    """Lines with these texts."""
    return [f"    {_string(text)}," for text in texts]


def _string(text: str) -> str:
    """A text as C writes it. What is no plain letter or sign is written as its bytes in UTF-8, by their numbers."""
    plain = set(range(32, 127)) - {*b'"\\?'}
    return '"' + "".join(chr(byte) if byte in plain else f"\\{byte:03o}" for byte in text.encode()) + '"'


def _plain(text: str) -> str:
    """A name for a comment in C, which neither ends it nor looks as if another began."""
    line = " ".join(text.split())
    return line.replace("*/", "* /").replace("/*", "/ *").replace("??", "? ?")
