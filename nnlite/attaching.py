"""Where a layer's arrays are: in a network, they are views of the network's arrays; elsewhere, the layer owns them.

Numbers that are assigned to a parameter are copied into its array. A twin is the same layer on other arrays.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, TypeVar, cast

import numpy as np

from .devices import Device, Kernel, Ops, get_device, kernel_of
from .elsewhere import LAYER, Answering, not_called, refuse_setting
from .gate import HOST, Checked, parameter
from .twins import HOLDERS, Part, parts_in, twin_of, unshared

A = TypeVar("A", bound="Attached")
T = TypeVar("T")


def kernel_named(name: str | Kernel) -> Kernel:
    """nnlite's kernel of this name; a kernel itself is returned unchanged. AttributeError for an unknown name."""
    return kernel_of(getattr(HOST.ops, name) if isinstance(name, str) else name)


def call(part: Any, kernel: Kernel, *operands: Any, **named: Any) -> Any:
    """Call a kernel by a layer's or a loss's `ops`. Operands that are not given are its attributes of their names.

    ValueError for a kernel without one of the `named` operands.
    """
    names = list(kernel.signature.operands)
    for name in named.keys() - set(names):
        raise ValueError(f"{type(part).__name__} needs a kernel with the operand {name}; {kernel.name} has {names}")
    others = [named[name] if name in named else getattr(part, name) for name in names[len(operands) :]]
    function = partial(part.ops.call, kernel) if kernel.own else getattr(part.ops, kernel.name)
    return function(*operands, *others)


