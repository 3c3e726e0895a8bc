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

COMM = MPI.COMM_WORLD
RNG = np.random.default_rng(5)
X, LABELS, NUMBERS = RNG.standard_normal((33, 6)), RNG.integers(0, 3, 33), RNG.standard_normal((33, 3))
HOLES = np.where(RNG.random(NUMBERS.shape) < 0.3, np.nan, NUMBERS)


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


def net_of(*hidden, device="numpy", seed=3, output=None):
    layers = [nl.Dense(6, 9), *(hidden or [nl.Tanh()]), nl.Dense(9, 3), *([output] if output else [])]
    return nl.Sequential(*layers, device=device, dtype="float64", seed=seed)


def trained(communicator, device, loss, optimizer, batch_size, rows=33, metrics=(), hidden=None, chunks=False):
    """Two fits in a row -> the network's arrays, the two histories, the trainer."""
    y = HOLES if getattr(loss, "ignore_nan", False) else LABELS if loss == "cce" else NUMBERS
    net = net_of(*(hidden() if hidden else ()), device=device, output=nl.Softmax() if loss == "cce" else None)
    trainer = nl.Trainer(net, loss, optimizer(), metrics, communicator=communicator)
    data = (X[:rows], y[:rows])
    if chunks:
        data = ([(X[:20], y[:20]), (X[20:], y[20:])],)
    histories = [
        trainer.fit(*data, epochs=3, batch_size=batch_size, progress=False, validation_data=(X[:7], y[:7])),
        trainer.fit(*data, epochs=2, batch_size=batch_size, progress=False),
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
    ]
    eager = [("mse", sgd, 16, {"hidden": lambda: [Square()]})]
    for device in sys.argv[2:]:
        for loss, optimizer, batch_size, more in cases + (eager if device == "numpy" else []):
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
    error("ValueError", "rank 1 has (32, 6, 3", x=X[:rows], y=LABELS[:rows])
    error("ValueError", "take nl.LayerNorm", net_of(nl.BatchNorm(9), output=nl.Softmax()))
    error("ValueError", "needs a seed", net_of(seed=None, output=nl.Softmax()))
    frozen = nl.BatchNorm(9)
    frozen.trainable = False
    nl.Trainer(net_of(frozen, output=nl.Softmax()), "cce", communicator=COMM).fit(X, LABELS, progress=False)
    relu = net_of(nl.ReLU(), output=nl.Softmax())
    found = error("DivergedError", "in epoch 1, batch 2", relu, optimizer=nl.SGD(lr=1e300), epochs=3, batch_size=8)
    assert COMM.allgather(found)[0] == found
    # Parameters are those of rank 0, and each rank drops numbers of its own.
    net = net_of(nl.Dropout(0.5), output=nl.Softmax(), seed=1)
    net.parameters[...] += COMM.rank
    nl.Trainer(net, "cce", communicator=COMM).fit(X, LABELS, progress=False)
    every = COMM.allgather(net.parameters.tobytes())
    assert all(each == every[0] for each in every)


def fails():
    nl.Trainer(net_of(Fails()), communicator=COMM).fit(X, NUMBERS, epochs=50, batch_size=8, progress=False)


warnings.simplefilter("ignore", nl.EagerWarning)
try:
    {"same": same, "refused": refused}.get(sys.argv[1], fails)()
except AssertionError:
    traceback.print_exc()
    COMM.Abort(1)  # the other ranks would wait for this one
sys.stdout.write("done\n")
