"""A trainer that is saved and goes on: as if it had never been stopped, to the bit, in another process too."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from helpers import handling, on_threads

import nnlite as nl
from nnlite import progress, registry, steps

RNG = np.random.Generator(np.random.PCG64(1))
X, Y = RNG.standard_normal((103, 6)).astype(np.float32), RNG.integers(0, 3, 103)
T = RNG.standard_normal((103, 2)).astype(np.float32)
CHUNKS = [(X[:40], T[:40]), (X[40:77], T[40:77]), (X[77:], T[77:])]
LARGE = np.random.Generator(np.random.PCG64(2)).standard_normal((1100, 20)).astype(np.float32)


@nl.register
class Scaled(nl.Layer):
    """y = factor · x, a layer of one's own."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return self.ops.scaled(x, self.factor, 0.0)

    def backward(self, dy):
        return self.ops.scaled(dy, self.factor, 0.0)


@nl.register
@nl.kernel("p (N,K), t (N,K) -> losses (N), dp (N,K)")
def fourth_power(p, t):
    return ((p - t) ** 4).sum(axis=1), 4 * (p - t) ** 3


def classifier(device):
    layers = nl.Dense(6, 16), nl.BatchNorm(16), nl.ReLU(), nl.Dropout(0.3), nl.Dense(16, 3), nl.Softmax()
    net = nl.Sequential(*layers, device=device, seed=4)
    optimizer = nl.Adam(lr=nl.schedules.OneCycle(0.05, length=60), average=0.9)
    return nl.Trainer(net, "cce", optimizer, metrics=["accuracy"])


def momentum(device):
    net = nl.Sequential(
        nl.Dense(6, 8), nl.Tanh(), nl.GaussianNoise(0.1), nl.Dense(8, 2), device=device, dtype="float64"
    )
    rate = nl.schedules.Exponential(0.05, 0.9)
    return nl.Trainer(net, nl.Huber(0.7), nl.SGD(lr=rate, momentum=0.9, lr_factors={0: 0.5, "3.b": 2}), metrics=["r2"])


def own(device):
    net = nl.Sequential(nl.Dense(6, 5), Scaled(0.5), nl.Tanh(), nl.Dense(5, 2), device=device)
    return nl.Trainer(net, fourth_power, nl.NAdam(clip_norm=1.0))


def eager(device):
    return nl.Trainer(nl.mlp([6, 4, 2], dropout=0.2, device=device), "mse", nl.RMSprop(momentum=0.5), replay="eager")


def tiled(device):
    net = nl.mlp([20, 16, 4], hidden="relu", device=on_threads() if device == "numba" else device, threads=2)
    return nl.Trainer(net, "mse", nl.AdamW())


def ranked(device):
    net = nl.mlp([6, 8, 3], output="softmax", device=device, seed=2)
    return nl.Trainer(net, "cce", "adam", metrics=["roc_auc"])


# the trainer, the data, and the arguments of a fit; then the numbers of rows that are done where it is stopped
CASES = {
    "all that there is": (classifier, (X, Y), {"epochs": 6, "batch_size": 16, "validation_data": (X[:20], Y[:20])}),
    "windows": (momentum, (X, T), {"epochs": 5, "batch_size": 25}),
    "no shuffle": (momentum, (X, T), {"epochs": 3, "batch_size": 40, "shuffle": False}),
    "chunks": (own, (CHUNKS,), {"epochs": 4, "batch_size": 16}),
    "chunks in their order": (momentum, (CHUNKS,), {"epochs": 3, "batch_size": 16, "shuffle": False}),
    "chunks, validated": (momentum, (CHUNKS,), {"epochs": 3, "batch_size": 16, "validation_data": (X[:9], T[:9])}),
    "a kernel": (own, (X, T), {"epochs": 3, "batch_size": 30}),
    "eager": (eager, (X, T), {"epochs": 3, "batch_size": 30}),
    "weights, and no shorter batch": (
        ranked,
        (X[:96], Y[:96]),
        {"epochs": 3, "batch_size": 16, "sample_weight": 1 + np.arange(96) % 5},
    ),
    "threads and tiles": (tiled, (LARGE, LARGE[:, :4]), {"epochs": 3, "batch_size": 512}),
}
WINDOW = 2 * 103  # indices of a window: of two epochs


@pytest.fixture(autouse=True)
def small_windows(monkeypatch):
    monkeypatch.setattr(steps, "MOST_INDICES", WINDOW)


def everything(trainer):
    """All that a step keeps for the next one, and the history, as bytes."""
    kept = {name: np.array(array) for name, array in trainer.new_step().arrays().items()}
    del kept["gradients"]  # each step makes them anew
    if "clock" in kept:
        kept["clock"][1] = 0  # where the last window began
    arrays = {name: array.tobytes() for name, array in kept.items()}
    return arrays | {f"history {name}": np.array(values).tobytes() for name, values in trainer.history.items()}


def fit(trainer, case, **options):
    _, data, usual = CASES[case]
    return trainer.fit(*data, **usual | {"progress": False} | options)