class Own:
    """An attribute of a layer outside of any network. The first use of one such attribute makes them all."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, layer: Attached | None, owner: type) -> Any:
        if layer is None:
            return self
        if self.name != "ops" and layer._place(self.name) is None:  # only other layers of this class have it
            raise AttributeError(f"{type(layer).__name__} has no attribute {self.name!r}")
        if not layer.attached:
            layer.attach_alone()
        return vars(layer)[self.name]


class AfterForward:
    """An attribute that a forward keeps for the backward. To read it before any forward is an AttributeError."""

    def __get__(self, layer: Attached | None, owner: type) -> Any:
        if layer is None:
            return self
        raise AttributeError(f"{type(layer).__name__}.backward needs a forward before it")


class Attached(Part, Answering):
    """The part of a layer beside its formulas: its kernels, parameters, gradients and state, and its twins.

    The layers in its attributes, also those in lists, tuples and dicts, are layers that it holds: what is done to it is
    done to them too.
    """

    _arguments = LAYER
    __call__ = not_called("layer.forward(x)")
    ops: Ops = cast(Ops, Own("ops"))  # the kernels of the device it is on
    trainable = True  # whether training moves its parameters; a frozen layer is one where it does not
    taken = False  # whether the layer belongs to a network
    at_work = False  # whether this is a twin that makes a step
    training = False  # whether this is a step of training; predictions leave out dropout and the like
    changes: Any = None  # a new object each time an attribute of any layer is set: recordings may then be out of date

    def __init__(self, *, device: str | Device = "numpy") -> None:
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.state: dict[str, Any] = {}
        self.device = device

    def initial(self, rng: np.random.Generator) -> Mapping[str, np.ndarray]:
        """Draw the first values of the parameters: name -> array."""
        return {}

    def first_values(self, drawn: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The first values of all parameters, drawn or assigned; ValueError if there are none of one."""
        values = {**drawn, **self.assigned()}
        for name in self.shapes.keys() - values.keys():
            what = f"`initial(self, rng)` that returns {{{name!r}: array}}, or assign self.{name}"
            raise ValueError(f"{type(self).__name__} has no first value of {name!r}: write {what}")
        return values

    def attach(self, ops: Ops, arrays: Mapping[str, Any]) -> None:
        """Use these kernels and arrays: "W" and "dW" for a parameter W, "draws" for a state of this name.

        Those of a layer inside it have its path before their name: "0.W", "0.dW".
        """
        for path, layer in family(self):
            vars(layer).update(own(arrays, path), ops=ops)

    def on(self: A, ops: Ops, arrays: Mapping[str, Any], training: bool = False) -> A:
        """The same layer with these kernels on these arrays; this one is left as it is."""
        held = {id(layer): layer.on(ops, within(arrays, name), training) for name, layer in inside(self).items()}
        twin = twin_of(self, held, without=self.kept)
        vars(twin).update(own(arrays, ""), ops=ops, training=training, at_work=True)
        return twin

    def attach_alone(self, rng: np.random.Generator | None = None) -> None:
        """Make own arrays, in float64, with the first values or with those that have been assigned."""
        self.refuse_without_constructor()
        device, rng = get_device(self.device), rng or np.random.Generator(np.random.PCG64(0))
        for layer in inside(self).values():
            if not layer.attached:
                vars(layer).update(device=device)
                layer.attach_alone(rng)
        drawn = self.initial(rng)
        values = self.first_values(drawn)
        vars(self)["drawn"] = {name: np.array(drawn[name], np.float64) for name in self.shapes if name in drawn}
        arrays = {name: device.asarray(np.array(values[name], np.float64)) for name in self.shapes}
        gradients = {f"d{name}": device.zeros(shape, np.float64) for name, shape in self.shapes.items()}
        vars(self).update(arrays | gradients | self.state_on(device, np.float64), ops=Checked(device))

    def refuse_without_constructor(self) -> None:
        """AttributeError for a layer whose `__init__` forgot to call `super().__init__()`."""
        if not {"shapes", "state"} <= vars(self).keys():
            raise AttributeError(f"{type(self).__name__}.__init__ must call super().__init__() first")

    def state_on(self, device: Device, dtype: Any) -> dict[str, Any]:
        """The state as new arrays on this device, with its present values; floats in this dtype."""
        arrays = {}
        for name in self.state:
            value = self.state_value(name, dtype)
            arrays[name] = device.zeros(value.shape, value.dtype)
            arrays[name][...] = device.asarray(value)
        return arrays

    def state_value(self, name: str, dtype: Any) -> np.ndarray:
        """A copy of this state in main memory: its present value, or else its first one; floats in this dtype."""
        value = _host(vars(self).get(name, self.state[name]))
        return value.astype(dtype if value.dtype.kind == "f" else np.int64)

    @property
    def attached(self) -> bool:
        """Whether the layer has kernels and arrays, either a network's or its own."""
        return "ops" in vars(self)

    def assigned(self) -> dict[str, np.ndarray]:
        """The parameters by name; outside of any network, only those that differ from the values drawn for them."""
        drawn: Mapping[str, Any] = {} if self.taken else vars(self).get("drawn", {})
        there = {name: _host(vars(self)[name]) for name in self.shapes if name in vars(self)}
        return {name: a for name, a in there.items() if not np.array_equal(a, drawn.get(name, []))}

    @classmethod
    def _declare(cls, name: str) -> None:
        """Give the class attributes for an array and its gradient, so that the first use of one makes the arrays."""
        for each in (name, f"d{name}"):
            if not hasattr(cls, each):
                setattr(cls, each, Own(each))

    def _place(self, name: str) -> tuple[tuple[int, ...], Any] | None:
        """Shape and dtype of the parameter, gradient or state of this name; None if the name is none of these."""
        shapes, state = vars(self).get("shapes", {}), vars(self).get("state", {})
        for each in (name, name[1:] if name.startswith("d") else name):
            if each in shapes:
                return shapes[each], np.float64
        if name in state:
            first = np.asarray(state[name])
            return first.shape, np.float64 if first.dtype.kind == "f" else np.int64
        return None

    def __setattr__(self, name: str, value: Any) -> None:
        """Copy numbers that are assigned to a parameter, a gradient or a state into its array."""
        found, place, told = self._place(name), vars(self).get(name), f"{type(self).__name__}.{name}"
        if name in ("shapes", "state") and not isinstance(value, Mapping):
            raise TypeError(
                f"{told} is a dict, name -> {'shape' if name == 'shapes' else 'first value'}, not {value!r}"
            )
        if callable(getattr(Attached, name, None)) and not callable(value):
            raise AttributeError(f"{told} is a method of every layer; take another name for {value!r}")
        if found is None:
            refuse_setting(self, name, value)
            vars(self)[name] = value
            for array in value if name in ("shapes", "state") else ():
                self._declare(array)
            for layer in inside(self).values() if name in ("trainable", "training") else ():
                setattr(layer, name, value)
        elif not self.attached:
            vars(self)[name] = np.array(parameter(value, *found[:1], get_device("numpy"), found[1], told))
        elif value is place:  # as in layer.W -= …, which has already written into the array
            pass
        elif self.at_work:  # in a step, the trainer looks for numbers that are not finite
            if np.shape(value) != found[0]:
                raise ValueError(f"{told} has shape {np.shape(value)}, expected {found[0]}")
            vars(self)[name][...] = value
        else:
            numbers = parameter(value, found[0], get_device(self.device), vars(self)[name].dtype, told)
            vars(self)[name][...] = numbers
        Attached.changes = object()  # after the change, so that a thread that sees it also sees the new attribute

    def __getstate__(self) -> dict[str, Any]:
        """The attributes of a copy, which belongs to no network, with the parameters that it has there or was given."""
        return self._attributes(copy.copy) | self.assigned()

    def bare(self: A) -> A:
        """A copy without parameters: a network brings their arrays, or draws them."""
        other = object.__new__(type(self))
        other.__setstate__(self._attributes(lambda layer: layer.bare()))
        return other

    def _attributes(self, copied: Callable[[Attached], Attached]) -> dict[str, Any]:
        """All but kernels, parameters and what the last forward kept. A copy must not share the layers inside."""
        without = {"ops", "drawn", "training", "taken", "at_work", *self.kept}
        if self.attached:
            without |= {*self.shapes, *(f"d{name}" for name in self.shapes)}
        held = {id(layer): copied(layer) for layer in inside(self).values()}
        state = {name: unshared(value, held) for name, value in vars(self).items() if name not in without}
        return state | {name: _host(state[name]) for name in self.state if name in state}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)


