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
        Command lines shown under the help; the first is also the way out where something is missing.
    empty_values:
        Whether an option may have an empty value, as a text setting may.

    Examples
    --------
    >>> parser = ArgumentParser("neurogen atlas", "Render brains.")
    >>> _ = parser.add_argument("--box")
    >>> parser.parse(["--box", "-50,50"]).box
    '-50,50'
    """

    def __init__(
        self, program: str, description: str, examples: Sequence[str] = (), *, empty_values: bool = False
    ) -> None:
        super().__init__(
            prog=program,
            description=description,
            epilog="examples:\n" + "\n".join(f"  {line}" for line in examples) if examples else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            exit_on_error=False,
            allow_abbrev=False,
        )
        self._examples = examples
        self._empty_values = empty_values

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Parse the arguments of a command.

        Raises
        ------
        InputError
            When an option is unknown, abbreviated, or lacks its value, or an argument is empty, missing or one too
            many; the nearest right option is named.
        """
        known = [option for action in self._actions for option in action.option_strings]
        long = [option for option in known if option.startswith("--")]
        previous = ""
        for argument in arguments:
            name, equals, value = argument.partition("=")
            if _is_option(argument) and name not in known:
                raise InputError(f"There is no option '{name}'.", nearest(name, long), code="name-unknown")
            if not self._empty_values and (not argument or (equals and name in known and not value)):
                option = name or (previous if previous in known else "")
                raise InputError(
                    f"The value '' of {option} is empty." if option else "The argument '' is empty.",
                    "Give a value; a variable of the shell may not be set.",
                    code="value-missing",
                )
            previous = argument
        try:
            parsed, more = self.parse_known_args(self._positionals_first(_with_negative_values(arguments, known)))
        except argparse.ArgumentError as error:
            self.error(str(error))
        if more:
            takes = " ".join(
                str(action.metavar or action.dest) for action in self._actions if not action.option_strings
            )
            raise InputError(
                f"The argument '{more[0]}' is one too many.",
                f"'{self.prog}' takes {takes or 'no arguments'} and options: see '{self.prog} --help'.",
                code="value-invalid",
            )
        return parsed

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print before it ends the program."""
        sentence = message.strip().splitlines()[0]
        required = "required" in sentence
        example = f"For example: {self._examples[0]} (see " if required and self._examples else "See "
        raise InputError(
            f"{sentence[:1].upper()}{sentence[1:]}.",
            f"{example}'{self.prog} --help'{')' if example[0] == 'F' else ''}.",
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


def _is_option(argument: str) -> bool:
    """Whether an argument is an option and not a value, such as -3, -.5 or - alone."""
    return argument[:1] == "-" and (argument[1:2].isalpha() or (argument[:2] == "--" and len(argument) > 2))


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
