"""Many networks at once: the same numbers as one after the other, on every device, and errors that concern one."""

import signal
import threading
import time

import numpy as np
import pytest
from helpers import handling

import nnlite as nl


def problem(rows=50):
    rng = np.random.default_rng(0)
    return rng.standard_normal((rows, 6)).astype(np.float32), rng.integers(0, 3, rows)


def trainers_on(device, rates=(0.05, 0.1, 0.2, 0.4), sizes=(6, 8, 3), **options):
    made = []
    for seed, rate in enumerate(rates):
        net = nl.mlp(sizes, output="softmax", device=device, seed=seed, threads=1)
        made.append(nl.Trainer(net, "cce", nl.SGD(lr=rate), ["accuracy"], **options))
    return made


@pytest.mark.parametrize("optimizer", [nl.SGD, nl.Adam])
def test_equal_to_one_after_the_other(device, optimizer):
    x, y = problem()
    alone, together = trainers_on(device), trainers_on(device)
    for trainer in (*alone, *together):
        trainer.optimizer = optimizer(lr=trainer.optimizer.lr)
    expected = [trainer.fit(x, y, 4, 8, progress=False) for trainer in alone]
    found = nl.fit_many(together, x, y, 4, 8, progress=False)
    for one, other, history, known in zip(together, alone, found, expected, strict=True):
        assert history == known
        for name, value in other.network.state_dict().items():
            np.testing.assert_array_equal(one.network.state_dict()[name], value)


def test_a_gpu_gets_one_launch_for_networks_of_one_shape(rig, monkeypatch):
    monkeypatch.setattr(nl.steps, "LONGEST_RUN", 60)  # on a slow machine, too, a launch has as many steps as on others
    x, y = problem()
    nl.fit_many(trainers_on("cupy"), x, y, 3, 8, progress=False)  # compiled, and paces found
    trainers = trainers_on("cupy")
    for trainer in trainers:
        trainer.fit(x, y, 1, 8, progress=False)
    rig.launches.clear()
    nl.fit_many(trainers, x, y, 3, 8, progress=False)
    assert rig.launches.count("replay") < len(trainers)


def test_shapes_and_lengths_may_differ(device):
    x, y = problem()
    trainers = [*trainers_on(device), *trainers_on(device, (0.1,), (6, 5, 4, 3))]
    stopping = [lambda trainer, epoch: trainer is trainers[2] and epoch == 2 and trainer.stop()]
    found = nl.fit_many(trainers, x, y, 5, 8, progress=False, callbacks=stopping, validation_data=(x, y))
    assert [history.epochs for history in found] == [5, 5, 2, 5, 5]


def test_one_that_diverges_does_not_keep_the_others_from_their_end(device):
    x, y = problem()
    trainers = trainers_on(device, (0.1, 1e30, 0.1))
    with pytest.raises(nl.DivergedError, match="learning rate below lr=1e"):
        nl.fit_many(trainers, x, y, 4, 8, progress=False)
    assert [trainer.history.epochs for trainer in trainers][::2] == [4, 4]
    assert all(trainer.network.threads == 1 for trainer in trainers)


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="Windows sends Ctrl-C to a whole console")
def test_ctrl_c_ends_those_that_train_and_begins_no_others():
    x, y = problem()
    trainers = trainers_on("numpy", np.full(20, 0.1))

    def interrupt(trainer, epoch):
        if trainer is trainers[0] and epoch == 1:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        time.sleep(0.02)

    with handling(signal.SIGINT, signal.default_int_handler), pytest.raises(KeyboardInterrupt):
        nl.fit_many(trainers, x, y, 40, 8, progress=False, callbacks=[interrupt])
    assert all(trainer.history.epochs < 40 for trainer in trainers) and not trainers[-1].history.epochs
    assert all(trainer.network.threads == 1 for trainer in trainers)


def test_what_trainers_cannot_share(device):
    x, y = problem()
    one, other = trainers_on(device, (0.1, 0.2))
    with pytest.raises(ValueError, match="have the same network: give each"):
        nl.fit_many([one, nl.Trainer(one.network, "cce", nl.SGD(lr=0.1))], x, y)
    with pytest.raises(ValueError, match="a Callback keeps what it has seen"):
        nl.fit_many([one, other], x, y, callbacks=[nl.EarlyStopping()])
    with pytest.raises(TypeError, match=r"must be a list of nl\.Trainer"):
        nl.fit_many([one.network], x, y)
    assert nl.fit_many([], x, y) == []


def test_networks_of_several_devices():
    x, y = problem()
    with pytest.raises(ValueError, match="on one device, got 'numba', 'numpy'"):
        nl.fit_many([*trainers_on("numpy", (0.1,)), *trainers_on("numba", (0.1,))], x, y)


def test_each_has_one_thread_meanwhile_and_its_own_afterwards():
    x, y = problem()
    trainers, seen = trainers_on("numba", (0.1, 0.2)), []
    trainers[0].network.threads = 2
    look = [lambda trainer, epoch: seen.append((trainer.network.threads, threading.current_thread().name))]
    nl.fit_many(trainers, x, y, 1, 8, progress=False, callbacks=look)
    assert {threads for threads, _ in seen} == {1} and threading.main_thread().name not in dict(seen).values()
    assert [trainer.network.threads for trainer in trainers] == [2, 1]
