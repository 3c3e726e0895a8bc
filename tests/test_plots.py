"""Pictures: what is drawn is what was given, and wrong arguments are named. No screen needed."""

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import matplotlib
import numpy as np
import pytest

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.colors import to_rgba

import nnlite as nl
from nnlite import plots

pytestmark = pytest.mark.usefixtures("no_figures_left")


class Dense:
    def __init__(self, inputs, outputs):
        self.inputs, self.outputs = inputs, outputs
        self.W = "on another device"


class ReLU:
    pass


class Softmax:
    pass


class FakeNet:
    """Dense layers of the given sizes with a ReLU between them and a Softmax at the end."""

    def __init__(self, *sizes):
        rng = np.random.default_rng(0)
        self.layers, self.state = [], {}
        for inputs, outputs in pairwise(sizes):
            self.state[f"{len(self.layers)}.W"] = rng.normal(size=(inputs, outputs)).astype(np.float32)
            self.state[f"{len(self.layers)}.b"] = np.zeros(outputs)
            self.layers += [Dense(inputs, outputs), ReLU()]
        self.layers[-1:] = [Softmax()]

    def state_dict(self):
        return self.state


class Answers:
    """A net that answers with a function of x."""

    def __init__(self, answer):
        self.predict = answer


def texts(ax):
    return [text.get_text() for text in ax.texts]


def all_functions():
    net, history = FakeNet(9, 4, 2), {"loss": [2.0, 1.0]}
    half_plane = Answers(lambda x: (x[:, :1] > 0) * 1.0)
    z = np.linspace(-1, 1, 5)
    return {
        "history": lambda **ax: plots.history(history, **ax),
        "decision_boundary": lambda **ax: plots.decision_boundary(half_plane, [[0, 1], [1, 0]], [0, 1], **ax),
        "network": lambda **ax: plots.network(net, **ax),
        "weights": lambda **ax: plots.weights(net, **ax),
        "confusion_matrix": lambda **ax: plots.confusion_matrix([[2, 1], [0, 3]], **ax),
        "activations": lambda **ax: plots.activations({"identity": (z, z, np.ones(5))}, **ax),
        "range_test": lambda **ax: plots.range_test(nl.RangeTest(10.0 ** np.arange(-5, 0), (z - 0.5) ** 2), **ax),
    }


