"""Pictures: every function draws one thing on one Axes and returns it, so that pictures combine freely.

Give `ax` to draw into a picture of your own; without it a new figure is made. No screen is needed, and
matplotlib is imported only when something is drawn. Colour-blind readers can tell the colours apart too
(Okabe and Ito, 2008). In every picture, a weight is red above zero and blue below.

N = number of samples, K = number of outputs
"""

from .animation import animate
from .boundary import decision_boundary
from .common import COLOURS, INK, SIGNED
from .common import written as written
from .drawing import network
from .functions import activations
from .matrix import confusion_matrix
from .rates import range_test
from .step import step
from .training import history
from .units import weights
from .walk import descent

__all__ = [
    "COLOURS",
    "INK",
    "SIGNED",
    "activations",
    "animate",
    "confusion_matrix",
    "decision_boundary",
    "descent",
    "history",
    "network",
    "range_test",
    "step",
    "weights",
]
