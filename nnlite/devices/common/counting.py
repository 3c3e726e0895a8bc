"""Sums for metrics of classes, in the form of reference.py: what was predicted against what is true, class by class."""

from __future__ import annotations

import numpy as np

from .kernel import kernel, kernels_in


@kernel("prediction (N,K), target (N,K), classes, sums (7,K) -> sums")
def add_confusions(prediction, target, classes, sums):
    """Count for each output the rows whose target says yes and whose prediction says so too, above ½ and above 0; the
    predictions above ½ and above 0; the targets that say yes; targets below 0; and all targets.

    A target says yes above ½. If `classes` is true, the largest number of a row says yes, and no other, and targets
    below 0 are not counted. Targets of NaN were not measured, and do not count.
    """
    if classes:
        columns, below, known = np.arange(target.shape[1]), np.zeros_like(target), target[:, :1] == target[:, :1]
        true = columns == target.argmax(axis=1)[:, None]
        high = above = columns == prediction.argmax(axis=1)[:, None]
    else:
        true, high, above, below, known = target > 0.5, prediction > 0.5, prediction > 0, target < 0, target == target
    for i, each in enumerate((true & high, true & above, high, above, true, below != 0, known)):
        sums[i] += np.count_nonzero(known & each, axis=0)


COUNTING = kernels_in(globals())
