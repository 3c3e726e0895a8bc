"""Callbacks: when they look, what they may do to a training, and what nnlite's own ones do."""

import copy
import csv
import json
import sys
import types
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import nnlite as nl
from nnlite import callbacks, steps

QUIET = {"batch_size": 5, "progress": False}


@pytest.fixture
def data(rng):
    """x (23, 3), y (23, 2)."""
    x = rng.standard_normal((23, 3))
    return x, np.stack([np.tanh(x[:, 0] - x[:, 1]), x.sum(axis=1) / 3], axis=1)


def make(device="numpy", optimizer=None, metrics=(), layers=()):
    parts = nl.Dense(3, 6), nl.Tanh(), *layers, nl.Dense(6, 2)
    net = nl.Sequential(*parts, device=device, dtype="float64", seed=0)
    return nl.Trainer(net, "mse", optimizer or nl.SGD(lr=0.1), metrics)


def weights(trainer):
    return trainer.network.backend.to_numpy(trainer.network.parameters).copy()


def everything(trainer):
    """All arrays of a step besides the gradients, in main memory."""
    arrays, to_numpy = trainer.new_step().arrays(), trainer.network.backend.to_numpy
    return {name: np.array(to_numpy(array)) for name, array in arrays.items() if name != "gradients"}


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name], err_msg=name)


class Log(nl.Callback):
    """Writes down what is called, and how long the history is."""

    def __init__(self, every=1, raises=None, log=None):
        self.every, self.raises, self.log = every, raises, [] if log is None else log

    def note(self, *what):
        self.log.append(what)
        if self.raises == what[0]:
            raise RuntimeError(f"a mistake in {what[0]}")

    def begin(self, trainer):
        self.note("begin", trainer.history.epochs)

    def after_epoch(self, trainer, epoch):
        self.note("look", epoch, trainer.history.epochs)

    def end(self, trainer):
        self.note("end", trainer.history.epochs)


def script(trainer, values):
    """Let the trainer's validation find these losses, one after the other."""
    found = iter(values)
    trainer._evaluate = lambda *_: {"loss": next(found)}


# ---- when they look ----------------------------------------------------------------------------------------------


def test_a_callback_looks_every_so_many_epochs_of_all_fits(host, data):
    trainer, log = make(host), Log(every=4)
    trainer.fit(*data, epochs=6, callbacks=[log], **QUIET)
    trainer.fit(*data, epochs=3, callbacks=[log], **QUIET)
    assert log.log == [("begin", 0), ("look", 4, 4), ("end", 6), ("begin", 6), ("look", 8, 8), ("end", 9)]


def test_the_device_stops_only_where_somebody_looks(host, data, monkeypatch):
    runs, original = [], steps.Steps.runs

    def counted(self, epochs):
        runs.append(epochs)
        return original(self, epochs)

    monkeypatch.setattr(steps.Steps, "runs", counted)
    monkeypatch.setattr(steps, "MOST_INDICES", 23 * 8)  # windows of eight epochs
    make(host).fit(*data, epochs=12, callbacks=[Log(every=5), Log(every=10)], **QUIET)
    assert runs == [5, 8, 2, 4]
    runs.clear()
    make(host).fit(*data, epochs=12, **QUIET)
    assert runs == [8, 4]
    runs.clear()
    make(host).fit(*data, epochs=3, callbacks=[Log(every=5)], validation_data=data, **QUIET)
    assert runs == [1, 2, 3]


@pytest.mark.parametrize("options", [{}, {"validation": True}, {"chunks": True}])
def test_looking_changes_nothing(options, host, data):
    """Whatever the optimizer, the windows and the data are: the same weights and history, to the last bit."""
    optimizer = nl.Adam(lr=nl.schedules.Cosine(0.1, 20, by="step"))
    plain, watched = (make(host, copy.deepcopy(optimizer), layers=[nl.Dropout(0.3)]) for _ in range(2))
    given = (lambda: [data, data],) if options.get("chunks") else data
    more = QUIET | ({"validation_data": data} if options.get("validation") else {})
    plain.fit(*given, epochs=7, **more)
    watched.fit(*given, epochs=7, callbacks=[Log(), Log(every=3)], **more)
    assert_same(everything(plain), everything(watched))
    assert plain.history == watched.history and plain.history.epochs == 7