@contextlib.contextmanager
def stopped_after(runs, monkeypatch):
    """Each run of a replay is one step, and Ctrl-C comes after so many; the list has the number of those that were."""
    count = [0]

    def advance(bar, rows):
        count[0] += 1
        if count[0] == runs:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(steps, "LONGEST_RUN", 0.0)
        patch.setattr(progress.Bar, "advance", advance)
        with contextlib.suppress(KeyboardInterrupt):
            yield count


def resumed(case, device, path):
    trainer = CASES[case][0](device)
    trainer.resume(path)
    fit(trainer, case)
    return trainer


def test_a_fit_stopped_at_any_batch_goes_on_in_another_process(tmp_path, monkeypatch):
    """In two places of each: the first and the last of a row of random ones, on both devices."""
    rng, expected = np.random.default_rng(5), {}
    for case in CASES:
        for device in ("numpy", "numba"):
            whole = CASES[case][0](device)
            with stopped_after(0, monkeypatch) as count:
                fit(whole, case)
            for at in rng.choice(np.arange(1, count[0]), 2, replace=False):
                trainer = CASES[case][0](device)
                with stopped_after(at, monkeypatch):
                    fit(trainer, case)
                assert len(trainer.history["loss"]) < CASES[case][2]["epochs"]
                name = f"{case} {device} {at}"
                trainer.save(tmp_path / name)
                expected[name] = everything(whole)
    code = f"import test_resuming; test_resuming.go_on({str(tmp_path)!r}, {list(expected)!r})"
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    subprocess.run([sys.executable, "-W", "error", "-c", code], env=os.environ | {"PYTHONPATH": paths}, check=True)
    for name, arrays in expected.items():
        with np.load(tmp_path / f"{name}.npz") as found:
            assert {each: found[each].tobytes() for each in found} == arrays, name


def go_on(folder, names):
    """In the other process: go on with each file, and write what came out."""
    steps.MOST_INDICES = WINDOW
    for name in names:
        case, device, _ = name.rsplit(" ", 2)
        found = everything(resumed(case, device, Path(folder, name)))
        np.savez(Path(folder, f"{name}.npz"), **{each: np.frombuffer(raw, np.uint8) for each, raw in found.items()})


def test_the_case_of_tiles_has_tiles(monkeypatch):
    trainer = tiled("numba")
    fit(trainer, "threads and tiles")
    assert "2 threads, in tiles" in trainer.plan()


@pytest.mark.parametrize("case", ["all that there is", "chunks, validated", "chunks in their order"])
def test_a_fit_that_is_stopped_again_and_again(case, host, tmp_path, monkeypatch):
    """Each time in a new trainer, which goes on from the file of the one before."""
    whole = CASES[case][0](host)
    with stopped_after(0, monkeypatch) as count:
        fit(whole, case)
    trainer, turns = CASES[case][0](host), 0
    while len(trainer.history.get("loss", ())) < CASES[case][2]["epochs"]:
        if turns:
            trainer = CASES[case][0](host)
            trainer.resume(tmp_path / "file")
        with stopped_after(5, monkeypatch):
            fit(trainer, case)
        trainer.save(tmp_path / "file")
        turns += 1
    assert everything(trainer) == everything(whole) and turns > count[0] / 5


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there are no timers here")
@pytest.mark.parametrize("validated", [False, True])
def test_ctrl_c_at_any_moment(validated, host, tmp_path):
    """It comes in the middle of a step, of a validation, of Python's lines: a fit goes on from whole steps."""
    options = {"epochs": 300, **({} if validated else {"validation_data": None})}
    whole, case, rng = classifier(host), "all that there is", np.random.default_rng(3)
    fit(whole, case, **options)
    with handling(signal.SIGINT, signal.default_int_handler):
        trainer, turns, over = classifier(host), 0, False
        while not over:
            if turns:
                trainer = classifier(host)
                trainer.resume(tmp_path / "file")
            timer = threading.Timer(rng.uniform(0.001, 0.02 * (1 + turns)), os.kill, (os.getpid(), signal.SIGINT))
            try:
                timer.start()
                fit(trainer, case, **options)
                timer.cancel()
                timer.join()
            except KeyboardInterrupt:
                timer.join()
            over = trainer.unfinished is None and len(trainer.history.get("loss", ())) == 300
            trainer.save(tmp_path / "file")
            turns += 1
    assert everything(trainer) == everything(whole)
    assert turns > 1


def test_a_fit_that_cannot_go_on_leaves_the_clock_of_its_schedule(host, tmp_path, monkeypatch):
    """It goes on within a window, whose rates are asked for again as if the clock stood where the window began."""
    rates, known = np.linspace(0.05, 0.01, 26), [26]

    def rate(step):
        return rates[: known[0]][step]

    def trainer():
        made = momentum(host)
        made.optimizer.lr = nl.schedules.Function(rate, by="step")
        return made

    whole, stopped = trainer(), trainer()
    fit(whole, "windows")
    with stopped_after(7, monkeypatch):
        fit(stopped, "windows")
    stopped.save(tmp_path / "file")
    stopped = trainer()
    stopped.resume(tmp_path / "file")
    known[0] = 9
    with pytest.raises(IndexError):  # a lack of memory would be the same, and Ctrl-C that comes twice
        fit(stopped, "windows")
    known[0] = 26
    fit(stopped, "windows")
    assert everything(stopped) == everything(whole)


