"""Loops: the reference's kernels again, as fused loops for the CPU, compiled by Numba; a chapter for each kind.

The parameters of a loop are its results, then the operands that it writes in place, then those that it only reads, each
in the reference's order. A kernel without a loop here runs as the reference's formula. Every constant gets the arrays'
dtype: a bare 2.0 would turn a float32 loop into a float64 loop of half the speed.
"""

from __future__ import annotations

from . import activations, linear, losses, metrics, noise, normalization, rows, rules

CHAPTERS = (rows, linear, activations, noise, losses, metrics, normalization, rules)
