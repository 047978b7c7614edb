"""The `neurogen` command: finds the job, runs it, and turns errors into sentences."""

from __future__ import annotations

import importlib
import io
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from NeuroGenLib.core.errors import Cancelled, InputError, NeuroGenError, nearest
from NeuroGenLib.core.job import running_job
from NeuroGenLib.core.signals import Terminated, stops_as_ctrl_c
from NeuroGenLib.spatial.files.reading import ReadingConfig, reading_session
from NeuroGenLib.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True)
class Command:
    """One command: its words, what it does in a phrase, and where its function is in ``commands``, if not at its words.

    ``atlas import-config`` is the function ``import_config`` in ``commands/atlas/import_config.py``. It takes the
    arguments that follow the words.
    """

    words: str
    summary: str
    place: str = ""

    def run(self, arguments: list[str]) -> None:
        """Import the function and call it."""
        place = self.place or self.words.replace("-", "_").replace(" ", ".")
        module, _, name = place.partition(":")
        function = getattr(importlib.import_module(f"NeuroGenLib.commands.{module}"), name or module.split(".")[-1])
        # A command with options of reading sets them when it has parsed them; the others read any size.
        with reading_session(ReadingConfig(any_size=True)) as job:
            job.show = lambda text: print(f"Note: {text}", file=sys.stderr, flush=True)
            function(arguments)


COMMANDS = (
    Command("demo", "Render the bundled atlas over age and ventricle size", "atlas.demo"),
    Command("doctor", "Show versions, GPU, memory, disk and models"),
    Command("cite", "Print what to cite for a model or a result"),
    Command("atlas generate", "Render brains of any age and condition"),
    Command("atlas info", "Show an atlas's ages, conditions and labels"),
    Command("atlas fit", "Fit the atlas to a scan: labels, age, deviation"),
    Command("atlas train", "Train an atlas on a cohort"),
    Command("atlas evaluate", "Compare an atlas with held-out subjects"),
    Command("atlas latents", "Analyse the latent codes of the training subjects"),
    Command("atlas import-config", "Translate the published program's settings into NeuroGen's"),
    Command("atlas open", "Open an atlas published as 4-D files", "atlas.open:open_"),
    Command("registration run", "Register one scan to another"),
    Command("registration apply", "Apply a transform to images, labels and points"),
    Command("registration train", "Train a registration network"),
    Command("registration evaluate", "Measure a model, or the checkpoints of a training, on pairs"),
    Command("registration import-config", "Translate the published program's settings into NeuroGen's"),
    Command("mask", "Find the brain in scans of the whole head", "mask.run"),
    Command("mask train", "Train a brain mask on label maps of heads"),
    Command("superres run", "Turn a scan in thick slices into an isotropic one"),
    Command("superres batch", "Super-resolve a whole cohort: a table or a BIDS folder"),
    Command("superres evaluate", "Compare a model with interpolation on simulated slices"),
    Command("superres simulate", "Make scans in thick slices from one in thin slices"),
    Command("superres train", "Train super-resolution on isotropic scans or label maps"),
    Command("samples list", "List sample data", "samples:list_"),
    Command("samples info", "Show a sample's licence, authors and size", "samples:info"),
    Command("samples get", "Render or download sample data", "samples:get"),
    Command("models list", "List bundled, downloaded and published models", "models:list_"),
    Command("models info", "Show a model's card, licence and files", "models:info"),
    Command("models download", "Download a model from the hub", "models:download"),
    Command("models import", "Read another program's checkpoint", "models:import_"),
)

_PACKAGES = {"yaml": "PyYAML", "skimage": "scikit-image"}
"""Names of packages that are installed under another name than they are imported."""

_HELP = ("-h", "--help", "help")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 0 done, 1 failed, 2 bad input, 130 stopped."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    return run_safely(lambda: dispatch(words), ["neurogen", *words], debug=debug)


def dispatch(words: list[str]) -> None:
    """Find the command that the words begin with and run it.

    Raises
    ------
    InputError
        When there is no such command.
    """
    if not words or words[0] in _HELP:
        print(_overview(COMMANDS, "neurogen"))
        return
    if words[0] in ("--version", "-V"):
        print(f"neurogen {__version__}")
        return
    command = command_of(words)
    if command is not None:
        command.run(words[len(command.words.split()) :])
        return
    group = [command for command in COMMANDS if command.words.split()[0] == words[0]]
    if group and (len(words) == 1 or words[1] in _HELP):
        print(_overview(group, f"neurogen {words[0]}"))
        return
    tried = " ".join(words[:2] if group else words[:1])
    known = [command.words for command in group or COMMANDS] + ([] if group else _groups())
    raise InputError(f"There is no command 'neurogen {tried}'.", nearest(tried, known), code="name-unknown")