KILLED = """
import sys, test_resuming, nnlite as nl
class Told(nl.Callback):
    def after_epoch(self, trainer, epoch): print(epoch, flush=True)
trainer = test_resuming.classifier("numpy")
checkpoint = nl.Checkpoint(sys.argv[1], every=2)
test_resuming.fit(trainer, "all that there is", epochs=10**6, callbacks=[checkpoint, Told()])
"""


def test_a_killed_process_leaves_its_last_checkpoint(tmp_path):
    path, tests = tmp_path / "net.safetensors", str(Path(__file__).parent)
    env = os.environ | {"PYTHONPATH": os.pathsep.join([tests, *sys.path])}
    argv = [sys.executable, "-c", KILLED, str(path)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=env) as process:
        while (line := process.stdout.readline()) != "5\n":
            assert line, "the process has ended by itself"
        process.kill()
        *_, last = ["5", *process.stdout.read().split()]
    trainer, whole = classifier("numpy"), classifier("numpy")
    trainer.resume(path)
    done = len(trainer.history["loss"])
    assert done % 2 == 0 and int(last) - 2 <= done <= int(last) + 1
    fit(trainer, "all that there is", epochs=done + 3)
    fit(whole, "all that there is", epochs=done + 3)
    assert everything(trainer) == everything(whole)
    trainer.save(path)  # tidies up, if the process was killed while it wrote
    assert os.listdir(tmp_path) == [path.name]


# ---- what a file holds ------------------------------------------------------------------------------------------


def stopped(case, device, path, monkeypatch, at=4):
    trainer = CASES[case][0](device)
    with stopped_after(at, monkeypatch):
        fit(trainer, case)
    trainer.save(path)
    return trainer


@pytest.mark.parametrize("case", ["all that there is", "windows", "a kernel", "eager"])
def test_a_trainer_is_made_from_the_file_alone(case, tmp_path, monkeypatch):
    stopped(case, "numpy", tmp_path / "file", monkeypatch)
    trainer, whole = nl.Trainer.load(tmp_path / "file"), CASES[case][0]("numpy")
    assert repr(trainer) == repr(whole) and repr(trainer.metrics) != "" and trainer.replay == whole.replay
    assert [metric.name for metric in trainer.metrics] == [metric.name for metric in whole.metrics]
    fit(trainer, case)
    fit(whole, case)
    assert everything(trainer) == everything(whole)


def test_the_file_is_that_of_a_network_too(tmp_path, monkeypatch):
    trainer = stopped("all that there is", "numpy", tmp_path / "file", monkeypatch)
    net = nl.load(tmp_path / "file", "numpy")
    np.testing.assert_array_equal(net.predict(X), trainer.network.predict(X))
    library = pytest.importorskip("safetensors.numpy")
    assert library.load_file(tmp_path / "file")["trainer/optimizer/m"].tobytes() == trainer.optimizer.m.tobytes()
    trainer.network.save(tmp_path / "net")
    with pytest.raises(ValueError, match=r"a network without a trainer.*nl\.load"):
        trainer.resume(tmp_path / "net")
    with pytest.raises(ValueError, match=r"a network without a trainer.*nl\.load"):
        nl.Trainer.load(tmp_path / "net")


@pytest.mark.parametrize("name", nl.losses.LOSSES)
def test_every_loss(name, tmp_path):
    kind = nl.losses.LOSSES[name]
    loss = kind(reduction="sum", ignore_nan=True)
    ends = {"probability": nl.Sigmoid(), "class": nl.Softmax(), "count": nl.Exponential()}
    plain = [] if loss.target not in ends or loss.from_logits else [ends[loss.target]]
    trainer = nl.Trainer(nl.Sequential(nl.Dense(2, 3), *plain, device="numpy"), loss)
    trainer.save(tmp_path / "file")
    other = nl.Trainer.load(tmp_path / "file")
    without = ("ops", "backend")
    found, expected = ({n: v for n, v in vars(t.loss).items() if n not in without} for t in (other, trainer))
    assert type(other.loss) is kind and found == expected and other.depth == trainer.depth


@pytest.mark.parametrize("name", nl.rules.OPTIMIZERS)
def test_every_optimizer(name, tmp_path):
    kind = nl.rules.OPTIMIZERS[name]
    options = {"weight_decay": 0.1, "decay_biases": False, "clip_value": 2.0, "lr_factors": {0: 0.5, "0.b": 2.0}}
    trainer = nl.Trainer(nl.mlp([2, 3], device="numpy"), "mse", kind(lr=0.123, **options))
    trainer.save(tmp_path / "file")
    other = nl.Trainer.load(tmp_path / "file").optimizer
    assert (
        type(other) is kind
        and other.lr == 0.123
        and nl.registry.arguments(other) == nl.registry.arguments(trainer.optimizer)
    )


