"""Tables of text in a panel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import qt

if TYPE_CHECKING:
    from collections.abc import Sequence


def fill_table(table: Any, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Put rows of text into a ``QTableWidget``; what was selected stays selected where it still is."""
    selected = table.currentRow()
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
    table.resizeColumnsToContents()
    if 0 <= selected < len(rows):
        table.setCurrentCell(selected, 0)
