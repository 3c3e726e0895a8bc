"""The progress of a fit: a bar in a terminal, plain lines elsewhere; nothing is left behind, and no child hangs."""

import contextlib
import io
import os
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import in_a_child

import nnlite as nl
from nnlite import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def terminal(monkeypatch):
    """A terminal as stderr: for the test's own time, since pytest sets stderr again after the fixtures."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    return stream


def fit(epochs=2, **options):
    x = np.linspace(0, 1, 12).reshape(6, 2)
    return nl.Trainer(nl.mlp([2, 3, 1], device="numpy"), metrics=["r2"]).fit(x, x[:, 0], epochs=epochs, **options)


def test_a_terminal_has_a_bar(monkeypatch):
    stream = terminal(monkeypatch)
    fit()
    shown = stream.getvalue()
    assert "epoch 2/2" in shown and "loss=" in shown and "r2=" in shown and "100%" in shown
    assert shown.count("\r") > 1 and shown.endswith("\n")


@pytest.mark.parametrize("validated", [False, True])
def test_a_file_has_a_line_for_each_epoch_and_tqdm_is_not_needed(validated, tmp_path):
    """Also where the device runs all epochs at once."""
    code = "import sys, numpy as np, nnlite as nl\nx = np.arange(12.0).reshape(6, 2)\n"
    code += (
        f"validation = (x, x[:, 0]) if {validated} else None\ntrainer = nl.Trainer(nl.mlp([2, 1], device='numpy'))\n"
    )
    code += "history = trainer.fit(x, x[:, 0], epochs=3, validation_data=validation)\n"
    code += "print(*(f'{value:.4f}' for value in history['loss']))\nassert 'tqdm' not in sys.modules"
    with open(tmp_path / "log", "w") as log:
        done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=log, text=True, check=True)
    lines = (tmp_path / "log").read_text().splitlines()
    assert [line.partition(":")[0] for line in lines] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    assert all(line.count("loss=") == 1 + validated and "\r" not in line for line in lines)
    assert [line.split(": loss=")[1][:6] for line in lines] == [loss[:6] for loss in done.stdout.split()]


def test_many_epochs_have_a_line_now_and_then(capsys, monkeypatch):
    clock = iter(range(10**6))  # a second at every look
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    with progress.Bar(1000, 10, wanted=True) as bar:
        for epoch in range(1, 1001):
            bar.advance(10 * epoch)
            bar.show({"loss": [1.0] * epoch})
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == ["epoch 1/1000: loss=1.0000", "epoch 6/1000: loss=1.0000"]
    assert lines[-1] == "epoch 1000/1000: loss=1.0000" and len(lines) == 201


@pytest.mark.parametrize("stream", ["terminal", "file"])
def test_waiting_is_explained(stream, monkeypatch):
    shown = Terminal() if stream == "terminal" else io.StringIO()
    monkeypatch.setattr(sys, "stderr", shown)
    with progress.Bar(1, 1, wanted=True) as bar, bar.waiting(lambda: "compiling"):
        for _ in range(100):
            if "compiling" in shown.getvalue():
                break
            time.sleep(0.1)
    assert "compiling" in shown.getvalue()


def wait_for(told):
    for _ in range(100):
        if told():
            return
        time.sleep(0.1)


def test_a_wait_is_followed_and_left_out_of_the_rate(monkeypatch):
    stream, count = terminal(monkeypatch), iter(range(1, 1000))
    with progress.Bar(1, 1000, wanted=True) as bar:
        begin = bar.bar.start_t
        with bar.waiting(lambda: f"function {next(count)}"):
            wait_for(lambda: "function 3" in stream.getvalue())  # not before a second
        assert bar.bar.start_t - begin >= 1 and bar.bar.last_print_t - begin >= 1
        assert bar.bar.desc == "epoch 1/1: "
    assert "function 3" in stream.getvalue()


def test_lines_explain_a_wait_once(monkeypatch):
    stream, count = io.StringIO(), []
    monkeypatch.setattr(sys, "stderr", stream)
    with progress.Bar(1, 1, wanted=True) as bar, bar.waiting(lambda: count.append(1) or "compiling"):
        wait_for(lambda: len(count) > 2)
    assert stream.getvalue() == "compiling\n"


def test_a_fit_counts_the_functions_that_it_compiles(monkeypatch):
    from nnlite import fitting

    compiled = iter([3, 7, 7, 7, 7, 7, 7, 7])
    texts = []
    monkeypatch.setattr(fitting, "functions_compiled", lambda: next(compiled))
    monkeypatch.setattr(progress.Bar, "waiting", lambda bar, why: texts.append(why()) or contextlib.nullcontext())
    x = np.ones((6, 2))
    fit(validation_data=(x, x[:, 0]))
    assert texts[0] == "compiling for this CPU, which is kept for later (function 4)"
    assert texts[1:] == ["compiling for this CPU, which is kept for later"], "validation compiles in its first epoch"


def test_a_closed_stderr_stops_nothing(monkeypatch):
    for stream in (Terminal(), io.StringIO(), None):
        if stream is not None:
            stream.close()
        monkeypatch.setattr(sys, "stderr", stream)
        assert len(fit()["loss"]) == 2


def test_no_thread_is_left(monkeypatch):
    terminal(monkeypatch)
    before = set(threading.enumerate())
    fit()
    assert set(threading.enumerate()) <= before


def test_a_users_own_bars_keep_their_monitor_and_their_place(monkeypatch):
    terminal(monkeypatch)
    from tqdm import tqdm

    interval = tqdm.monitor_interval
    with tqdm(total=3) as outer:
        with progress.Bar(1, 1, wanted=True) as bar:
            assert (outer.pos, bar.bar.pos) == (0, 1), "the inner bar stands below"
            assert isinstance(bar.bar, tqdm)
        assert tqdm.monitor_interval == interval and type(outer).monitor is not None
    type(outer).monitor.exit()
    type(outer).monitor = None


def test_a_notebook_has_a_bar(monkeypatch):
    """There stderr is no terminal, and tqdm.auto gives a widget, or, without ipywidgets, the bar is on stdout."""
    monkeypatch.setitem(sys.modules, "ipykernel", SimpleNamespace())
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    stream = type("OutStream", (io.StringIO,), {"__module__": "ipykernel.iostream"})
    monkeypatch.setattr(sys, "stdout", stream())
    fit()
    assert "100%" in sys.stdout.getvalue() and not sys.stderr.getvalue()


def test_the_bar_of_a_training_that_was_ended_is_whole(monkeypatch):
    terminal(monkeypatch)
    fit(epochs=50, callbacks=[lambda trainer, epoch: trainer.stop() if epoch == 3 else None])
    assert "100%" in sys.stderr.getvalue() and "epoch 3/50: 100%" in sys.stderr.getvalue()


# ---- fork -------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # of Python 3.12, where there are threads
@pytest.mark.parametrize("drawn", ["within a moment", "for ever"])
def test_a_child_that_is_forked_while_another_thread_draws(drawn, monkeypatch):
    terminal(monkeypatch)
    fit()
    from tqdm.std import TqdmDefaultWriteLock

    lock, drawing, done = TqdmDefaultWriteLock.th_lock, threading.Event(), threading.Event()

    def draw():
        with lock:
            drawing.set()
            done.wait(0.2 if drawn == "within a moment" else None)

    thread = threading.Thread(target=draw)
    thread.start()
    drawing.wait()
    try:
        assert in_a_child(fit) == 0
    finally:
        done.set()
        thread.join()
    fit()  # the parent can draw as before
    assert TqdmDefaultWriteLock.th_lock is lock


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_children_that_are_forked_beside_a_fit_with_a_bar(monkeypatch):
    terminal(monkeypatch)
    stop = threading.Event()

    def draw():
        while not stop.is_set():
            fit(epochs=5)

    thread = threading.Thread(target=draw)
    thread.start()
    try:
        assert [in_a_child(fit) for _ in range(30)] == [0] * 30
    finally:
        stop.set()
        thread.join()
