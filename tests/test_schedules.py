"""Schedules: rates against PyTorch's, and trainings whose recorded steps follow them."""

import numpy as np
import pytest
from helpers import on_threads

import nnlite as nl
from nnlite import schedules


def warmed_up(t, optimizer, steps, then):
    first = t.optim.lr_scheduler.LinearLR(optimizer, 1 / (steps + 1), total_iters=steps)
    return t.optim.lr_scheduler.SequentialLR(optimizer, [first, then(optimizer)], milestones=[steps])


SCHEDULES = {  # ours, PyTorch's for an optimizer with lr=0.1
    "step": (schedules.StepDecay(0.1, every=7, factor=0.3), lambda t, o: t.optim.lr_scheduler.StepLR(o, 7, 0.3)),
    "steps": (
        schedules.StepDecay(0.1, every=[4, 20, 21]),
        lambda t, o: t.optim.lr_scheduler.MultiStepLR(o, [4, 20, 21], 0.1),
    ),
    "exponential": (schedules.Exponential(0.1, 0.9), lambda t, o: t.optim.lr_scheduler.ExponentialLR(o, 0.9)),
    "linear": (schedules.Polynomial(0.1, 30), lambda t, o: t.optim.lr_scheduler.PolynomialLR(o, 30)),
    "polynomial": (
        schedules.Polynomial(0.1, 30, power=2.5),
        lambda t, o: t.optim.lr_scheduler.PolynomialLR(o, 30, 2.5),
    ),
    "linear with an end": (
        schedules.Polynomial(0.1, 30, end=0.02),
        lambda t, o: t.optim.lr_scheduler.LinearLR(o, 1.0, 0.2, 30),
    ),
    "cosine": (
        schedules.Cosine(0.1, 59, end=0.01),
        lambda t, o: t.optim.lr_scheduler.CosineAnnealingLR(o, 59, 0.01),
    ),
    "restarts": (
        schedules.Cosine(0.1, 8, restarts=True),
        lambda t, o: t.optim.lr_scheduler.CosineAnnealingWarmRestarts(o, 8),
    ),
    "longer restarts": (
        schedules.Cosine(0.1, 5, end=0.001, restarts=True, growth=2),
        lambda t, o: t.optim.lr_scheduler.CosineAnnealingWarmRestarts(o, 5, 2, 0.001),
    ),
    "one cycle": (schedules.OneCycle(0.5, 60), lambda t, o: t.optim.lr_scheduler.OneCycleLR(o, 0.5, 60)),
    "one cycle, other numbers": (
        schedules.OneCycle(0.5, 61, rise=0.5, divide=10, divide_end=100),
        lambda t, o: t.optim.lr_scheduler.OneCycleLR(o, 0.5, 61, pct_start=0.5, div_factor=10, final_div_factor=100),
    ),
    "a function": (
        schedules.Function(lambda t: 0.1 / (1 + t)),
        lambda t, o: t.optim.lr_scheduler.LambdaLR(o, lambda epoch: 1 / (1 + epoch)),
    ),
    "warm-up": (
        schedules.Exponential(0.1, 0.9, warmup=5),
        lambda t, o: warmed_up(t, o, 5, lambda o: t.optim.lr_scheduler.ExponentialLR(o, 0.9)),
    ),
}
STEPS = 60


def rates_of_pytorch(torch, scheduler):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    schedule, rates = scheduler(torch, optimizer), []
    for _ in range(STEPS):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


@pytest.mark.filterwarnings("ignore:.*epoch parameter in `scheduler.step")  # SequentialLR calls it with one
@pytest.mark.parametrize("name", SCHEDULES)
def test_rates_equal_pytorch(name):
    torch = pytest.importorskip("torch")
    ours, theirs = SCHEDULES[name]
    np.testing.assert_allclose(ours(np.arange(STEPS)), rates_of_pytorch(torch, theirs), rtol=1e-10, atol=1e-16)
    assert float(ours(3)) == ours([2, 3])[1]