@pytest.mark.parametrize("name", sorted(all_functions()))
def test_every_picture_draws_where_it_is_told_and_can_be_saved(name, tmp_path):
    draw = all_functions()[name]
    _, ax = plt.subplots()
    assert draw(ax=ax) is ax
    assert plt.get_fignums() == [ax.figure.number]  # no second figure was opened

    ax = draw()
    assert ax.get_title()
    ax.figure.savefig(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 1000


def test_every_picture_fits_into_a_part_of_a_figure():
    figure = plt.figure(figsize=(8.6, 4.8), layout="constrained")
    for part, draw in zip(figure.subfigures(2, 4).flat[: len(all_functions())], all_functions().values(), strict=True):
        draw(ax=part.subplots())
    plt.gcf().canvas.draw()


def test_importing_does_not_import_matplotlib():
    code = "import sys, nnlite.plots, nnlite.descent; sys.exit('matplotlib' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(plots.__file__).parents[1])


# history


def curves_of(ax):
    """Label -> line, over the axes and its twin."""
    return {line.get_label(): line for axes in ax.figure.axes for line in axes.get_lines()}


def test_history_puts_losses_left_and_metrics_right():
    history = {
        "loss": [1.0, 0.5, 0.4],
        "accuracy": [0.5, 0.7, 0.8],
        "val_loss": [1.1, 0.6],
        "val_accuracy": [0.4, 0.6],
    }
    ax = plots.history(history)
    left, right = ax.figure.axes
    assert left is ax
    assert [line.get_label() for line in left.get_lines()] == ["loss", "val loss"]
    assert [line.get_label() for line in right.get_lines()] == ["accuracy", "val accuracy"]
    for name, line in curves_of(ax).items():
        values = history[name.replace(" ", "_")]
        np.testing.assert_array_equal(line.get_ydata(), values)
        np.testing.assert_array_equal(line.get_xdata(), np.arange(1, len(values) + 1))
    assert (left.get_xlabel(), left.get_ylabel(), right.get_ylabel()) == ("epoch", "loss", "accuracy")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == list(curves_of(ax))


@pytest.mark.parametrize(
    "metrics",
    [
        ["accuracy"],
        ["accuracy", "f1", "balanced_accuracy", "log_loss"],
        ["explained_variance", "max_error", "r2"],
        [*nl.metrics.METRICS],
        [f"recall_{k}" for k in range(10)],
    ],
    ids=lambda metrics: str(len(metrics)),
)
def test_history_of_many_metrics_stays_whole(metrics):
    """Legend and labels lie within the picture, and the curves have most of its width."""
    names = [f"{val}{name}" for name in ["loss", *metrics] for val in ("", "val_")]
    ax = plots.history({name: [0.1, 0.2] for name in names})
    ax.figure.canvas.draw()
    whole = ax.figure.bbox
    for each in (ax.get_legend(), *(axes.yaxis.label for axes in ax.figure.axes)):
        box = each.get_window_extent()
        assert whole.x0 <= box.x0 < box.x1 <= whole.x1 and whole.y0 <= box.y0 < box.y1 <= whole.y1, each
    assert ax.bbox.width > 0.6 * whole.width


def test_history_draws_validation_dashed_in_the_same_colour():
    lines = curves_of(plots.history({"val_loss": [2.0, 1.0], "loss": [1.0, 0.5], "accuracy": [0.1, 0.2]}))
    assert lines["loss"].get_color() == lines["val loss"].get_color() != lines["accuracy"].get_color()
    assert (lines["loss"].get_linestyle(), lines["val loss"].get_linestyle()) == ("-", "--")


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ([1.0, 0.1, 0.001], "log"),
        ([1.0, 0.1, 0.02], "linear"),  # less than two decades
        ([1.0, 0.0, 0.001], "linear"),  # zero has no logarithm
        ([1.0, -100.0], "linear"),
        ([1.0, float("nan"), 0.001], "log"),  # a diverged epoch does not count
        ([float("nan")], "linear"),
    ],
)
def test_history_scale(values, scale):
    ax = plots.history({"loss": values})
    assert ax.get_yscale() == scale
    assert len(ax.figure.axes) == 1
    ax.figure.canvas.draw()


def test_history_of_metrics_alone_needs_no_twin():
    ax = plots.history({"accuracy": [0.1, 0.9]})
    assert len(ax.figure.axes) == 1 and ax.get_ylabel() == "accuracy"


def test_history_of_one_epoch_shows_points_beside_one_another():
    ax = plots.history({"loss": [1.0], "val_loss": [1.2], "accuracy": [0.5], "val_accuracy": [0.4]})
    ax.figure.canvas.draw()
    lines = curves_of(ax).values()
    assert all(line.get_marker() == "o" for line in lines)
    heights = [line.get_transform().transform(line.get_xydata())[0, 1] for line in lines]
    assert min(np.diff(sorted(heights))) > 10  # dots of the picture


@pytest.mark.parametrize("wrong", [{}, {"loss": []}, [1.0, 2.0], {"loss": ["a"]}, {"loss": 1.0}])
def test_history_wrong(wrong):
    with pytest.raises(TypeError if wrong in ([1.0, 2.0], {"loss": ["a"]}) else ValueError, match="history"):
        plots.history(wrong)


# decision_boundary

CORNERS = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])


def region(ax):
    """The classes drawn, (resolution, resolution), lowest row first."""
    return np.asarray(ax.images[0].get_array())


def test_decision_boundary_of_one_output_is_at_one_half():
    asked = []

    def right_of_03(x):
        asked.append(x)
        return 0.5 + (x[:, :1] - 0.3)

    ax = plots.decision_boundary(Answers(right_of_03), CORNERS, [0, 0, 1, 1], resolution=50)
    (x,) = asked
    assert x.shape == (2500, 2)
    np.testing.assert_array_equal(region(ax), (x[:, 0] > 0.3).reshape(50, 50))
    low, high, bottom, top = ax.images[0].get_extent()
    assert low < 0 < 1 < high and bottom < 0 < 1 < top
    (border,) = [collection for collection in ax.collections if hasattr(collection, "levels")]
    np.testing.assert_allclose(border.get_paths()[0].vertices[:, 0], 0.3)