def command_of(words: list[str]) -> Command | None:
    """Return the command that ``words`` begin with, the longest one: "mask train" is not "mask" with an argument.

    Examples
    --------
    >>> command_of(["mask", "train", "--help"]).words, command_of(["mask", "head.nii"]).words, command_of(["fly"])
    ('mask train', 'mask', None)
    """
    named = [command for command in COMMANDS if words[: len(command.words.split())] == command.words.split()]
    return max(named, key=lambda command: len(command.words.split()), default=None)


def run_safely(work: Callable[[], None], command: Sequence[str] = (), *, debug: bool = False) -> int:
    """Run ``work`` as a job and return an exit code.

    Errors are printed as sentences, with a traceback only when debugging.

    Parameters
    ----------
    work:
        What to do.
    command:
        The command line for the record of the result; that of this program when empty.
    debug:
        Whether errors are raised.
    """
    _prepare_terminal()
    try:
        _require_working_folder()
        with running_job(command or sys.argv), stops_as_ctrl_c():
            _run_and_flush(work)
    except BrokenPipeError:
        # The reader of our output went away (`| head`); Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except (Exception, KeyboardInterrupt) as error:
        if debug:
            if isinstance(error, NeuroGenError):
                error.add_note(f"Code: {error.code}")
            raise
        problem, remedy, code = _explain(error)
        print("\n" + _one_line(problem), file=sys.stderr)
        if remedy:
            print(f"  {_one_line(remedy)}", file=sys.stderr)
        return code
    return 0


def _prepare_terminal() -> None:
    """Let nothing fail that is printed: what the terminal's encoding lacks is printed as an escape."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _require_working_folder() -> None:
    try:
        Path.cwd()
    except OSError as error:
        raise InputError(
            f"The folder in which this was started cannot be used: {error.strerror}.",
            "It may have been removed: change to an existing folder, and try again.",
            code="file-missing",
        ) from error


def _run_and_flush(work: Callable[[], None]) -> None:
    """Flush here, so that a reader that went away is met now and not when the program ends."""
    try:
        work()
    finally:
        if sys.stdout is not None:  # a program without a console has none
            sys.stdout.flush()


def _explain(error: BaseException) -> tuple[str, str, int]:
    """Return the problem, the remedy and the exit code of an error."""
    if isinstance(error, NeuroGenError):
        word = "Stopped" if isinstance(error, Cancelled) else "Error"
        return f"{word}: {error.problem}", error.remedy, error.exit_code
    if isinstance(error, Terminated):
        return f"Stopped: the system asked to stop ({error.name}).", "Run the command again.", error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return "Stopped.", "", Cancelled.exit_code
    if isinstance(error, ModuleNotFoundError) and error.name and error.name.partition(".")[0] != "NeuroGenLib":
        package = _PACKAGES.get(error.name, error.name)
        return (
            f"Error: this needs the package '{error.name}', which is not installed.",
            f"Install it with: pip install {package}",
            1,
        )
    return (
        f"Error: something unexpected went wrong ({type(error).__name__}: {error}).",
        "Run the command again with --debug and report what it prints.",
        1,
    )


def _one_line(text: str, most: int = 600) -> str:
    """Return a sentence on one line; of a very long one, which quotes a library or an input, its two ends."""
    line = re.sub(r"\s*\n\s*", " ", text.strip())
    return line if len(line) <= most else f"{line[: most // 2]} ... {line[-most // 2 :]}"


def _groups() -> list[str]:
    return list(dict.fromkeys(command.words.split()[0] for command in COMMANDS))


def _overview(commands: Sequence[Command], name: str) -> str:
    width = max(len(command.words) for command in commands)
    lines = [f"  neurogen {command.words.ljust(width)}  {command.summary}" for command in commands]
    return "\n".join(
        [
            f"usage: {name} COMMAND [options]",
            "",
            "Generative neuroimaging: brain atlases, registration, super-resolution, masks. For research use only.",
            "",
            *lines,
            "",
            "To begin: neurogen demo. What a command takes, with examples: neurogen COMMAND --help.",
            "--version shows the version, --debug the traceback of an error.",
            "Exit codes: 0 done, 1 failed, 2 an input cannot be used, 130 stopped.",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
