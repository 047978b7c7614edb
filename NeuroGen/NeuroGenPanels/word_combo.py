"""Combo boxes whose texts can be translated, while the scene keeps plain words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class WordCombo:
    """Combo box that stands for a word.

    Parameters
    ----------
    combo:
        ``QComboBox`` with an entry for each word.
    words:
        In the order of the entries.
    on_chosen:
        Called with the word that the person chose.
    """

    def __init__(self, combo: Any, words: Sequence[str], on_chosen: Callable[[str], object]) -> None:
        self._combo = combo
        self._words = list(words)
        self._on_chosen = on_chosen
        self._showing = False
        combo.connect("currentIndexChanged(int)", self._chosen)

    def show(self, word: str) -> None:
        """Show the entry of a word; the first one for a word that is unknown here."""
        self._showing = True
        self._combo.setCurrentIndex(self._words.index(word) if word in self._words else 0)
        self._showing = False

    def _chosen(self, *_index: int) -> None:
        index = self._combo.currentIndex
        if not self._showing and 0 <= index < len(self._words):
            self._on_chosen(self._words[index])