def test_a_function_is_a_callback(data):
    seen = []

    def now_and_then(trainer, epoch):
        seen.append((epoch, trainer.history["loss"][-1]))

    now_and_then.every = 2
    trainer = make()
    history = trainer.fit(*data, epochs=5, callbacks=[now_and_then, lambda _, epoch: seen.append(epoch)], **QUIET)
    loss = history["loss"]
    assert seen == [1, (2, loss[1]), 2, 3, (4, loss[3]), 4, 5]
    assert trainer.callbacks == ()


def test_the_learning_rate_may_be_set(host, data):
    def halve(trainer, epoch):
        trainer.optimizer.lr /= 2

    set_by_hand, scheduled = make(host), make(host, nl.SGD(lr=nl.schedules.Exponential(0.1, 0.5)))
    set_by_hand.fit(*data, epochs=5, callbacks=[halve], **QUIET)
    scheduled.fit(*data, epochs=5, **QUIET)
    np.testing.assert_array_equal(weights(set_by_hand), weights(scheduled))


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        (Log(), TypeError, "must be a list such as"),
        (print, TypeError, "must be a list such as"),
        ([Log], TypeError, r"not <class .*; write Log\(…\)"),
        (["log"], TypeError, r"a Callback or a function f\(trainer, epoch\), not 'log'"),
        ([Log(every=0)], ValueError, "every of Log must be"),
    ],
)
def test_wrong_callbacks_are_refused_before_training(given, error, said, data):
    trainer = make()
    with pytest.raises(error, match=said):
        trainer.fit(*data, callbacks=given, **QUIET)
    assert trainer.history == {}


# ---- ends --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunks", [False, True])
def test_a_callback_may_end_training_as_it_begins(chunks, host, data):
    class Never(nl.Callback):
        def begin(self, trainer):
            trainer.stop()

    trainer = make(host)
    before = trainer.network.parameters.copy()
    given = ([data],) if chunks else data
    assert trainer.fit(*given, epochs=3, callbacks=[Never()], **QUIET).epochs == 0 and trainer.stopped
    np.testing.assert_array_equal(trainer.network.parameters, before)


@pytest.mark.parametrize("windows", [2, 100])
@pytest.mark.parametrize("chunks", [False, True])
def test_a_fit_that_was_stopped_equals_a_shorter_fit(windows, chunks, host, data, monkeypatch):
    """Also in what comes after: the orders of rows, the schedule and the masks go on as after the shorter one."""
    monkeypatch.setattr(steps, "MOST_INDICES", 23 * windows)

    def stop(trainer, epoch):
        if epoch == 3:
            trainer.stop()

    given = (lambda: [data, data],) if chunks else data
    optimizer = nl.Adam(lr=nl.schedules.Cosine(0.1, 30, by="step"))
    stopped, shorter = (make(host, copy.deepcopy(optimizer), layers=[nl.Dropout(0.3)]) for _ in range(2))
    assert stopped.fit(*given, epochs=10, callbacks=[stop], **QUIET).epochs == 3 and stopped.stopped
    shorter.fit(*given, epochs=3, **QUIET)
    for trainer in (stopped, shorter):
        trainer.fit(*given, epochs=2, **QUIET)
    assert stopped.history.epochs == 5 and not stopped.stopped
    assert stopped.history == shorter.history
    assert_same(everything(stopped), everything(shorter))


@pytest.mark.parametrize("where", ["begin", "look", "end"])
def test_a_callback_that_raises_leaves_the_trainer_usable(where, host, data):
    log = []
    trainer, plain = make(host), make(host)
    first, bad, last = Log(log=log), Log(raises=where), Log(log=log)
    with pytest.raises(RuntimeError, match=f"a mistake in {where}"):
        trainer.fit(*data, epochs=3, callbacks=[first, bad, last], **QUIET)
    made = {"begin": 0, "look": 1, "end": 3}[where]
    assert [what for what, *_ in log].count("begin") == [what for what, *_ in log].count("end") == 1 + (made > 0)
    assert trainer.callbacks == () and trainer.history.epochs == made
    plain.fit(*data, epochs=made, **QUIET)
    np.testing.assert_array_equal(weights(trainer), weights(plain))
    assert np.isfinite(trainer.fit(*data, epochs=2, **QUIET)["loss"]).all() and trainer.history.epochs == made + 2