def trained(device, optimizer, *fits, rows=23, batch=5, threads=1, replay="auto", **other):
    """A short training, in so many fits of so many epochs each -> trainer."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((rows, 3)), rng.standard_normal((rows, 2))
    net = nl.mlp([3, 5, 2], hidden="tanh", device=device, dtype="float64", seed=1, threads=threads)
    trainer = nl.Trainer(net, "mse", optimizer, replay=replay)
    for epochs in fits:
        trainer.fit(x, y, epochs=epochs, batch_size=batch, progress=False, **other)
    return trainer


def parameters(trainer):
    return trainer.network.backend.to_numpy(trainer.network.parameters)


@pytest.mark.parametrize("replay", ["auto", "eager"])
@pytest.mark.parametrize("by", ["step", "epoch"])
def test_recorded_steps_follow_the_schedule(by, replay, device):
    """As if the rate had been set before every step: 5 steps an epoch, the last of which is short."""
    schedule = schedules.Cosine(0.3, 9, restarts=True, by=by, warmup=2)
    trainer = trained(device, nl.SGD(lr=schedule, momentum=0.5), 3, 4, 1, replay=replay)
    by_hand = trained(device, nl.SGD(lr=0.3, momentum=0.5))
    rng, shuffles = np.random.default_rng(0), np.random.Generator(np.random.PCG64(1))
    x, y = rng.standard_normal((23, 3)), rng.standard_normal((23, 2))
    for epoch in range(8):
        order = np.arange(23)[None]
        shuffles.permuted(order, axis=1, out=order)
        for step in range(5):
            by_hand.optimizer.lr = float(schedule(epoch if by == "epoch" else 5 * epoch + step))
            rows = order[0, 5 * step : 5 * step + 5]
            by_hand.step(x[rows], y[rows])
    np.testing.assert_allclose(parameters(trainer), parameters(by_hand), rtol=1e-11, atol=1e-14)
    assert trainer.optimizer.lr == float(schedule(40 if by == "step" else 8))


def test_windows_validation_and_threads_change_nothing(monkeypatch):
    schedule = schedules.Exponential(0.3, 0.97, by="step")
    expected = parameters(trained("numpy", nl.SGD(lr=schedule), 6))
    x, y = np.zeros((2, 3)), np.zeros((2, 2))
    for device, threads in (("numba", 1), (on_threads(), 2)):
        whole = trained(device, nl.SGD(lr=schedule), 6, threads=threads)
        validated = trained(device, nl.SGD(lr=schedule), 6, threads=threads, validation_data=(x, y))
        for trainer in (whole, validated):
            np.testing.assert_allclose(parameters(trainer), expected, rtol=1e-11, atol=1e-14)
    monkeypatch.setattr("nnlite.steps.MOST_INDICES", 50)  # two epochs at a time
    for by in ("step", "epoch"):
        schedule = schedules.Exponential(0.3, 0.97, by=by)
        several = trained("numba", nl.SGD(lr=schedule), 5)
        monkeypatch.setattr("nnlite.steps.MOST_INDICES", 1000)
        np.testing.assert_array_equal(parameters(several), parameters(trained("numba", nl.SGD(lr=schedule), 5)))
        monkeypatch.setattr("nnlite.steps.MOST_INDICES", 50)


@pytest.mark.parametrize(("by", "count"), [("step", 9), ("epoch", 3)])
def test_chunks_are_parts_of_an_epoch(by, count, device):
    net = nl.mlp([3, 2], device=device, dtype="float64")
    trainer = nl.Trainer(net, "mse", nl.SGD(lr=schedules.Exponential(0.1, 0.5, by=by)))
    x, y = np.ones((4, 3)), np.ones((4, 2))
    trainer.fit(lambda: [(x, y), (x[:1], y[:1])], epochs=3, batch_size=2, progress=False)
    assert trainer.optimizer.lr == pytest.approx(0.1 * 0.5**count, rel=1e-12)


def test_steps_outside_of_a_fit_count_as_steps(device):
    trainer = trained(device, nl.SGD(lr=schedules.Exponential(0.1, 0.5, by="step")))
    rates = []
    for _ in range(3):
        rates.append(trainer.optimizer.lr)
        trainer.step([[1.0, 2.0, 3.0]], [[0.0, 1.0]])
    assert rates == [0.1, 0.05, 0.025]
    optimizer, net = nl.SGD(lr=schedules.Exponential(0.5, 0.5, by="step")), nl.mlp([1, 1], device=device)
    optimizer.bind(net)
    net.parameters, net.gradients = [0.0, 0.0], [1.0, 0.0]
    for expected in (-0.5, -0.75, -0.875):
        optimizer.step()
        assert net.backend.to_numpy(net.parameters).tolist() == [expected, 0]


def test_a_schedule_may_be_replaced(device):
    trainer = trained(device, nl.SGD(lr=0.1), 1)
    names = [call.name for call in trainer.tape.calls]
    assert "take_rate" not in names
    trainer.optimizer.lr = schedules.StepDecay(0.2, every=5, by="step")
    data = np.zeros((4, 3)), np.zeros((4, 2))
    trainer.fit(*data, epochs=2, progress=False)
    assert "take_rate" in [call.name for call in trainer.tape.calls] and trainer.optimizer.lr == 0.2
    trainer.fit(*data, epochs=3, progress=False)
    assert trainer.optimizer.lr == pytest.approx(0.02)
    trainer.optimizer.lr = 0.3
    trainer.fit(*data, epochs=1, batch_size=5, progress=False)
    assert [call.name for call in trainer.tape.calls] == names and trainer.optimizer.lr == 0.3


class WithPlainRate(nl.Optimizer):
    def rule(self, ops, w, dw):
        w -= self.lr * dw


def test_wrong_arguments():
    with pytest.raises(ValueError, match=r"gives the learning rate -1.0 in step 3"):
        schedules.Function(lambda t: 2 - t, by="step")([0, 1, 3])
    with pytest.raises(ValueError, match=r"gives the learning rate nan in epoch 0"):
        trained("numpy", nl.Adam(lr=schedules.Function(lambda t: float("nan"))), 1)
    for wrong, error, text in (
        (lambda: schedules.Cosine(0.1, 0), ValueError, "length must be at least 1"),
        (lambda: schedules.Exponential(0.1, 0.5, by="batch"), ValueError, "by"),
        (lambda: schedules.StepDecay(0.1, every="ten"), TypeError, "every"),
        (lambda: schedules.Function(3), TypeError, "function must be"),
        (lambda: schedules.OneCycle(0.1, 1), ValueError, "length must be at least 2"),
        (lambda: schedules.Exponential(0.0, 0.5), ValueError, "lr must be"),
        (lambda: nl.Schedule()(1), NotImplementedError, "Schedule has no curve"),
    ):
        with pytest.raises(error, match=text):
            wrong()
    with pytest.raises(ValueError, match=r"self.rate"):
        trained("numpy", WithPlainRate(schedules.Exponential(0.1, 0.9)), 1)


def test_a_function_that_gives_no_number_is_named():
    with pytest.raises(TypeError, match=r"Function.* must give a number, not None"):
        nl.schedules.Function(lambda count: None)([0, 1])