def test_decision_boundary_the_right_way_up():
    ax = plots.decision_boundary(Answers(lambda x: x[:, 1:] - 0.2), CORNERS, [0, 1, 0, 1], resolution=20)
    assert ax.images[0].origin == "lower" and not region(ax)[0].any() and region(ax)[-1].all()


def test_decision_boundary_of_a_table_whose_columns_are_in_another_order():
    """The axes are the columns that the network knows, in its order."""
    table = pytest.importorskip("pandas").DataFrame(CORNERS, columns=["right", "up"])
    table["right"] *= 3
    net = Answers(lambda x: x[:, 1:] - 0.2)
    net.columns = ("right", "up")
    pictures = [plots.decision_boundary(net, x, [0, 1, 0, 1], resolution=20) for x in (table, table[["up", "right"]])]
    assert pictures[0].images[0].get_extent() == pictures[1].images[0].get_extent()
    points = [ax.collections[-1].get_offsets().tolist() for ax in pictures]
    assert points[0] == points[1] and max(points[0])[0] == 3


@pytest.mark.parametrize(
    "y",
    [[0, 2, 1, 1], [[0], [2], [1], [1]], np.eye(3)[[0, 2, 1, 1]], np.array([0.0, 2.0, 1.0, 1.0], np.float32)],
)
def test_decision_boundary_of_many_outputs_and_any_labels(y):
    centres = np.array([[0, 0], [1, 0.5], [0, 1]])
    net = Answers(lambda x: -((x[:, None] - centres) ** 2).sum(axis=2))
    ax = plots.decision_boundary(net, CORNERS, y, resolution=30)
    assert set(np.unique(region(ax))) == {0, 1, 2}
    scatters = {c.get_label(): c for c in ax.collections if c.get_label().startswith("class")}
    np.testing.assert_array_equal(scatters["class 0"].get_offsets(), CORNERS[:1])
    np.testing.assert_array_equal(scatters["class 1"].get_offsets(), CORNERS[2:])
    np.testing.assert_array_equal(scatters["class 2"].get_offsets(), CORNERS[1:2])
    for k in range(3):  # a point that is right lies on a paler patch of its own colour
        patch = ax.images[0].cmap(ax.images[0].norm(k))
        assert tuple(scatters[f"class {k}"].get_facecolor()[0]) == pytest.approx(patch)


def test_decision_boundary_of_a_net_that_always_says_the_same():
    ax = plots.decision_boundary(Answers(lambda x: np.full((len(x), 1), 0.5)), CORNERS, [0, 1, 1, 0])
    assert not region(ax).any()  # 0.5 is not above 0.5
    plots.decision_boundary(Answers(lambda x: np.ones((len(x), 12))), CORNERS[:1], [11]).figure.canvas.draw()


@pytest.mark.parametrize(
    ("x", "y", "says"),
    [
        (np.zeros((4, 3)), [0, 1, 1, 0], r"x must have two columns.*\(4, 3\)"),
        (np.zeros(4), [0, 1, 1, 0], r"x must have 2 axes.*\(4,\)"),
        (np.zeros((0, 2)), [], "x must have two columns.* a row or more"),
        (CORNERS * np.nan, [0, 1, 1, 0], "x must be finite"),
        (CORNERS, [0, 1, 1], r"y must have shape \(4,\), \(4, 1\) or one-hot .*got \(3,\)"),
        (CORNERS, [0, 1, 2, 0], "y must hold classes 0 … 1"),
        (CORNERS, [-1, 1, 1, -1], "y must hold classes 0 … 1"),
        (CORNERS, [0.5, 1, 1, 0], "y must hold classes 0 … 1"),
        (CORNERS, list("abba"), "y contains text, expected real numbers; number classes by np.unique"),
    ],
)
def test_decision_boundary_wrong(x, y, says):
    with pytest.raises(TypeError if "text" in says else ValueError, match=says):
        plots.decision_boundary(Answers(lambda x: x[:, :1]), x, y)
    assert not plt.get_fignums()  # refused before a figure was opened


