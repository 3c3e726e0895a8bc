"""What objects say of themselves: the repr shows every argument that is not at its default, and makes them again."""

import pickle
import re
from pathlib import Path

import numpy as np
import pytest

import nnlite as nl
from nnlite.activations import ACTIVATIONS
from nnlite.arguments import parameters
from nnlite.losses import LOSSES
from nnlite.metrics import METRICS
from nnlite.rules import OPTIMIZERS


@nl.kernel("prediction (N,K), target (N,K) -> losses (N), dprediction (N,K)")
def cubic(prediction, target):
    return abs(prediction - target).sum(1) ** 3, prediction - target


REQUIRED = {"inputs": 3, "outputs": 2, "lr": 0.5, "length": 9, "every": 4, "factor": 0.25, "path": "a-{epoch}.csv"}
REQUIRED |= {"formula": cubic, "function": max}
OTHER = {  # a value for each argument that is hardly its default anywhere
    "init": "he_normal", "bias": False, "bias_init": 0.5, "momentum": 0.75, "epsilon": 0.001, "affine": False,
    "rate": 0.75, "low": -3.0, "high": 3.0, "slope": 0.125, "alpha": 0.375, "frequency": 3.5, "reduction": "sum",
    "ignore_nan": True, "from_logits": True, "delta": 0.625, "q": 0.125, "label_smoothing": 0.125, "gamma": 1.5,
    "log_input": False, "lr": 0.0625, "nesterov": True, "beta1": 0.5, "beta2": 0.625, "amsgrad": True, "growth": 3,
    "rho": 0.375, "centered": True, "shorter": 0.25, "longer": 1.75, "least": 1e-5, "most": 8.0,
    "weight_decay": 0.125, "l1": 0.25, "decoupled": True, "decay_biases": False, "clip_value": 3.0,
    "clip_norm": 4.0, "max_norm": 5.0, "lr_factors": {"0.W": 0.5}, "average": 0.75, "monitor": "loss",
    "patience": 3, "min_delta": 0.25, "mode": "max", "restore_best": False, "factor": 0.375, "cooldown": 2,
    "append": True, "every": 3, "keep": 2, "seconds": 1.5, "kind": "each", "k": 3,
    "by": "step", "warmup": 4, "power": 2.0, "end": 0.001, "restarts": True, "rise": 0.5, "divide": 9.0,
    "divide_end": 99.0, "deviation": 0.7,
}  # fmt: skip
BUT = {"AdamW": {"decoupled": False}, "Lion": {"decoupled": False}, "OneCycle": {"by": "epoch"}}
BUT |= {name: {"average": "micro"} for name in ("Precision", "Recall", "F1", "Specificity")}
WITH = {"nesterov": {"momentum": 0.5}}  # what an argument needs beside it
SCHEDULES = [kind for kind in vars(nl.schedules).values() if repr(kind).startswith("<class 'nnlite.schedules")]
LAYERS = [nl.Dense, nl.BatchNorm, nl.LayerNorm, nl.Dropout, nl.GaussianNoise, *ACTIVATIONS.values()]
CALLBACKS = [nl.EarlyStopping, nl.ReduceLROnPlateau, nl.Checkpoint, nl.CSVLogger, nl.callbacks.LivePlot]
KINDS = [*LAYERS, *LOSSES.values(), *OPTIMIZERS.values(), *METRICS.values(), *CALLBACKS, *SCHEDULES[1:]]
KINDS = sorted(set(KINDS), key=lambda kind: kind.__name__)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_argument_is_shown_that_is_not_at_its_default(kind):
    every = [each for each in parameters(kind) if each.name != "device"]
    needed = {each.name: REQUIRED[each.name] for each in every if each.default is each.empty}
    assert names_in(repr(kind(**needed))) <= {"lr"}  # an optimizer's learning rate is always shown
    for each in every:
        if each.default is not each.empty:
            value = (OTHER | BUT.get(kind.__name__, {}))[each.name]
            given = WITH.get(each.name, {}) | {each.name: value}
            shown = repr(kind(**needed, **given))
            assert f"{each.name}={value!r}" in shown and names_in(shown) <= {*given, "lr"}, shown


def names_in(shown):
    return {*re.findall(r"(\w+)=", shown)}


MADE = [
    "Dense(3, 2, init='he_normal', bias=False)",
    "Chain(Dense(3, 4), LeakyReLU(slope=0.25), Residual(Dense(4, 2), projection=True))",
    "Sequential(Dense(3, 2), Tanh(), device='numpy', dtype='float64', seed=7)",
    "Sequential(Dense(3, 2), device='numba', dtype='float32', seed=None, threads=1)",
    "Adam(lr=schedules.Cosine(0.125, 9, warmup=4), lr_factors={'0.W': 0.5})",
    "EarlyStopping(monitor='loss', patience=3)",
    "metrics.TopKAccuracy(k=3)",
]


@pytest.mark.parametrize("made", MADE)
def test_what_is_shown_makes_it_again(made):
    assert repr(eval(f"nl.{made}", {"nl": nl, **vars(nl)})) == made.replace("schedules.", "").replace("metrics.", "")


def test_a_trainer_shows_what_it_trains():
    net = nl.Sequential(nl.Dense(3, 2), nl.Softmax(), device="numpy", dtype="float64")
    trainer = nl.Trainer(net, "cce", "adam", metrics=["accuracy"], replay="eager")
    assert repr(trainer) == (
        f"Trainer({net!r}, loss=CategoricalCrossEntropy(), optimizer=Adam(lr=0.001), "
        "metrics=[Accuracy(kind='class')], replay='eager')"
    )


def test_values_are_shown_as_one_would_write_them():
    class Own(nl.Layer):
        def __init__(self, scale, table=(), shape=None, forgotten=1, **others):
            super().__init__(**others)
            self.scale, self.table, self.shape = scale, table, shape

    assert repr(Own(np.float32(0.5), (1, "a"), {"b": [np.int64(2)]})) == "Own(0.5, table=[1, 'a'], shape={'b': [2]})"
    assert repr(Own(np.zeros((2, 3)), Path("here"))) == "Own(<array of shape (2, 3)>, table='here')"
    assert repr(Own(max, np.dtype("f4"), nl.Tanh)) == "Own(max, table='float32', shape=Tanh)"
    init = nl.initializers.uniform(-2, 2)
    assert repr(nl.Dense(3, 2, init=init)) == "Dense(3, 2, init=uniform(low=-2.0, high=2.0))"


@pytest.mark.parametrize("init", [("uniform", -2, 2), ("constant", 0.5), ("siren", 3.0, True)], ids=str)
def test_a_network_with_first_weights_from_numbers_can_be_pickled(init):
    name, *numbers = init
    net = nl.Sequential(nl.Dense(3, 2, init=getattr(nl.initializers, name)(*numbers)), device="numpy")
    copied = pickle.loads(pickle.dumps(net))
    assert repr(copied) == repr(net) and np.array_equal(copied.parameters, net.parameters)