def test_every_schedule_and_a_function(tmp_path):
    @nl.register(name="a rate of one's own")
    def rate(t):
        return 0.1 / (1 + t)

    made = nl.schedules
    for schedule in (
        made.StepDecay(0.1, every=[3, 5], by="step"),
        made.Exponential(0.1, 0.5, warmup=3),
        made.Polynomial(0.1, 10, power=2.0),
        made.Cosine(0.1, 10, restarts=True, growth=2),
        made.OneCycle(0.1, 30),
        made.Function(rate, by="step"),
    ):
        trainer = nl.Trainer(nl.mlp([2, 3], device="numpy"), "mse", nl.SGD(lr=schedule))
        trainer.save(tmp_path / "file")
        other = nl.Trainer.load(tmp_path / "file").optimizer.schedule
        assert type(other) is type(schedule) and vars(other) == vars(schedule)


def test_what_a_file_cannot_make_is_said(tmp_path):
    @nl.kernel("p (N,K), t (N,K) -> losses (N), dp (N,K)")
    def nobody_knows(p, t):
        return ((p - t) ** 2).sum(axis=1), 2 * (p - t)

    class MyLoss(nl.MSE):
        pass

    def trainer(loss):
        return nl.Trainer(nl.mlp([6, 2], device="numpy"), loss)

    for loss, name in ((nobody_knows, "nobody_knows"), (MyLoss(), "MyLoss")):
        trainer(loss).save(tmp_path / "file")
        trainer(loss).resume(tmp_path / "file")
        with pytest.raises(LookupError, match=f"for its loss, '{name}' is not registered: hand it to nl.register"):
            nl.Trainer.load(tmp_path / "file")
    nl.register(MyLoss, "the loss of a test")
    trainer(MyLoss()).save(tmp_path / "file")
    assert type(nl.Trainer.load(tmp_path / "file").loss) is MyLoss


# ---- names of one's own -----------------------------------------------------------------------------------------


def test_an_own_layer_is_saved_with_its_network(tmp_path):
    net = nl.Sequential(nl.Dense(6, 4), nl.Residual(Scaled(0.25)), Scaled(2.0), device="numpy")
    net.save(tmp_path / "file")
    other = nl.load(tmp_path / "file", "numpy")
    assert type(other.layers[2]) is Scaled and other.layers[2].factor == 2.0
    np.testing.assert_array_equal(other.predict(X), net.predict(X))
    del registry.REGISTERED["Scaled"]
    try:
        with pytest.raises(nl.CorruptFileError, match=r"'Scaled' is not known.*nl\.register"):
            nl.load(tmp_path / "file", "numpy")
    finally:
        nl.register(Scaled)


def test_an_own_layer_that_holds_layers_and_one_with_a_config(tmp_path):
    @nl.register(name="test: twice")
    class Twice(nl.Layer):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return self.inner.forward(x)

        def backward(self, dy):
            return self.inner.backward(dy)

    @nl.register(name="test: other")
    class Other(Scaled):
        def __init__(self, tenths):
            super().__init__(tenths / 10)

        def config(self):
            return {"tenths": round(self.factor * 10)}

    net = nl.Sequential(Twice(nl.Dense(6, 3)), Other(5), device="numpy")
    net.save(tmp_path / "file")
    np.testing.assert_array_equal(nl.load(tmp_path / "file", "numpy").predict(X), net.predict(X))

    @nl.register(name="test: forgets")
    class Forgets(Scaled):
        def __init__(self, much):
            super().__init__(much)

    with pytest.raises(TypeError, match=r"Forgets does not keep its argument much as self.much.*config"):
        nl.Sequential(nl.Dense(6, 3), Forgets(2.0), device="numpy").save(tmp_path / "file")


def test_names_that_are_refused():
    class Dense(nl.Layer):
        pass

    with pytest.raises(ValueError, match="'Scaled' is registered already"):
        nl.register(Dense, "Scaled")
    with pytest.raises(TypeError, match="only classes, kernels and functions"):
        nl.register(5)
    nl.register(Dense)
    try:
        with pytest.raises(ValueError, match=r"Dense is also a layer of nnlite's own.*name="):
            nl.Sequential(Dense(), device="numpy").save("never")
    finally:
        del registry.REGISTERED["Dense"]


def test_a_class_may_be_defined_again():
    def define():
        @nl.register(name="test: again")
        class Again(nl.Layer):
            pass

        return Again

    define()
    second = define()
    assert nl.registry.name_of(second) == "test: again"
    del registry.REGISTERED["test: again"]


