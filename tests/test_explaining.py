"""An explained step: whoever recomputes it from the printed numbers gets the same digits."""

import decimal
import re
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from helpers import Square
from test_markup import Page

import nnlite as nl
from nnlite.explaining import MOST_NUMBERS, rounded
from nnlite.formulas import NotUnderstoodError, computed, formula_of, told

X, Y = [[0.5, 1.0], [-1.0, 0.3]], [[1.0], [0.0]]
NUMBER = r"−?\d[\d.]*(?:e-\d+|e\+\d+)?"


def trainer(*sizes, loss="mse", optimizer=None, output="sigmoid", device="numpy", **options):
    net = nl.mlp(list(sizes or (2, 3, 1)), hidden="tanh", output=output, device=device, seed=0, **options)
    return nl.Trainer(net, loss, optimizer or nl.SGD(lr=0.5))


# ---- a pencil, and paper: decimal arithmetic with 40 digits ----------------------------------------------------------


def exponential(x):
    return Decimal(x).exp()


ARITHMETIC = {
    "D": Decimal,
    "E": Decimal(1).exp(),
    "tanh": lambda x: (1 - exponential(-2 * x)) / (1 + exponential(-2 * x)),
    "sigmoid": lambda x: 1 / (1 + exponential(-x)),
    "ln": lambda x: Decimal(x).ln(),
    "sqrt": lambda x: Decimal(x).sqrt(),
    "sign": lambda x: Decimal((x > 0) - (x < 0)),
    "sin": lambda x: Decimal(float(np.sin(float(x)))),
    "cos": lambda x: Decimal(float(np.cos(float(x)))),
    "max": max,
    "min": min,
    "abs": abs,
}


def value(text):
    """A printed number."""
    return Decimal(text.replace("−", "-"))


def recomputed(text, digits=4):
    """What the printed arithmetic gives, rounded as at school."""
    text = re.sub(r"\|([^|]*)\|", r"abs(\1)", text.replace("½", "0.5")).replace("e^", "E**").replace("√", "sqrt")
    text = re.sub(r"(?<![\w.])\d[\d.]*(?:e[+-]\d+)?", lambda found: f'D("{found[0]}")', text)
    raised = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")
    text = re.sub("[⁰¹²³⁴-⁹]+", lambda found: f"**{found[0].translate(raised)}", text)
    for written, python in {"·": "*", "−": "-"}.items():
        text = text.replace(written, python)
    with decimal.localcontext() as context:
        context.prec = 40
        exact = eval(text, {"__builtins__": {}}, ARITHMETIC)
        context.prec, context.rounding = digits, decimal.ROUND_HALF_UP
        return +Decimal(exact)


def name_and_places(text):
    letters = text.rstrip("₁₂₃")
    return letters, text[len(letters) :].translate(str.maketrans("₁₂₃", "123"))


def arrays_in(text, rows):
    """The numbers of the arrays in a text: (name, places) -> text."""
    found, name, row = {}, "", 0
    for line in text.splitlines():
        before, sign, numbers = line.rpartition("=")
        name, row = (before.strip(), 1) if sign else (name, row + 1)
        for column, number in enumerate(numbers.split(), 1):
            flat = name.endswith(".b") or (rows == 1 and name in ("input", "target"))
            found[name, f"{column}" if flat else f"{row}{column}"] = number
    return found


