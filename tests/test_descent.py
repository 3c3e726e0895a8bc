"""Gradient descent: the numbers of the formula, the limits, and what is said of wrong arguments."""

import warnings

import numpy as np
import pytest

from nnlite.descent import Descent, gradient_descent

pytestmark = pytest.mark.usefixtures("no_figures_left")


def bowl(theta):
    return np.sum(np.asarray(theta) ** 2)


def slope(theta):
    return 2 * theta


def test_the_first_lesson():
    result = gradient_descent(slope, start=5, lr=0.1, steps=3)
    assert isinstance(result, Descent)
    np.testing.assert_allclose(result.points, [5, 4, 3.2, 2.56], rtol=1e-15)
    np.testing.assert_allclose(result.updates, [-1, -0.8, -0.64], rtol=1e-15)
    np.testing.assert_allclose(result.values(bowl), [25, 16, 10.24, 6.5536], rtol=1e-15)


@pytest.mark.parametrize("lr", [0.01, 0.1, 0.5, 0.9, 1.0, 2.0])
@pytest.mark.parametrize("start", [5, -3.5, [1, 1], [2.0, -1.0, 0.0]])
def test_a_quadratic_shrinks_by_a_factor_each_step(start, lr):
    result = gradient_descent(slope, start, lr, steps=20)
    factors = (1 - 2 * lr) ** np.arange(21.0)
    expected = np.multiply.outer(factors, np.asarray(start, float))
    assert result.points.shape == expected.shape
    assert result.updates.shape == (20, *np.shape(start))
    np.testing.assert_allclose(result.points, expected, rtol=1e-12, atol=1e-300)
    np.testing.assert_array_equal(result.points[1:], result.points[:-1] + result.updates)


def test_coordinates_are_updated_together():
    # dJ/dθ of J = θ₀ θ₁: each slope is the other coordinate, so one that saw the new θ₀ would differ
    result = gradient_descent(lambda theta: theta[::-1], [1.0, 2.0], lr=0.5, steps=1)
    np.testing.assert_array_equal(result.points[1], [0.0, 1.5])


@pytest.mark.parametrize("start", [5, [1.0, 2.0]])
def test_no_steps(start):
    result = gradient_descent(slope, start, lr=0.1, steps=0)
    np.testing.assert_array_equal(result.points, [start])
    assert result.updates.shape == (0, *np.shape(start))
    assert result.table().splitlines()[1].split()[0] == "0"
    assert result.values(bowl).shape == (1,)


def test_divergence_ends_in_inf_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = gradient_descent(slope, start=5.0, lr=2, steps=2000)
        values = result.values(bowl)
    np.testing.assert_allclose(result.points[:5], [5, -15, 45, -135, 405])
    assert np.isfinite(result.points[600]) and not np.isfinite(result.points[700])
    assert not np.isfinite(values[-1])


def test_the_callers_arrays_are_left_alone():
    start = np.array([1.0, 2.0])
    result = gradient_descent(slope, start, lr=0.1, steps=2)
    np.testing.assert_array_equal(start, [1.0, 2.0])
    result.points[0] = 9
    np.testing.assert_array_equal(start, [1.0, 2.0])
    start.flags.writeable = False
    gradient_descent(slope, start, lr=0.1, steps=2)


def test_a_gradient_that_works_in_place_cannot_rewrite_the_path():
    def in_place(theta):
        theta *= 2
        return theta

    result = gradient_descent(in_place, [5.0, 3.0], lr=0.1, steps=2)
    np.testing.assert_allclose(result.points, [[5, 3], [4, 2.4], [3.2, 1.92]])


def test_a_function_that_works_in_place_cannot_rewrite_the_path():
    def in_place(theta):
        theta *= theta
        return theta.sum()

    result = gradient_descent(slope, [5.0, 3.0], lr=0.1, steps=1)
    for _ in range(2):
        np.testing.assert_allclose(result.values(in_place), [34, 21.76])


@pytest.mark.parametrize("start", [[1, 2], (1, 2), np.array([1, 2], np.int8), np.array([[1, 0], [2, 0]], ">f4")[:, 0]])
def test_any_array_like_start(start):
    expected = gradient_descent(slope, np.array([1.0, 2.0]), lr=0.1, steps=3).points
    points = gradient_descent(slope, start, lr=0.1, steps=3).points
    assert points.dtype == np.float64
    np.testing.assert_array_equal(points, expected)


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"lr": True}, TypeError, "lr .*True"),
        ({"lr": "0.1"}, TypeError, "lr .*'0.1'"),
        ({"lr": 1j}, TypeError, "lr"),
        ({"lr": 0}, ValueError, "lr must be finite and above 0"),
        ({"lr": -0.1}, ValueError, "lr .*-0.1"),
        ({"lr": float("nan")}, ValueError, "lr .*nan"),
        ({"lr": float("inf")}, ValueError, "lr .*inf"),
        ({"lr": 10**400}, ValueError, "lr"),
        ({"steps": -1}, ValueError, "steps must be at least 0, not -1"),
        ({"steps": 1.0}, TypeError, "steps must be a whole number, not 1.0"),
        ({"steps": True}, TypeError, "steps must be a whole number, not True"),
        ({"start": float("nan")}, ValueError, "start must be finite"),
        ({"start": [1.0, float("inf")]}, ValueError, "start must be finite"),
        ({"start": [[1.0]]}, ValueError, r"start .*\(1, 1\)"),
        ({"start": []}, ValueError, r"start .*\(0,\)"),
        ({"start": [10**400]}, ValueError, "start contains a number too large"),
        ({"start": "5"}, TypeError, "start contains text"),
        ({"start": [1, 2j]}, TypeError, "start"),
        ({"start": None}, TypeError, "start"),
        ({"gradient": 3}, TypeError, "gradient must be a function"),
        ({"gradient": lambda theta: [1.0, 2.0]}, ValueError, r"start, \(\), got \(2,\)"),
        ({"gradient": lambda theta: [1.0]}, ValueError, r"start, \(\), got \(1,\)"),
        ({"gradient": lambda theta: 1.0, "start": [1, 2]}, ValueError, r"start, \(2,\), got \(\)"),
        ({"gradient": lambda theta: None}, TypeError, r"gradient\(θ\)"),
    ],
)
def test_wrong_arguments_are_named(change, error, says):
    arguments = {"gradient": slope, "start": 5.0, "lr": 0.1, "steps": 2} | change
    with pytest.raises(error, match=says):
        gradient_descent(**arguments)