# ---- what does not fit ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        ((X[:90], Y[:90]), {}, "rows of data 103, now 90"),
        ((X[::-1], Y[::-1]), {}, "data of checksum"),
        ((X, np.roll(Y, 1)), {}, "data of checksum"),
        ((X, Y), {"sample_weight": np.linspace(1, 2, 103)}, "data of checksum"),
        ((X, Y), {"batch_size": 17}, "batch_size 16, now 17"),
        ((X, Y), {"shuffle": False}, "shuffle True, now False"),
        ((X, Y), {"validation_data": None}, "rows of validation data 20, now 0"),
        ((X, Y), {"validation_data": (X[1:21], Y[1:21])}, "validation data of checksum"),
        ((X, Y), {"epochs": 1}, "2 epochs done, now epochs=1 in all"),
        (([(X, Y)],), {}, "rows of data 103, now in chunks"),
    ],
)
def test_another_fit_than_the_one_that_was_stopped(data, options, message, tmp_path, monkeypatch):
    stopped("all that there is", "numpy", tmp_path / "file", monkeypatch, at=17)
    trainer = classifier("numpy")
    trainer.resume(tmp_path / "file")
    before, usual = everything(trainer), CASES["all that there is"][2]
    with pytest.raises(ValueError, match=f"cannot go on with.*{message}.*same data and arguments.*anew"):
        trainer.fit(*data, **usual | options, progress=False)
    assert everything(trainer) == before
    fit(trainer, "all that there is")  # the right one still goes on
    whole = classifier("numpy")
    fit(whole, "all that there is")
    assert everything(trainer) == everything(whole)


def test_another_trainer_than_the_one_that_was_saved(tmp_path, monkeypatch):
    stopped("a kernel", "numpy", tmp_path / "file", monkeypatch)
    net = nl.Sequential(nl.Dense(6, 5), Scaled(0.5), nl.Tanh(), nl.Dense(5, 2), device="numpy")
    for other, what in (
        (nl.Trainer(nl.mlp([6, 5, 2], device="numpy"), fourth_power, nl.NAdam(clip_norm=1.0)), "network"),
        (nl.Trainer(net.copy(), "mse", nl.NAdam(clip_norm=1.0)), "loss"),
        (nl.Trainer(net.copy(), fourth_power, nl.NAdam()), "optimizer"),
        (nl.Trainer(net.copy(), fourth_power, nl.NAdam(clip_norm=1.0), metrics=["mae"]), "metrics"),
        (nl.Trainer(net.copy().to(dtype="float64"), fourth_power, nl.NAdam(clip_norm=1.0)), "network"),
    ):
        before = everything(other)
        with pytest.raises(ValueError, match=f"its {what} is .*but this trainer's is .*make the trainer as it was"):
            other.resume(tmp_path / "file")
        assert everything(other) == before


def test_a_learning_rate_that_was_changed_comes_from_the_file(tmp_path):
    trainer = nl.Trainer(nl.mlp([6, 2], device="numpy"), optimizer=nl.Adam(lr=0.01))
    trainer.optimizer.lr = 0.003
    trainer.save(tmp_path / "file")
    other = nl.Trainer(nl.mlp([6, 2], device="numpy"), optimizer=nl.Adam(lr=0.01))
    other.resume(tmp_path / "file")
    assert other.optimizer.lr == 0.003 and nl.Trainer.load(tmp_path / "file").optimizer.lr == 0.003


def test_seed_threads_and_notes_come_from_the_file(tmp_path):
    net = nl.mlp([6, 2], device="numpy", seed=5, threads=1)
    net.notes = {"of": "mine"}
    nl.Trainer(net).save(tmp_path / "file")
    other = nl.Trainer.load(tmp_path / "file", device="numpy").network
    assert (other.seed, other.threads, other.notes) == (5, 1, {"of": "mine"})


@pytest.mark.parametrize("call", [lambda t: t.step(X, T), lambda t: t.minimize(X, T, "lm", iterations=1)])
def test_a_fit_does_not_go_on_from_other_parameters(call, tmp_path, monkeypatch):
    def make():
        return nl.Trainer(nl.mlp([6, 2], device="numpy", dtype="float64", seed=1), "mse", nl.SGD(lr=0.01))

    trainer = make()
    with stopped_after(5, monkeypatch):
        trainer.fit(X, T, 3, 16, progress=False)
    assert trainer.unfinished
    call(trainer)
    assert not trainer.unfinished
    trainer.save(tmp_path / "file")
    other = make()
    other.resume(tmp_path / "file")
    epochs = other.history.epochs
    assert other.fit(X, T, 3, 16, progress=False).epochs == 3 and other.history.epochs == epochs + 3


def test_frozen_layers_and_keys_of_noise_come_from_the_file(tmp_path, monkeypatch):
    def make(seed):
        net = nl.mlp([6, 8, 3], dropout=0.5, output="softmax", device="numpy", seed=seed)
        return nl.Trainer(net, "cce")

    trainer = make(seed=7)
    trainer.network.layers[0].trainable = False
    trainer.save(tmp_path / "file")
    other = make(seed=None)
    other.resume(tmp_path / "file")
    assert not other.network.layers[0].trainable
    for each in (trainer, other):
        each.fit(X, Y, 3, progress=False)
    assert everything(trainer) == everything(other)


