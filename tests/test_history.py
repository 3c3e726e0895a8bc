"""The history of a fit: a dict of columns, which says what it has."""

import copy
import pickle
from collections.abc import Mapping

import pytest

import nnlite as nl

NAN = float("nan")


@pytest.fixture
def history():
    found = nl.History()
    found.extend({"loss": [2.0], "val_loss": [3.0]})
    found.extend({"loss": [1.0], "val_loss": [2.5]})
    return found


def test_epochs_are_added_column_by_column(history):
    assert isinstance(history, Mapping) and dict(history) == {"loss": [2.0, 1.0], "val_loss": [3.0, 2.5]}
    assert history.last() == {"loss": 1.0, "val_loss": 2.5}
    assert repr(history) == "<History of 2 epochs: loss=1, val_loss=2.5>" and repr(nl.History()).endswith("0 epochs>")


def test_a_value_that_was_not_measured_is_nan(history):
    other = nl.History(loss=[4.0])
    history.extend({"loss": [0.5, 0.4], "accuracy": [0.7, 0.8]}, other)
    assert str(dict(history)) == str(
        {"loss": [2.0, 1.0, 0.5, 0.4], "val_loss": [3.0, 2.5, NAN, NAN], "accuracy": [NAN, NAN, 0.7, 0.8]}
    )
    assert str(dict(other)) == str({"loss": [4.0, 0.5, 0.4], "accuracy": [NAN, 0.7, 0.8]})
    assert (history.epochs, other.epochs, nl.History().epochs) == (4, 3, 0)


def test_what_is_added_is_copied_and_no_epoch_is_none(history):
    values = [0.5]
    history.extend({"loss": values, "accuracy": values})
    history.extend({"loss": [], "accuracy": []})
    assert values == [0.5] and history["loss"] == [2.0, 1.0, 0.5] and history.epochs == 3


def test_pandas_takes_it_as_columns(history):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(history)
    assert frame.to_dict("list") == history and frame.shape == (2, 2)


def test_a_copy_is_one_of_its_kind(history):
    for other in (copy.deepcopy(history), pickle.loads(pickle.dumps(history))):
        assert type(other) is nl.History and other == history
        other.extend({"loss": [0.5]})
        assert history["loss"] == [2.0, 1.0]


def test_a_column_that_is_not_there(history):
    with pytest.raises(KeyError, match="no 'accuracy': it has 'loss', 'val_loss'"):
        history["accuracy"]
    with pytest.raises(KeyError, match="no 'loss': no epoch has ended yet"):
        nl.History()["loss"]
    assert history.get("accuracy") is None and "accuracy" not in history
