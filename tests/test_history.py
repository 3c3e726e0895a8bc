"""The history of a fit: a dict of columns, which says what it has."""

import copy
import pickle
from collections.abc import Mapping

import pytest

import nnlite as nl


@pytest.fixture
def history():
    found = nl.History()
    found.extend({"loss": [2.0]})
    found.extend({"val_loss": [3.0]})
    found.extend({"loss": [1.0], "val_loss": [2.5]})
    return found


def test_epochs_are_added_column_by_column(history):
    assert isinstance(history, Mapping) and dict(history) == {"loss": [2.0, 1.0], "val_loss": [3.0, 2.5]}
    assert history.last() == {"loss": 1.0, "val_loss": 2.5}
    assert repr(history) == "<History of 2 epochs: loss=1, val_loss=2.5>" and repr(nl.History()).endswith("0 epochs>")


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