def test_values_wants_one_number():
    with pytest.raises(ValueError, match=r"one number.*\(2,\)"):
        gradient_descent(slope, [1, 2], lr=0.1, steps=1).values(lambda theta: theta)


def test_table():
    lines = gradient_descent(slope, start=5, lr=0.1, steps=10).table().splitlines()
    assert [line.split() for line in lines[:3]] == [
        ["step", "θ", "update"],
        ["0", "5", "-1"],
        ["1", "4", "-0.8"],
    ]
    assert lines[-1].split() == ["10", "0.536871"]  # no update was made from the last point
    assert len(lines) == 12
    assert len({len(line) for line in lines[:-1]}) == 1  # columns stand under one another


def test_table_of_some_rows():
    result = gradient_descent(slope, start=[1, 2], lr=0.1, steps=100)
    lines = result.table(rows=4).splitlines()
    assert lines[0].split() == ["step", "θ[0]", "θ[1]", "update[0]", "update[1]"]
    assert [line.split()[0] for line in lines[1:]] == ["0", "1", "2", "…", "100"]
    assert result.table(rows=101) == result.table() == result.table(rows=1000)
    with pytest.raises(ValueError, match="rows"):
        result.table(rows=1)
    with pytest.raises(TypeError, match="rows"):
        result.table(rows=2.5)


def test_plot_of_one_coordinate_shows_the_curve_and_every_step():
    result = gradient_descent(slope, start=5, lr=0.1, steps=10)
    ax = result.plot(bowl)
    curve, steps = ax.get_lines()[:2]
    np.testing.assert_allclose(curve.get_ydata(), curve.get_xdata() ** 2)
    np.testing.assert_array_equal(steps.get_xdata(), result.points)
    np.testing.assert_allclose(steps.get_ydata(), result.points**2)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("θ", "J(θ)")
    assert "10 steps" in ax.get_title()
    ax.figure.canvas.draw()


def test_plot_of_two_coordinates_shows_the_path_on_contours():
    result = gradient_descent(lambda theta: theta * [2, 18], start=[4, 1], lr=0.1, steps=10)
    ax = result.plot(lambda theta: theta[0] ** 2 + 9 * theta[1] ** 2)
    np.testing.assert_array_equal(ax.get_lines()[0].get_xydata(), result.points)
    assert len(ax.collections) == 2  # filled contours and their lines
    ax.figure.canvas.draw()


@pytest.mark.parametrize("start", [0.0, [0.0, 0.0], [3.0, 0.0]])
def test_plot_of_a_path_without_extent(start):
    gradient_descent(slope, start, lr=0.5, steps=2).plot(bowl).figure.canvas.draw()


def test_plot_of_flat_ground():
    gradient_descent(slope, [1.0, 2.0], lr=0.1, steps=2).plot(lambda theta: 7.0).figure.canvas.draw()


@pytest.mark.parametrize("start", [5.0, [5.0, 1.0], [5.0]])
def test_plot_of_a_divergence_stops_where_the_page_ends(start):
    result = gradient_descent(slope, start, lr=2, steps=2000)
    ax = result.plot(bowl)
    assert "diverged" in ax.get_title()
    drawn = max(len(line.get_xdata()) for line in ax.get_lines() if line.get_label() == "steps")
    assert 100 < drawn < 700
    ax.figure.canvas.draw()


def test_plot_draws_into_the_axes_it_is_given():
    import matplotlib.pyplot as plt

    _, ax = plt.subplots()
    assert gradient_descent(slope, 5, lr=0.1, steps=2).plot(bowl, ax=ax) is ax
    assert len(plt.get_fignums()) == 1


def test_plot_of_three_coordinates_is_refused():
    with pytest.raises(ValueError, match="one or two coordinates"):
        gradient_descent(slope, [1, 2, 3], lr=0.1, steps=2).plot(bowl)


def test_a_descent_says_where_it_came_from_and_went():
    descent = gradient_descent(lambda theta: 2 * theta, [5, 1], lr=0.1, steps=10)
    assert repr(descent) == "<Descent of 10 steps from θ = [5. 1.] to [0.5369 0.1074]>"
