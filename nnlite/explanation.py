"""What an explained step shows: its numbers as text, in a notebook, and as a picture."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import markup
from .devices import Kernel


@dataclass(frozen=True)
class Equation:
    """One number: its name, how it comes about, and its value, as in `y₁ = x₁·W₁₁ + b₁ = 0.5·0.2 + 0 = 0.1`."""

    name: str
    sign: str  # "=", or "←" for a number that is changed
    parts: Sequence[str]
    value: str
    note: str = ""  # the condition under which it is so

    @property
    def middle(self) -> str:
        """All between the name and the value."""
        return " = ".join(part for part in self.parts if part != self.value)  # not 0.1 = 0.1

    def cells(self) -> list[str]:
        """The equation as cells of a table."""
        note = f"since {self.note}" if self.note else ""
        return [self.name, self.sign, self.middle, "=" if self.middle else "", self.value, note]

    def __str__(self) -> str:
        middle = f"{self.middle} = " if self.middle else ""
        return f"{self.name} {self.sign} {middle}{self.value}{f'  (since {self.note})' if self.note else ''}"


@dataclass(frozen=True)
class Matrix:
    """An array with its name: rows of numbers as text."""

    name: str
    rows: Sequence[Sequence[str]]

    def __str__(self) -> str:
        widths = [max(map(len, column)) for column in zip(*self.rows)]
        lines = ["  ".join(f"{text:>{width}}" for text, width in zip(row, widths)) for row in self.rows]
        begin = f"{self.name} = " if self.name else ""
        return begin + f"\n{' ' * len(begin)}".join(lines)

    def table(self) -> str:
        """The same as HTML."""
        return markup.table((), self.rows, self.name, range(len(self.rows[0])))


@dataclass(frozen=True)
class Explained:
    """One call of a kernel: in whose name it is made, what it reads, and what comes out."""

    stage: str
    author: str  # the layer, the loss or the optimizer
    kernel: Kernel
    before: Mapping[str, Any]  # operand -> its array before the call, or its plain number
    after: Mapping[str, np.ndarray]  # result -> its array
    origins: Mapping[str, str]  # operand that is read -> what it is
    equations: Sequence[Equation] = ()  # the results that can be written out, number by number
    matrices: Sequence[Matrix] = ()  # all others, and what they are computed from

    @property
    def title(self) -> str:
        said = " ".join((self.kernel.__doc__ or "").partition("\n\n")[0].split())
        formula = re.split(r"\.\s+(?=[A-Z`])", said)[0].partition(", written in place")[0].rstrip(".")
        return f"{self.author}, {self.kernel.name}{f': {formula}' if formula else ''}"

    @property
    def where(self) -> str:
        """What the operands are."""
        return ", ".join(f"{name} is {origin}" for name, origin in self.origins.items() if name != origin)


@dataclass(frozen=True)
class Drawn:
    """A layer in the picture: the outputs and errors of the first row, and the weights before them if it has any."""

    name: str
    outputs: Sequence[str]
    errors: Sequence[str]  # the gradients of the loss by these outputs; empty if they are not known
    weights: np.ndarray | None = None  # (inputs, outputs)
    labels: Sequence[Sequence[str]] = ()  # of the weights: before and after the step


@dataclass(frozen=True)
class Explanation:
    """A step in numbers. Print it, let a notebook show it, or draw it with `plot`; its attributes have the parts."""

    digits: int
    given: Sequence[Matrix]
    calls: Sequence[Explained]
    loss: Equation
    moved: Sequence[Matrix]  # the parameters after the step
    apart: str  # how far the exact parameters are from these
    layers: Sequence[Drawn]

    @property
    def rule(self) -> str:
        """How the numbers are rounded."""
        return (
            f"Each number follows from those above it. It is rounded to {self.digits} significant digits (a half away "
            "from 0) before it is used again; within an equation, nothing is rounded, nor within a call of which only "
            f"arrays are shown. Without rounding, no parameter would differ by more than {self.apart}."
        )

    def _parts(self) -> Iterator[tuple[str, str, Sequence[Equation | Matrix]]]:
        """(heading, text, what stands below it), from top to bottom."""
        yield "One step of training in numbers", self.rule, ()
        yield "given", "", self.given
        stage = ""
        for each in self.calls:
            if stage == "loss" != each.stage:
                yield "", "the loss over all rows", [self.loss]
            yield each.stage if each.stage != stage else "", each.title, ()
            yield "", each.where, [*each.equations, *each.matrices]
            stage = each.stage
        yield "after the step", "", self.moved

    def __str__(self) -> str:
        lines: list[str] = []
        for heading, text, parts in self._parts():
            lines += [heading.upper(), ""] if heading else []
            lines += textwrap.wrap(text, 100)
            lines += [f"    {line}" for part in parts for line in str(part).splitlines()]
            lines += [""] if parts or text == self.rule else []
        return "\n".join(lines).rstrip()

    def _repr_html_(self) -> str:
        found: list[str] = []
        for heading, text, parts in self._parts():
            found += [markup.heading(heading)] if heading else []
            found += [markup.paragraph(text)] if text else []
            equations = [part.cells() for part in parts if isinstance(part, Equation)]
            matrices = [part.table() for part in parts if isinstance(part, Matrix)]
            found += [markup.table((), equations)] if equations else []
            found += [markup.beside(matrices)] if matrices else []
        return f"<section>{''.join(found)}</section>"

    def plot(self, path: Any = None, ax: Any = None) -> Any:
        """The step of the first row as a picture, written to `path` if one is given; returns the matplotlib Axes."""
        from . import plots

        return plots.written(plots.step(self.layers, self.loss.value, ax=ax), path)
