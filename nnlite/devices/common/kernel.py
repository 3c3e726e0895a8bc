"""Kernels: small functions on arrays, each with one line that names the shapes of its operands and results.

    @kernel("x (N,K), W (K,M), b (M) -> y (N,M)", product="x W", columns="M")
    def linear(x, W, b): ...

Equal letters are equal sizes. N stands for rows that are computed independently of each other, so that threads may
divide them; rows that are not independent have another letter. In nnlite's own kernels, P stands for parameters that
are moved independently of each other. A name without parentheses is a plain number; if it is a letter, it is that size.
A result with the name of an operand is that operand, written in place. This one line serves to check shapes, reserve
results and test kernels. Further facts that a device must know follow it as keywords.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

_TERM = re.compile(r"\s*(\w+)\s*(?:\(([^)]*)\))?\s*(?:,|$)")


@dataclass(frozen=True)
class Signature:
    """The operands and results of a kernel: name -> letters of the shape, None for a plain number."""

    text: str
    operands: Mapping[str, tuple[str, ...] | None]
    results: Mapping[str, tuple[str, ...]]

    @classmethod
    def parse(cls, text: str) -> Signature:
        """Read a text such as `"x (N,K), scale -> y (N,K)"`; ValueError if it is not understood."""
        left, arrow, right = text.partition("->")
        if not arrow:
            raise ValueError(f"a kernel's signature needs '->' between operands and results, not {text!r}")
        operands = _terms(left, text)
        given = {name: letters or operands.get(name) for name, letters in _terms(right, text).items()}
        known = {letter for letters in operands.values() for letter in letters or ()}
        known |= {name for name, letters in operands.items() if letters is None}
        results = {}
        for name, letters in given.items():
            if letters is None:
                raise ValueError(f"the result {name} of {text!r} needs a shape, such as {name} (N)")
            results[name] = letters
            if name in operands and letters != operands[name]:
                raise ValueError(f"{name} is written in place, so it cannot have two shapes in {text!r}")
            for letter in letters:
                if letter not in known and not letter.isdigit():
                    raise ValueError(f"the result {name} of {text!r} has the size {letter}, which no operand has")
        return cls(text, operands, results)

    @cached_property
    def fresh(self) -> list[str]:
        """Results for which memory is reserved: those that are not operands written in place."""
        return [name for name in self.results if name not in self.operands]

    @cached_property
    def in_place(self) -> list[str]:
        """Operands that are written."""
        return [name for name in self.results if name in self.operands]

    @cached_property
    def inputs(self) -> list[str]:
        """Operands that are only read."""
        return [name for name in self.operands if name not in self.results]

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The sizes that are written as numbers: "2" -> 2."""
        shapes = (*self.operands.values(), *self.results.values())
        return {letter: int(letter) for letters in shapes for letter in letters or () if letter.isdigit()}

    def named(self, operands: Sequence[Any], kernel: str = "kernel") -> dict[str, Any]:
        """Name -> operand; ValueError for more or fewer than there are."""
        if len(operands) != len(self.operands):
            raise ValueError(f"{kernel} has the operands {', '.join(self.operands)}, but was given {len(operands)}")
        return dict(zip(self.operands, operands))

    def sizes(self, operands: Sequence[Any], kernel: str = "kernel") -> dict[str, int]:
        """Letter -> size for these operands; ValueError where they do not fit together."""
        sizes: dict[str, int] = dict(self.numbers)
        arrays = []
        for name, operand in self.named(operands, kernel).items():
            letters = self.operands[name]
            if letters is None:
                sizes[name] = operand
            else:
                arrays.append((name, letters, operand.shape))
        for name, letters, shape in arrays:
            if len(shape) != len(letters) or [sizes.get(a, n) for a, n in zip(letters, shape)] != [*shape]:
                text = ", ".join(str(sizes.get(a, a)) for a in letters)
                raise ValueError(f"{kernel}: {name} has shape {shape}, expected ({text})")
            sizes.update(zip(letters, shape))
        return sizes


def _terms(text: str, signature: str) -> dict[str, tuple[str, ...] | None]:
    """`"x (N,K), scale"` -> {"x": ("N", "K"), "scale": None}."""
    terms: dict[str, tuple[str, ...] | None] = {}
    place = 0
    while text[place:].strip():
        found = _TERM.match(text, place)
        name, shape = found.groups() if found else ("", None)
        letters = None if shape is None else tuple(letter.strip() for letter in shape.split(","))
        if not found or not name.isidentifier() or not all(a.isidentifier() or a.isdigit() for a in letters or ()):
            raise ValueError(
                f"{text[place:].strip()!r} in the signature {signature!r} is not understood; write names, and "
                "for arrays their sizes as letters or numbers: 'x (N,K), b (K), scale -> y (N,K)'"
            )
        if name in terms:
            raise ValueError(f"{name} stands twice on one side of the signature {signature!r}")
        terms[name] = letters
        place = found.end()
    return terms