def test_callbacks_end_when_training_diverges(data):
    log, trainer = Log(), make(optimizer=nl.SGD(lr=1e250))
    with pytest.raises(nl.DivergedError):
        trainer.fit(*data, epochs=5, callbacks=[log], **QUIET)
    assert log.log[-1][0] == "end" and trainer.callbacks == ()


def test_the_last_line_of_the_progress_is_the_last_epoch(data, capsys):
    make().fit(*data, epochs=100, callbacks=[lambda trainer, epoch: epoch == 7 and trainer.stop()])
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("epoch 7/100: ") and len(lines) == 2


# ---- fits go on --------------------------------------------------------------------------------------------------


def test_the_history_grows_and_fit_returns_what_it_added(host, data):
    trainer = make(host)
    first = trainer.fit(*data, epochs=2, **QUIET)
    column = trainer.history["loss"]
    trainer.metrics = ["r2"]
    second = trainer.fit(*data, epochs=3, **QUIET)
    trainer.metrics = []
    third = trainer.fit(*data, epochs=1, **QUIET)
    assert (first.epochs, second.epochs, third.epochs) == (2, 3, 1)
    assert (list(first), list(second), list(third)) == (["loss"], ["loss", "r2"], ["loss"])
    assert trainer.history["loss"] == first["loss"] + second["loss"] + third["loss"]
    assert trainer.history["loss"] is column, "it grows in its place, so that many fits take no longer each"
    assert str(trainer.history["r2"]) == str([np.nan, np.nan, *second["r2"], np.nan])
    assert trainer.measured == ("loss",)


def test_initial_epoch_is_as_in_keras(data, capsys):
    whole, parts, log = make(), make(), Log()
    whole.fit(*data, epochs=7, **QUIET)
    parts.fit(*data, epochs=4, **QUIET)
    added = parts.fit(*data, epochs=7, initial_epoch=4, batch_size=5, callbacks=[log])
    assert added.epochs == 3 and whole.history == parts.history
    assert [line[:9] for line in capsys.readouterr().err.splitlines()] == ["epoch 5/7", "epoch 6/7", "epoch 7/7"]
    assert [what[1] for what in log.log if what[0] == "look"] == [5, 6, 7]
    assert parts.fit(*data, epochs=7, initial_epoch=7, **QUIET) == {} and parts.history.epochs == 7
    chunks = make()
    assert chunks.fit(lambda: [data], epochs=3, initial_epoch=1, callbacks=[log], **QUIET).epochs == 2
    assert [what[1] for what in log.log if what[0] == "look"] == [5, 6, 7, 2, 3]
    with pytest.raises(ValueError, match="initial_epoch must be"):
        chunks.fit(*data, initial_epoch=-1)


def test_verbose_is_another_name_for_progress(data, capsys):
    trainer = make()
    trainer.fit(*data, verbose=0)
    assert capsys.readouterr().err == ""
    trainer.fit(*data, verbose=1)
    assert "epoch 1/1" in capsys.readouterr().err
    with pytest.raises(TypeError, match="fit got both verbose and progress"):
        trainer.fit(*data, verbose=1, progress=True)


# ---- early stopping ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("losses", "options", "best", "stopped"),
    [
        ([5, 4, 3, 3, 3, 3, 3], {"patience": 3}, 3, 6),
        ([5, 4, 4.5, 3, 3.5, 3.2, 1, 1], {"patience": 2}, 4, 6),
        ([5, 4.9, 4.8, 4.7, 4.7], {"patience": 2, "min_delta": 0.15}, 3, 5),
        ([5, 4, 3, 2], {"patience": 1}, 4, None),
        ([1, 2, 3, 3, 2], {"patience": 2, "mode": "max"}, 3, 5),
        ([5, 6, 1], {"patience": 0}, 1, 2),
        ([np.nan, 3, np.nan, np.nan, 1], {"patience": 2}, 2, 4),
    ],
)
def test_it_waits_for_so_many_epochs(losses, options, best, stopped, data):
    trainer, early = make(), nl.EarlyStopping(**options)
    script(trainer, losses)
    history = trainer.fit(*data, epochs=len(losses), validation_data=data, callbacks=[early], **QUIET)
    assert (early.best_epoch, early.stopped_epoch) == (best, stopped)
    assert history.epochs == (stopped or len(losses)) and early.best == losses[best - 1]


