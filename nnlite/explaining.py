"""One step of training, written out with every number: products, activations, errors, gradients and updates.

The step is recorded on a twin, as for a fit. The calls of the tape are then made one by one on copies of the arrays, in
float64 on the numpy device. After each call, its results are rounded, and the next call goes on with the rounded
numbers. So every number follows from those printed before it, digit for digit, and the network is not changed.
"""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .architecture import families
from .devices import Arena, NotRecordableError, Recorder, Symbol, Tape, called, get_device
from .explanation import Drawn, Equation, Explained, Explanation, Matrix
from .formulas import PLAIN_DIGITS, Exact, NotUnderstoodError, Numbers, bare, computed, formula_of, told
from .programs import NOT_RECORDED
from .step import Step

MOST_NUMBERS = 4000  # results, and factors of products, that are written out at most
MOST_DIGITS = 10
LOSS, OPTIMIZER = "the loss", "the optimizer"
ORIGINS = {"x": "the input", "target": "the target", "rate": "the learning rate"}
SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


def explain(step: Step, x: Any, target: Any, digits: int) -> Explanation:
    """The step on x (N, inputs) and target (N, outputs), which have passed the gate.

    ValueError for a step that is too large to be written out, or that cannot be recorded.
    """
    if digits > MOST_DIGITS:
        raise ValueError(f"digits must be at most {MOST_DIGITS}, not {digits}")
    backend, host = step.network.backend, get_device("numpy")
    arrays = {"x": x, "target": target, **step.arrays()}
    arrays = {name: _copy(backend.to_numpy(array)) for name, array in arrays.items()}
    arrays["rate"][...] = step.optimizer.lr  # of the next step, if it follows a schedule
    exact, arena = (Arena(host, np.float64, {n: a.copy() for n, a in arrays.items()}) for _ in range(2))
    tape, authors, twin, losses = _recorded(step, arena)
    _refuse_large(tape)
    for each in (exact, arena):
        each.place("results", [(call, time) for time, call in enumerate(tape.calls)])
    for name in arrays:
        _round(arena.segments[name], digits)

    names, parameters = Names(step, tape, authors), arena.segments["parameters"]
    read = {symbol.segment for call in tape.calls for symbol in call.operands if isinstance(symbol, Symbol)}
    shown = [name for name in arrays if name in read and name != "gradients"]
    given = [matrix for name in shown for matrix in names.matrices(name, arena.segments[name], digits)]
    first, calls = parameters.copy(), []
    made: dict[int, np.ndarray] = {}  # all results, by the ids of their symbols
    for i, stage in enumerate(_stages(authors)):
        calls.append(_explained(tape, i, stage, authors[i], arena, names, digits))
        made |= {id(symbol): arena.view(symbol).copy() for symbol in tape.calls[i].results}
        _make(tape, i, exact, None)
    known = made.get(id(twin.loss.known))
    loss = _loss(twin, made[id(losses)], known, target.shape[1], digits)
    apart = float(np.abs(parameters - exact.segments["parameters"]).max(initial=0.0))
    moved = names.matrices("parameters", parameters, digits)
    drawn = _drawn(step, calls, arena.segments["x"], first, parameters, digits)
    return Explanation(digits, given, calls, loss, moved, told(apart, 2), drawn)


# ---- the tape, and its calls --------------------------------------------------------------------------------------


class Signed:
    """A recorder that also notes in whose name the calls are made."""

    def __init__(self, recorder: Recorder, author: str, authors: list[str]) -> None:
        self.recorder, self.author, self.authors = recorder, author, authors

    def __getattr__(self, name: str) -> Callable[..., Any]:
        function = getattr(self.recorder, name)

        def signed(*operands: Any) -> Any:
            self.authors.append(self.author)
            return function(*operands)

        return signed


def _recorded(step: Step, arena: Arena) -> tuple[Tape, list[str], Step, Any]:
    """The tape of the step, in whose name each of its calls is made, the twin, and its losses (N,), a symbol."""
    recorder, symbols = Recorder(arena.device.ops, np.float64), arena.symbols()
    authors: list[str] = []
    twin = step.on(recorder, symbols)
    for path, layer in families(twin.network.layers):
        vars(layer)["ops"] = Signed(recorder, f"layer {path}, {layer!r}", authors)
    vars(twin.loss)["ops"] = Signed(recorder, LOSS, authors)
    vars(twin.network)["ops"] = Signed(recorder, OPTIMIZER, authors)
    try:
        _, losses = twin.learn(symbols["x"], symbols["target"])
        if LOSS not in authors:
            raise NotRecordableError("the loss calls none")
    except NOT_RECORDED as error:
        raise ValueError(f"only a step made of kernels can be explained, but this one is not: {error}") from error
    return recorder.tape, authors, twin, losses