@pytest.mark.parametrize("rows", [1, 2])
def test_a_student_gets_the_same_digits(rows):
    """Every line of the text is recomputed, and every number in it must have been printed before, under its name."""
    text = str(trainer().explain_step(X[:rows], Y[:rows]))
    begin, given, forward, after = re.split("GIVEN\n|FORWARD\n|AFTER THE STEP\n", text)
    assert "rounded to 4 significant digits" in begin.replace("\n", " ")
    printed = {
        (f"the {n}" if n in ("input", "target") else n, at): v for (n, at), v in arrays_in(given.strip(), rows).items()
    }
    moved, recomputations = {}, 0
    for block in re.split("\n\n", forward):
        where, author = {}, ""
        for line in block.splitlines():
            if title := re.match(r"(layer \d|the loss|the optimizer)(, .*:| over all rows)", line):
                author = title[1]
            elif not line.startswith(" ") and " is " in line:
                where = dict(part.split(" is ") for part in line.split(", "))
            elif found := re.match(r"    (\S+) ([=←]) (.*)", line):
                name, sign, rest = found.groups()
                *parts, result = rest.split(" = ")
                own, places = name_and_places(name)
                if parts:
                    assert recomputed(parts[-1]) == value(result), line
                    recomputations += 1
                numbers = re.findall(NUMBER, parts[-1].replace(" − ", " ")) if parts else [result]
                if len(parts) == 2:  # names, and the same with numbers
                    names = [name_and_places(each) for each in re.findall(r"[a-zA-Z]+[₁₂₃]+", parts[0])]
                    assert [printed[where[operand], at] for operand, at in names] == numbers, line
                elif sign == "←":
                    layer, _, parameter = own.partition(".")
                    gradient = printed[f"d{parameter} of layer {layer}", places]
                    assert numbers == [printed[own, places], "0.5", gradient], line
                    moved[own, places] = result
                else:
                    sizes = {
                        number.lstrip("−") for number in (*printed.values(), "1", "2", "0.5")
                    }  # e⁻ˣ of −0.1 is e^0.1
                    assert {number.lstrip("−") for number in numbers} <= sizes, line
                printed[f"{own} of {author}", places] = result
    # the sums of Dense, activations, losses with their gradients, and back: dx, dW, db and the parameters
    assert recomputations == rows * (3 + 3 + 1 + 1 + 2 + 1 + 3 + 3) + 9 + 13 + (rows - 1) * (1 + 4)
    assert moved == arrays_in(after.strip(), rows)  # what is printed at the end
    assert len(moved) == 13


def test_readme_shows_what_is_printed():
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```text\n(layer 0, Dense\(2, 3\).*?)```", readme, re.DOTALL)
    printed = str(trainer().explain_step(X[:1], Y[:1])).splitlines()
    assert [printed.index(line) for line in shown.splitlines()] == sorted(map(printed.index, shown.splitlines()))


# ---- any layer, loss and optimizer -----------------------------------------------------------------------------------

LAYERS = {
    "batch norm": lambda: [nl.BatchNorm(3), nl.ReLU()],
    "layer norm": lambda: [nl.LayerNorm(3), nl.PReLU()],
    "random": lambda: [nl.Dropout(0.4), nl.GaussianNoise(0.1), nl.GELU()],
    "residual": lambda: [nl.Residual(nl.Dense(3, 4), nl.Softsign(), nl.Dense(4, 3, bias=False)), nl.Identity()],
    "activations": lambda: [
        nl.LeakyReLU(0.1),
        nl.SiLU(),
        nl.Mish(),
        nl.Sine(2.0),
        nl.ELU(),
        nl.HardSigmoid(),
        nl.Softplus(),
    ],
}
OPTIMIZERS = {
    "momentum": lambda: nl.SGD(0.1, momentum=0.9, weight_decay=0.01, clip_norm=0.1),
    "adam": lambda: nl.Adam(0.01, amsgrad=True, average=0.9),
    "rmsprop": lambda: nl.RMSprop(nl.schedules.Cosine(0.1, 10, by="step"), l1=0.1, max_norm=1.0),
    "adamw": lambda: nl.AdamW(0.01, lr_factors={0: 0.1}, clip_value=0.01),
    "adagrad": lambda: nl.Adagrad(0.1),
}
LOSSES = {
    "mse": ("sigmoid", Y),
    "bce": ("sigmoid", Y),
    "cce": ("softmax", [2, 0]),
    "huber": ("identity", [[0.1, -3.0], [0.5, 4.0]]),
    "mae": (None, [[0.1, -3.0], [0.5, 4.0]]),
}


@pytest.fixture(params=[*LAYERS, *OPTIMIZERS, *LOSSES])
def any_step(request):
    """A trainer with this layer, optimizer or loss, and y."""
    name = request.param
    layers, output, y = LAYERS.get(name, lambda: [nl.Tanh()])(), *LOSSES.get(name, LOSSES["mse"])
    width = {"cce": 3, "huber": 2, "mae": 2}.get(name, 1)
    end = [nl.activations.activation(output)] if output else []
    net = nl.Sequential(nl.Dense(2, 3), *layers, nl.Dense(3, width), *end, device="numpy", dtype="float64")
    return nl.Trainer(net, name if name in LOSSES else "mse", OPTIMIZERS.get(name, nl.SGD)()), y


def numbers_of(values):
    return [number for array in values for number in np.ravel(array).tolist()]


