"""Networks for other programs: as an ONNX graph, or as a file of C."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from ..atomic import replacing
from . import c, onnx
from .tracing import NotExportableError as NotExportableError
from .tracing import traced as traced


def export(
    network: Any, path: str | os.PathLike[str], function: str, about: Mapping[str, Sequence[str]] | None = None
) -> None:
    """Write the network's prediction to a file whose name ends in .onnx or .c; what `Sequential.export` does.

    An ONNX file keeps `about`, lists of names, as metadata in JSON.
    """
    ending = os.path.splitext(os.fspath(path))[1]
    if ending not in (".onnx", ".c"):
        raise ValueError(f"path={os.fspath(path)!r} must end in .onnx or .c, which says what is written")
    program = traced(network)
    if ending == ".onnx":
        text = bytes(onnx.model(program, network, about or {}).SerializeToString())
    else:
        text = c.source(program, network, function).encode()
    with replacing(path) as file:
        file.write(text)