def _stages(authors: Sequence[str]) -> list[str]:
    """The stage of the step to which each call belongs."""
    begin, end = authors.index(LOSS), len(authors) - authors[::-1].index(LOSS)
    update = authors.index(OPTIMIZER) if OPTIMIZER in authors else len(authors)
    counts = {"forward": begin, "loss": end - begin, "backward": update - end, "update": len(authors) - update}
    return [stage for stage, count in counts.items() for _ in range(count)]


def _refuse_large(tape: Tape) -> None:
    """ValueError for more numbers than anybody would read."""
    count = 0
    for call in tape.calls:
        signature = call.kernel.signature
        sizes = signature.sizes(call.operands, call.name)
        written = sum(math.prod(sizes[letter] for letter in letters) for letters in signature.results.values())
        every = {letter for letters in signature.operands.values() for letter in letters or ()}
        count += 2 * math.prod(sizes[letter] for letter in every) if call.kernel.product else written
    if count > MOST_NUMBERS:
        raise ValueError(
            f"the step has {count:,} numbers, more than the {MOST_NUMBERS:,} that are written out at most: "
            "explain fewer rows, or a smaller network"
        )


def _make(tape: Tape, i: int, arena: Arena, digits: int | None) -> None:
    """Make call i of the tape, and round what it writes to so many digits."""
    kernel, operands, results = called(tape.calls[i], arena)
    if digits:
        operands = tuple(_plain(value) for value in operands)
    with np.errstate(all="ignore"):
        answer = kernel(*operands)
    for place, value in zip(results, answer if len(results) > 1 else (answer,)):
        place[...] = value
    signature = tape.calls[i].kernel.signature
    named = dict(zip(signature.operands, operands))
    for place in (*results, *(named[name] for name in signature.in_place)) if digits else ():
        _round(place, digits)


def _explained(tape: Tape, i: int, stage: str, author: str, arena: Arena, names: Names, digits: int) -> Explained:
    """Make call i, and tell how its results come about."""
    call = tape.calls[i]
    signature = call.kernel.signature
    named = dict(zip(signature.operands, call.operands))
    before = {n: arena.view(v).copy() if isinstance(v, Symbol) else _plain(v) for n, v in named.items()}
    origins = {name: names.origin(value) for name, value in named.items() if isinstance(value, Symbol)}
    written = {name: named[name] for name in signature.in_place} | dict(zip(signature.fresh, call.results))
    if stage == "backward":  # gradients are not added to those that were there
        overwritten = [name for name in signature.in_place if named[name].segment == "gradients"]
        before, origins = ({n: v for n, v in each.items() if n not in overwritten} for each in (before, origins))
    _make(tape, i, arena, digits)
    after = {name: arena.view(symbol).copy() for name, symbol in written.items()}
    found = Explained(stage, author, call.kernel, before, after, origins)
    flat = {n: v for n, v in {**named, **written}.items() if isinstance(v, Symbol)}
    writer = Writer(found, {name: names.flat(symbol) for name, symbol in flat.items()}, digits)
    equations: list[Equation] = []
    others = list(signature.results)  # that are not written out
    for from_new in (False, True):  # in a rule such as v ← μ v + dw; w ← w − lr v, w follows from the new v
        for name in list(others):
            with contextlib.suppress(NotUnderstoodError):
                equations += writer.equations(name, from_new)
                arena.view(written[name])[...] = after[name]
                others.remove(name)
    return replace(found, equations=equations, matrices=writer.matrices(others) if others else ())


def _loss(twin: Step, losses: np.ndarray, known: np.ndarray | None, columns: int, digits: int) -> Equation:
    """The loss over all rows, from the losses (N,), and the shares of them that were measured."""
    vars(twin.loss)["known"] = known
    value = rounded(twin.loss.reduce(losses, columns), digits)
    parts = []
    if len(losses) > 1 and rounded(math.fsum(losses) / len(losses), digits) == value:  # their mean
        parts = [f"({' + '.join(told(each, digits) for each in losses.tolist())}) / {len(losses)}"]
    return Equation("loss", "=", parts, told(value, digits))


