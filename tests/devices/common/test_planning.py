"""Planning: fused calls and shared-out calls give what the calls gave, on any number of threads."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from helpers import handling, on_threads, side_by_side, steps_of

import nnlite as nl
from nnlite.devices.common import threads as threads_of_a_call
from nnlite.devices.common.planning import fuse, plan, work
from nnlite.devices.common.tiles import TileLimits, tile
from nnlite.devices.cpu import replay as compiled_replay


@pytest.fixture
def data(rng):
    """x (333, 50), labels (333,) of 7 classes: enough work for threads, and no number of threads divides it."""
    return rng.standard_normal((333, 50)), rng.integers(0, 7, 333)


def train(data, threads, optimizer=nl.SGD, batch_size=100, device=None, **options):
    device, metrics = device or on_threads(), ("accuracy", "mae", "r2")
    net = nl.mlp([50, 64, 40, 7], hidden="tanh", output="softmax", device=device, dtype="float64", seed=2)
    net.threads = threads  # more than the machine has, too
    trainer = nl.Trainer(net, "cce", optimizer(lr=0.05, **options), metrics)
    history = trainer.fit(*data, epochs=3, batch_size=batch_size, progress=False)
    return net.parameters.copy(), history, trainer


def decaying(lr):
    """The decay is added to parts of the gradients, whose shares are not those of all."""
    return nl.SGD(lr, weight_decay=0.5, decay_biases=False)


@pytest.mark.parametrize("optimizer", [nl.SGD, nl.Adam, lambda lr: nl.SGD(lr, 0.9, weight_decay=0.01), decaying])
@pytest.mark.parametrize("threads", [2, 3, 5])
def test_threads_change_nothing_but_the_order_of_sums(threads, optimizer, data):
    alone, history, _ = train(data, 1, optimizer=optimizer)
    shared, shared_history, _ = train(data, threads, optimizer=optimizer)
    np.testing.assert_allclose(shared, alone, rtol=1e-10, atol=1e-13)
    for name, values in history.items():
        np.testing.assert_allclose(shared_history[name], values, rtol=1e-10)
    np.testing.assert_array_equal(train(data, threads, optimizer=optimizer)[0], shared)  # the same bits each time


def test_a_part_is_not_in_the_phase_of_the_whole(data):
    """Threads would go on with other numbers than they had."""
    planned = plan(train(data, 1, optimizer=decaying)[2].tape.calls, compiled_replay.COLUMNS)
    phases = {p.call.name: p.phase for p in planned}
    assert phases["add_decay"] < phases["sgd_step"]


@pytest.mark.parametrize("batch_size", [1, 2, 333])
def test_more_threads_than_rows(batch_size, data):
    alone, _, _ = train(data, 1, batch_size=batch_size)
    np.testing.assert_allclose(train(data, 4, batch_size=batch_size)[0], alone, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("threads", [1, 2])
def test_fused_calls_equal_the_calls_they_are_made_of(threads, data, monkeypatch):
    fused, _, _ = train(data, threads)
    monkeypatch.setattr(compiled_replay, "fuse", list)
    np.testing.assert_allclose(train(data, threads)[0], fused, rtol=1e-11, atol=1e-14)


def test_what_is_fused(data):
    calls = train(data, 1)[2].tape.calls
    names = [call.name for call in fuse(calls)]
    assert names.count("linear_backward_weights_sgd") == names.count("linear_backward_bias_sgd") == 3
    assert "sgd_step" not in names and "linear_backward_weights" not in names
    for options in ({"optimizer": nl.Adam}, {"weight_decay": 0.1}, {"momentum": 0.9}):
        calls = train(data, 1, **options)[2].tape.calls
        assert fuse(calls) == calls


@pytest.mark.parametrize("optimizer", [nl.SGD, nl.Adam, lambda lr: nl.SGD(lr, momentum=0.9, weight_decay=0.01)])
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("batch_size", [100, 333])
def test_tiles_equal_the_whole_batch(batch_size, threads, optimizer, data):
    """A batch cut into tiles, with rows left over, gives what it gives in one piece; so do its metrics."""
    whole, history, _ = train(data, 1, optimizer=optimizer, batch_size=batch_size)
    small = {"device": on_threads(smallest_tile=16, tile_bytes=16_000)}
    cut, found, trainer = train(data, threads, optimizer=optimizer, batch_size=batch_size, **small)
    tiles = tile(trainer.tape.calls, threads, compiled_replay.COLUMNS, small["device"].limits)
    assert tiles is not None and tiles.size < batch_size // threads
    np.testing.assert_allclose(cut, whole, rtol=1e-10, atol=1e-13)
    for name, values in history.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-10)
    again = train(data, threads, optimizer=optimizer, batch_size=batch_size, **small)[0]
    np.testing.assert_array_equal(again, cut)  # the same bits each time


@pytest.mark.parametrize("output", ["softplus", "relu", "tanh", "sigmoid", "tanh_offset"])
@pytest.mark.filterwarnings("ignore:y has numbers outside:nnlite.ScaleWarning")
def test_a_tile_writes_nothing_beside_its_part_of_the_outputs(output, rng, rows=1194):
    """A metric needs the outputs of the whole batch, of which each tile makes a part that ends within a vector."""
    x, y = rng.standard_normal((rows, 19)), rng.standard_normal((rows, 1))
    found = []
    for device in ("numpy", "numba"):
        net = nl.mlp([19, 28, 1], "tanh", output, device=device, threads=1, seed=0)
        trainer = nl.Trainer(net, "mae", metrics=["mae"])
        found.append(trainer.fit(x, y, 3, rows, progress=False))
    assert "tiles" in trainer.plan()
    assert found[1]["loss"] == pytest.approx(found[1]["mae"], rel=1e-6)  # one quantity, by two ways
    assert found[1]["loss"] == pytest.approx(found[0]["loss"], rel=1e-5)


@pytest.mark.parametrize("threads", [1, 3])
def test_tiles_draw_the_same_dropout(threads, data):
    runs = []
    for bytes_of_a_tile in (10**9, 16_000):
        device = on_threads(smallest_tile=16, tile_bytes=bytes_of_a_tile)
        layers = nl.Dense(50, 30), nl.ReLU(), nl.Dropout(0.5), nl.Dense(30, 7)
        net = nl.Sequential(*layers, device=device, dtype="float64", seed=2)
        net.threads = threads
        nl.Trainer(net, nl.CategoricalCrossEntropy(from_logits=True)).fit(*data, 2, 300, progress=False)
        runs.append(net.parameters.copy())
    np.testing.assert_allclose(runs[1], runs[0], rtol=1e-11, atol=1e-14)


def test_no_tiles_for_small_batches_large_weights_or_rows_that_meet(data):
    calls = train(data, 1)[2].tape.calls
    assert tile(calls, 1, compiled_replay.COLUMNS, TileLimits()) is None
    x, y = np.zeros((4000, 700)), np.zeros(4000, int)
    net = nl.mlp([700, 500, 7], output="softmax", device="numba", dtype="float64")
    steps = steps_of(nl.Trainer(net, "cce"), x, y, 4000)
    assert net.gradients.nbytes > TileLimits.most_gradients
    assert tile(steps.program.tape.calls, 1, compiled_replay.COLUMNS, TileLimits()) is None


def test_phases_keep_what_depends_on_each_other_apart(data):
    calls = fuse(train(data, 1)[2].tape.calls)
    planned = plan(calls, compiled_replay.COLUMNS)
    phase = {id(p.call): p.phase for p in planned}
    for call in calls:
        if call.name in ("take_rows", "linear", "tanh", "tanh_backward", "linear_backward"):
            assert phase[id(call)] == 0, "a row of the batch goes through the net on its thread alone"
        if call.name.endswith("_sgd") or call.name in ("advance", "add_losses"):
            assert phase[id(call)] >= 1, "weights are moved, and rows are counted, when nobody reads them any more"
    assert sorted(p.phase for p in planned) == [p.phase for p in planned]


class Positive(nl.Layer):
    """y = x softplus(W): weights that are made of weights, whose rows are not those of the batch."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.inputs, self.outputs = inputs, outputs
        self.state = {"W": np.random.default_rng(0).standard_normal((inputs, outputs))}

    def forward(self, x):
        self.V = self.ops.softplus(self.W)
        return self.ops.matmul(x, self.V)

    def backward(self, dy):
        return self.ops.linear_backward(dy, self.V)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("rows", [20, 333, 4000])  # of a batch: less than the weights have, more, and enough for tiles