def test_every_call_follows_from_what_is_printed(any_step):
    trainer, y = any_step
    explanation = trainer.explain_step(X, y)
    assert {call.stage for call in explanation.calls} == {"forward", "loss", "backward", "update"}
    written = 0
    for call in explanation.calls:
        for number in numbers_of([*call.before.values(), *call.after.values()]):
            assert float(value(told(number, 6))) == number or np.isnan(number)  # printed in full
        operands = {n: np.copy(call.before.get(n, call.after.get(n))) for n in call.kernel.signature.operands}
        operands = {n: a if a.ndim else a.item() for n, a in operands.items()}
        answer = call.kernel(*operands.values())
        fresh = call.kernel.signature.fresh
        results = operands | dict(zip(fresh, answer if len(fresh) > 1 else [answer]))
        for name, array in call.after.items():
            expected = [
                rounded(number, 4) if isinstance(number, float) else number for number in numbers_of([results[name]])
            ]
            several = len(call.kernel.signature.in_place) > 1  # of which one follows from another, as it is rounded
            assert numbers_of([array]) == (pytest.approx(expected, rel=1e-3) if several else expected)
        for equation in call.equations:
            if equation.parts:
                assert recomputed(equation.parts[-1]) == value(equation.value), str(equation)
                written += 1
        shown = {
            name for matrix in call.matrices for name in [matrix.name, *(matrix.rows[0] if not matrix.name else ())]
        }
        assert shown >= {*call.before} or (call.equations and not shown)
    assert written > 40
    text = str(explanation)
    assert all(len(line) <= 100 or line.startswith("    ") for line in text.splitlines()) and "nan" not in text