# ---- numbers --------------------------------------------------------------------------------------------------------


def rounded(value: float, digits: int) -> float:
    """The number with so many significant digits; a half is rounded away from 0, also where it is not exact in binary.

    >>> rounded(0.12345, 4), rounded(-2.5, 1)
    (0.1235, -3.0)
    """
    return float(f"{value * (1 + 1e-12):.{digits - 1}e}")


def _round(array: np.ndarray, digits: int | None) -> None:
    """The same for all numbers of an array, in place; whole numbers are left as they are."""
    if array.dtype.kind == "f" and digits:
        array[...] = np.reshape([rounded(value, digits) for value in array.ravel().tolist()], array.shape)


def _plain(value: Any) -> Any:
    """A plain number as it is printed."""
    return float(f"{value:.{PLAIN_DIGITS}g}") if isinstance(value, float) else value


def _copy(array: np.ndarray) -> np.ndarray:
    return np.array(array, np.float64 if array.dtype.kind == "f" else array.dtype)


def _texts(array: np.ndarray, digits: int) -> list[list[str]]:
    """An array as rows of texts."""
    rows = array.reshape(-1, array.shape[-1] if array.ndim else 1).tolist()
    return [[told(value, digits) for value in row] for row in rows]


# ---- names ----------------------------------------------------------------------------------------------------------


class Names:
    """What the symbols of a tape are called."""

    def __init__(self, step: Step, tape: Tape, authors: Sequence[str]) -> None:
        self.segments = list(step.network.segments())
        made = {
            id(symbol): (f"{name} of {author.partition(',')[0]}", f" ({call.name})")
            for call, author in zip(tape.calls, authors)
            for name, symbol in zip(call.kernel.signature.fresh, call.results)
        }
        several = Counter(name for name, _ in made.values())  # a layer may call more than one kernel
        self.names = {key: name + kernel * (several[name] > 1) for key, (name, kernel) in made.items()}

    def origin(self, symbol: Symbol) -> str:
        """What an operand is: "y of layer 0", "0.W" or "the input"."""
        whole = ORIGINS.get(symbol.name, symbol.name)
        if symbol.segment in ("parameters", "gradients") and symbol.name == symbol.segment:
            whole = f"the {symbol.name}"
        return self.names.get(id(symbol), whole)

    def flat(self, symbol: Symbol) -> list[str]:
        """The name of the parameter that each number of an array (P,) belongs to; empty for any other array."""
        if symbol.ndim != 1 or id(symbol) in self.names or "." in symbol.name:
            return []
        names = [
            f"{name}{subscripts(index, shape)}" for name, _, _, shape in self.segments for index in np.ndindex(shape)
        ]
        start = symbol.offset or 0
        return names[start : start + symbol.size] if start + symbol.size <= len(names) else []

    def matrices(self, name: str, array: np.ndarray, digits: int) -> list[Matrix]:
        """An array of the step as matrices: parameters one by one, all others as they are."""
        if name == "parameters":
            return [
                Matrix(name, _texts(array[start : start + size].reshape(shape), digits))
                for name, start, size, shape in self.segments
            ]
        rows = _texts(array, digits)
        if array.size > 1 and not array.any() and name not in ("x", "target"):
            rows = [["0 everywhere"]]
        return [Matrix(ORIGINS.get(name, name).removeprefix("the "), rows)]


def subscripts(index: Sequence[int], shape: Sequence[int], letters: Sequence[str] = ()) -> str:
    """Places counted from 1, as subscripts; none for a single row, nor for an array of one number.

    >>> subscripts((0, 2), (4, 3)), subscripts((0, 2), (1, 3), ("N", "K")), subscripts((0, 10), (2, 11))
    ('₁₃', '₃', '₁,₁₁')
    """
    places = [
        str(i + 1) for axis, i in enumerate(index) if not (letters and letters[axis] in ("N", "1") and shape[axis] == 1)
    ]
    return ("," if max(shape, default=0) > 9 else "").join(places).translate(SUBSCRIPTS)


# ---- how a number comes about ---------------------------------------------------------------------------------------