def test_weights_that_are_made_of_weights_are_whole_before_they_are_read(rows, threads, rng):
    x, labels = rng.standard_normal((4000, 9)), rng.integers(0, 3, 4000)
    found = []
    for device in ("numpy", on_threads()):
        layers = nl.Dense(9, 40), nl.Tanh(), Positive(40, 6), nl.Tanh(), nl.Dense(6, 3), nl.Softmax()
        net = nl.Sequential(*layers, device=device, dtype="float64", seed=0)
        net.threads = threads
        trainer = nl.Trainer(net, "cce", nl.SGD(lr=0.01))
        found.append((trainer.fit(x, labels, 2, rows, progress=False)["loss"], net.parameters.copy()))
    np.testing.assert_allclose(found[1][0], found[0][0], rtol=1e-10)
    np.testing.assert_allclose(found[1][1], found[0][1], rtol=1e-9, atol=1e-12)
    phases = {p.call.name: p.phase for p in plan(trainer.tape.calls, compiled_replay.COLUMNS)}
    assert phases["softplus"] < phases["matmul"] and "tiles" not in trainer.plan()


def test_a_small_product_is_divided_by_rows_but_not_by_columns(data):
    """Rows go on to the next call without a barrier, which costs more than a small product does; columns cannot."""
    calls = fuse(train(data, 1)[2].tape.calls)
    for least, of_columns in ((0.0, "M"), (1e9, "")):
        split = {p.call.name: p.split for p in plan(calls, compiled_replay.COLUMNS, least)}
        assert split["linear"] == split["linear_backward"] == "N"
        assert split["linear_backward_weights_sgd"] == of_columns