@pytest.mark.parametrize("restore_best", [True, False])
def test_the_best_parameters_and_state_come_back(restore_best, device, data):
    trainer, seen = make(device, layers=[nl.BatchNorm(6)]), []
    script(trainer, [3, 2, 1, 2, 3, 4])
    early = nl.EarlyStopping(patience=2, restore_best=restore_best)
    look = lambda trainer, epoch: seen.append(everything(trainer))  # noqa: E731
    trainer.fit(*data, epochs=6, validation_data=data, callbacks=[early, look], **QUIET)
    names = trainer.network.arrays().keys() - {"gradients"}
    now = everything(trainer)
    assert len(seen) == 5 and len(names) > 1
    for name in names:
        np.testing.assert_array_equal(now[name], seen[2 if restore_best else 4][name])
    assert not np.array_equal(seen[2]["parameters"], seen[4]["parameters"])


def test_a_later_fit_waits_again_and_another_trainer_begins_anew(data):
    early, trainer = nl.EarlyStopping(patience=2), make()
    options = {"epochs": 9, "validation_data": data, "callbacks": [early], **QUIET}
    script(trainer, [1, 2, 3, 1.5, 2.5, 0.5, 3, 3])
    assert trainer.fit(*data, **options).epochs == 3
    best = weights(trainer)
    assert trainer.fit(*data, **options).epochs == 2 and early.best_epoch == 1
    np.testing.assert_array_equal(weights(trainer), best)
    assert trainer.fit(*data, **options).epochs == 3 and early.best_epoch == 6
    other = make()
    script(other, [7, 8, 9])
    assert other.fit(*data, **options).epochs == 3 and early.best == 7


def test_a_loop_of_short_fits_goes_on_from_its_last_epoch(data):
    losses = [5, 3, 4, 3.5, 2, 3, 4, 5]
    early, trainer, alone = nl.EarlyStopping(patience=3), make(), make()
    script(trainer, losses)
    script(alone, losses)
    for epoch in range(len(losses)):
        trainer.fit(*data, validation_data=data, callbacks=[early], **QUIET)
        alone.fit(*data, validation_data=data, **QUIET)
        if epoch == 4:
            best = weights(alone)
        assert trainer.stopped == (epoch == 7)
        np.testing.assert_array_equal(weights(trainer), best if epoch == 7 else weights(alone))
    script(trainer, [4, 4.5])
    trainer.fit(*data, epochs=2, validation_data=data, callbacks=[early], **QUIET)  # its best epoch is not of this fit
    assert early.best_epoch == 5 and not np.array_equal(weights(trainer), best)


def test_a_fit_that_trains_nothing_brings_nothing_back(data):
    early, trainer = nl.EarlyStopping(), make()
    trainer.fit(*data, epochs=2, callbacks=[early], **QUIET)
    trainer.network.parameters[...] = 0.5
    with pytest.raises(RuntimeError, match="a mistake in begin"):
        trainer.fit(*data, callbacks=[early, Log(raises="begin")], **QUIET)
    assert (weights(trainer) == 0.5).all()


def test_what_it_watches(data):
    trainer = make(metrics=["r2"])
    early = nl.EarlyStopping("r2", patience=1)
    trainer.fit(*data, epochs=2, callbacks=[early], validation_data=data, **QUIET)
    assert early.best == max(trainer.history["r2"]) > trainer.history["r2"][0]
    with pytest.raises(ValueError, match="monitor='val_r2' is not measured in this fit; there is 'loss', 'r2'"):
        trainer.fit(*data, callbacks=[nl.EarlyStopping("val_r2")], **QUIET)

    class Own(nl.metrics.MeanAbsoluteError):
        name, better = "own", None

    trainer.metrics = [Own()]
    with pytest.raises(ValueError, match="whether a large 'own' is good is not known: give EarlyStopping mode='max'"):
        trainer.fit(*data, callbacks=[nl.EarlyStopping("own")], **QUIET)
    trainer.fit(*data, callbacks=[nl.EarlyStopping("own", mode="min")], **QUIET)
    Own.better = "max"
    trainer.fit(*data, callbacks=[nl.EarlyStopping("own")], **QUIET)


def test_every_metric_says_which_values_are_better():
    for name, made in nl.metrics.METRICS.items():
        assert made().better in ("min", "max"), name