def test_with_all_digits_it_is_the_trainers_step(any_step):
    trainer, y = any_step
    explanation = trainer.explain_step(X, y, digits=10)
    loss = trainer.step(X, y)
    assert float(value(explanation.loss.value)) == pytest.approx(loss, rel=1e-8)
    moved = [float(value(text)) for matrix in explanation.moved for row in matrix.rows for text in row]
    np.testing.assert_allclose(moved, trainer.network.parameters, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", sorted(nl.activations.ACTIVATIONS))
def test_activations_are_written_out(name):
    """A docstring whose formula cannot be read any more would show as arrays."""
    layers = nl.Dense(2, 3), nl.activations.activation(name), nl.Dense(3, 1)
    explanation = nl.Trainer(nl.Sequential(*layers, device="numpy")).explain_step([[0.3, -0.9]], [[1.0]])
    own = [call for call in explanation.calls if call.author.startswith("layer 1, ")]
    arrays = [call.kernel.name for call in own if call.matrices]
    expected = {"gelu": ["gelu", "gelu_backward"], "gelu_tanh": ["gelu_tanh", "gelu_tanh_backward"]}
    expected["prelu"] = ["prelu_backward_slope"]
    assert arrays == expected.get(name, []) and (own or name == "identity")


def test_nothing_is_changed(any_step):
    trainer, y = any_step
    trainer.fit(X, y, epochs=2, progress=False)
    step, shuffles = trainer.new_step(), trainer._shuffles.bit_generator.state
    before, tape, history = {n: a.copy() for n, a in step.arrays().items()}, trainer.tape, dict(trainer.history)
    first, second = str(trainer.explain_step(X, y)), str(trainer.explain_step(X, y))
    assert first == second
    for name, array in trainer.new_step().arrays().items():
        np.testing.assert_array_equal(array, before[name])
    assert trainer.tape is tape and trainer.history == history and trainer._shuffles.bit_generator.state == shuffles
    for layer in trainer.network.layers:
        assert not any(name in vars(layer) for name in layer.kept)


def test_it_is_the_same_on_every_device(device):
    """It is computed on numpy, whatever the network's device is."""
    assert str(trainer(device=device).explain_step(X, Y)) == str(trainer().explain_step(X, Y))


def test_frozen_layers_and_schedules():
    frozen = trainer()
    frozen.network.layers[0].trainable = False
    text = str(frozen.explain_step(X, Y))
    assert "2.W₁₁ ← " in text and "0.W₁₁ ← " not in text and "layer 0" not in text[text.index("BACKWARD") :]
    net = nl.mlp([2, 1], device="numpy")
    scheduled = nl.Trainer(net, optimizer=nl.SGD(nl.schedules.Exponential(0.5, 0.5, by="step")))
    assert "learning rate = 0.5\n" in str(scheduled.explain_step(X, Y))
    scheduled.step(X, Y)
    assert "learning rate = 0.25\n" in str(scheduled.explain_step(X, Y))


def test_a_layer_of_ones_own():
    @nl.kernel("x (N,K) -> y (N,K)", elementwise=True)
    def cube(x):
        """y = x³."""
        return x**3

    @nl.kernel("dy (N,K), x (N,K) -> dx (N,K)", elementwise=True)
    def cube_backward(dy, x):
        return 3 * dy * x * x

    @nl.kernel("p (N,K), t (N,K) -> each (N), dp (N,K)")
    def fourth_power(p, t):
        return ((p - t) ** 4).sum(axis=1), 4 * (p - t) ** 3

    class Cube(nl.Activation):
        formula, formula_backward = cube, cube_backward

    net = nl.Sequential(nl.Dense(2, 2), Cube(), nl.Dense(2, 1), device="numpy")
    trained = nl.Trainer(net, fourth_power)
    explanation = trained.explain_step(X, Y)
    text = str(explanation)
    assert float(value(explanation.loss.value)) == pytest.approx(trained.step(X, Y), rel=1e-2)
    assert re.search(r"layer 1, Cube\(\), cube: y = x³\nx is y of layer 0\n    y₁₁ = \(?[−\d.]+\)?³ = ", text)
    assert "layer 1, Cube(), cube_backward\ndy is dx of layer 2, x is y of layer 0\n    dy = " in text


def test_what_cannot_be_explained():
    with pytest.raises(
        ValueError, match=rf"the step has [\d,]+ numbers, more than the {MOST_NUMBERS:,} that are writt"
    ):
        trainer(64, 32, 10, loss="cce", output="softmax").explain_step(np.zeros((1, 64)), [0])
    with pytest.raises(ValueError, match="digits must be at least 2, not 1"):
        trainer().explain_step(X, Y, digits=1)
    with pytest.raises(ValueError, match="digits must be at most 10, not 11"):
        trainer().explain_step(X, Y, digits=11)
    with pytest.raises(ValueError, match=r"x has shape \(2, 3\)"):
        trainer().explain_step(np.zeros((2, 3)), Y)
    net = nl.Sequential(nl.Dense(2, 1), Square(), device="numpy")
    with pytest.raises(ValueError, match="only a step made of kernels can be explained, but this one is not: "):
        nl.Trainer(net).explain_step(X, Y)


def test_targets_that_were_not_measured():
    net = nl.mlp([2, 2], output="identity", device="numpy", dtype="float64")
    trained = nl.Trainer(net, nl.MSE(ignore_nan=True))
    y = [[1.0, float("nan")], [0.5, 2.0]]
    explanation = trained.explain_step(X, y)
    assert float(value(explanation.loss.value)) == pytest.approx(trained.step(X, y), rel=1e-3)
    assert "target =   1  nan" in str(explanation)


# ---- in a notebook, and as a picture -------------------------------------------------------------------------------


def test_the_notebook_shows_the_same_numbers():
    explanation = trainer().explain_step(X, Y)
    page = Page(explanation._repr_html_())
    shown, text = " ".join(page.texts), str(explanation)
    for number in re.findall(NUMBER, text[text.index("GIVEN") :]):
        assert number in shown
    rows = {row[0]: row for row in page.rows}
    assert rows["2.b₁"][1] == "←" and rows["2.b₁"][4] == explanation.moved[-1].rows[0][0]
    assert page.tags.isdisjoint({"script", "style"})


def test_the_picture_shows_outputs_errors_and_weights(tmp_path, no_figures_left):
    explanation = trainer().explain_step(X, Y)
    ax = explanation.plot(tmp_path / "step.png")
    assert (tmp_path / "step.png").stat().st_size > 1000
    texts = [text.get_text() for text in ax.texts]
    calls = {(call.author.partition(",")[0], call.kernel.name): call for call in explanation.calls}
    tanh, back = calls["layer 1", "tanh"], calls["layer 1", "tanh_backward"]
    for number in [*tanh.after["y"][0], *back.before["dy"][0]]:
        assert told(number, 4) in texts
    given = next(matrix for matrix in explanation.given if matrix.name == "0.W").rows
    moved = next(matrix for matrix in explanation.moved if matrix.name == "0.W").rows
    assert f"{given[1][2]} → {moved[1][2]}" in texts and sum(" → " in text for text in texts) == 9
    assert texts[-1] == f"loss\n{explanation.loss.value}" and "1 Tanh" in texts
    large = trainer(4, 8, 3, loss="cce", output="softmax").explain_step([[1.0, 2.0, 3.0, 4.0]], [1])
    assert not any(" → " in text.get_text() for text in large.plot().texts)  # they would cover each other


# ---- formulas -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("formula", "text", "number"),
    [
        ("dy y (1 − y), and so on", "0.5·(−0.2)·(1 − (−0.2))", -0.12),
        ("1/2K Σₖ (p − t)²", "1 / (2·2) · ((1 − 2)² + (3 − 5)²)", 1.25),
        ("1 / (1 + e⁻ˣ)", "1 / (1 + e^(−0.3))", 1 / (1 + np.exp(-0.3))),
        ("x where x > 1, else slope · x", "0.1·0.3", 0.03),
        ("−t / p", "−2 / 1", -2),
        ("softmax(z) − t", "e^1 / (e^1 + e^3) − 2", 1 / (1 + np.exp(2)) - 2),
        ("√(x + ε) · |y|", "√(0.3 + 0.01)·|(−0.2)|", np.sqrt(0.31) * 0.2),
        ("e²/2 where |e| ≤ δ, else δ, e = p − t", "(1 − 2)² / 2", 0.5),
        ("dy s (1 − s) with s = sigmoid(x)", "0.5·sigmoid(0.3)·(1 − sigmoid(0.3))", 0.5 * 0.2444583),
        ("max(min(x, 0), y)", "max(min(0.3, 0), −0.2)", 0),
    ],
)
def test_formulas_with_numbers(formula, text, number):
    numbers = {"dy": 0.5, "y": -0.2, "x": 0.3, "slope": 0.1, "epsilon": 0.01, "delta": 1.0, "K": 2}
    numbers |= {"prediction": 1.0, "target": 2.0, "logits": 1.0}
    classes = [numbers, numbers | {"prediction": 3.0, "target": 5.0, "logits": 3.0}]
    part = computed(formula, numbers, lambda letter: classes, 4)
    assert part.text == text and part.value == pytest.approx(number)


