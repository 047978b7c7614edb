"""Tables of text in a panel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import qt

if TYPE_CHECKING:
    from collections.abc import Sequence


def fill_table(table: Any, headings: Sequence[str], rows: Sequence[Sequence[str]], selected: int = -1) -> None:
    """Fill a ``QTableWidget`` with rows of text; its first column takes the remaining width.

    Parameters
    ----------
    table:
        The ``QTableWidget``; its content is replaced.
    headings:
        Of the columns.
    rows:
        A text for every column.
    selected:
        The row that is selected afterwards; none when negative.
    """
    table.setColumnCount(len(headings))
    table.setHorizontalHeaderLabels(list(headings))
    table.setRowCount(len(rows))
    table.verticalHeader().setVisible(False)
    for row, texts in enumerate(rows):
        for column, text in enumerate(texts):
            item = table.item(row, column)
            if item is None:
                item = qt.QTableWidgetItem()
                table.setItem(row, column, item)
            item.setText(text)
            item.setToolTip(text)
    for column in range(len(headings)):
        mode = qt.QHeaderView.ResizeToContents if column else qt.QHeaderView.Stretch
        table.horizontalHeader().setSectionResizeMode(column, mode)
    table.setWordWrap(False)  # a long text ends in dots; its tooltip has all of it
    table.resizeRowsToContents()
    table.setCurrentCell(selected, 0 if selected >= 0 else -1)