def test_decision_boundary_wrong_net_or_resolution():
    with pytest.raises(ValueError, match=r"net.predict must answer"):
        plots.decision_boundary(Answers(lambda x: x[:, 0]), CORNERS, [0, 1, 1, 0])
    for resolution, error in ((1, ValueError), (2.5, TypeError), (True, TypeError)):
        with pytest.raises(error, match="resolution"):
            plots.decision_boundary(Answers(lambda x: x[:, :1]), CORNERS, [0, 1, 1, 0], resolution=resolution)


# network


def circles(ax):
    return [len(c.get_offsets()) for c in ax.collections if type(c).__name__ == "PathCollection"]


def test_network_draws_every_unit_and_every_weight():
    net = FakeNet(2, 3, 1)
    ax = plots.network(net)
    assert circles(ax) == [2, 3, 1]
    (lines,) = [c for c in ax.collections if type(c).__name__ == "LineCollection"]
    weights = np.concatenate([net.state["0.W"].ravel(), net.state["2.W"].ravel()])
    np.testing.assert_allclose(np.sort(lines.get_array()), np.sort(weights))
    assert lines.norm.vmin == -lines.norm.vmax == pytest.approx(-np.abs(weights).max())
    assert texts(ax) == ["2", "input", "3", "Dense\nReLU", "1", "Dense\nSoftmax"]
    assert ax.get_title() == "Network: 2-3-1"


def test_network_colours_weights_by_sign():
    net = FakeNet(1, 2)
    net.state["0.W"] = np.array([[-2.0, 2.0]])
    ax = plots.network(net)
    ax.figure.canvas.draw()
    lines = ax.collections[0]
    colours = dict(zip(lines.get_array(), lines.get_edgecolor(), strict=True))
    assert colours[2.0][0] > 2 * colours[2.0][2] and colours[-2.0][2] > 2 * colours[-2.0][0]  # red, blue


def test_network_abbreviates_large_layers():
    ax = plots.network(FakeNet(784, 8, 10))
    assert circles(ax) == [16, 8, 10]
    assert "… 784" in texts(ax) and "8" in texts(ax) and texts(ax).count("⋮") == 1
    assert len(ax.collections[0].get_segments()) == 16 * 8 + 8 * 10


def test_network_of_a_few_dozen_units_is_drawn_whole():
    ax = plots.network(FakeNet(64, 32, 10))
    assert circles(ax) == [64, 32, 10] and "⋮" not in texts(ax)
    ax.figure.canvas.draw()
    lines, *columns = [c for c in ax.collections if type(c).__name__ in ("LineCollection", "PathCollection")]
    for units in columns:  # no circle covers its neighbour
        radius = np.sqrt(units.get_sizes()[0]) / 2 * ax.figure.dpi / 72
        heights = units.get_offset_transform().transform(units.get_offsets())[:, 1]
        assert np.abs(np.diff(heights)).min() > 1.5 * radius
    weak, strong = np.argsort(np.abs(lines.get_array()))[[0, -1]]
    assert lines.get_edgecolor()[weak, 3] < 0.1 and lines.get_edgecolor()[strong, 3] == 1
    assert lines.get_linewidths()[weak] < lines.get_linewidths()[strong]


def test_network_colours_units_by_bias():
    net = FakeNet(1, 3)
    net.state["0.W"], net.state["0.b"] = np.array([[1.0, -1.0, 0.5]]), np.array([-2.0, 0.0, 2.0])
    ax = plots.network(net)
    inputs, outputs = [c.get_facecolor() for c in ax.collections if type(c).__name__ == "PathCollection"]
    assert inputs.tolist() == [[1, 1, 1, 1]]
    below, zero, above = outputs[:, :3]
    assert below[2] > 2 * below[0] and above[0] > 2 * above[2] and min(zero) > 0.9  # blue, white, red
    del net.state["0.b"]  # a layer without bias
    assert plots.network(net).collections[-1].get_facecolor()[0, :3].min() > 0.9


def test_network_of_zeros_and_of_nan():
    for value in (0.0, np.nan):
        net = FakeNet(2, 1)
        net.state["0.W"] = np.full((2, 1), value)
        plots.network(net).figure.canvas.draw()