def test_small_nets_stay_on_one_thread(rng):
    x, y = nl.datasets.logic_gate("xor")
    net = nl.mlp([2, 3, 1], device="numba", threads=2)
    net.threads = 2
    trainer = nl.Trainer(net)
    replay = steps_of(trainer, x, y, 4).program.replay
    assert replay.threads == 1


def test_python_threads_may_train_side_by_side(data):
    expected = [train(data, 2)[0], train((-data[0], data[1]), 2)[0]]
    found = side_by_side(lambda i: train(((1 - 2 * i) * data[0], data[1]), 2)[0], 2)
    for i in range(2):
        np.testing.assert_allclose(found[i], expected[i], rtol=1e-10, atol=1e-13)


# ---- threads that are late -----------------------------------------------------------------------------------------


@pytest.fixture
def late(monkeypatch):
    """Let threads come late to every call of the replay, or not at all."""
    run = compiled_replay.table.replay

    def make(threads, seconds):
        begun = {}  # id of the marks of a call -> whether a thread that makes its steps has begun; and the marks

        def replay(*arguments):
            event = begun.setdefault(id(arguments[7]), (threading.Event(), arguments[7]))[0]
            if arguments[8] in threads and arguments[9] and arguments[3] > arguments[2]:
                if seconds is None:
                    assert event.wait(60)
                    return arguments[2]  # none of its steps
                time.sleep(seconds)
            event.set()
            return run(*arguments)

        monkeypatch.setattr(compiled_replay.table, "replay", replay)

    return make


@pytest.mark.parametrize("seconds", [0.002, 0.1, None])
@pytest.mark.parametrize("threads", [{0}, {2}, {0, 1}])
@pytest.mark.parametrize("batch_size", [20, 333])  # the latter runs in tiles, if they may be small
def test_nobody_waits_for_a_thread_that_is_not_at_work(batch_size, threads, seconds, data, late):
    """Others do its parts, and it comes to the same bits: what is computed does not depend on who does it."""
    device = on_threads(smallest_tile=8, tile_bytes=10_000)
    together, history, trainer = train(data, 3, batch_size=batch_size, device=device)
    assert ("tiles" in trainer.plan()) == (batch_size == 333)
    late(threads, seconds)
    found, found_history, _ = train(data, 3, batch_size=batch_size, device=device)
    np.testing.assert_array_equal(found, together)
    assert dict(found_history) == dict(history)


@pytest.mark.parametrize(("row", "batch"), [(250, 3), (320, 4)])  # a full batch and the short one
@pytest.mark.parametrize("threads", [{0}, {1}])
def test_divergence_is_seen_at_its_step_whoever_is_late(threads, row, batch, data, late):
    late(threads, 0.01)
    x, y = data[0].astype(np.float32), np.eye(7, dtype=np.float32)[data[1]]
    net = nl.mlp([50, 64, 7], hidden="relu", device=on_threads(), seed=0)
    net.threads = 2
    x[row] = 1e30
    with pytest.raises(nl.DivergedError, match=rf"epoch 1, batch {batch}\b"):
        nl.Trainer(net, "mse", nl.SGD(lr=1e-3)).fit(x, y, batch_size=100, shuffle=False, progress=False)


