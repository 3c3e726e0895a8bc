"""nnlite: small multilayer perceptrons from scratch, readable in an afternoon.

import nnlite as nl

net = nl.mlp([64, 32, 10], hidden="relu", output="softmax", device="cpu", seed=0)
trainer = nl.Trainer(net, loss="cce", optimizer=nl.SGD(lr=0.1), metrics=["accuracy"])
history = trainer.fit(x, y, epochs=20, batch_size=32)
"""

from . import startup as startup  # before all that takes long to import
from .devices import DeviceError, OutOfGPUMemoryError, get_device, kernel

# isort: split
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from . import activations, datasets, gate, initializers, losses, metrics, optimizers, plots, rules, schedules
from .activations import Identity, ReLU, Sigmoid, Softmax, Softplus, Tanh, TanhOffset
from .descent import Descent, gradient_descent
from .files import CorruptFileError
from .gate import PrecisionWarning
from .gradcheck import GradientReport, check_gradients
from .history import History
from .layers import Dense, Dropout, Layer
from .losses import MAE, MSE, BinaryCrossEntropy, CategoricalCrossEntropy, HalfMSE, Loss
from .metrics import Metric
from .network import Sequential, load, mlp
from .optimizers import SGD, Adam, Optimizer
from .rules import Adadelta, Adagrad, Adamax, AdamW, Lion, NAdam, RAdam, RMSprop, Rprop
from .schedules import Schedule
from .steps import EagerWarning
from .trainer import DivergedError, Trainer

if TYPE_CHECKING:
    from .devices import devices  # a type checker takes no module for a function
else:
    from . import devices

try:
    __version__ = version("nnlite")
except PackageNotFoundError:  # run from a source tree that was not installed
    __version__ = "0+unknown"

# fmt: off
__all__ = [  # noqa: RUF022  (in the order in which a user meets them)
    "gradient_descent", "Descent",
    "Sequential", "mlp", "load", "Layer", "Dense", "Dropout",
    "Identity", "Sigmoid", "Tanh", "TanhOffset", "ReLU", "Softplus", "Softmax",
    "Loss", "MSE", "HalfMSE", "MAE", "BinaryCrossEntropy", "CategoricalCrossEntropy",
    "Optimizer", "SGD", "Adam", "AdamW", "NAdam", "RAdam", "Adamax", "Adagrad", "Adadelta", "RMSprop", "Lion", "Rprop",
    "Schedule", "Trainer", "History", "Metric",
    "check_gradients", "GradientReport", "devices", "get_device", "kernel",
    "DeviceError", "DivergedError", "CorruptFileError", "OutOfGPUMemoryError", "EagerWarning", "PrecisionWarning",
    "activations", "datasets", "gate", "initializers", "losses", "metrics", "optimizers", "plots", "rules", "schedules",
]
# fmt: on