@pytest.mark.parametrize("formula", ["x Φ(x)", "", "softmax(y", "a where", "1 / (x − x)", "Σ", "e^"])
def test_formulas_that_are_not_understood(formula):
    with pytest.raises(NotUnderstoodError):
        computed(formula, {"dy": 1.0} if "Φ" in formula else {"x": 1.0, "y": 0.0}, lambda letter: [], 4)
    with pytest.raises(NotUnderstoodError, match="no formula of y"):
        formula_of("Something else.", "y")


def test_a_half_is_rounded_away_from_zero():
    for number in (0.12345, 1.0005, 2.5005, 0.99995, 12345000.0, 1.2345e-7):
        school = Decimal(repr(number)).normalize()
        with decimal.localcontext() as context:
            context.prec, context.rounding = 4, decimal.ROUND_HALF_UP
            assert rounded(number, 4) == float(+school) == -rounded(-number, 4)
    assert rounded(0.0, 4) == 0 and np.isnan(rounded(float("nan"), 4))


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "adamax", "adagrad", "rmsprop", "lion"])
def test_steps_of_optimizers_are_written_out(name):
    """Each parameter's move is an equation with the new means in it, and none is a table of arrays."""
    net = nl.mlp([2, 3, 1], hidden="tanh", seed=0, device="numpy")
    explanation = nl.Trainer(net, "mse", name).explain_step([[0.5, 1.0]], [[1.0]])
    update = [call for call in explanation.calls if call.stage == "update"]
    moved = [equation.name for equation in update[-1].equations if " of " not in equation.name]
    assert len(moved) == net.parameters.size and not any(call.matrices for call in update)


@pytest.mark.parametrize("digits", [2, 4, 7])
@pytest.mark.parametrize("name", ["adam", "adamw", "adamax", "rmsprop"])
def test_later_steps_follow_from_what_is_printed(name, digits):
    """There 0.999 to the power of the step is near 1, and must not be rounded."""
    net = nl.mlp([2, 3, 1], hidden="elu", seed=0, device="numpy")
    trainer = nl.Trainer(net, "mse", nl.rules.OPTIMIZERS[name](lr=0.5))
    for _ in range(6):
        explanation = trainer.explain_step([[0.5, 1.0]], [[3.0]], digits=digits)
        for call in explanation.calls:
            for equation in call.equations:
                if equation.parts:
                    assert recomputed(equation.parts[-1], digits) == value(equation.value), str(equation)
        trainer.step([[0.5, 1.0]], [[3.0]])
