"""``slicer.util.infoDisplay`` and its like: messages are kept, questions answered as the test says."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR, "question": logging.INFO}


class Message(NamedTuple):
    """What a panel showed."""

    kind: str
    """``info``, ``warning``, ``error`` or ``question``."""
    text: str
    title: str
    details: str


class Displays:
    """Takes the place of slicer.util's pop-ups while a desktop runs."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.answers: list[bool] = []
        self.default_answer = True
        self._replaced: dict[str, Any] = {}

    def install(self) -> None:
        """Put the functions in place."""
        import slicer.util

        functions: dict[str, Callable[..., Any]] = {
            "infoDisplay": self._show("info"),
            "warningDisplay": self._show("warning"),
            "errorDisplay": self._show("error"),
            "messageBox": self._show("info"),
            "delayDisplay": self._pass_by,
            "confirmOkCancelDisplay": self._ask,
            "confirmYesNoDisplay": self._ask,
            "confirmRetryCloseDisplay": self._ask,
        }
        self._replaced = {name: getattr(slicer.util, name) for name in functions}
        for name, function in functions.items():
            setattr(slicer.util, name, function)

    def remove(self) -> None:
        """Put slicer.util's own functions back."""
        import slicer.util

        for name, function in self._replaced.items():
            setattr(slicer.util, name, function)

    def _show(self, kind: str) -> Callable[..., None]:
        def show(text: str, windowTitle: str | None = None, *_arguments: Any, **details: Any) -> None:
            self._keep(kind, text, windowTitle, details)

        return show

    def _ask(self, text: str, windowTitle: str | None = None, *_arguments: Any, **details: Any) -> bool:
        self._keep("question", text, windowTitle, details)
        return self.answers.pop(0) if self.answers else self.default_answer

    def _pass_by(self, message: str, *_arguments: Any, **_details: Any) -> None:
        import slicer

        logging.getLogger(__name__).info(message)
        slicer.app.processEvents()

    def _keep(self, kind: str, text: str, title: str | None, details: dict[str, Any]) -> None:
        logging.getLogger(__name__).log(LEVELS[kind], text)
        self.messages.append(Message(kind, text, title or "", str(details.get("detailedText", ""))))
