"""A network as a file of C99 that needs only the standard library: `void predict(const float *x, float *y)`."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from .tracing import NotExportableError, Program, Value

TYPES = {"float32": "float", "float64": "double", "bool": "int", "int64": "long"}
BYTES = {"float": 4, "double": 8, "int": 4, "long": 8}
FORMS = {  # of an operation's number i, with the numbers of its operands and C's name of its own type
    "add": "({0} + {1})",
    "subtract": "({0} - {1})",
    "multiply": "({0} * {1})",
    "divide": "({0} / {1})",
    "greater": "({0} > {1})",
    "greater_equal": "({0} >= {1})",
    "less": "({0} < {1})",
    "less_equal": "({0} <= {1})",
    "equal": "({0} == {1})",
    "logical_and": "({0} && {1})",
    "logical_or": "({0} || {1})",
    "logical_not": "(!{0})",
    "where": "({0} ? {1} : {2})",
    "square": "({0} * {0})",
    "negative": "(-{0})",
    "sign": "({0} != {0} ? {0} : ({kind}) (({0} > 0) - ({0} < 0)))",
    "cast": "(({kind}) {0})",
    "reshape": "{0}",
}
CHOSEN = {"max": "larger", "min": "smaller"}  # of two numbers
CALLS = {"power": "pow", "absolute": "fabs", "maximum": CHOSEN["max"], "minimum": CHOSEN["min"]}
CALLS |= {name: name for name in ("exp", "expm1", "log", "log1p", "sqrt", "tanh", "sin", "cos")}
KEYWORDS = """auto break case char const continue default do double else enum extern float for goto if inline int long
register restrict return short signed sizeof static struct switch typedef union unsigned void volatile while"""
KEYWORDS += """ alignas alignof and asm bitand bitor bool catch char8_t class compl concept const_cast constexpr
decltype delete dynamic_cast explicit export false friend mutable namespace new noexcept not nullptr operator or
private protected public reinterpret_cast requires static_assert static_cast template this thread_local throw
true try typeid typename using virtual wchar_t xor"""  # of C++
OF_HEADERS = """main NAN INFINITY HUGE_VAL isfinite isinf isnan signbit fpclassify abs acos acosh asin asinh atan atan2
atanh cbrt ceil copysign cosh erf erfc exp2 fabs fdim floor fma fmax fmin fmod frexp gamma hypot ilogb j0 j1 jn
ldexp lgamma log10 log2 logb lrint lround modf nan nearbyint nextafter remainder remquo rint round scalbn
signgam sinh tan tgamma trunc y0 y1 yn memchr memcmp memcpy memmove memset strcat strchr strcmp strcpy strlen
strncmp strncpy strstr strtok"""  # not C's words
# Not fmax and fmin, which leave NaN out: a net whose input is NaN answers NaN, as on every device.
OF_TWO = "static {kind} {name}{suffix}({kind} a, {kind} b) {{ return a {sign} b || a != a ? a : b; }}"
LINKED = ("#ifdef __cplusplus", 'extern "C" {', "#endif"), ("#ifdef __cplusplus", "}", "#endif")  # its begin and end
MOST_IN_LINE = 100  # characters of an expression; a longer one is cut into several


def source(program: Program, network: Any, function: str = "predict") -> str:
    """The text of the file; NotExportableError for an operation that has no form in C."""
    if not re.fullmatch(r"[A-Za-z_]\w*", function, re.ASCII) or function in f"{KEYWORDS} {OF_HEADERS}".split():
        raise ValueError(f"the name of the function must be one that C allows, not {function!r}")
    text = _Source(program, network, function).text()
    refuse_twice(text, function, 2)  # it is declared, and defined
    return text


def refuse_twice(text: str, function: str, times: int) -> None:
    """ValueError if a source that names its function so many times has the name for something else too."""
    code = re.sub(r"/\*.*?\*/|\"[^\"\n]*\"", "", text, flags=re.DOTALL)
    taken = function in CALLS.values() or function.removesuffix("f") in CALLS.values()
    if taken or len(re.findall(rf"\b{function}\b", code)) != times:
        raise ValueError(f"{function!r} has a meaning of its own in the file: choose another name of the function")


class _Source:
    def __init__(self, program: Program, network: Any, function: str) -> None:
        self.program, self.network, self.function = program, network, function
        self.uses = program.uses()
        self.constants: dict[int, tuple[str, np.ndarray]] = {}  # by address: the name in C, and the numbers
        self.forms: dict[int, str] = {0: "x[{i}]"}  # the place of a value -> the expression of its number i
        self.body: list[str] = []
        self.stack = 0  # bytes of the arrays in the function
        self.kept: list[np.ndarray] = []  # while a constant exists, no other array has its address

    def text(self) -> str:
        kind, inputs, outputs = TYPES[str(self.network.dtype)], self.network.inputs, self.program.answer.size
        for value in self.program.values[1:]:
            if value.place in self.program.titles:
                title = self.program.titles[value.place].replace("*/", "* /")
                self.body += ["", f"    /* {title} */"]
            self._write(value)
        head = [
            f"/* A network of nnlite with {inputs} inputs and {outputs} outputs; link with -lm.",
            "",
            f"   {self.function}(x, y) reads x[{inputs}] and writes y[{outputs}]. Several threads may call it.",
            f"   Its arrays take {self.stack:,} bytes of the stack. */",
            "",
            "#include <math.h>",
            "",
            *LINKED[0],
            f"void {self.function}(const {kind} *x, {kind} *y);",
            *LINKED[1],
            "",
            *self._of_two(),
            *(line for name, array in self.constants.values() for line in _constant(name, array)),
            f"void {self.function}(const {kind} *x, {kind} *y)",
            "{",
        ]
        return "\n".join([*head, *self.body[1:], "}", ""])

    def _of_two(self) -> list[str]:
        """The functions `larger` and `smaller`, for the types for which they are called."""
        text, found = "\n".join(self.body), []
        for name, sign in zip(CHOSEN.values(), "><"):
            for kind, suffix in (("float", "f"), ("double", "")):
                if f"{name}{suffix}(" in text:
                    found.append(OF_TWO.format(kind=kind, name=name, suffix=suffix, sign=sign))
        return [*found, ""] if found else []

    # ---- one value ------------------------------------------------------------------------------------------------

    def _write(self, value: Value) -> None:
        """Write the loop that makes a value, or keep its expression for the only place where it is read."""
        if value.operation == "matmul":
            return self._write_product(value)
        if value.operation in ("max", "min", "sum"):
            return self._write_reduction(value)
        form, last = self._expression(value), value is self.program.answer
        if not last and self.uses[value.place] == 1 and len(form) < MOST_IN_LINE:
            self.forms[value.place] = form
            return None
        name, index = self._declared(value), "i" if value.size > 1 else "0"
        loop = f"for (int i = 0; i < {value.size}; i++) " if value.size > 1 else ""
        target = f"{name}[{index}]" if value.size > 1 or last else name
        self.body.append(f"    {loop}{target} = {_bare(form.format(i=index))};")
        return None

    def _write_product(self, value: Value) -> None:
        x, W = value.operands
        if isinstance(W, Value) or np.ndim(W) != 2:
            raise NotExportableError("only products of a row and a constant matrix have a form in C")
        inputs, outputs = W.shape
        row, matrix, kind = self._read(x).format(i="k"), self._named(W), TYPES[str(value.dtype)]
        name = self._declared(value)
        if outputs == 1:
            place = name if value is not self.program.answer else f"{name}[0]"
            self.body.append(f"    {place} = 0;")
            self.body.append(f"    for (int k = 0; k < {inputs}; k++) {place} += {row} * {matrix}[k];")
            return
        self.body += [
            f"    for (int i = 0; i < {outputs}; i++) {name}[i] = 0;",
            f"    for (int k = 0; k < {inputs}; k++) {{",
            f"        const {kind} number = {_bare(row)};",
            f"        for (int i = 0; i < {outputs}; i++) {name}[i] += number * {matrix}[k * {outputs} + i];",
            "    }",
        ]

    def _write_reduction(self, value: Value) -> None:
        (x,) = value.operands
        name, kind = f"t{value.place}", TYPES[str(value.dtype)]
        each, zero = self._read(x), self._read(x).format(i="0")
        suffix = "f" if kind == "float" else ""
        first = "0" if value.operation == "sum" else _bare(zero)
        step = (
            f"{name} += {_bare(each.format(i='i'))}"
            if value.operation == "sum"
            else f"{name} = {CHOSEN[value.operation]}{suffix}({name}, {_bare(each.format(i='i'))})"
        )
        self.body.append(f"    {kind} {name} = {first};")
        self.body.append(f"    for (int i = {int(value.operation != 'sum')}; i < {x.size}; i++) {step};")
        self.forms[value.place] = name

    def _declared(self, value: Value) -> str:
        """The name of a value's place, which is declared if it is not the answer's."""
        kind = TYPES[str(value.dtype)]
        if value is self.program.answer:
            return "y"
        name = f"t{value.place}"
        self.stack += value.size * BYTES[kind]
        self.body.append(f"    {kind} {name}[{value.size}];" if value.size > 1 else f"    {kind} {name};")
        self.forms[value.place] = f"{name}[{{i}}]" if value.size > 1 else name
        return name

    # ---- expressions ------------------------------------------------------------------------------------------------

    def _expression(self, value: Value) -> str:
        """A value's number i, of its operands' numbers."""
        of, kind = [self._read(operand, value) for operand in value.operands], TYPES[str(value.dtype)]
        if value.operation in FORMS:
            return FORMS[value.operation].format(*of, kind=kind)
        if value.operation in CALLS:
            return f"{CALLS[value.operation]}{'f' if kind == 'float' else ''}({', '.join(map(_bare, of))})"
        raise NotExportableError(f"{value.operation} has no form in C")

    def _read(self, operand: Any, reader: Value | None = None) -> str:
        """The number i of an operand."""
        if isinstance(operand, Value):
            return self.forms[operand.place].replace("{i}", "{i}" if operand.size > 1 else "0")
        if np.ndim(operand) and np.size(operand) > 1:
            return f"{self._named(operand)}[{{i}}]"
        dtype = reader.precision_of(operand) if reader else getattr(operand, "dtype", np.dtype("float64"))
        return number(np.asarray(operand).ravel()[0], dtype)

    def _named(self, array: np.ndarray) -> str:
        """The name of a constant array in C."""
        address = array.__array_interface__["data"][0]
        if address not in self.constants:
            found = self.program.names.get(address, "")
            path = re.sub(r"\W", "_", found)
            name = (
                f"{path.rpartition('_')[2]}_{path.rpartition('_')[0]}" if found else f"constant_{len(self.constants)}"
            )
            self.constants[address] = name, np.array(array)
            self.kept.append(array)
        return self.constants[address][0]


def _constant(name: str, array: np.ndarray) -> list[str]:
    numbers = [number(each, array.dtype) for each in array.ravel()]
    lines, line = [], "   "
    for text in numbers:
        if len(line) + len(text) > 118:
            lines.append(line)
            line = "   "
        line += f" {text},"
    shape = " x ".join(map(str, array.shape))
    return [f"static const {TYPES[str(array.dtype)]} {name}[{array.size}] = {{ /* {shape} */", *lines, line, "};", ""]


def number(value: Any, dtype: Any) -> str:
    """A number as C writes it, so that all its digits come back."""
    if not np.isfinite(value):
        raise NotExportableError("a parameter is not finite")
    single = np.dtype(dtype) == np.float32
    text = f"{float(np.float32(value)):.9g}" if single else f"{float(value):.17g}"
    text += "" if any(mark in text for mark in ".e") else ".0"
    return f"{text}f" if single else text


def _bare(form: str) -> str:
    """An expression without the brackets around all of it."""
    depth = 0
    for place, mark in enumerate(form):
        depth += (mark == "(") - (mark == ")")
        if depth == 0 and place < len(form) - 1:
            return form
    return form[1:-1] if form.startswith("(") else form
