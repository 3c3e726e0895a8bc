"""Names that people bring from other libraries, where the tests of what they name do not try them."""

import re

import numpy as np
import pytest

import nnlite as nl
from nnlite.rules import OPTIMIZERS


def test_arguments_of_callbacks_from_elsewhere_are_understood(empty_folder):
    assert nl.EarlyStopping(restore_best_weights=False).restore_best is False
    assert nl.ReduceLROnPlateau(min_lr=1e-5).least == 1e-5
    assert nl.Checkpoint(filepath="net.safetensors").path == "net.safetensors"
    with pytest.raises(TypeError, match=r"^EarlyStopping got both restore_best_weights and restore_best, which"):
        nl.EarlyStopping(restore_best_weights=True, restore_best=True)


@pytest.mark.parametrize("name", nl.elsewhere.WATCHER)
@pytest.mark.parametrize("kind", [nl.EarlyStopping, nl.ReduceLROnPlateau])
def test_arguments_of_callbacks_from_elsewhere_are_answered(kind, name):
    with pytest.raises(TypeError, match=f"^{kind.__name__} has no argument {name}: "):
        kind(**{name: 1})


@pytest.mark.parametrize("name", nl.elsewhere.CHECKPOINT)
def test_arguments_of_checkpoints_from_elsewhere_are_answered(name):
    with pytest.raises(TypeError, match=f"^Checkpoint has no argument {name}: "):
        nl.Checkpoint("net.safetensors", **{name: 1})


@pytest.mark.parametrize("name", nl.elsewhere.OPTIMIZER)
def test_arguments_of_optimizers_from_elsewhere_are_answered(name):
    for kind in OPTIMIZERS.values():
        with pytest.raises(TypeError, match=f"^{kind.__name__} has no argument {name}: "):
            kind(**{name: 1})


@pytest.mark.parametrize("name", ["acc", "AUC", "F1Score", "binary_accuracy", "sensitivity"])
def test_callbacks_wait_for_metrics_by_the_names_that_a_trainer_takes(name, empty_folder):
    x = np.linspace(-1, 1, 32).reshape(-1, 1)
    y = (x > 0).astype(float)
    net = nl.mlp([1, 1], output="sigmoid", device="numpy", seed=0)
    trainer = nl.Trainer(net, "bce", nl.SGD(lr=0.1), metrics=[name])
    early, checkpoint = nl.EarlyStopping(f"val_{name}"), nl.Checkpoint("net.safetensors", monitor=f"val_{name}")
    plateau = nl.ReduceLROnPlateau(name)
    trainer.fit(x, y, validation_data=(x, y), callbacks=[early, plateau, checkpoint], progress=False)
    measured = trainer.metrics[0].name
    assert early.watched == checkpoint.watched == f"val_{measured}" and plateau.watched == measured
    assert early.best == trainer.history[f"val_{measured}"][0] and not early.falling


def test_a_checkpoint_is_where_the_other_callbacks_are():
    assert nl.callbacks.Checkpoint is nl.Checkpoint


def test_attributes_from_elsewhere_are_not_set_in_silence():
    """Nothing would follow from them. A class of the user's may have them, and ours keep those that they have."""
    net = nl.mlp([3, 4, 1], device="numpy")
    trainer = nl.Trainer(net, "mse", nl.Adam())
    for thing, name, told in (
        (net, "trainable", "layer.trainable, of each layer"),
        (net.layers[0], "requires_grad", "layer.trainable"),
        (net.layers[0], "weight", "layer.W"),
        (trainer, "stop_training", "trainer.stop()"),
        (trainer.optimizer, "learning_rate", "optimizer.lr"),
        (trainer.optimizer, "betas", "optimizer.beta1 and optimizer.beta2"),
    ):
        with pytest.raises(AttributeError, match=rf"has no attribute {name}; in nnlite: {re.escape(told)}"):
            setattr(thing, name, 0)
        assert name not in vars(thing)
    with pytest.raises(TypeError, match=r"Dense\.bias says whether there is one; its numbers are layer\.b"):
        net.layers[0].bias = 0
    net.layers[0].trainable, trainer.optimizer.lr, net.note = False, 0.1, "may be set"

    class Own(nl.Layer):
        def __init__(self):
            super().__init__()
            self.weight = self.name = 1

    assert Own().weight == 1


@pytest.mark.parametrize("name", ["ModelCheckpoint", "CosineAnnealingLR", "LRFinder", "Precision"])
def test_names_of_the_package_are_answered(name):
    with pytest.raises(AttributeError, match=f"no attribute '{name}'; in nnlite: nl[.]"):
        getattr(nl, name)