class Writer:
    """Writes out the results of one call. An equation is written only if it gives the number that the kernel gave."""

    def __init__(self, call: Explained, flat: Mapping[str, Sequence[str]], digits: int) -> None:
        self.call, self.flat, self.digits = call, flat, digits
        self.signature = call.kernel.signature
        self.letters = {**self.signature.operands, **self.signature.results}
        arrays = {n: v for n, v in {**call.after, **call.before}.items() if isinstance(v, np.ndarray)}
        self.sizes: dict[str, int] = {}
        for name, array in arrays.items():
            self.sizes |= dict(zip(self.letters[name] or (), array.shape))

    def equations(self, result: str, from_new: bool = False) -> list[Equation]:
        """One for each number of a result; NotUnderstoodError if the kernel's docstring does not tell how.

        With `from_new`, the result follows from the others as they are printed. The kernel had them before they were
        rounded; so the result is changed by what their rounding makes of it.
        """
        if self.call.kernel.product:
            return self._products(result)
        formula, values = formula_of(self.call.kernel.__doc__ or "", result), self.call.before
        if from_new:
            values = {**values, **{name: array for name, array in self.call.after.items() if name != result}}
        return self._formula(result, formula, values, from_new)

    def _products(self, result: str) -> list[Equation]:
        """Sums of products, and what else is added."""
        factors = [name.rstrip("ᵀ") for name in self.call.kernel.product.split()]
        letters = self.letters[result] or ()
        summed = {letter for name in factors for letter in self.letters.get(name) or ()} - set(letters)
        if len(factors) != 2 or len(summed) != 1:
            raise NotUnderstoodError(f"{self.call.kernel.product!r} is not a product of two operands")
        (over,) = summed
        added = [name for name in self.signature.inputs if name not in factors and self.letters[name]]
        found = []
        for index, value in self._numbers(result):
            symbols, numbers, total = [], [], 0.0
            for i in range(self.sizes[over]):
                at = {**dict(zip(letters, index)), over: i}
                pair = [self._at(name, at) for name in factors]
                symbols.append("·".join(name for name, _ in pair))
                numbers.append("·".join(self._told(number) for _, number in pair))
                total += math.prod(number for _, number in pair)
            for name in added:
                symbol, number = self._at(name, dict(zip(letters, index)))
                symbols.append(symbol)
                numbers.append(self._told(number))
                total += number
            self._check(total, value)
            parts = [" + ".join(symbols), bare(" + ".join(numbers))]
            found.append(Equation(self._label(result, index), "=", parts, told(value, self.digits)))
        return found

    def _formula(self, result: str, formula: str, values: Mapping[str, Any], from_new: bool) -> list[Equation]:
        """The formula of the docstring with numbers in the place of names."""
        letters, found = self.letters[result] or (), []
        scaled = "scale" in values and "gradient" in (self.call.kernel.__doc__ or "") and result.startswith("d")
        for index, value in self._numbers(result):
            at = dict(zip(letters, index))

            def along(letter: str, at: Mapping[str, int] = at) -> list[Numbers]:
                return [self._inputs(values, {**at, letter: i}) for i in range(self.sizes.get(letter, 0))]

            part = computed(formula, self._inputs(values, at), along, self.digits)
            number, text = part.value, part.text
            if scaled and values["scale"] != 1:
                scale = values["scale"]
                number, text = scale * number, f"{told(scale, PLAIN_DIGITS)} · {part.within(1)}"
            if from_new and result in self.call.before:
                first = float(self.call.before[result][index])
                size = abs(value) + 2 * abs(value - first)
                number = 0.0 if abs(number) < 1e-13 * abs(first) else number  # which only binary arithmetic leaves
                if abs(number - value) <= size * 10.0 ** (1 - self.digits):
                    value = self.call.after[result][index] = rounded(float(number), self.digits)
            self._check(number, value)
            sign = "←" if result in self.call.before else "="
            found.append(Equation(self._label(result, index), sign, [bare(text)], told(value, self.digits), part.note))
        return found

    def matrices(self, results: Sequence[str]) -> list[Matrix]:
        """These results as arrays, with all that the call reads."""
        rows = next((self.flat[name] for name in results if self.letters[name] in (("P",), ("G",))), [])
        plain = {n: v for n, v in self.call.before.items() if not isinstance(v, np.ndarray)}
        arrays = {n: v for n, v in self.call.before.items() if n not in plain}
        matrices = [Matrix(name, [[told(value, PLAIN_DIGITS)]]) for name, value in plain.items()]
        written = {*self.signature.in_place} - {*results}  # whose new numbers stand in equations
        columns = {n: array for n, array in arrays.items() if rows and len(array) == len(rows) and n not in written}
        matrices += [Matrix(name, _texts(array, self.digits)) for name, array in arrays.items() if name not in columns]
        if not columns:
            return matrices + [Matrix(name, _texts(self.call.after[name], self.digits)) for name in results]
        table = [["", *columns, *(f"{name} ←" for name in results)]]
        for i, row in enumerate(rows):
            numbers = [*(array[i] for array in columns.values()), *(self.call.after[name][i] for name in results)]
            table.append([row, *(told(float(number), self.digits) for number in numbers)])
        return [*matrices, Matrix("", table)]

    def _numbers(self, result: str) -> list[tuple[tuple[int, ...], float]]:
        return [(index, float(value)) for index, value in np.ndenumerate(self.call.after[result])]

    def _check(self, number: float, value: float) -> None:
        if rounded(float(number), self.digits) != value:
            raise NotUnderstoodError(f"the formula gives {number}, the kernel {value}")

    def _at(self, name: str, at: Mapping[str, int]) -> tuple[str, float]:
        """The label and the value of an operand's number at this place: letter -> index."""
        index = tuple(at[letter] for letter in self.letters[name] or ())
        return self._label(name, index), float(self.call.before[name][index])

    def _inputs(self, values: Mapping[str, Any], at: Mapping[str, int]) -> dict[str, float]:
        """The numbers of all operands at this place, and the sizes. Operands with other letters have none."""
        found: dict[str, float] = dict(self.sizes)
        for name, value in values.items():
            letters = self.letters[name]
            if letters is None:
                found[name] = Exact(value) if isinstance(value, float) else value
            elif all(letter in at or letter == "1" for letter in letters):
                number = value[tuple(at.get(letter, 0) for letter in letters)]
                found[name] = float(number) if value.dtype.kind == "f" else int(number)
        return found

    def _label(self, name: str, index: tuple[int, ...]) -> str:
        """The name of one number of an array; in the arrays of all parameters, that of the parameter."""
        letters, flat = self.letters[name] or (), self.flat.get(name)
        if flat and letters in (("P",), ("G",)):
            path, dot, own = flat[index[0]].rpartition(".")
            mark = {"w": "", "dw": "d"}.get(name)
            return f"{name} of {flat[index[0]]}" if mark is None else f"{path}{dot}{mark}{own}"
        shape = np.shape({**self.call.before, **self.call.after}[name])
        return f"{name}{subscripts(index, shape, letters)}"

    def _told(self, value: float) -> str:
        text = told(value, self.digits)
        return f"({text})" if value < 0 else text