# ---- memory --------------------------------------------------------------------------------------------------------


def through_json(state):
    """The state as it comes back from a file: numbers and texts as JSON, and arrays beside it."""
    arrays = {name: value for name, value in state.items() if isinstance(value, np.ndarray)}
    rest = {name: value for name, value in state.items() if name not in arrays}
    return json.loads(json.dumps(rest, allow_nan=False)) | {name: array.copy() for name, array in arrays.items()}


@pytest.mark.parametrize("stop_at", range(1, 7))
def test_restored_callbacks_go_on_as_if_nothing_had_happened(stop_at, host, data, empty_folder):
    losses = [5, 3, 4, 3.5, 2, 3, 3, 3, 3, 3]

    def new():
        return [
            nl.EarlyStopping(patience=4),
            nl.ReduceLROnPlateau(factor=0.5, patience=1, cooldown=1),
            nl.CSVLogger("log.csv"),
        ]

    options = {"validation_data": data, **QUIET}
    whole = make(host)
    script(whole, losses)
    whole.fit(*data, epochs=10, callbacks=new(), **options)
    expected = Path("log.csv").read_text()
    cut, before, after = make(host), new(), new()
    script(cut, losses)
    states = []

    def remember(trainer, epoch):
        if epoch == stop_at:
            states.extend([*(through_json(each.state()) for each in before), everything(trainer)])
        if epoch == stop_at + 1:  # what comes after the checkpoint is lost
            trainer.stop()

    cut.fit(*data, epochs=10, callbacks=[*before, remember], **options)
    for name, array in cut.new_step().arrays().items():
        if name != "gradients":
            array[...] = states[-1][name]
    cut.optimizer.lr = float(states[-1]["rate"][0])
    for column in cut.history.values():
        del column[stop_at:]
    cut._shuffles = np.random.Generator(np.random.PCG64(cut.network.seed))
    cut._shuffles.permuted(np.zeros((stop_at, 23)), axis=1)
    script(cut, losses[stop_at:])
    for each, state in zip(after, states):
        each.restore(state)
    cut.fit(*data, epochs=10, initial_epoch=stop_at, callbacks=after, **options)
    assert cut.history == whole.history and cut.history.epochs == 9
    assert_same(everything(cut), everything(whole))
    assert Path("log.csv").read_text() == expected


# ---- plateau -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("seed", range(8))
def test_the_rates_are_those_of_pytorch(mode, seed, torch, rng):
    draw = np.random.default_rng(seed)
    options = {"factor": draw.uniform(0.05, 0.9), "patience": int(draw.integers(4)), "cooldown": int(draw.integers(4))}
    min_delta, least = draw.choice([0.0, 0.01, 0.3]), draw.choice([0.0, 1e-3])
    values = np.cumsum(draw.standard_normal(120)).tolist()
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode, threshold=min_delta, threshold_mode="abs", min_lr=least, **options
    )
    trainer = SimpleNamespace(history=nl.History(), measured=("loss",), metrics=(), optimizer=nl.SGD(lr=0.5))
    callback = nl.ReduceLROnPlateau(min_delta=min_delta, least=least, mode=mode, **options)
    callback.begin(trainer)
    rates = []
    for epoch, value in enumerate(values, 1):
        trainer.history.extend({"loss": [value]})
        callback.after_epoch(trainer, epoch)
        scheduler.step(value)
        rates.append(trainer.optimizer.lr)
        assert rates[-1] == optimizer.param_groups[0]["lr"]
    assert len(set(rates)) > 2


def test_a_plateau_lowers_the_rate_of_a_real_training(host, data):
    trainer = make(host)
    script(trainer, [3, 3, 3, 3, 3, 3])
    rates = []
    note = lambda trainer, epoch: rates.append(float(trainer.optimizer.rate[0]))  # noqa: E731
    plateau = nl.ReduceLROnPlateau(factor=0.5, patience=1)
    trainer.fit(*data, epochs=6, validation_data=data, callbacks=[plateau, note], **QUIET)
    assert rates == [0.1, 0.1, 0.05, 0.05, 0.025, 0.025]
    scheduled = make(host, nl.SGD(lr=nl.schedules.Exponential(0.1, 0.5)))
    with pytest.raises(
        ValueError, match="ReduceLROnPlateau changes a learning rate that is a number; lr is Exponential"
    ):
        scheduled.fit(*data, callbacks=[plateau], **QUIET)


