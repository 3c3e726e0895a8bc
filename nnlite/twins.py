"""Twins: copies of layers, losses and metrics that work without changing the originals; and the originals' settings.

A recorded program contains the plain numbers among a part's attributes. It is out of date once one has changed.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from types import FunctionType, MappingProxyType
from typing import Any, TypeVar

import numpy as np

from .closures import taken_by

T = TypeVar("T")
PLAIN = {bool, int, float, complex, str, bytes, type(None)}
NOTHING: Mapping[int, Any] = MappingProxyType({})


class Part:
    """A layer, for this file: it may lie in the attributes of another one, which then holds it."""

    kept: tuple[str, ...] = ()  # names of the attributes that a forward keeps for its backward


HOLDERS = (Part, list, tuple, dict)  # types of attributes in which layers are looked for


def twin_of(part: T, held: Mapping[int, Any] = NOTHING, without: Iterable[str] = ()) -> T:
    """A copy of a layer, a loss or a metric that can work without changing the original.

    Lists, dicts and sets in its attributes are copied, and layers replaced by those in `held`, by their ids; arrays and
    other objects are shared.
    """
    twin = object.__new__(type(part))
    vars(twin).update({name: unshared(value, held) for name, value in vars(part).items() if name not in without})
    return twin


def unshared(value: Any, held: Mapping[int, Any]) -> Any:
    """A value of an attribute as a twin has it."""
    if type(value) in PLAIN:
        return value
    if isinstance(value, Part):
        return held.get(id(value), value)
    if type(value) in (list, tuple):
        return type(value)(unshared(each, held) for each in value)
    if type(value) is dict:
        return {name: unshared(each, held) for name, each in value.items()}
    return copy.copy(value) if isinstance(value, (list, dict, set)) else value


def parts_in(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """The layers in the value of an attribute of this name, each with a name such as "first" or "blocks.0"."""
    if isinstance(value, Part):
        yield name, value
    elif type(value) in (list, tuple, dict):
        for key, each in value.items() if type(value) is dict else enumerate(value):
            yield from parts_in(each, f"{name}.{key}" if name else str(key))


def settings(*parts: Any) -> tuple[Any, ...]:
    """The attributes of these layers, losses, and so on. A recorded program may contain the numbers among them.

    Of an array it holds which one it is, and not the numbers in it. A layer's parameters and state are left out, and so
    is what its forward keeps for its backward, if its class names that in `kept`. Attributes that a part's class names
    in `in_arrays` are left out too, since the program reads them from an array. A subclass does not inherit this list:
    its own rule may use such an attribute as a plain number.
    """
    found = []
    for part in parts:
        kind, attributes = type(part), vars(part)
        elsewhere = {"shapes", "state", *vars(kind).get("in_arrays", ()), *attributes.get("state", ())}
        elsewhere.update(part.kept if isinstance(part, Part) else getattr(kind, "kept", ()))
        for name in attributes.get("shapes", ()):
            elsewhere |= {name, f"d{name}"}
        plain = {
            name: value if type(value) in PLAIN else _frozen(value)
            for name, value in attributes.items()
            if name not in elsewhere
        }
        found.append((kind, plain, outside(kind) if of_users(kind) else ()))
    return tuple(found)


def outside(kind: type) -> tuple[Any, ...]:
    """What a class of the user's own has for itself, and what its methods take from outside, such as its kernels."""
    found: list[Any] = []
    for each in kind.__mro__:
        for name, value in [*vars(each).items()] if of_users(each) else ():
            function = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
            if isinstance(function, FunctionType):
                found.append((name, itself(function)))
                found += [(taken, _value(value)) for taken, value in taken_by(function)]
            elif not name.startswith("__"):
                found.append((name, _frozen(value)))
    return tuple(found)


def of_users(kind: type) -> bool:
    """Whether a class is neither nnlite's nor Python's."""
    return kind.__module__.partition(".")[0] not in ("nnlite", "builtins")


def _value(value: Any) -> Any:
    """A stand-in for a value that may be large: a list, say, is the same as long as it is the same object."""
    return _frozen(value) if type(value) in PLAIN or hasattr(type(value), "dtype") else itself(value)


def changeable(part: Any) -> bool:
    """Whether an attribute is a list, dict or the like, whose contents may change without the attribute being set."""
    return any(_changeable(value) for name, value in vars(part).items() if name not in ("shapes", "state"))


def _changeable(value: Any) -> bool:
    if isinstance(value, tuple):
        return any(map(_changeable, value))
    return changeable(value) if isinstance(value, Part) else isinstance(value, (list, dict, set))


def _frozen(value: Any) -> Any:
    """A stand-in that compares equal as long as the value has not changed, and that keeps no array alive."""
    kind: Any = type(value)  # for a type checker, a class need not be hashable
    return _freezing(kind)(value)


@lru_cache(maxsize=1000)
def _freezing(kind: type) -> Callable[[Any], Any]:
    """What makes the stand-in for a value of this type."""
    if kind in PLAIN or issubclass(kind, np.generic):
        return lambda value: value
    if hasattr(kind, "dtype"):  # the class is asked, since an object may make attributes as they are asked for
        return ThatArray
    if issubclass(kind, dict):
        return lambda value: (kind, tuple((name, _frozen(each)) for name, each in value.items()))
    if issubclass(kind, (list, tuple)):
        return lambda value: (kind, tuple(map(_frozen, value)))
    if issubclass(kind, (set, frozenset)):
        return lambda value: (kind, frozenset(value))
    return settings if issubclass(kind, Part) else itself


class ThatArray:
    """Compares equal for the same array, as long as that exists, and does not keep it alive."""

    def __init__(self, array: Any) -> None:
        self.array = weakref.ref(array)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ThatArray) and self.array() is not None and self.array() is other.array()

    def __hash__(self) -> int:
        return hash(ThatArray)


def itself(value: Any) -> tuple[int, Any]:
    """A stand-in that is equal only for the very same object, even if that has an `==` of its own.

    Tuples are compared from the first entry on. Other objects have other ids, and the same object is never asked.
    """
    return id(value), value