def test_the_network_of_a_trainer_or_an_estimator_is_drawn():
    net = nl.mlp([2, 3, 1], seed=0)
    drawn = [len(nl.plots.network(each).collections) for each in (net, nl.Trainer(net))]
    assert drawn[0] == drawn[1] > 0
    plt.close("all")


def test_what_else_predicts_is_drawn_as_it_predicts():
    """A user's own object may have a network inside, and scale what it reads."""

    class Scaled:
        network = nl.mlp([2, 1], seed=0)

        def predict(self, x):
            return np.where(x[:, :1] > 40, 1.0, 0.0)

    x = np.array([[0.0, 0.0], [100.0, 1.0]])
    regions = plots.decision_boundary(Scaled(), x, [0, 1]).images[0].get_array()
    assert (regions[:, 0] == 0).all() and (regions[:, -1] == 1).all()
    plt.close("all")


@pytest.mark.parametrize("colour", [(0, 0, 0), (1.0, 1.0, 1.0, 1.0), "0.2", "C1"])
def test_text_may_have_any_colour(colour):
    with plt.rc_context({"text.color": colour}):
        plots.network(nl.mlp([2, 1], seed=0))
    plt.close("all")


def test_on_a_dark_background_text_is_bright():
    with plt.style.context("dark_background"):
        ax = nl.plots.network(nl.mlp([2, 3, 1], seed=0))
        explained = nl.Trainer(nl.mlp([2, 3, 1], seed=0)).explain_step([[1.0, 2.0]], [[1.0]]).plot()
        headings = [text for text in explained.texts if text.get_fontweight() == "bold"]
        assert {text.get_color() for text in (*ax.texts, *headings)} == {"#ffffff"}
    plt.close("all")


def test_network_without_dense_layers():
    net = FakeNet(2, 1)
    net.layers, net.state = [ReLU()], {}
    with pytest.raises(ValueError, match="no Dense layer"):
        plots.network(net)


# animate


def trainer_of(seed=0):
    import nnlite as nl

    net = nl.mlp([2, 4, 1], hidden="tanh", output="sigmoid", device="numpy", seed=seed)
    return nl.Trainer(net, "bce", nl.Adam(lr=0.05))


def test_animate_writes_the_frames_and_trains_as_one_fit(tmp_path, monkeypatch):
    from PIL import Image

    x, y = np.random.default_rng(0).normal(size=(2, 40, 2))
    y = (x[:, :1] * x[:, 1:] > 0) * 1.0
    drawn, draw = [], plots.animation.decision_boundary

    def noted(*arguments):
        drawn.append(draw(*arguments))
        return drawn[-1]

    monkeypatch.setattr(plots.animation, "decision_boundary", noted)
    trainer, other = trainer_of(), trainer_of()
    history = plots.animate(trainer, x, y, tmp_path / "xor.gif", epochs=16, frames=5, resolution=20, batch_size=8)
    expected = other.fit(x, y, epochs=16, batch_size=8, progress=False)
    np.testing.assert_array_equal(trainer.network.parameters, other.network.parameters)
    assert history == expected and not plt.get_fignums()
    assert drawn[-1].get_title() == f"epoch 16 of 16, loss {history['loss'][-1]:.4f}"
    with Image.open(tmp_path / "xor.gif") as picture:
        frames = []
        for i in range(picture.n_frames):
            picture.seek(i)
            frames.append((picture.info["duration"], np.asarray(picture.convert("L"), float)))
    assert len(frames) == 5 and picture.format == "GIF"  # after 0, 1, 4, 9 and 16 epochs
    assert frames[-1][0] >= 2 * frames[0][0]  # the last one stays for a while
    assert all(np.abs(a - b).mean() > 0.1 for (_, a), (_, b) in pairwise(frames))
    assert (tmp_path / "xor.gif").stat().st_size < 200_000