@pytest.fixture
def started(data, monkeypatch):
    """The threads that calls start from now on; none waits from an earlier call."""
    threads, start = [], threads_of_a_call.start_new_thread
    monkeypatch.setattr(threads_of_a_call, "waiting", [])
    monkeypatch.setattr(threads_of_a_call, "start_new_thread", lambda *given: threads.append(start(*given)))
    train(data, 3)  # compiles
    forget(threads)
    return threads


def forget(started):
    """Wait until all threads wait, and let calls start others."""
    wait_for_rest(started)
    threads_of_a_call.waiting.clear()
    started.clear()


def wait_for_rest(started):
    """Wait until all threads wait: one that has come too late for a call may take a moment to end its job."""
    end = time.monotonic() + 10
    while len(threads_of_a_call.waiting) < len(started) and time.monotonic() < end:
        time.sleep(0.01)
    assert len(threads_of_a_call.waiting) == len(started)


def test_threads_are_kept_and_asleep_between_calls(data, started, monkeypatch):
    """One that has come too late for a call may not be back for the next, which then starts another; that is rare."""
    jobs, hand_over = [], threads_of_a_call.hand_over
    monkeypatch.setattr(threads_of_a_call, "hand_over", lambda job: jobs.append(job) or hand_over(job))
    for _ in range(10):
        train(data, 3)
        wait_for_rest(started)
    assert 2 <= len(started) <= len(jobs) / 4
    clock, before = time.process_time(), time.perf_counter()
    time.sleep(0.1)
    assert time.process_time() - clock < (time.perf_counter() - before) / 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_does_not_count_on_its_parents_threads(data):
    train(data, 3)
    assert threads_of_a_call.waiting
    child = os.fork()
    if child == 0:
        os._exit(len(threads_of_a_call.waiting))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_threads_that_cannot_be_had_are_done_without(data, monkeypatch, started):
    together, _, _ = train(data, 3)
    forget(started)
    start = threads_of_a_call.start_new_thread

    def one_only(*arguments):
        if started:
            raise RuntimeError("can't start new thread")
        start(*arguments)

    monkeypatch.setattr(threads_of_a_call, "start_new_thread", one_only)
    np.testing.assert_array_equal(train(data, 3)[0], together)
    assert len(started) == 1


def test_nobody_waits_for_a_thread_that_never_begins(data, monkeypatch, started):
    """One that was started, but found no memory for its first call."""
    together, _, _ = train(data, 3)
    forget(started)
    monkeypatch.setattr(threads_of_a_call, "start_new_thread", lambda *arguments: 0)
    np.testing.assert_array_equal(train(data, 3)[0], together)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited, and measured, as on Linux")
