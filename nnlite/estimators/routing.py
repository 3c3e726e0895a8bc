"""scikit-learn's routing of metadata: which of them, such as sample_weight, the methods of an estimator ask for."""

from __future__ import annotations

import copy
import importlib
import inspect
from typing import Any, TypeVar

R = TypeVar("R", bound="Requests")
METHODS = ("fit", "partial_fit", "score")
DATA = ("self", "X", "y")


class Requests:
    """Metadata are the arguments of fit, partial_fit and score besides X and y.

    For each of them, True asks for it, False does not want it, None (at first) refuses it with an error, and text asks
    for it by another name. Pipelines and searches read it after `sklearn.set_config(enable_metadata_routing=True)`.
    """

    def set_fit_request(self: R, **requests: bool | str | None) -> R:
        """Say which metadata fit asks for, such as sample_weight=True; returns the estimator."""
        return self._request("fit", requests)

    def set_partial_fit_request(self: R, **requests: bool | str | None) -> R:
        """Say which metadata partial_fit asks for; returns the estimator."""
        return self._request("partial_fit", requests)

    def set_score_request(self: R, **requests: bool | str | None) -> R:
        """Say which metadata score asks for; returns the estimator."""
        return self._request("score", requests)

    def get_metadata_routing(self) -> Any:
        """scikit-learn's MetadataRequest of this estimator."""
        if "_metadata_request" in vars(self):  # the name by which scikit-learn's clone knows it
            return copy.deepcopy(vars(self)["_metadata_request"])
        requests = importlib.import_module("sklearn.utils.metadata_routing").MetadataRequest(owner=type(self).__name__)
        for method in METHODS:
            for name in self._metadata(method):
                getattr(requests, method).add_request(param=name, alias=None)
        return requests

    def _metadata(self, method: str) -> list[str]:
        found = inspect.signature(getattr(type(self), method)).parameters if hasattr(type(self), method) else ()
        return [name for name in found if name not in DATA]

    def _request(self: R, method: str, requests: dict[str, bool | str | None]) -> R:
        if not importlib.import_module("sklearn").get_config()["enable_metadata_routing"]:
            raise RuntimeError("metadata are routed only after sklearn.set_config(enable_metadata_routing=True)")
        known, routing = self._metadata(method), self.get_metadata_routing()
        for name, alias in requests.items():
            if name not in known:
                raise TypeError(f"{method} of {type(self).__name__} has no {name}; it has {', '.join(known) or 'none'}")
            getattr(routing, method).add_request(param=name, alias=alias)
        vars(self)["_metadata_request"] = routing
        return self