# ---- in the same process ----------------------------------------------------------------------------------------


def test_a_second_fit_without_resume_begins_anew(host, monkeypatch):
    trainer = momentum(host)
    with stopped_after(7, monkeypatch):
        fit(trainer, "windows")
    assert trainer.unfinished is not None
    assert len(fit(trainer, "windows")["loss"]) == 5 and trainer.unfinished is None


def test_a_finished_fit_is_trained_on(tmp_path):
    trainer = momentum("numpy")
    fit(trainer, "windows")
    trainer.save(tmp_path / "file")
    other = momentum("numpy")
    other.resume(tmp_path / "file")
    assert dict(other.history) == dict(trainer.history)
    for each in (trainer, other):
        fit(each, "windows")
    assert everything(trainer) == everything(other)


def test_after_an_error_within_a_step_there_is_nothing_to_go_on_with(tmp_path, monkeypatch):
    trainer = eager("numpy")
    rule, count = nl.RMSprop.rule, [0]

    def failing(*arguments):
        count[0] += 1
        if count[0] == 5:
            raise RuntimeError("in the middle")
        rule(*arguments)

    monkeypatch.setattr(nl.RMSprop, "rule", failing)
    with pytest.raises(RuntimeError, match="in the middle"):
        fit(trainer, "eager")
    assert trainer.unfinished is None
    trainer.save(tmp_path / "file")


def test_after_a_divergence_there_is_nothing_to_go_on_with(host, tmp_path):
    trainer = nl.Trainer(nl.mlp([6, 2], device=host), "mse", nl.SGD(lr=1e30))
    checkpoint = nl.Checkpoint(tmp_path / "file")
    with pytest.raises(nl.DivergedError):
        trainer.fit(X, T, 50, progress=False, callbacks=[checkpoint])
    assert trainer.unfinished is None and not (tmp_path / "file").exists()


# ---- damage -----------------------------------------------------------------------------------------------------


def test_damage_is_found(tmp_path, monkeypatch):
    path = tmp_path / "file"
    stopped("a kernel", "numpy", path, monkeypatch)
    whole, rng = path.read_bytes(), np.random.default_rng(2)
    trainer = own("numpy")
    before = everything(trainer)
    for place in rng.integers(0, len(whole), 150):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged if rng.random() < 0.7 else whole[:place])
        for read in (trainer.resume, nl.Trainer.load, nl.load):
            with pytest.raises(nl.CorruptFileError):
                read(path)
    assert everything(trainer) == before


@pytest.mark.parametrize(
    "change",
    [
        {"seconds": "long"},
        {"shuffles": ["x", "0", 0, 0]},
        {"shuffles": None, "keys": 5},
        {"history": ["nothing"]},
        {"unfinished": {"place": 3}},
        {"keys": {"9": 1}},
    ],
)
def test_descriptions_that_are_refused(change, tmp_path, monkeypatch):
    path = tmp_path / "file"
    stopped("a kernel", "numpy", path, monkeypatch)
    trainer, write = own("numpy"), nl.files.write
    trainer.resume(path)

    def changed(path, arrays, config, *others):
        write(path, arrays, config | {"trainer": config["trainer"] | change}, *others)

    monkeypatch.setattr(nl.files, "write", changed)
    trainer.save(path)
    before = everything(own("numpy"))
    trainer = own("numpy")
    with pytest.raises(nl.CorruptFileError, match="what it says of the trainer is damaged"):
        trainer.resume(path)
    assert everything(trainer) == before


# ---- the callback -----------------------------------------------------------------------------------------------


def test_the_last_files_and_the_best(tmp_path):
    path = tmp_path / "made" / "net-{epoch}.safetensors"
    checkpoint = nl.Checkpoint(path, every=2, monitor="val_accuracy", keep=2)
    trainer = classifier("numpy")
    history = fit(trainer, "all that there is", epochs=7, callbacks=[checkpoint])
    names = sorted(os.listdir(tmp_path / "made"))
    assert names == ["net-6.safetensors", "net-7.safetensors", "net-best.safetensors"]
    assert checkpoint.newest() == str(path).replace("{epoch}", "7")
    looked = [history["val_accuracy"][i] for i in (1, 3, 5, 6)]
    assert checkpoint.best == max(looked)
    best = classifier("numpy")
    best.resume(checkpoint.best_path)
    assert best.history["val_accuracy"][-1] == max(looked)
    assert best.evaluate(X[:20], Y[:20])["accuracy"] == max(looked)


def test_checkpoints_change_nothing_and_the_last_one_is_complete(host, tmp_path):
    plain, seen = momentum(host), momentum(host)
    fit(plain, "windows")
    fit(seen, "windows", callbacks=[nl.Checkpoint(tmp_path / "file", every=2)])
    assert everything(plain) == everything(seen)
    other = momentum(host)
    other.resume(tmp_path / "file")
    assert dict(fit(other, "windows")) == dict(plain.history)  # there was nothing left to do
    assert everything(plain) == everything(other)
    longer = momentum(host)
    fit(longer, "windows", epochs=8)
    other.resume(tmp_path / "file")
    fit(other, "windows", epochs=8)
    assert everything(other) == everything(longer)


