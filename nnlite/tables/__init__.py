"""Tables: read them, decide what their columns are, and turn them into numbers.

    table = nl.tables.read("people.csv")
    target = nl.tables.choose_target(table, "income")
    decisions = nl.tables.decide(table, target)
    print(decisions)
    x, told = decisions.encode(table)
"""

from .cells import Cells
from .columns import Category, Column, Date, LeftOut, Number
from .decisions import Decisions, decide
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
    "Number",
    "Table",
    "TableError",
    "Target",
    "choose_target",
    "decide",
    "read",
]
