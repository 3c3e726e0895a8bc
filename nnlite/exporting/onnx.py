"""A network as an ONNX graph: x (N, inputs) -> y (N, outputs), N as many rows as are given."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .tracing import NotExportableError, Program, Value

NODES = {
    "divide": "Div",
    "negative": "Neg",
    "absolute": "Abs",
    "multiply": "Mul",
    "subtract": "Sub",
    "power": "Pow",
    "maximum": "Max",
    "minimum": "Min",
    "matmul": "MatMul",
    "greater_equal": "GreaterOrEqual",
    "less_equal": "LessOrEqual",
    "logical_and": "And",
    "logical_or": "Or",
    "logical_not": "Not",
    "max": "ReduceMax",
    "min": "ReduceMin",
    "sum": "ReduceSum",
}
SAME = ("add", "sign", "exp", "log", "sqrt", "tanh", "sin", "cos", "where", "greater", "less", "equal")
NODES |= {name: name.title() for name in SAME}
OPSET = 18  # of ONNX's operators, of the year 2022: what reads the file need not be newer
FORMAT = 8  # the version of the file's form that came with it


def model(program: Program, network: Any, about: Mapping[str, Sequence[str]]) -> Any:
    """The graph with this metadata, checked by the package onnx; ImportError where that is not installed."""
    return _Graph(program, network).model(about)


class _Graph:
    def __init__(self, program: Program, network: Any) -> None:
        try:
            self.onnx: Any = importlib.import_module("onnx")
        except ImportError as error:
            raise ImportError('writing ONNX needs the package onnx: pip install "nnlite[onnx]"') from error
        self.program, self.network = program, network
        self.nodes: list[Any] = []
        self.constants: dict[Any, Any] = {}  # by name
        self.kept: list[Any] = []

    def model(self, about: Mapping[str, Sequence[str]]) -> Any:
        helper, kind = self.onnx.helper, self._kind(self.network.dtype)
        for value in self.program.values[1:]:
            self._add(value)
        x = helper.make_tensor_value_info("x", kind, ["N", self.network.inputs])
        y = helper.make_tensor_value_info("y", kind, ["N", self.program.answer.size])
        graph = helper.make_graph(self.nodes, "nnlite", [x], [y], list(self.constants.values()))
        opset = [helper.make_opsetid("", OPSET)]
        made = helper.make_model(graph, opset_imports=opset, ir_version=FORMAT, producer_name="nnlite")
        helper.set_model_props(made, {name: json.dumps(names) for name, names in about.items()})
        self.onnx.checker.check_model(made, full_check=True)
        return made

    def _add(self, value: Value) -> None:
        """The nodes that make a value."""
        of, name = [self._read(operand, value) for operand in value.operands], self._name(value)
        if value.operation in ("max", "min", "sum"):
            axes, keep = self._constant(np.array([value.axis], np.int64)), int(value.ndim == 2)
            self._node(NODES[value.operation], [of[0], axes], name, keepdims=keep)
        elif value.operation == "square":
            self._node("Mul", [of[0], of[0]], name)
        elif value.operation == "expm1":  # tanh(x/2) (eˣ + 1), which keeps the digits of a small x
            half, one = (self._constant(np.array(number, value.dtype)) for number in (0.5, 1))
            tanh = self._chain(name, of[0], ("Mul", half), ("Tanh",))
            self._node("Mul", [tanh, self._chain(f"{name}e", of[0], ("Exp",), ("Add", one))], name)
        elif value.operation == "log1p":  # x ln u / (u − 1) with u = 1 + x, as rounded; x where u is 1 (Kahan)
            one = self._constant(np.array(1, value.dtype))
            u = self._chain(f"{name}u", of[0], ("Add", one))
            part = self._chain(f"{name}d", u, ("Sub", one))
            scaled = self._chain(f"{name}l", u, ("Log",), ("Div", part), ("Mul", of[0]))
            self._node("Where", [self._chain(f"{name}s", u, ("Equal", one)), of[0], scaled], name)
        elif value.operation == "cast":
            self._node("Cast", of, name, to=self._kind(value.dtype))
        elif value.operation == "reshape":
            self._node("Unsqueeze", [of[0], self._constant(np.array([1], np.int64))], name)
        elif value.operation in NODES:
            self._node(NODES[value.operation], of, name)
        else:
            raise NotExportableError(f"{value.operation} has no form in ONNX")

    def _node(self, kind: str, operands: list[str], result: str, **attributes: Any) -> None:
        self.nodes.append(self.onnx.helper.make_node(kind, operands, [result], **attributes))

    def _chain(self, name: str, start: str, *steps: tuple[str, ...]) -> str:
        """Nodes in a row, each with the result of the one before and what else it reads -> the last one's name."""
        for place, (kind, *others) in enumerate(steps):
            self._node(kind, [start, *others], f"{name}_{place}")
            start = f"{name}_{place}"
        return start

    def _name(self, value: Value) -> str:
        if value is self.program.answer:
            return "y"
        return "x" if value.place == 0 else f"t{value.place}"

    def _read(self, operand: Any, reader: Value) -> str:
        if isinstance(operand, Value):
            return self._name(operand)
        return self._constant(np.asarray(operand, reader.precision_of(operand)))

    def _constant(self, array: np.ndarray) -> str:
        found = self.program.names.get(array.__array_interface__["data"][0]) if array.ndim else None
        name = found or (f"{array.dtype}: {array.tolist()}" if array.size < 2 else f"constant{len(self.kept)}")
        if name not in self.constants:
            self.constants[name] = self.onnx.numpy_helper.from_array(np.ascontiguousarray(array), name)
            self.kept.append(array)
        return name

    def _kind(self, dtype: Any) -> int:
        return int(self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))
