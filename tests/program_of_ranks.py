"""The program that test_distributed.py starts on ranks: `mpirun -n 2 python program_of_ranks.py same numpy numba`."""

import os
import signal
import sys
import traceback
import warnings

import numpy as np
from helpers import Square
from mpi4py import MPI

import nnlite as nl
from nnlite.distributed import SharedSteps

COMM = MPI.COMM_WORLD
RNG = np.random.default_rng(5)
X, LABELS, NUMBERS = RNG.standard_normal((33, 6)), RNG.integers(0, 3, 33), RNG.standard_normal((33, 3))
HOLES = np.where(RNG.random(NUMBERS.shape) < 0.3, np.nan, NUMBERS)
WEIGHTS = RNG.integers(0, 4, 33) / 2  # also 0


class Fails(nl.Layer):
    """y = x, until rank 1 fails in the middle of an epoch."""

    calls = 0

    def forward(self, x):
        self.x = x
        Fails.calls += 1
        if COMM.rank == 1 and Fails.calls == 20:
            if sys.argv[1] == "is killed":
                os.kill(os.getpid(), signal.SIGKILL)
            raise ZeroDivisionError("on purpose")
        return self.x * 1

    def backward(self, dy):
        return dy * 1


def noisy():
    """Layers that draw numbers, one of them within another, whose columns are not as many."""
    return [nl.GaussianNoise(0.3), nl.Residual(nl.Dense(9, 7), nl.Dropout(0.4), nl.Dense(7, 9)), nl.Tanh()]


