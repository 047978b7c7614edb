"""The parser of every command: no abbreviations, negative values, and errors that name the nearest option."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, NoReturn

from NeuroGenLib.core.errors import InputError, nearest

if TYPE_CHECKING:
    from collections.abc import Sequence


class ArgumentParser(argparse.ArgumentParser):
    """Parses a command's arguments; what is wrong with them is an :class:`~NeuroGenLib.core.errors.InputError`.

    Parameters
    ----------
    program:
        The words before the arguments.
    description:
        What the command does.
    examples:
        Command lines shown under the help.

    Examples
    --------
    >>> parser = ArgumentParser("neurogen atlas", "Render brains.")
    >>> _ = parser.add_argument("--box")
    >>> parser.parse(["--box", "-50,50"]).box
    '-50,50'
    """

    def __init__(self, program: str, description: str, examples: Sequence[str] = ()) -> None:
        super().__init__(
            prog=program,
            description=description,
            epilog="examples:\n" + "\n".join(f"  {line}" for line in examples) if examples else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            exit_on_error=False,
            allow_abbrev=False,
        )

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Parse the arguments of a command.

        Raises
        ------
        InputError
            When an option is unknown, abbreviated or lacks its value; the nearest right one is named.
        """
        known = [option for action in self._actions for option in action.option_strings]
        for argument in arguments:
            name = argument.partition("=")[0]
            if argument.startswith("--") and len(argument) > 2 and name not in known:
                raise InputError(f"There is no option '{name}'.", nearest(name, known), code="name-unknown")
        try:
            return self.parse_args(self._positionals_first(_with_negative_values(arguments, known)))
        except argparse.ArgumentError as error:
            self.error(str(error))

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print before it ends the program."""
        sentence = message.strip().splitlines()[0]
        required = "required" in sentence
        raise InputError(
            f"{sentence[:1].upper()}{sentence[1:]}.",
            f"See '{self.prog} --help'.",
            code="value-missing" if required else "value-invalid",
        )

    def _positionals_first(self, arguments: Sequence[str]) -> list[str]:
        """Put what is not an option first: argparse takes several files only where no option stands between them."""
        takes = {name: action.nargs for action in self._actions for name in action.option_strings}
        positionals: list[str] = []
        options: list[str] = []
        most: int | str | None = 0  # values that the last option still takes
        for argument in arguments:
            if argument.startswith("-") and len(argument) > 1:
                name, equals, _ = argument.partition("=")
                options.append(argument)
                most = 0 if equals else takes.get(name)
            elif most == 0:
                positionals.append(argument)
            else:
                options.append(argument)
                most = 0 if most is None else most
        return positionals + options


def _with_negative_values(arguments: Sequence[str], known: Sequence[str]) -> list[str]:
    """Write ``--box -50,50`` as ``--box=-50,50``: argparse takes a leading minus for an option."""
    attached: list[str] = []
    for argument in arguments:
        negative = (argument[:1] == "-" and argument[1:2].isdigit()) or argument[:2] == "-."
        if negative and attached and attached[-1] in known:
            attached[-1] += f"={argument}"
        else:
            attached.append(argument)
    return attached
