"""The arguments that an object was made with: files hold them, and its repr shows those that are not at a default."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np

NOTHING = {"None", "[]", "{}"}  # what an argument that was not given may be kept as


def parameters(kind: type) -> Iterator[inspect.Parameter]:
    """Those of its constructor; a `**options` stands for those of the class that gets them."""
    names = set()
    for each in kind.__mro__:
        if "__init__" not in vars(each):
            continue
        _, *found = inspect.signature(vars(each)["__init__"]).parameters.values()
        for parameter in found:
            if parameter.kind is not parameter.VAR_KEYWORD and parameter.name not in names:
                names.add(parameter.name)
                yield parameter
        if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in found):
            return


def arguments(part: Any) -> dict[str, Any]:
    """The arguments that make an object again: its attributes of the constructor's names; TypeError if one is none."""
    found: dict[str, Any] = {}
    for each in parameters(type(part)):
        if each.kind is each.VAR_POSITIONAL or each.name == "device":
            continue
        if not hasattr(part, each.name):
            raise TypeError(
                f"{type(part).__name__} does not keep its argument {each.name} as self.{each.name}: let it, or "
                "write a method config() that returns the arguments as a dict"
            )
        found[each.name] = getattr(part, each.name)
    return found


def shown(part: Any, always: Collection[str] = (), **defaults: Any) -> str:
    """A repr: first the arguments that have no default, then those that differ from theirs or are `always` shown.

    `defaults` are those that the signature does not tell. Left out is what the object does not keep, neither in
    `config()` nor as an attribute of its name, and the device unless it is `always` shown: networks hand theirs on.
    """
    try:
        known = part.config() if hasattr(part, "config") else {}
    except TypeError:  # one's own class, which does not keep its arguments
        known = {}
    words: list[str] = []
    for each in parameters(type(part)):
        if each.name == "device" and each.name not in always:
            continue
        if each.name in known:
            value = known[each.name]
        elif each.name in vars(part) or isinstance(getattr(type(part), each.name, None), property):
            value = getattr(part, each.name)
        else:
            continue
        if each.kind is each.VAR_POSITIONAL:
            words += map(text, value)
        elif each.default is each.empty:
            words.append(text(value))
        elif each.name in always or not _same(value, defaults.get(each.name, each.default)):
            words.append(f"{each.name}={text(value)}")
    return f"{type(part).__name__}({', '.join(words)})"


def text(value: Any) -> str:
    """An argument as one would write it: a path as text, a function by its name, an array by its shape."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(text, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{text(key)}: {text(each)}' for key, each in value.items())}}}"
    if isinstance(value, functools.partial):
        named = [f"{name}={text(each)}" for name, each in value.keywords.items()]
        return f"{text(value.func).lstrip('_')}({', '.join([*map(text, value.args), *named])})"
    if isinstance(value, os.PathLike):
        return repr(os.fspath(value))
    if isinstance(value, np.dtype):
        return repr(str(value))
    if inspect.isroutine(value) or isinstance(value, type):
        return str(value.__name__)
    return f"<array of shape {value.shape}>" if hasattr(value, "dtype") and hasattr(value, "shape") else repr(value)


def _same(value: Any, default: Any) -> bool:
    return text(value) == text(default) or {text(value), text(default)} <= NOTHING