# ---- files ---------------------------------------------------------------------------------------------------------


def lines_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_a_line_for_each_epoch(data, empty_folder):
    trainer, seen = make(metrics=["r2"]), []
    log = nl.CSVLogger("log.csv")
    look = lambda trainer, epoch: seen.append(len(lines_of("log.csv")))  # noqa: E731
    for epochs in (3, 2):
        trainer.fit(*data, epochs=epochs, validation_data=data, callbacks=[log, look], **QUIET)
    header, *lines = lines_of("log.csv")
    assert header == ["epoch", "loss", "r2", "val_loss", "val_r2"] and seen == [2, 3, 4, 5, 6]
    assert [int(line[0]) for line in lines] == [1, 2, 3, 4, 5]
    for name, column in zip(header[1:], zip(*(map(float, line[1:]) for line in lines))):
        assert list(column) == trainer.history[name]
    make().fit(*data, epochs=4, callbacks=[nl.CSVLogger("log.csv", every=2)], **QUIET)
    assert [line[0] for line in lines_of("log.csv")] == ["epoch", "2", "4"], "another training begins the file anew"


def test_lines_are_appended(data, empty_folder):
    trainer = make()
    trainer.fit(*data, epochs=2, callbacks=[nl.CSVLogger("log.csv", append=True)], **QUIET)
    with open("log.csv", "a") as file:
        file.write("3,0.1")  # of a process that was killed while it wrote
    trainer.fit(*data, epochs=1, callbacks=[nl.CSVLogger("log.csv", append=True)], **QUIET)
    assert [line[0] for line in lines_of("log.csv")] == ["epoch", "1", "2", "3"]
    assert float(lines_of("log.csv")[-1][1]) == trainer.history["loss"][-1]
    trainer.metrics = ["r2"]
    with pytest.raises(ValueError, match=r"log\.csv has the columns epoch, loss, but this fit measures epoch, loss, r"):
        trainer.fit(*data, callbacks=[nl.CSVLogger("log.csv", append=True)], **QUIET)