def test_animate_wrong(tmp_path):
    x = np.zeros((4, 3))
    with pytest.raises(ValueError, match=r"path must end in \.gif, got .*boundary\.png"):
        plots.animate(trainer_of(), CORNERS, [0, 1, 1, 0], tmp_path / "boundary.png")
    with pytest.raises(ValueError, match="x must have two columns"):
        plots.animate(trainer_of(), x, [0, 1, 1, 0], tmp_path / "boundary.gif")
    for wrong in ({"frames": 1}, {"epochs": 0}, {"seconds": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            plots.animate(trainer_of(), CORNERS, [0, 1, 1, 0], tmp_path / "boundary.gif", **wrong)
    assert not list(tmp_path.iterdir())


# weights


def test_weights_as_small_squares():
    net = FakeNet(9, 5, 2)
    ax = plots.weights(net)
    sheet = ax.images[0].get_array()  # 5 pictures of 3 x 3: 3 across, 2 down, a pixel between
    assert sheet.shape == (7, 11)
    np.testing.assert_array_equal(sheet[:3, :3], net.state["0.W"][:, 0].reshape(3, 3))
    np.testing.assert_array_equal(sheet[4:, 4:7], net.state["0.W"][:, 4].reshape(3, 3))
    assert np.ma.count(sheet) == 9 * 5
    assert ax.images[0].norm.vmin == -ax.images[0].norm.vmax
    assert ax.get_title() == "Weights into 5 units of layer 0"


def test_weights_in_a_given_shape():
    net = FakeNet(6, 1)
    sheet = plots.weights(net, shape=(2, 3)).images[0].get_array()
    np.testing.assert_array_equal(sheet, net.state["0.W"].reshape(2, 3))


@pytest.mark.parametrize("inputs", [4, 13])
def test_weights_without_a_square_are_the_matrix(inputs):
    net = FakeNet(9, inputs, 3)
    ax = plots.weights(net, layer=2)
    np.testing.assert_array_equal(ax.images[0].get_array(), net.state["2.W"])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("unit", "input")
    ax.figure.canvas.draw()


def test_weights_of_many_units_stop_at_a_hundred():
    ax = plots.weights(FakeNet(9, 128))
    assert np.ma.count(ax.images[0].get_array()) == 9 * 100
    assert "the first 100 of 128 units" in ax.get_title()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"layer": 1}, r"layer must be the index of a Dense layer, one of \[0, 2\], got 1"),
        ({"layer": True}, "layer"),
        ({"layer": -1}, "layer"),
        ({"shape": (2, 5)}, r"shape must be \(height, width\) of 9 inputs together, got \(2, 5\)"),
        ({"shape": (9,)}, "shape"),
        ({"shape": (-3, -3)}, "shape"),
    ],
)
def test_weights_wrong(arguments, says):
    with pytest.raises(TypeError if arguments.get("layer") is True else ValueError, match=says):
        plots.weights(FakeNet(9, 4, 2), **arguments)


# confusion_matrix


def test_confusion_matrix_writes_every_count_in_its_cell():
    matrix = np.array([[90, 10], [4, 0]])
    ax = plots.confusion_matrix(matrix, labels=["cat", "dog"])
    cells = {text.get_position(): text for text in ax.texts}
    for (true, predicted), count in np.ndenumerate(matrix):
        assert cells[predicted, true].get_text() == str(count)
    np.testing.assert_allclose(ax.images[0].get_array(), [[0.9, 0.1], [1, 0]])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted class", "true class")
    for axis in (ax.xaxis, ax.yaxis):
        assert [label.get_text() for label in axis.get_ticklabels()] == ["cat", "dog"]
    assert "86.5 % right" in ax.get_title()


def test_confusion_matrix_text_can_be_read_on_every_shade():
    counts = np.array([[100 - n if k == 0 else n if k == 1 else 0 for k in range(21)] for n in range(0, 101, 5)])
    ax = plots.confusion_matrix(counts)
    image = ax.images[0]
    for text in ax.texts:
        column, row = text.get_position()
        background = np.dot(image.cmap(image.norm(image.get_array()[row, column]))[:3], [0.2126, 0.7152, 0.0722])
        foreground = np.dot(to_rgba(text.get_color())[:3], [0.2126, 0.7152, 0.0722])
        assert abs(background - foreground) > 0.3


