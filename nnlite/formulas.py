"""Formulas with numbers in the place of names: `dx = dy y (1 − y)` becomes `0.5·0.6·(1 − 0.6)`, which is 0.12.

A kernel's docstring begins with its formulas, written as in a book: `2 dy y (1 − y)`, `1 / (1 + e⁻ˣ)`,
`1/K Σₖ (p − t)²`, `x where x > 0, else slope · x`. Here they are read, and computed for one number of the result. Not
every docstring is understood, or complete: whoever uses this compares the value with the number that the kernel gave.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import ge, gt, le, lt

Numbers = Mapping[str, float]
TOKEN = re.compile(r"beta[12]|\d+(?:\.\d+)?|½|Σ[ₖₙⱼ]?|√|[^\W\d_ₖₙⱼ]+(?:_[a-z]+)*[ₖₙⱼ]?|[()|,+−·/^<>≤≥]")
MEANING = r"(?:,| with) ([a-zMV])\s*=\s*([^,.;=]+)"  # such as ", e = p − t"
# fmt: off
PLAIN = {
    "⁻ˣ": "^−x", "ˣ": "^x", "²": "^2", "³": "^3", "⁻⁸": "^−8", "\n": " ", "β₁": "beta1 ", "β₂": "beta2 ", "ρ": "rho ",
    "ᵗ": "^steps ", "m̂": "M ", "v̂": "V ",
}
PLAIN_DIGITS = 6  # of a kernel's plain numbers
RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
LETTERS = {"ₖ": "K", "ⱼ": "K", "ₙ": "N"}  # what a sum runs over
SHORT = {  # names in formulas, and the operands that they stand for
    "p": "prediction", "z": "logits", "t": "target", "ℓ": "losses", "v": "velocity", "μ": "momentum", "γ": "gamma",
    "β": "beta", "δ": "delta", "ε": "epsilon", "a": "averages",
}
FUNCTIONS: dict[str, Callable[..., float]] = {
    "tanh": math.tanh, "ln": math.log, "sin": math.sin, "cos": math.cos, "cosh": math.cosh, "max": max, "min": min,
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)), "sign": lambda x: float(x > 0) - float(x < 0),
}
COMPARISONS: dict[str, Callable[[float, float], bool]] = {">": gt, "<": lt, "≥": ge, "≤": le}
# fmt: on


class NotUnderstoodError(ValueError):
    """The formula is not in the language that is read here."""


class Exact(float):
    """A plain number of a kernel, such as 0.999: printed as it is."""


@dataclass(frozen=True)
class Part:
    """A part of a formula with numbers: its value, its text, and how tightly the text holds together."""

    value: float
    text: str
    rank: int  # 0 for a sum, 1 for a product, 2 for anything that needs no brackets
    note: str = ""  # the condition under which it is so

    def within(self, rank: int) -> str:
        """The text, in brackets if it holds less tightly than that."""
        return self.text if self.rank >= rank else f"({self.text})"


def told(value: float, digits: int) -> str:
    """A number as text with so many significant digits.

    >>> told(-0.25, 4), told(12345.0, 3), told(-0.0, 4)
    ('−0.25', '1.23e+04', '0')
    """
    if isinstance(value, int) or not value:
        return f"{int(value)}".replace("-", "−")
    digits = PLAIN_DIGITS if isinstance(value, Exact) else digits
    return ("−" if value < 0 else "") + f"{abs(value):.{digits}g}"


def bare(text: str) -> str:
    """The text without the brackets around a negative number at its beginning.

    >>> bare("(−0.5)·(−2)"), bare("(−0.5)²")
    ('−0.5·(−2)', '(−0.5)²')
    """
    return re.sub(r"^\((−[\d.e+-]+)\)(?![²³])", r"\1", text)


def formula_of(docstring: str, result: str) -> str:
    """The formula of this result, as the docstring has it; NotUnderstoodError if there is none."""
    text = docstring.partition("\n\n")[0]
    names = [result, *(short for short, full in SHORT.items() if full == result)]
    for name in names:
        found = re.search(rf"(?:^|[;,] |: ){re.escape(name)}[ₖₙ]? [=←] (.*)", text, re.DOTALL)
        if found:
            return found[1]
    gradient = re.search(r"; gradient (.*)", text, re.DOTALL)
    if gradient and result.startswith("d"):
        meanings = re.findall(MEANING, text[: gradient.start()])
        return "".join([gradient[1], *(f", {name} = {meaning}" for name, meaning in meanings)])
    raise NotUnderstoodError(f"{docstring!r} has no formula of {result}")


def computed(formula: str, numbers: Numbers, along: Callable[[str], Sequence[Numbers]], digits: int) -> Part:
    """The formula with these numbers; `along("K")` has those of each term of a sum over K.

    It may be followed by other words; `…, e = p − t` and `… with s = sigmoid(x)` tell what a letter in it means.
    NotUnderstoodError for what is not read here.

    >>> part = computed("dy y (1 − y), where y is the output", {"dy": -0.5, "y": 0.6}, lambda letter: [], 4)
    >>> part.text, round(part.value, 3)
    ('(−0.5)·0.6·(1 − 0.6)', -0.12)
    """
    for written, plain in PLAIN.items():
        formula = formula.replace(written, plain)
    for name, meaning in re.findall(MEANING, formula):
        if name not in numbers:
            formula = re.sub(rf"(?<!\w){name}(?!\w|\^[^\d])", f"({meaning.strip()})", formula)
    try:
        return Reader(formula, numbers, along, digits).choice()
    except (ArithmeticError, IndexError, TypeError, ValueError) as error:
        raise NotUnderstoodError(f"{formula!r}: {error}") from error


class Reader:
    """Reads a formula from left to right, and computes as it reads: each method reads one kind of part."""

    def __init__(self, formula: str, numbers: Numbers, along: Callable[[str], Sequence[Numbers]], digits: int) -> None:
        self.formula, self.place = formula, 0
        self.numbers, self.along, self.digits = numbers, along, digits
        self.sums = self.bars = 0  # how many sums, and absolute values, the reader is within

    # ---- words ----------------------------------------------------------------------------------------------------

    def next(self) -> str:
        """The next word or sign; empty at the end, or before something that is not known."""
        found = TOKEN.match(self.formula, self._after_spaces())
        return found[0] if found else ""

    def take(self, *wanted: str) -> str:
        """Go past the next word, which must be one of these if any are given."""
        token = self.next()
        if not token or (wanted and token not in wanted):
            raise NotUnderstoodError(f"{wanted or 'a number'} expected at {self.formula[self.place :]!r}")
        self.place = self._after_spaces() + len(token)
        return token

    def _after_spaces(self) -> int:
        return self.place + len(self.formula[self.place :]) - len(self.formula[self.place :].lstrip(" "))

    def number(self, token: str) -> float | None:
        """The number that a name stands for; None for a name that is not known."""
        name = token.rstrip("ₖₙⱼ")
        return self.numbers.get(name, self.numbers.get(SHORT.get(name, ""), None))

    def begins_a_factor(self) -> bool:
        """Whether what follows is multiplied with what was read."""
        token = self.next()
        if token == "|":
            return not self.bars
        known = token in ("e", "π", "softmax", *FUNCTIONS) or self.number(token) is not None
        return known or token[:1] in ("(", "√", "½", "Σ") or token[:1].isdigit()

    # ---- parts, from the loosest to the tightest ----------------------------------------------------------------

    def choice(self) -> Part:
        """A sum, or `sum where condition, else sum`."""
        part = self.sum()
        if self.next() != "where":
            return part
        self.take("where")
        left, holds, text = self.sum(), True, ""
        text = left.text
        while self.next() in COMPARISONS:
            sign = self.take()
            right = self.sum()
            holds, text, left = (
                holds and COMPARISONS[sign](left.value, right.value),
                f"{text} {sign} {right.text}",
                right,
            )
        self.take(",")
        self.take("else")
        other = self.sum()
        return replace(part if holds else other, note=text if holds else f"not {text}")

    def sum(self) -> Part:
        part = self.product()
        while self.next() in ("+", "−"):
            sign = self.take()
            other = self.product()
            value = part.value + other.value if sign == "+" else part.value - other.value
            part = Part(value, f"{part.text} {sign} {other.within(1)}", 0)
        return part

    def product(self) -> Part:
        if self.next() == "−":
            self.take()
            part = self.product()
            return Part(-part.value, f"−{part.within(1)}", 0)
        part = self.factors()
        while self.next() in ("·", "/") or self.begins_a_factor():
            sign = self.take() if self.next() in ("·", "/") else "·"
            other = self.factors()
            if sign == "/":
                part = Part(part.value / other.value, f"{part.within(1)} / {other.within(2)}", 1)
            else:
                dot = " · " if " / " in part.text else "·"
                part = Part(part.value * other.value, f"{part.within(1)}{dot}{other.within(1)}", 1)
        return part

    def factors(self) -> Part:
        """Factors without a space between them, such as 2K: they hold together more tightly than a division."""
        part = self.power()
        while self.formula[self.place : self.place + 1] not in ("", " ") and self.begins_a_factor():
            other = self.power()
            part = Part(part.value * other.value, f"{part.within(1)}·{other.within(1)}", 1)
        return part

    def power(self) -> Part:
        base = None if self.next() == "e" and self.number("e") is None else self.single()
        if base is None:
            self.take("e")
            self.take("^")
            exponent = self.exponent()
            return Part(math.exp(exponent.value), f"e^{exponent.within(2)}", 2)
        if self.next() != "^":
            return base
        self.take("^")
        exponent = self.exponent()
        value, whole = base.value**exponent.value, exponent.value == int(exponent.value) > 0
        mark = f"{exponent.value:.0f}".translate(RAISED) if exponent.value != 1 else ""
        text = f"{base.within(2)}{mark}" if whole else told(value, self.digits)
        return Part(value, text, 2)

    def exponent(self) -> Part:
        negative = self.next() == "−" and bool(self.take())
        part = self.power()
        if not negative:
            return part
        text = told(-part.value, self.digits)
        return Part(-part.value, f"({text})" if text.startswith("−") else text, 2)

    def single(self) -> Part:
        token = self.take()
        if token == "(":
            part = self.sum()
            self.take(")")
            return part
        if token == "|":
            self.bars += 1
            part = self.sum()
            self.take("|")
            self.bars -= 1
            return Part(abs(part.value), f"|{part.text}|", 2)
        if token == "½":
            return Part(0.5, token, 2)
        if token == "π":
            return Part(math.pi, token, 2)
        if token[0].isdigit():
            return Part(float(token), token, 2)
        if token == "√":
            part = self.single()
            return Part(math.sqrt(part.value), f"√({part.text})", 2)
        if token[0] == "Σ":
            return self.sum_over(LETTERS[token[1:]] if token[1:] else "N")
        if token == "softmax":
            return self.softmax()
        if token in FUNCTIONS:
            arguments = self.arguments()
            value = FUNCTIONS[token](*(part.value for part in arguments))
            return Part(value, f"{token}({', '.join(bare(part.text) for part in arguments)})", 2)
        number = self.number(token)
        if number is None:
            raise NotUnderstoodError(f"{token!r} is not known")
        text = told(number, self.digits)
        return Part(number, f"({text})" if number < 0 else text, 2)

    def arguments(self) -> list[Part]:
        if self.next() != "(":
            return [self.power()]
        self.take("(")
        parts = [self.sum()]
        while self.next() == ",":
            self.take()
            parts.append(self.sum())
        self.take(")")
        return parts

    def sum_over(self, letter: str) -> Part:
        """Σ of all that follows up to the bracket; within another sum, of the product that follows."""
        start, outside, parts = self.place, self.numbers, []
        self.sums += 1
        for numbers in self.along(letter):
            self.numbers, self.place = numbers, start
            parts.append(self.choice() if self.sums == 1 else self.product())
        self.numbers = outside
        self.sums -= 1
        if len(parts) < 2:
            return parts[0]  # an IndexError for a sum over nothing
        return Part(math.fsum(part.value for part in parts), " + ".join(part.within(1) for part in parts), 0)

    def softmax(self) -> Part:
        """softmax(z) of one class, from the numbers of all classes."""
        self.take("(")
        name = self.take()
        self.take(")")
        outside, exponents = self.numbers, []
        for numbers in [outside, *self.along("K")]:
            self.numbers = numbers
            value = self.number(name)
            if value is None:
                raise NotUnderstoodError(f"{name!r} is not known")
            text = told(value, self.digits)
            exponents.append(Part(math.exp(value), f"e^({text})" if value < 0 else f"e^{text}", 2))
        self.numbers = outside
        one, *others = exponents
        whole = Part(math.fsum(part.value for part in others), " + ".join(part.text for part in others), 0)
        return Part(one.value / whole.value, f"{one.text} / {whole.within(2)}", 1)