@pytest.mark.parametrize("validated", [False, True])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of TensorBoard's own dependencies
def test_tensorboard_reads_what_was_written(validated, data, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    trainer = make(metrics=["r2"])
    options = {"validation_data": data} if validated else {}
    for _ in range(2):
        trainer.fit(*data, epochs=3, callbacks=[nl.TensorBoard(tmp_path)], **options, **QUIET)
    runs = ["train", "validation"] if validated else ["train"]
    assert sorted(path.name for path in tmp_path.iterdir()) == runs
    for run in runs:
        read = accumulator.EventAccumulator(str(tmp_path / run))
        read.Reload()
        names = ["loss", "r2"] + ["learning_rate"] * (run == "train")
        assert sorted(read.Tags()["tensors"]) == sorted(names)
        for name in names:
            events = read.Tensors(name)
            expected = (
                trainer.history[f"val_{name}" if run == "validation" else name] if name in ("loss", "r2") else 0.1
            )
            np.testing.assert_allclose([event.tensor_proto.float_val[0] for event in events], expected, rtol=1e-6)
            assert [event.step for event in events] == [1, 2, 3, 4, 5, 6]


def test_without_tensorboard_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(ImportError, match=r'pip install "nnlite\[tensorboard\]"'):
        nl.TensorBoard("logs")


# ---- pictures --------------------------------------------------------------------------------------------------------


def test_a_live_plot_in_a_notebook(data, monkeypatch, no_figures_left):
    shown = []

    class Handle:
        def update(self, image):
            shown.append(("update", image))

    def display(image, display_id):
        shown.append(("display", image))
        return Handle()

    module = types.ModuleType("IPython.display")
    module.Image, module.display, module.version_info = bytes, display, (9, 0)
    for name in ("ipykernel", "IPython", "IPython.display"):
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(callbacks, "PAUSE", 0)
    trainer = make()
    trainer.fit(*data, epochs=6, callbacks=[nl.LivePlot(every=2)], **QUIET)
    assert [how for how, _ in shown] == ["display", "update", "update"]
    assert len({image for _, image in shown}) == 3 and all(image.startswith(b"\x89PNG") for _, image in shown)
    import matplotlib.pyplot as plt

    assert plt.get_fignums() == [], "the notebook would show it a second time"
    shown.clear()
    monkeypatch.setattr(callbacks, "PAUSE", 1000)
    trainer.fit(*data, epochs=6, callbacks=[nl.LivePlot()], **QUIET)
    assert [how for how, _ in shown] == ["display", "update"], "the first and the last"


def test_a_live_plot_in_a_window(data, monkeypatch, no_figures_left):
    import matplotlib.pyplot as plt
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    drawn = []
    plt.close(plt.figure())  # matplotlib has chosen its backend
    monkeypatch.setattr(FigureCanvasAgg, "required_interactive_framework", "imitated", raising=False)
    monkeypatch.setattr(FigureCanvasAgg, "flush_events", lambda canvas: drawn.append(canvas.figure))
    monkeypatch.setattr(callbacks, "PAUSE", 0)
    live, trainer = nl.LivePlot(), make()

    def close(trainer, epoch):
        if epoch == 3:
            plt.close(live.figure)

    trainer.fit(*data, epochs=5, callbacks=[live, close], **QUIET)
    assert drawn == [live.figure] * 3, "then the window was closed"
    (line,) = live.figure.axes[0].get_lines()
    assert list(line.get_ydata()) == trainer.history["loss"]


def test_a_live_plot_without_a_screen_says_so(data, no_figures_left):
    live = nl.LivePlot()
    with pytest.warns(UserWarning, match="no notebook and no window"):
        history = make().fit(*data, epochs=2, callbacks=[live], **QUIET)
    assert list(live.figure.axes[0].get_lines()[0].get_ydata()) == history["loss"]


# ---- corners ---------------------------------------------------------------------------------------------------------


def test_a_column_of_a_metric_of_classes_is_waited_for(rng):
    """Larger is better, which the metric knows, whatever its columns are called."""
    x, y = rng.standard_normal((30, 3)), np.arange(30) % 3
    net = nl.mlp([3, 4, 3], output="softmax", device="numpy", seed=0)
    trainer = nl.Trainer(net, "cce", metrics=[nl.metrics.Recall(average=None)])
    early = nl.EarlyStopping("val_recall_1", patience=2)
    trainer.fit(x, y, epochs=3, validation_data=(x, y), callbacks=[early], **QUIET)
    assert early.best == max(trainer.history["val_recall_1"])


def test_a_first_value_that_is_not_finite_is_not_the_best():
    early = nl.EarlyStopping("loss", patience=9)
    trainer = SimpleNamespace(history=nl.History(loss=[np.nan]), measured=("loss",), metrics=(), network=None)
    early.watched, early.falling = "loss", True
    assert not early.improves(trainer) and early.best is None
    trainer.history["loss"].append(3.0)
    assert early.improves(trainer) and early.best == 3.0


def test_an_interrupt_does_not_bring_the_best_parameters_back(data):
    """The fit may go on, from the parameters where it was stopped."""
    x, y = data

    def end(trainer, epoch):
        if epoch == 5:
            trainer.seen = weights(trainer)
            raise KeyboardInterrupt

    trainer = make(optimizer=nl.SGD(lr=1e-12))
    early = nl.EarlyStopping("loss", patience=50, min_delta=1.0)  # the first epoch stays the best one
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(x, y, epochs=9, callbacks=[early, end], **QUIET)
    assert trainer.interrupted and early.best == trainer.history["loss"][0]
    np.testing.assert_array_equal(weights(trainer), trainer.seen)


def test_a_csv_file_of_a_metric_with_a_comma_in_its_name_goes_on(data, tmp_path):
    def spread(y, prediction):
        return float(np.ptp(prediction))

    spread.__name__ = 'a "name", with a comma'
    trainer = make(metrics=[spread])
    trainer.fit(*data, epochs=2, validation_data=data, **QUIET)
    logger = nl.CSVLogger(tmp_path / "log.csv")
    for _ in range(2):
        trainer.fit(*data, epochs=2, callbacks=[logger], **QUIET)
    with open(tmp_path / "log.csv", encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file)
    assert head == ["epoch", "loss", spread.__name__] and [row[0] for row in rows] == ["3", "4", "5", "6"]
    assert [float(row[1]) for row in rows] == trainer.history["loss"][2:]
