"""Tables: read them, decide what their columns are, and turn them into numbers.

    x_train, y_train, x_test, y_test = nl.tables.prepare("people.csv", "income").split

or, step by step:

    table = nl.tables.read("people.csv")
    decisions = nl.tables.decide(table, nl.tables.choose_target(table, "income"))
    print(decisions)
    x, told = decisions.encode(table)

`nl.tables.Model.load(path)` reads what `nnlite train` has written of a table; `nl.TableClassifier` does all of it.
"""

from .cells import Cells
from .columns import Category, Column, Date, LeftOut, Number
from .decisions import Decisions, decide
from .model import Model
from .preparing import Prepared, prepare
from .reading import Table, TableError, read
from .target import Target
from .target import decide as choose_target

__all__ = [
    "Category",
    "Cells",
    "Column",
    "Date",
    "Decisions",
    "LeftOut",
    "Model",
    "Number",
    "Prepared",
    "Table",
    "TableError",
    "Target",
    "choose_target",
    "decide",
    "prepare",
    "read",
]