@dataclass(frozen=True, eq=False)
class Kernel:
    """A formula, its signature, and the facts that let a device run it fast."""

    formula: Callable[..., Any]
    signature: Signature
    elementwise: bool = False  # loops get flat arrays, and may run on to the end of a vector
    product: str = ""  # the matrix product that it contains, such as "x W" or "dy Wᵀ"
    columns: str = ""  # the letter of the size that threads may divide although the rows are not independent
    begins: str = ""  # the operand from which a batch takes rows, from a position that is known only in a step
    numbered: bool = False  # whether the operand `first` is the number that the first row has in the batch
    with_sgd: str = ""  # the name of the kernel fused from this one and the step of plain gradient descent

    def __post_init__(self) -> None:
        named = ("__module__", "__name__", "__qualname__", "__doc__")
        vars(self).update({name: getattr(self.formula, name) for name in named}, __wrapped__=self.formula)

    def __call__(self, *operands: Any) -> Any:
        return self.formula(*operands)

    def __repr__(self) -> str:
        return f"<kernel {self.name}: {self.signature.text}>"

    def __reduce__(self) -> str | tuple[Any, ...]:
        """A copy is this kernel, and in another process the one of this name in its module.

        Only cloudpickle, with which joblib, Dask and Ray send functions, takes those of __main__ as code, and so the
        kernels made of them.
        """
        writer = sys._getframe(1).f_globals.get("__name__", "")
        if self.formula.__module__ == "__main__" and writer.endswith("cloudpickle.cloudpickle"):
            return Kernel, tuple(getattr(self, field.name) for field in fields(self))
        return self.formula.__qualname__

    @property
    def name(self) -> str:
        return self.formula.__name__

    @property
    def own(self) -> bool:
        """Whether it is a user's own kernel, and not one of nnlite's."""
        return not self.formula.__module__.startswith(f"{__package__.rpartition('.')[0]}.")

    @property
    def counts(self) -> bool:
        """Whether all its arrays hold a single number. Such a kernel is a counter, and may work on integers."""
        return all(letters in (None, ("1",)) for letters in self.signature.operands.values())


def kernel_of(function: Any) -> Kernel:
    """The kernel that a function of a device's table computes: the function itself, or its attribute `kernel`."""
    found = function if isinstance(function, Kernel) else getattr(function, "kernel", None)
    if not isinstance(found, Kernel):
        raise TypeError(f'{function!r} is no kernel: declare it with @nl.kernel("x (N,K) -> y (N,K)")')
    return found


def kernel(signature: str, **facts: Any) -> Callable[[Callable[..., Any]], Kernel]:
    """Declare a function as a kernel. The operands in `signature` must be the function's parameters, in order.

    On numba a kernel is compiled. Values from outside the function, such as a number of its module, are constants in
    the machine code; a later fit notices that they have changed, and compiles the kernel again. Compiled code does not
    check whether an index lies within an array. Trainer(…, replay="eager") runs the formula in Python, which does, and
    NNLITE_CHECK_BOUNDS=1 in the environment compiles it with such checks. `facts` are the attributes of `Kernel`, such
    as elementwise=True. ValueError for a function that does not fit the signature, or was not written with def.
    """
    parsed = Signature.parse(signature)

    def declare(function: Callable[..., Any]) -> Kernel:
        if not inspect.isfunction(function):
            raise ValueError(f"a kernel is a function written with def, not {function!r}")
        parameters = inspect.signature(function).parameters
        by_place = all(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters.values())
        if list(parameters) != list(parsed.operands) or not by_place:
            names = f"{function.__name__}({', '.join(parameters)})"
            raise ValueError(f"kernel {names} does not match {signature!r}: the names and their order must be the same")
        if not function.__name__.isidentifier():
            raise ValueError(f"a kernel is a function written with def, which gives it a name, not {function!r}")
        shapes = {letters for letters in (*parsed.operands.values(), *parsed.results.values()) if letters is not None}
        if facts.get("elementwise") and (len(shapes) > 1 or parsed.in_place):
            raise ValueError(f"an elementwise kernel has arrays of one shape, and writes none in place: {signature!r}")
        return Kernel(function, parsed, **facts)

    return declare


def kernels_in(module: Mapping[str, Any]) -> dict[str, Kernel]:
    """All kernels of a module, by name, in the order of the source."""
    return {name: kernel for name, kernel in module.items() if isinstance(kernel, Kernel)}


class Kernels:
    """The kernel table of one device: `ops.linear(x, W, b)`. Later tables override earlier ones by name."""

    def __init__(self, *tables: Mapping[str, Callable[..., Any]]) -> None:
        for table in tables:
            vars(self).update(table)

    def of(self, kernel: Kernel) -> Callable[..., Any]:
        """The function that this device calls for a kernel: its own if it has one, or else the formula."""
        found = None if kernel.own else getattr(self, kernel.name, None)
        return found if found is not None and kernel_of(found) is kernel else kernel

    def call(self, kernel: Kernel, *operands: Any) -> Any:
        """Call a user's own kernel, which is in no table; ValueError for shapes that do not fit its signature."""
        signature, name = kernel_of(kernel).signature, kernel.name
        sizes = signature.sizes(operands, name)
        answer = kernel(*operands)
        several = len(signature.fresh) > 1
        if several and not (isinstance(answer, (tuple, list)) and len(answer) == len(signature.fresh)):
            raise ValueError(f"{name} must return a tuple ({', '.join(signature.fresh)}), as its signature says")
        results = answer if several else (answer,) * len(signature.fresh)
        for result, value in zip(signature.fresh, results, strict=True):
            wanted = tuple(sizes[letter] for letter in signature.results[result])
            if getattr(value, "shape", None) != wanted:
                found = getattr(value, "shape", type(value).__name__)
                raise ValueError(f"{name} gives {result} of shape {found}, its signature says {wanted}")
        return tuple(answer) if several else answer

    def __getattr__(self, name: str) -> Any:  # only reached when there is no such kernel; typed for mypy
        known = ", ".join(sorted(self.names()))
        raise AttributeError(f"there is no kernel {name!r}; one of your own is called by ops.call; known are {known}")

    def names(self) -> set[str]:
        """The names of all kernels."""
        return set(vars(self))