def test_confusion_matrix_of_fractions_and_of_empty_rows():
    assert texts(plots.confusion_matrix([[0.5, 0.25], [0, 0]])) == ["0.50", "0.25", "0.00", "0.00"]
    plots.confusion_matrix(np.zeros((3, 3), int)).figure.canvas.draw()


@pytest.mark.parametrize("classes", [2, 15, 32])
@pytest.mark.parametrize("own", [True, False])
def test_confusion_matrix_of_many_classes_can_be_read(classes, own):
    names = [f"supermarket {k}" for k in range(classes)]
    counts = np.diag(np.full(classes, 123)) + np.eye(classes, k=1, dtype=int)
    ax = plots.confusion_matrix(counts, names, ax=None if own else plt.subplots(layout="constrained")[1])
    figure = ax.figure
    figure.draw_without_rendering()
    cell = ax.get_window_extent().width / classes
    for text in ax.texts:
        assert max(text.get_window_extent().size) <= 1.01 * cell
    for label in ax.get_yticklabels():
        assert label.get_window_extent().height <= 1.3 * cell  # with the room above and below its letters
    for label in ax.get_xticklabels() if classes > 2 else ():
        thick = label.get_fontsize() * figure.dpi / 72
        assert thick <= cell * (1 if label.get_rotation() == 90 else np.sqrt(0.5))
    assert len(ax.texts) == (2 * classes - 1 if classes > 12 else classes**2)  # zeros of many classes are left out
    if own:
        box = ax.get_tightbbox()
        assert box.x0 >= 0 and box.y0 >= 0 and (box.max <= figure.bbox.max).all()
        assert (box.size > 0.95 * figure.bbox.size).all()
        assert cell > 0.19 * figure.dpi


@pytest.mark.parametrize(
    ("matrix", "labels", "says"),
    [
        ([[1, 2, 3], [4, 5, 6]], None, r"matrix must be square.*\(2, 3\)"),
        ([1, 2], None, r"matrix must be square.*\(2,\); nl.metrics.confusion_matrix\(prediction, y\) makes it"),
        ([[1, -1], [0, 1]], None, "not negative"),
        ([[1, np.nan], [0, 1]], None, "finite"),
        ([[1, 0], [0, 1]], ["cat"], "labels must name the 2 classes of the matrix, got 1"),
        (np.zeros((0, 0)), None, "matrix must be square"),
    ],
)
def test_confusion_matrix_wrong(matrix, labels, says):
    with pytest.raises(ValueError, match=says):
        plots.confusion_matrix(matrix, labels)


# activations


def test_activations_from_arrays():
    z = np.linspace(-2, 2, 11)
    ax = plots.activations({"square": (z, z**2, 2 * z), "line": (z, z, np.ones(11))})
    lines = [line for line in ax.get_lines() if len(line.get_xdata()) == 11]
    assert len(lines) == 4
    np.testing.assert_array_equal(lines[0].get_ydata(), z**2)
    np.testing.assert_array_equal(lines[1].get_ydata(), 2 * z)
    assert lines[0].get_color() == lines[1].get_color() != lines[2].get_color() == lines[3].get_color()
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["square", "line", "derivative"]


def test_activations_by_name():
    pytest.importorskip("nnlite.activations")
    ax = plots.activations("tanh")
    value, derivative = [line for line in ax.get_lines() if len(line.get_xdata()) > 2]
    z = value.get_xdata()
    np.testing.assert_allclose(value.get_ydata(), np.tanh(z), atol=1e-12)
    np.testing.assert_allclose(derivative.get_ydata(), 1 - np.tanh(z) ** 2, atol=1e-12)

    ax = plots.activations()
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["sigmoid", "tanh", "relu", "softplus", "derivative"]
    for name in ("softmax", "Softmax", "log_softmax"):
        with pytest.raises(ValueError, match=f"{name} has no curve"):
            plots.activations([name])
    with pytest.raises(ValueError, match="no_such"):
        plots.activations(["no_such"])


@pytest.mark.parametrize(
    "wrong", [{}, [], {"f": ([1, 2], [1, 2])}, {"f": ([1, 2], [1, 2], [1])}, {"f": ([[1]], [[1]], [[1]])}]
)
def test_activations_wrong(wrong):
    with pytest.raises(ValueError, match="names"):
        plots.activations(wrong)