def test_an_interrupt_is_stored(host, tmp_path, monkeypatch):
    trainer, checkpoint = classifier(host), nl.Checkpoint(tmp_path / "file", every=3)
    with stopped_after(11, monkeypatch):
        fit(trainer, "all that there is", callbacks=[checkpoint])
    other, whole = classifier(host), classifier(host)
    other.resume(tmp_path / "file")
    assert other.unfinished.stands() == (1, 0, -1, 103 + 4 * 16)
    fit(other, "all that there is")
    fit(whole, "all that there is")
    assert everything(other) == everything(whole)


class Counting(nl.Callback):
    """A callback that remembers how often it was called, and an array."""

    def __init__(self):
        self.calls, self.values = 0, np.zeros(3)

    def after_epoch(self, trainer, epoch):
        self.calls += 1
        self.values += epoch

    def state(self):
        return {"calls": self.calls, "worst": float("inf"), "values": self.values}

    def restore(self, state):
        assert state["worst"] == float("inf")
        self.calls, self.values = state["calls"], state["values"]


def test_callbacks_remember(tmp_path, monkeypatch):
    trainer, counting = classifier("numpy"), Counting()
    with stopped_after(17, monkeypatch):
        fit(trainer, "all that there is", callbacks=[counting])
    trainer.save(tmp_path / "file")
    other, again = classifier("numpy"), Counting()
    other.resume(tmp_path / "file")
    fit(other, "all that there is", callbacks=[nl.Checkpoint(tmp_path / "file"), again])
    assert counting.calls == 2 and again.calls == 6 and again.values.tolist() == [21.0] * 3


def test_an_epoch_that_was_not_validated_is_looked_at_once(host, tmp_path, monkeypatch):
    """Ctrl-C comes while the third epoch is validated."""
    trainer, counting, whole = classifier(host), Counting(), classifier(host)
    evaluate, count = nl.Trainer._evaluate, [0]

    def interrupted(*arguments):
        count[0] += 1
        if count[0] == 3:
            raise KeyboardInterrupt
        return evaluate(*arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(nl.Trainer, "_evaluate", interrupted)
        fit(trainer, "all that there is", callbacks=[counting])
    assert counting.calls == len(trainer.history["loss"]) == 2
    trainer.save(tmp_path / "file")
    other, again = classifier(host), Counting()
    other.resume(tmp_path / "file")
    fit(other, "all that there is", callbacks=[again])
    fit(whole, "all that there is")
    assert again.calls == 6 and everything(other) == everything(whole)


def halve(trainer, epoch):
    """A callback that remembers nothing: what it has done twice is seen."""
    trainer.optimizer.lr *= 0.5


def fail(trainer, epoch):
    raise KeyboardInterrupt


@pytest.mark.parametrize("case", ["a kernel", "chunks"])
def test_an_epoch_is_looked_at_once_wherever_a_fit_is_stopped(case, host, tmp_path, monkeypatch):
    def shown(bar, history):
        if history.epochs == 2:
            raise KeyboardInterrupt

    whole, stopped, again, third = own(host), own(host), own(host), own(host)
    fit(whole, case, callbacks=[halve])
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):  # after the epoch, and before the look
        patch.setattr(progress.Bar, "show", shown)
        fit(stopped, case, callbacks=[halve])
    stopped.save(tmp_path / "file")
    again.resume(tmp_path / "file")
    with pytest.raises(KeyboardInterrupt):  # within the look
        fit(again, case, callbacks=[halve, fail])
    again.save(tmp_path / "file")
    third.resume(tmp_path / "file")
    fit(third, case, callbacks=[halve])
    assert third.optimizer.lr == whole.optimizer.lr and everything(third) == everything(whole)


@pytest.mark.parametrize("case", ["a kernel", "chunks"])
def test_a_fit_that_is_stopped_before_its_first_step(case, host, tmp_path):
    whole, stopped, other = own(host), own(host), own(host)
    fit(whole, case, epochs=6, initial_epoch=3)
    with pytest.raises(KeyboardInterrupt):
        fit(stopped, case, epochs=6, initial_epoch=3, callbacks=[Beginning()])
    stopped.save(tmp_path / "file")
    other.resume(tmp_path / "file")
    assert fit(other, case, epochs=6, initial_epoch=3).epochs == 3 and everything(other) == everything(whole)


class Beginning(nl.Callback):
    def begin(self, trainer):
        raise KeyboardInterrupt


def stopping():
    return nl.EarlyStopping("val_loss", patience=5), nl.ReduceLROnPlateau("loss", patience=0, min_delta=0.05)


