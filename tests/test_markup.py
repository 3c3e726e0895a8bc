"""What notebooks show: well-formed HTML with the numbers of the objects, escaped, without scripts."""

from html.parser import HTMLParser

import numpy as np
import pytest

import nnlite as nl
from nnlite import markup

VOID = {"rect", "polyline"}  # they end themselves


class Page(HTMLParser):
    """Collects tables, texts and attributes; fails where a tag is closed that is not the innermost open one."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.rows, self.texts, self.attributes = [], set(), [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.attributes += attributes
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag, attributes):
        self.tags.add(tag)
        self.attributes += attributes

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        self.texts.append(text)
        if self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += text


@pytest.fixture
def trained():
    layers = nl.Dense(2, 3), nl.BatchNorm(3), nl.Chain(nl.Dense(3, 3), nl.Dropout(0.1)), nl.Dense(3, 1)
    trainer = nl.Trainer(nl.Sequential(*layers, device="numpy"), metrics=["mae"])
    trainer.network.layers[0].trainable = False
    x, y = np.random.default_rng(0).random((2, 30, 2))
    trainer.fit(x, y[:, :1], epochs=7, batch_size=10, validation_data=(x, y[:, 1:]), progress=False)
    return trainer


def test_a_network_shows_its_summary(trained):
    page, text = Page(trained.network._repr_html_()), trained.network.summary()
    head, *rows = page.rows
    assert head == ["layer", "output shape", "parameters", "state"]
    assert rows[0] == ["0 Dense(2, 3), frozen", "(N, 3)", "9", ""]
    assert rows[1] == ["1 BatchNorm(3)", "(N, 3)", "6", "mean (3), variance (3)"]
    assert rows[4][0].strip() == "2.1 Dropout(rate=0.1)" and rows[4][3] == "draws (1)"
    assert rows[-1] == ["total", "float32, numpy", "31", "7"]
    for row in rows:
        assert " ".join(cell.strip() for cell in row if cell) in " ".join(text.split())
    assert "9 of the parameters" in page.texts[-1] and "recorded step: " in page.texts[-1]


def test_a_history_shows_its_last_epochs_and_its_curves(trained):
    page = Page(trained.history._repr_html_())
    head, *rows = page.rows
    assert head == ["epoch", "loss", "mae", "val_loss", "val_mae"]
    assert [row[0] for row in rows] == ["3", "4", "5", "6", "7"]
    np.testing.assert_allclose(np.array(rows, float)[:, 3], trained.history["val_loss"][2:], rtol=1e-5)
    assert {"svg", "polyline", "figcaption"} <= page.tags
    curves = [value for name, value in page.attributes if name == "points"]
    assert [len(points.split()) for points in curves] == [7, 7] and "The last 5 of 7 epochs" in page.texts
    assert "svg" not in Page(nl.History(loss=[1.0])._repr_html_()).tags  # one epoch is no curve
    assert Page(nl.History()._repr_html_()).rows == [["epoch"]]


def test_a_tape_shows_its_calls(trained):
    head, *rows = Page(trained.tape._repr_html_()).rows
    assert head == ["", "kernel", "results", "operands"] and len(rows) == len(trained.tape)
    assert rows[2] == ["2", "linear", "y3 (10, 3)", "y1 (10, 2), 0.W (2, 3), 0.b (3)"]
    for row, line in zip(rows, str(trained.tape).splitlines()):
        assert line.split() == f"{row[0]} {row[1]} {row[2]} ← {row[3]}".split()


def test_text_is_escaped_and_nothing_is_loaded(trained):
    text = markup.table(["<b>"], [["a & <script>"]], caption='"<i>"') + markup.paragraph("<p>") + markup.heading("<h>")
    page = Page(text)
    assert page.rows == [["<b>"], ["a & <script>"]] and {"b", "i", "script", "h"}.isdisjoint(page.tags)
    page = Page(nl.History({'"<p>loss': [1.0, 2.0]})._repr_html_())
    assert page.rows[0] == ["epoch", '"<p>loss'] and dict(page.attributes)["aria-label"].startswith(
        '2 epochs: "<p>loss'
    )
    for part in (trained.network, trained.history, trained.tape):
        page = Page(part._repr_html_())
        assert page.tags.isdisjoint({"script", "style", "link", "img"})
        # the page's own colours, on which both a light and a dark theme can be read
        assert not any("background:#" in (value or "") for _, value in page.attributes)


def test_curves():
    page = Page(markup.curves({"loss": [100.0, 1.0, 0.01], "val_loss": [100.0, float("nan"), 1.0]}))
    points = [value.split() for name, value in page.attributes if name == "points"]
    heights = [float(point.split(",")[1]) for point in points[0]]
    assert heights[1] - heights[0] == pytest.approx(heights[2] - heights[1])  # logarithmic
    assert len(points[1]) == 2 and points[1][0] == points[0][0]  # without the epoch that is not a number
    assert ("stroke-dasharray", "5 3") in page.attributes and "on a logarithmic scale" in page.texts[-1]
    assert "3 epochs: loss 100 → 0.01" in dict(page.attributes)["aria-label"]
    assert [text for text in page.texts if text.strip() in ("━━", "╌╌")] == ["━━", "╌╌"]  # what is what
    many = dict(Page(markup.curves({"loss": list(range(100_001))})).attributes)["points"].split()
    assert len(many) <= markup.MOST_POINTS + 1 and many[-1].startswith(f"{markup.WIDTH - markup.EDGE:.1f}")
    assert markup.curves({"loss": [float("nan")] * 3}) == markup.curves({}) == ""
    assert "points" in dict(Page(markup.curves({"loss": [1.0, 1.0]})).attributes)  # a flat one