# ---- for the picture ------------------------------------------------------------------------------------------------


def _drawn(
    step: Step, calls: Sequence[Explained], x: np.ndarray, before: np.ndarray, after: np.ndarray, digits: int
) -> list[Drawn]:
    """The network's input and the layers before the loss, with the numbers of the first row."""
    drawn = [Drawn("input", _texts(x, digits)[0], [])]
    places = {name: (start, size, shape) for name, start, size, shape in step.network.segments()}
    for i, layer in enumerate(step.network.layers[: step.depth]):
        own = [call for call in calls if call.author.partition(",")[0].removeprefix("layer ").split(".")[0] == str(i)]
        results = [
            call.after[name]
            for call in own
            for name in call.kernel.signature.fresh[:1]
            if call.stage == "forward" and call.after[name].ndim == 2 and len(call.after[name]) == len(x)
        ]
        errors = next((call.before["dy"] for call in own if call.stage == "backward" and "dy" in call.before), None)
        outputs = _texts(results[-1], digits)[0] if results else drawn[-1].outputs
        weights, labels = None, []
        if f"{i}.W" in places and hasattr(layer, "inputs"):
            start, size, shape = places[f"{i}.W"]
            weights, moved = (each[start : start + size].reshape(shape) for each in (before, after))
            pairs = zip(_texts(weights, digits), _texts(moved, digits))
            labels = [[f"{old} → {new}" for old, new in zip(*rows)] for rows in pairs]
        told_errors = [] if errors is None else _texts(errors, digits)[0]
        drawn.append(Drawn(f"{i} {type(layer).__name__}", outputs, told_errors, weights, labels))
    return drawn
