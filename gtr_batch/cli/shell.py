"""What all commands share: consoles, progress bars, exit codes and how a value is printed."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.errors import MarkupError
from rich.markup import escape
from rich.text import Text

from gtr_batch.domain.printable import printable
from gtr_batch.errors import GtrError, InputRefused, NightFailed, TransientError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from gtr_batch.domain.case import Step

WRONG_INPUT = 2
RED, MUST_MEND, TRY_LATER = 1, 3, 4


class PrintableConsole(Console):
    """A console on which no text can steer the terminal: escape sequences and control characters are left out.

    Colours are our own markup; a text whose markup is broken is printed as it stands.
    """

    def render_str(self, text: str, **options: Any) -> Text:
        """A text as it is shown; also called for each cell of a table."""
        text = printable(text)
        try:
            return super().render_str(text, **options)
        except MarkupError:
            return super().render_str(text, **{**options, "markup": False})


# Where there is no terminal to ask, a table may be as wide as a log page.
out = PrintableConsole(soft_wrap=True, width=None if sys.stdout.isatty() else 150)
err = PrintableConsole(stderr=True, soft_wrap=True, width=None if sys.stderr.isatty() else 150)

P = ParamSpec("P")
R = TypeVar("R")


def speaks_plainly(command: Callable[P, R]) -> Callable[P, R]:
    """Turn our errors into a sentence and an exit code; anything else is a fault of ours and keeps its traceback."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except NightFailed as error:
            err.print(f"[bold red]red:[/] {escape(str(error))}", highlight=False)
            raise typer.Exit(RED) from error
        except TransientError as error:
            err.print(f"[bold yellow]{type(error).__name__}:[/] {escape(str(error))}", highlight=False)
            raise typer.Exit(TRY_LATER) from error
        except InputRefused as error:
            err.print(f"[bold red]{escape(str(error))}[/]", highlight=False)
            raise typer.Exit(WRONG_INPUT) from error
        except GtrError as error:
            err.print(f"[bold red]{type(error).__name__}:[/] {escape(str(error))}", highlight=False)
            raise typer.Exit(MUST_MEND) from error

    return wrapped


def foreign(value: object) -> str:
    """A text that is not ours (a description, a name, a reason, a path), not to be taken for markup."""
    return escape(printable(str(value)))


def print_json(value: object) -> None:
    """JSON on standard output, nothing else."""
    typer.echo(json.dumps(value, indent=2, default=str))


def parse_night(text: str | None) -> date | None:
    """A night as YYYY-MM-DD, the evening on which it began."""
    if text is None:
        return None
    try:
        return datetime.strptime(text, "%Y-%m-%d").date()  # noqa: DTZ007 - a date has no time zone
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not a night: YYYY-MM-DD, the evening it began") from error


def bars() -> Progress:
    """Progress bars on standard error, with the time left."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description:<12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=err,
    )


@contextmanager
def step_bars() -> Iterator[Callable[[Step, int, int], None]]:
    """One bar a step, made when the step begins; gives the function that a site tells its progress to."""
    with bars() as progress:
        tasks: dict[Step, TaskID] = {}

        def report(step: Step, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = progress.add_task(str(step), total=total)
            progress.update(tasks[step], completed=done, total=total)

        yield report
