"""Names that people bring from other libraries: what means the same here, or what is ours instead.

Case, hyphens and underscores do not count in these names. A value that is one of our own names is understood; any other
is what an error says.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
NONE: Mapping[str, str] = MappingProxyType({})

ACTIVATIONS = {
    "linear": "identity",
    "logistic": "sigmoid",
    "exp": "exponential",
    "swish": "silu",
    "lrelu": "leaky_relu",
    "gelunew": "gelu_tanh",
    "sin": "it is nl.Sine(frequency=1)",
    "relu6": "it is nl.HardTanh(0, 6)",
    "celu": "the nearest is nl.ELU",
    "maxout": "the nearest is nl.ReLU",
    "hardswish": "the nearest is nl.SiLU",
    "dropout": "it is a layer: put nl.Dropout(rate) into nl.Sequential",
}

LOSSES = {
    "meansquarederror": "mse",
    "squarederror": "mse",
    "mseloss": "mse",
    "meanabsoluteerror": "mae",
    "absoluteerror": "mae",
    "l1loss": "mae",
    "l1": "mae",
    "smoothl1loss": "huber",
    "smoothl1": "huber",
    "huberloss": "huber",
    "pinball": "quantile",
    "pinballloss": "quantile",
    "binarycrossentropy": "bce",
    "bceloss": "bce",
    "crossentropy": "cce",
    "crossentropyloss": "cce",
    "categoricalcrossentropy": "cce",
    "sparsecategoricalcrossentropy": "cce",
    "kldivergence": "kl",
    "kullbackleiblerdivergence": "kl",
    "kld": "kl",
    "poissonnllloss": "poisson",
    "binaryfocalcrossentropy": "binary_focal",
    "bcewithlogitsloss": "it is nl.BinaryCrossEntropy(from_logits=True)",
    "bcewithlogits": "it is nl.BinaryCrossEntropy(from_logits=True)",
    "softmaxcrossentropy": "it is nl.CategoricalCrossEntropy(from_logits=True)",
    "nllloss": 'it is "cce" for a network that ends in nl.LogSoftmax()',
    "nll": 'it is "cce" for a network that ends in nl.LogSoftmax()',
    "kldivloss": 'it is "kl" for a network that ends in nl.LogSoftmax()',
    "logloss": 'it is "bce" for yes-or-no outputs and "cce" for classes',
    "focal": 'it is "binary_focal" for yes-or-no outputs and "categorical_focal" for classes',
    "categoricalfocalcrossentropy": 'it is four times "categorical_focal", which has no alpha',
    "rmse": 'it is a metric; the loss with the same minimum is "mse"',
    "r2": 'it is a metric; the loss with the same optimum is "mse"',
    "accuracy": 'it is a metric; a loss for classes is "cce"',
}

INITIALIZERS = {
    "xavier": "it is 'glorot_uniform' or 'glorot_normal'",
    "xaviernormal": "glorot_normal",
    "kaiminguniform": "he_uniform",
    "kaimingnormal": "he_normal",
    "randomuniform": "uniform",
    "truncnormal": "truncated_normal",
    "normal": "the nearest is 'lecun_normal'",
    "randomnormal": "the nearest is 'lecun_normal'",
    "lecununiform": "the nearest is 'lecun_normal'",
    "ones": "it is nl.initializers.constant(1)",
    "constant": "it is nl.initializers.constant(value)",
}

METRICS = {
    "acc": "accuracy",
    "binaryaccuracy": "accuracy",
    "categoricalaccuracy": "accuracy",
    "sparsecategoricalaccuracy": "accuracy",
    "topkaccuracy": "it is nl.metrics.TopKAccuracy(k), and 'top_5_accuracy'",
    "topkcategoricalaccuracy": "it is nl.metrics.TopKAccuracy(k), and 'top_5_accuracy'",
    "sensitivity": "recall",
    "f1score": "f1",
    "auc": "roc_auc",
    "rocaucscore": "roc_auc",
    "averageprecisionscore": "average_precision",
    "crossentropy": "log_loss",
    "brierscore": "brier",
    "brierscoreloss": "brier",
    "meanabsoluteerror": "mae",
    "rootmeansquarederror": "rmse",
    "meanabsolutepercentageerror": "mape",
    "r2score": "r2",
    "mse": "it is the square of 'rmse', and with the loss \"mse\" the history's 'loss'",
    "meansquarederror": "it is the square of 'rmse', and with the loss \"mse\" the history's 'loss'",
}

FIT = {
    "steps_per_epoch": "an epoch uses every row once; epochs= and batch_size= say how many steps that makes",
    "n_epochs": "it is epochs=",
    "max_iter": "it is epochs=",
    "lr": "it is an argument of the optimizer: Trainer(net, optimizer=nl.SGD(lr=0.1))",
    "learning_rate": "it is an argument of the optimizer: Trainer(net, optimizer=nl.SGD(lr=0.1))",
    "loss": "it is an argument of the Trainer, or trainer.loss = …",
    "optimizer": "it is an argument of the Trainer, or trainer.optimizer = …",
    "metrics": "it is an argument of the Trainer, or trainer.metrics = …",
}

FIT_ALIASES = {"verbose": "progress"}

NAMES = {  # of the package
    "Swish": "SiLU()",
    "Hardtanh": "HardTanh(low, high)",
    "Hardsigmoid": "HardSigmoid()",
    "ReLU6": "HardTanh(0, 6)",
    "MSELoss": "MSE()",
    "L1Loss": "MAE()",
    "SmoothL1Loss": "Huber()",
    "HuberLoss": "Huber()",
    "BCELoss": "BinaryCrossEntropy()",
    "BCEWithLogitsLoss": "BinaryCrossEntropy(from_logits=True)",
    "CrossEntropyLoss": "CategoricalCrossEntropy(from_logits=True)",
    "NLLLoss": "CategoricalCrossEntropy() after LogSoftmax()",
    "KLDivLoss": "KLDivergence() after LogSoftmax()",
    "PoissonNLLLoss": "Poisson()",
    "MeanSquaredError": "MSE()",
    "MeanAbsoluteError": "MAE()",
    "BinaryCrossentropy": "BinaryCrossEntropy()",
    "CategoricalCrossentropy": "CategoricalCrossEntropy()",
    "SparseCategoricalCrossentropy": "CategoricalCrossEntropy()",
    "Model": "Sequential(…) with a Trainer",
    "Module": "Sequential(…), or Layer for one of your own",
}


def answered(
    arguments: Mapping[str, str], aliases: Mapping[str, str] = NONE
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator: a function that gets one of these arguments raises a TypeError that says what is there instead.

    An alias is another name of one of the function's own arguments.
    """

    def wrap(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def call(*given: P.args, **named: P.kwargs) -> R:
            for name in named:
                if name in arguments:
                    raise TypeError(f"{function.__name__} has no argument {name}: {arguments[name]}")
            known: Any = named
            for name in aliases.keys() & known.keys():
                if aliases[name] in known:
                    raise TypeError(f"{function.__name__} got both {name} and {aliases[name]}, which are the same")
                known[aliases[name]] = known.pop(name)
            return function(*given, **known)

        return call

    return wrap
