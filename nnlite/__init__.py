"""nnlite: small multilayer perceptrons from scratch, readable in an afternoon.

import nnlite as nl

net = nl.mlp([64, 32, 10], hidden="relu", output="softmax", device="cpu", seed=0)
trainer = nl.Trainer(net, loss="cce", optimizer=nl.SGD(lr=0.1), metrics=["accuracy"])
history = trainer.fit(x, y, epochs=20, batch_size=32)
"""

from . import startup as startup  # before all that takes long to import
from .devices import DeviceError, OutOfGPUMemoryError, get_device, kernel

# isort: split
import sys
from typing import TYPE_CHECKING

from . import (
    activations,
    callbacks,
    datasets,
    elsewhere,
    gate,
    initializers,
    losses,
    metrics,
    optimizers,
    plots,
    registry,
    rules,
    schedules,
    tables,
)
from .activations import (
    ELU,
    GELU,
    SELU,
    Activation,
    Exponential,
    GELUTanh,
    HardSigmoid,
    HardTanh,
    Identity,
    LeakyReLU,
    LogSoftmax,
    Mish,
    PReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Sine,
    Softmax,
    Softplus,
    Softsign,
    Tanh,
    TanhOffset,
)
from .blocks import Chain, Residual
from .callbacks import Callback, Checkpoint, CSVLogger, EarlyStopping, LivePlot, ReduceLROnPlateau, TensorBoard
from .descent import Descent, gradient_descent
from .estimators import MLPClassifier, MLPRegressor, TableClassifier, TableRegressor
from .files import CorruptFileError
from .gate import PrecisionWarning
from .gradcheck import GradientReport, check_gradients
from .history import History
from .layers import Dense, Layer
from .loading import load
from .losses import (
    MAE,
    MSE,
    BinaryCrossEntropy,
    BinaryFocal,
    CategoricalCrossEntropy,
    CategoricalFocal,
    HalfMSE,
    Hinge,
    Huber,
    KLDivergence,
    LogCosh,
    Loss,
    Poisson,
    Quantile,
    SquaredHinge,
)
from .metrics import Metric
from .network import Sequential
from .noise import Dropout, GaussianNoise
from .normalization import BatchNorm, LayerNorm
from .optimizers import SGD, Adam, Optimizer
from .perceptron import mlp
from .range_test import RangeTest, lr_range_test
from .registry import register
from .rules import Adadelta, Adagrad, Adamax, AdamW, Lion, NAdam, RAdam, RMSprop, Rprop
from .scale import ScaleWarning
from .schedules import Schedule
from .steps import EagerWarning
from .together import fit_many
from .trainer import DivergedError, Trainer

if TYPE_CHECKING:
    from .devices import devices  # a type checker takes no module for a function
else:
    from . import devices

# A type checker would take any name for an attribute.
if TYPE_CHECKING:
    __version__: str
else:

    def __getattr__(name):
        """The version, for which Python would search for 20 ms in every process that imports nnlite; or a hint."""
        if name != "__version__":
            elsewhere.missing(__name__)(name)
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("nnlite")
        except PackageNotFoundError:  # run from a source tree that was not installed
            return "0+unknown"


Linear, Skip = Dense, Residual  # names that people bring from elsewhere


# fmt: off
__all__ = [  # noqa: RUF022  (in the order in which a user meets them)
    "gradient_descent", "Descent",
    "Sequential", "mlp", "load", "Layer", "Dense", "Linear", "BatchNorm", "LayerNorm", "Dropout", "GaussianNoise",
    "Chain", "Residual", "Skip",
    "Activation", "Identity", "Sigmoid", "Tanh", "TanhOffset", "HardSigmoid", "HardTanh", "Softsign",
    "ReLU", "LeakyReLU", "PReLU", "ELU", "SELU", "Softplus", "GELU", "GELUTanh", "SiLU", "Mish",
    "Sine", "Exponential", "Softmax", "LogSoftmax",
    "Loss", "MSE", "HalfMSE", "MAE", "Huber", "LogCosh", "Quantile", "Hinge", "SquaredHinge", "Poisson",
    "BinaryCrossEntropy", "CategoricalCrossEntropy", "KLDivergence", "BinaryFocal", "CategoricalFocal",
    "Optimizer", "SGD", "Adam", "AdamW", "NAdam", "RAdam", "Adamax", "Adagrad", "Adadelta", "RMSprop", "Lion", "Rprop",
    "Schedule", "Trainer", "History", "Metric",
    "Callback", "EarlyStopping", "ReduceLROnPlateau", "Checkpoint", "CSVLogger", "TensorBoard", "LivePlot",
    "fit_many", "lr_range_test", "RangeTest",
    "MLPClassifier", "MLPRegressor", "TableClassifier", "TableRegressor",
    "check_gradients", "GradientReport", "devices", "get_device", "kernel", "register",
    "DeviceError", "DivergedError", "CorruptFileError", "OutOfGPUMemoryError",
    "EagerWarning", "PrecisionWarning", "ScaleWarning",
    "activations", "callbacks", "datasets", "gate", "initializers", "losses", "metrics", "optimizers", "plots",
    "registry", "rules", "schedules", "tables",
]
# fmt: on
for _name in (
    *("activation", "activations", "callbacks", "datasets", "initializers", "layers", "loss", "losses", "metrics"),
    *("network", "optimizers", "schedules"),
):
    vars(sys.modules[f"{__name__}.{_name}"])["__getattr__"] = elsewhere.missing(f"{__name__}.{_name}")