# ---- layers inside of layers: functions, so that a layer may have attributes of these names -------------------------


def inside(layer: Attached) -> dict[str, Attached]:
    """The layers that a layer holds, by the names of its attributes: "first", or "blocks.0" for one in a list.

    Those in the attribute `layers` have just a number.
    """
    found: dict[str, Attached] = {}
    for name, value in vars(layer).items():
        if not isinstance(value, HOLDERS) or name in ("shapes", "state"):
            continue
        for path, held in parts_in(value, "" if name == "layers" else name):
            if all(held is not other for other in found.values()):  # one layer may have two names
                found[path or name] = held
    return found


def family(layer: Attached, path: str = "") -> Iterator[tuple[str, Attached]]:
    """A layer and all inside it, at any depth, with their paths, such as "1" and "1.0"."""
    yield path, layer
    for name, held in inside(layer).items():
        yield from family(held, f"{path}.{name}" if path else name)


def learns(layer: Attached) -> bool:
    """Whether a layer, or one inside it, has parameters that training moves."""
    return any(bool(each.shapes) and each.trainable for _, each in family(layer))


def own(arrays: Mapping[str, T], path: str) -> dict[str, T]:
    """Those of the arrays that belong to the layer of this path itself, by their names alone."""
    return {name.rpartition(".")[2]: array for name, array in arrays.items() if name.rpartition(".")[0] == path}


def within(arrays: Mapping[str, T], path: str) -> dict[str, T]:
    """The arrays of the layer of this path and of all inside it, by their paths from there."""
    return {name[len(path) + 1 :]: array for name, array in arrays.items() if name.startswith(f"{path}.")}


def _host(array: Any) -> np.ndarray:
    """A copy in main memory."""
    return np.array(array.get() if hasattr(array, "get") else array)