def test_without_memory_a_step_is_made_or_refused():
    """A thread that gets no memory for its first call never begins; a threading.Thread is then waited for for ever."""
    code = """
import resource, numpy as np, nnlite as nl
net = nl.mlp([784, 512, 512, 10], device="numba", threads=1)
net.threads = 2
trainer = nl.Trainer(net)
data = trainer.checked(np.ones((256, 784)), np.ones((256, 10)))
steps = nl.steps.Steps(trainer.new_step(), *data, 256, 1)
assert steps.program.replay.threads == 2
steps.start(1, None)
there = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (there, -1))
try:
    print(steps.program.replay.run(0, 1, 1, steps.history))
except MemoryError:
    print(1)
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert process.stdout == "1\n", process.stderr


def test_a_batch_that_is_written_down_costs_its_own_rows(data):
    """Weighted metrics are computed from the predictions of all rows, of which a step writes those of its batch."""
    x, y = data
    net = nl.mlp([50, 7], output="softmax", device=on_threads(), seed=0)
    trainer = nl.Trainer(net, "cce", metrics=["accuracy"])
    trainer.fit(x, y, epochs=3, batch_size=10, sample_weight=np.ones(len(x)), progress=False)
    assert {work(call) for call in trainer.tape.calls if call.name == "write_rows"} == {10 * 7}


@pytest.mark.parametrize("error", [LookupError, MemoryError])
def test_an_error_of_a_thread_is_raised_but_where_it_only_had_no_memory_for_its_work(error, data, monkeypatch):
    together = train(data, 2)[0]
    run, begun = compiled_replay.table.replay, threading.Event()

    def replay(*arguments):
        if arguments[8] == 1:
            begun.set()
            raise error("of the second thread")
        assert arguments[2] == arguments[3] or begun.wait(60)
        return run(*arguments)

    monkeypatch.setattr(compiled_replay.table, "replay", replay)
    if error is MemoryError:
        np.testing.assert_array_equal(train(data, 2)[0], together)
        return
    with pytest.raises(LookupError, match="of the second thread"):
        train(data, 2)


@pytest.mark.parametrize("where", ["while threads start", "before the first begins"])
def test_an_interrupt_leaves_whole_steps_and_no_thread_at_work(where, data, monkeypatch, started):
    parameters = []
    for interrupt in (False, True):
        _, _, trainer = train(data, 3)
        steps = steps_of(trainer, *data, 100)
        steps.start(1, None)
        before = trainer.network.parameters.copy()
        forget(started)
        run, start = compiled_replay.table.replay, threads_of_a_call.start_new_thread

        def replay(*arguments, run=run):
            if arguments[8] == 0:
                raise KeyboardInterrupt
            return run(*arguments)

        def start_and_stop(*arguments, start=start):
            start(*arguments)
            raise KeyboardInterrupt

        if interrupt:
            if where == "while threads start":
                monkeypatch.setattr(threads_of_a_call, "start_new_thread", start_and_stop)
            else:
                monkeypatch.setattr(compiled_replay.table, "replay", replay)
        with pytest.raises(KeyboardInterrupt) if interrupt else contextlib.nullcontext():
            steps.program.replay.run(0, 3, steps.per_epoch, steps.history)
        parameters.append(trainer.network.parameters.copy())
        wait_for_rest(started)
        np.testing.assert_array_equal(trainer.network.parameters, parameters[-1])  # nobody has moved them since
    whole, found = parameters
    # Threads that began made all steps; where none had begun, there is none.
    assert np.array_equal(found, whole) or np.array_equal(found, before)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timer that interrupts")
def test_many_interrupts_at_once_leave_no_thread_at_work(data, monkeypatch):
    _, _, trainer = train(data, 3)
    steps = steps_of(trainer, *data, 100)
    run, at_work, waited_for = compiled_replay.table.replay, set(), set()

    def late(*arguments):
        if arguments[8] == 0:
            assert early or begun.wait(60)  # on a busy machine, this thread would be done before another begins
            return run(*arguments)
        at_work.add(arguments[8])
        signal.setitimer(signal.ITIMER_REAL, 0.02, 0.01)
        begun.set()
        time.sleep(0.1)  # so that there is somebody to wait for
        waited_for.add(arguments[8])
        stopped = run(*arguments)
        at_work.remove(arguments[8])
        return stopped

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(compiled_replay.table, "replay", late)
    with handling(signal.SIGALRM, interrupt):
        for early in (True, False) * 5:
            steps.start(1, None)
            begun = threading.Event()
            with contextlib.suppress(KeyboardInterrupt):  # one more may come while the first is on its way
                try:
                    if early:
                        signal.setitimer(signal.ITIMER_REAL, 0.02, 0.01)
                    steps.program.replay.run(0, 3, steps.per_epoch, steps.history)
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
            assert not at_work
        assert waited_for


@pytest.mark.parametrize("lines", range(1, 7))
def test_an_interrupt_on_the_heels_of_another_leaves_no_thread_at_work(lines):
    """The second one comes where the first is caught, or so many lines after that, before the wait goes on."""
    begun, go_on, ended = threading.Event(), threading.Event(), []

    def share(thread):
        if thread == 1:
            begun.set()
            go_on.wait(60)
            ended.append(thread)
        elif not begun.wait(60):
            raise AssertionError("no thread has begun")

    waits = 0

    def wait_awake(idle):
        nonlocal waits
        waits += 1
        if waits > 1:
            go_on.set()
            return
        left = lines

        def trace(frame, event, argument):
            nonlocal left
            left -= event == "line"
            if left == 0 and event == "line":
                raise KeyboardInterrupt("the second")
            return trace

        frame = sys._getframe(1)
        while frame.f_code.co_filename == threads_of_a_call.__file__:
            frame.f_trace, frame = trace, frame.f_back
        sys.settrace(trace)
        raise KeyboardInterrupt("the first")

    before = sys.gettrace()
    try:
        with pytest.raises(KeyboardInterrupt, match="the second"):
            threads_of_a_call.together(share, 2, wait_awake)
    finally:
        sys.settrace(before)
        go_on.set()
    assert ended == [1]