def test_a_fit_that_stops_early_goes_on_to_the_same_end_and_no_further(host, tmp_path, monkeypatch):
    options = {"epochs": 40, "batch_size": 16}

    def classifier(host):
        trainer = globals()["classifier"](host)
        trainer.optimizer = nl.RMSprop(0.01)
        return trainer

    whole, trainer = classifier(host), classifier(host)
    early, slower = stopping()
    history = fit(whole, "all that there is", callbacks=[early, slower], **options)
    assert 3 < history.epochs == early.stopped_epoch < 40
    with stopped_after(20, monkeypatch):
        fit(trainer, "all that there is", callbacks=[nl.Checkpoint(tmp_path / "file"), *stopping()], **options)
    for _ in range(2):  # the second time, nothing is left to do
        other = classifier(host)
        other.resume(tmp_path / "file")
        again = fit(other, "all that there is", callbacks=[nl.Checkpoint(tmp_path / "file"), *stopping()], **options)
        assert again == history and everything(other) == everything(whole)


class EveryLook(nl.Callback):
    """Saves at every look, after all others, and not at the end, as if the process had been killed before that."""

    saves = True

    def __init__(self, path):
        self.path = path

    def after_epoch(self, trainer, epoch):
        trainer.save(self.path)


@pytest.mark.parametrize("saving", [EveryLook, nl.Checkpoint])
@pytest.mark.parametrize("chunks", [False, True])
def test_a_fit_that_has_stopped_early_is_over_for_the_next_one(saving, chunks, host, tmp_path, rng):
    x, y = rng.standard_normal((60, 3)), rng.standard_normal((60, 1))
    given = ([(x[:20], y[:20]), (x[20:40], y[20:40])],) if chunks else (x[:40], y[:40])
    options = {"epochs": 60, "validation_data": (x[40:], y[40:]), "progress": False}

    def trainer_of_two_fits(file=None):
        trainer = nl.Trainer(nl.mlp([3, 8, 1], device=host, dtype="float64", seed=1), "mse", nl.Adam(0.05))
        if file:
            trainer.resume(file)
        first = trainer.fit(*given, callbacks=[nl.EarlyStopping(patience=2), saving(tmp_path / "file")], **options)
        assert 2 < first.epochs < 60 and trainer.stopped
        between = trainer.network.parameters.copy()  # of the best epoch
        second = trainer.fit(*given, **options)
        assert second.epochs == 60 and not trainer.stopped
        return between.tolist(), trainer.network.parameters.tolist(), dict(trainer.history)

    assert trainer_of_two_fits() == trainer_of_two_fits(tmp_path / "file")


def test_a_later_fit_goes_on_with_its_own_epochs(host, tmp_path, monkeypatch):
    whole, trainer = classifier(host), classifier(host)
    for each in (whole, trainer):
        fit(each, "all that there is", epochs=3)
    second = fit(whole, "all that there is", epochs=9, initial_epoch=4)
    with stopped_after(12, monkeypatch):
        fit(trainer, "all that there is", epochs=9, initial_epoch=4)
    trainer.save(tmp_path / "file")
    other, epochs = classifier(host), []
    other.resume(tmp_path / "file")
    with pytest.raises(ValueError, match="initial_epoch 4, now 0"):
        fit(other, "all that there is", epochs=9)
    look = lambda _, epoch: epochs.append(epoch)  # noqa: E731
    assert fit(other, "all that there is", epochs=9, initial_epoch=4, callbacks=[look]) == second
    assert everything(other) == everything(whole) and other.history == whole.history
    assert other.history.epochs == 8 and epochs == [6, 7, 8, 9]


def test_a_checkpoint_remembers_its_best(tmp_path, monkeypatch):
    def checkpoint():
        return nl.Checkpoint(tmp_path / "net-{epoch}", monitor="loss", keep=2)

    trainer, first = classifier("numpy"), checkpoint()
    with stopped_after(24, monkeypatch):
        fit(trainer, "all that there is", callbacks=[first])
    assert sorted(os.listdir(tmp_path)) == ["net-2", "net-3", "net-best"]
    second, other = checkpoint(), classifier("numpy")
    other.resume(second.newest())
    history = fit(other, "all that there is", callbacks=[second])
    assert second.best == min(history["loss"]) and sorted(os.listdir(tmp_path)) == ["net-5", "net-6", "net-best"]


def test_checkpoints_that_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"keep=3 needs a path with \{epoch\}"):
        nl.Checkpoint("net", keep=3)
    with pytest.raises(ValueError, match="monitor='val_loss' is not measured in this fit; there is 'loss', 'r2'"):
        fit(momentum("numpy"), "windows", callbacks=[nl.Checkpoint(tmp_path / "net", monitor="val_loss")])


def test_seconds_between_two_files(tmp_path):
    trainer, times = momentum("numpy"), []
    checkpoint = nl.Checkpoint(tmp_path / "file", seconds=1000)
    checkpoint._save = lambda trainer: times.append(len(trainer.history["loss"]))
    fit(trainer, "windows", callbacks=[checkpoint])
    assert times == [5]  # only at the end