def first_of_half(y, prediction):
    """Depends on all rows and on their order."""
    return prediction[: len(y) // 2].max() - prediction[len(y) // 2 :, 0] @ np.arange(len(y) - len(y) // 2)


def net_of(*hidden, device="numpy", seed=3, output=None):
    layers = [nl.Dense(6, 9), *(hidden or [nl.Tanh()]), nl.Dense(9, 3), *([output] if output else [])]
    return nl.Sequential(*layers, device=device, dtype="float64", seed=seed)


def trained(
    communicator,
    device,
    loss,
    optimizer,
    batch_size,
    rows=33,
    metrics=(),
    hidden=None,
    chunks=False,
    weight=None,
    **options,
):
    """Two fits in a row -> the network's arrays, the two histories, the trainer."""
    y = HOLES if getattr(loss, "ignore_nan", False) else LABELS if loss == "cce" else NUMBERS
    net = net_of(*(hidden() if hidden else ()), device=device, output=nl.Softmax() if loss == "cce" else None)
    trainer = nl.Trainer(net, loss, optimizer(), metrics, communicator=communicator)
    arrays = (X[:rows], y[:rows], *([] if weight is None else [weight[:rows]]))
    data, options = arrays[:2], {"batch_size": batch_size, "progress": False} | options
    if chunks:
        data = ([tuple(array[:20] for array in arrays), tuple(array[20:] for array in arrays)],)
    elif weight is not None:
        options["sample_weight"] = arrays[2]
    seen = tuple(array[:7] for array in arrays)
    histories = [
        trainer.fit(*data, epochs=3, validation_data=seen, **options),
        trainer.fit(*data, epochs=2, **options),
    ]
    return net.arrays() | trainer.optimizer.arrays(), histories, trainer


def same():
    """Networks, histories and optimizers are as those that this rank trains alone."""
    sgd, holes = lambda: nl.SGD(lr=0.1), nl.MSE(ignore_nan=True)
    adam = lambda: nl.Adam(nl.schedules.Cosine(0.01, 20), clip_norm=0.5, weight_decay=0.01)  # noqa: E731
    cases = [
        ("cce", sgd, 16, {"metrics": ["accuracy"]}),  # 33 rows: the last batch has one row, for one rank alone
        ("cce", adam, 10, {}),
        ("mse", adam, 3, {"metrics": ["r2", "mae"], "rows": 11}),  # with 4 ranks, one has never any rows
        (nl.MSE(reduction="sum"), lambda: nl.SGD(lr=0.01, momentum=0.9), 8, {}),
        (holes, sgd, 9, {"metrics": ["r2"]}),
        ("mse", sgd, 16, {"chunks": True, "metrics": ["r2"]}),
        ("cce", adam, 8, {"metrics": ["accuracy", "roc_auc"], "weight": WEIGHTS, "class_weight": {0: 3, 1: 0.5}}),
        ("cce", sgd, 16, {"metrics": ["roc_auc", first_of_half], "hidden": noisy}),
        (holes, adam, 3, {"metrics": ["r2"], "weight": WEIGHTS, "hidden": noisy, "rows": 11}),
    ]
    others = [
        ("cce", sgd, 8, {"class_weight": "balanced"}),
        (nl.MSE(reduction="sum"), lambda: nl.SGD(lr=0.01), 9, {"weight": WEIGHTS}),
        ("mse", sgd, 16, {"chunks": True, "weight": WEIGHTS, "metrics": ["mae"]}),
        ("mse", sgd, 7, {"chunks": True, "metrics": [first_of_half], "hidden": noisy}),
        ("mse", sgd, 5, {"rows": 14, "hidden": noisy}),  # the last batch has 4 rows: of 2 ranks, one has 2 in each
    ]
    eager = [("mse", sgd, 16, {"hidden": lambda: [Square()]})]
    for device in sys.argv[2:]:
        for loss, optimizer, batch_size, more in cases + (others + eager if device == "numpy" else []):
            arrays, histories, trainer = trained(COMM, device, loss, optimizer, batch_size, **more)
            expected, single, _ = trained(None, device, loss, optimizer, batch_size, **more)
            assert f"{COMM.size} ranks" in trainer.plan(), trainer.plan()
            for name in expected.keys() - {"gradients", "rate"}:  # what a step leaves there, the next one overwrites
                np.testing.assert_allclose(arrays[name], expected[name], rtol=1e-12, atol=1e-12, err_msg=name)
            for history, other in zip(histories, single):
                assert list(history) == list(other)
                for name in other:
                    np.testing.assert_allclose(history[name], other[name], rtol=1e-12, atol=1e-12, err_msg=name)
            every = COMM.allgather([array.tobytes() for array in arrays.values()] + [str(histories)])
            assert all(each == every[0] for each in every)  # to the last bit


def refused():
    """Errors before the training begins are raised on both ranks, and so is a divergence."""

    def error(kind, text, net=None, x=X, y=LABELS, optimizer="sgd", **options):
        trainer = nl.Trainer(net or net_of(output=nl.Softmax()), "cce", optimizer, communicator=COMM)
        try:
            trainer.fit(x, y, progress=False, **options)
        except (ValueError, ArithmeticError, RuntimeError) as found:
            assert type(found).__name__ == kind and text in str(found), found
            return trainer.network.parameters.tobytes()
        raise AssertionError(f"no {kind}")

    error("ValueError", "reads 6 columns", x=X[:, :5])
    if COMM.rank == 1:
        error("ValueError", "reads 6 columns", x=X[:, :5])
    else:
        error("RankError", "rank 1 failed: ValueError: x has shape")
    rows = 33 - COMM.rank
    error("ValueError", "rows of data is 33 on rank 0, and 32 on rank 1", x=X[:rows], y=LABELS[:rows])
    error(
        "ValueError", "sum_of_weights is 33.0 on rank 0, and None on", sample_weight=None if COMM.rank else np.ones(33)
    )
    error("ValueError", "checksum_of_x is", x=X + COMM.rank)
    error("ValueError", "checksum_of_y is", y=LABELS[::-1] if COMM.rank else LABELS)
    error("ValueError", "checksum_of_weights is", sample_weight=(WEIGHTS[::-1] if COMM.rank else WEIGHTS) + 1)
    error("ValueError", "callbacks is ['Checkpoint'] on", callbacks=[] if COMM.rank else [nl.Checkpoint("file")])
    error("ValueError", "task is ended on rank 0, and training on rank 1", epochs=COMM.rank)
    error("ValueError", "learning_rate is 1.0 on rank 0, and 2.0 on", optimizer=nl.SGD(lr=1 + COMM.rank))

    def other_rates(trainer, epoch):
        trainer.optimizer.lr = 1 if epoch == 1 else 1 + COMM.rank

    error("ValueError", "learning_rate is 1.0 on rank 0, and 2.0 on rank 1", epochs=3, callbacks=[other_rates])
    seen = None if COMM.rank else (X, LABELS)
    error("ValueError", "rows of validation data is 33 on rank 0, and 0 on rank 1", validation_data=seen)
    error("ValueError", "shuffle is True on rank 0, and False on", shuffle=COMM.rank == 0)
    whole = [(X, LABELS)]
    error("ValueError", "epochs is 2 on rank 0, and 3 on", x=whole, y=None, epochs=2 + COMM.rank)
    error("ValueError", "initial_epoch is 0 on rank 0, and 1 on", x=whole, y=None, epochs=3, initial_epoch=COMM.rank)
    error("ValueError", "rows of data is 33 on rank 0, and in chunks", x=whole if COMM.rank else X, y=seen and LABELS)
    chunks = [(X[i : i + 11], LABELS[i : i + 11]) for i in (0, 11, 22)]
    shorter = [*chunks[:2], (X[22:32], LABELS[22:32])] if COMM.rank else chunks
    error("ValueError", "chunk 2 is there on rank 0, and missing on", x=lambda: iter(chunks[: 3 - COMM.rank]), y=None)
    error("ValueError", "chunk 2 is missing on rank 0, and there on", x=lambda: iter(chunks[: 2 + COMM.rank]), y=None)
    error("ValueError", "rows is 11 on rank 0, and 10 on rank 1", x=shorter, y=None, shuffle=False)
    other = net_of(nl.Dropout(0.5), output=nl.Softmax())
    other.layers[1].key += COMM.rank
    error("ValueError", "keys_of_noise is", other)
    error("ValueError", "take nl.LayerNorm", net_of(nl.BatchNorm(9), output=nl.Softmax()))
    error("ValueError", "needs a seed", net_of(seed=None, output=nl.Softmax()))
    frozen = nl.BatchNorm(9)
    frozen.trainable = False
    nl.Trainer(net_of(frozen, output=nl.Softmax()), "cce", communicator=COMM).fit(X, LABELS, progress=False)
    relu = net_of(nl.ReLU(), output=nl.Softmax())
    found = error("DivergedError", "in epoch 1, batch 2", relu, optimizer=nl.SGD(lr=1e300), epochs=3, batch_size=8)
    assert COMM.allgather(found)[0] == found
    # Parameters are those of rank 0.
    net = net_of(output=nl.Softmax(), seed=1)
    net.parameters[...] += COMM.rank
    nl.Trainer(net, "cce", communicator=COMM).fit(X, LABELS, progress=False)
    every = COMM.allgather(net.parameters.tobytes())
    assert all(each == every[0] for each in every)


def at_the_third_pause(act, plain=SharedSteps.runs):
    """Pause after every second step, and call this at the third pause in the middle of an epoch."""
    pauses = []

    def runs(self, epochs):
        self.pace = 2
        for run in plain(self, epochs):
            if self.done % self.per_epoch:
                pauses.append(self.done)
                if len(pauses) == 3:
                    act()
            yield run
            self.pace = 2

    SharedSteps.runs = runs


def resumed():
    """A fit goes on from files that were written between two epochs, in the middle of one, and at its end."""
    weighed = [(X[:20], NUMBERS[:20], WEIGHTS[:20]), (X[20:], NUMBERS[20:], WEIGHTS[20:])]
    for device in sys.argv[2:]:
        goes_on(device, "cce", (X, LABELS), ["roc_auc"], validation_data=(X[:7], LABELS[:7]))
        goes_on(device, "mse", (X, NUMBERS), ["r2"], shuffle=False)
        goes_on(device, "mse", (weighed, None), ["mae"])


def goes_on(device, loss, data, metrics, **options):
    def trainer_of(communicator):
        net = net_of(*noisy(), device=device, output=nl.Softmax() if loss == "cce" else None)
        return nl.Trainer(net, loss, nl.Adam(nl.schedules.Cosine(0.01, 30)), metrics, communicator=communicator)

    def fit(trainer, epochs, callbacks=()):
        trainer.fit(*data, epochs, 5, progress=False, callbacks=callbacks, **options)
        found = {name: np.array(array) for name, array in trainer.new_step().arrays().items()}
        return {name: found[name] for name in found.keys() - {"gradients", "clock", "rate"}}, trainer.history

    alone, shared, every = trainer_of(None), trainer_of(COMM), nl.Checkpoint("after-{epoch}", keep=9)
    at_the_third_pause(lambda: shared.save("middle"))
    expected = fit(alone, 4)
    same_numbers(fit(shared, 4, [every]), expected, "not stopped")
    for file in ("after-1", "middle"):
        trainer = nl.Trainer.load(file, communicator=COMM)
        assert trainer.unfinished.place.position % 33 if file == "middle" else trainer.history.epochs == 1
        same_numbers(fit(trainer, 4), expected, file)
    shared.save("end")  # all ranks, of which one writes
    trainer = trainer_of(COMM)
    trainer.network.parameters[...] += COMM.rank
    trainer.resume("end")
    same_numbers(fit(trainer, 2), fit(alone, 2), "end")


def same_numbers(found, expected, where):
    for some, others in zip(found, expected):
        assert list(some) == list(others)
        for name, array in some.items():
            np.testing.assert_allclose(array, others[name], rtol=1e-12, atol=1e-12, err_msg=f"{where}: {name}")


def interrupted():
    """Rank 1 alone hears Ctrl-C, and all ranks stop where they are."""
    x, y = nl.datasets.moons(n=40, noise=0.1, seed=0)
    net = nl.mlp([2, 8, 2], dropout=0.2, output="softmax", device="numpy", dtype="float64", seed=0)
    trainer = nl.Trainer(net, "cce", "adam", ["accuracy", "roc_auc"], communicator=COMM)
    at_the_third_pause(lambda: COMM.rank == 1 and signal.raise_signal(signal.SIGINT))
    trainer.fit(x, y, 5, 7, progress=False, callbacks=[nl.Checkpoint("stopped")])


def fails():
    nl.Trainer(net_of(Fails()), communicator=COMM).fit(X, NUMBERS, epochs=50, batch_size=8, progress=False)


warnings.simplefilter("ignore", nl.EagerWarning)
try:
    {"same": same, "refused": refused, "resumed": resumed, "interrupted": interrupted}.get(sys.argv[1], fails)()
except AssertionError:
    traceback.print_exc()
    COMM.Abort(1)  # the other ranks would wait for this one
sys.stdout.write("done\n")
