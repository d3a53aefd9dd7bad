"""Work in several threads of one task, each with its own association and its own connection to the database."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from contextvars import copy_context
from typing import Generic, TypeVar

T = TypeVar("T")


class Waiting(Generic[T]):
    """What is still to be done; each is taken once, by whichever thread comes first."""

    def __init__(self, items: Sequence[T]) -> None:
        self._items = deque(items)
        self.error: BaseException | None = None

    def take(self) -> T | None:
        """The next one; None where there is none left, or a thread has ended with an error."""
        try:
            return None if self.error is not None else self._items.popleft()
        except IndexError:
            return None

    def give_back(self, item: T) -> None:
        """One that was taken and not begun."""
        self._items.appendleft(item)


def do_each(
    items: Sequence[T],
    work: Callable[[T], object],
    *,
    threads: int,
    within: Callable[[], AbstractContextManager[object]],
    granted: Callable[[T], bool],
) -> None:
    """Do `work` for each item, in this thread and in up to `threads` - 1 beside it.

    Parameters
    ----------
    within : callable
        Around all that one thread does: what it shares among its items.
    granted : callable
        Asked by each thread, of its first item and before it begins; by this thread before the others are there. Where
        it answers False in another thread the item goes back, and the others do without that thread.

    Raises
    ------
    BaseException
        The first that `work` raised; what was begun in other threads is finished before, and nothing more is begun.
    """
    waiting = Waiting(items)

    def run(first: T | None) -> None:
        item = first
        try:
            while item is not None:
                work(item)
                item = waiting.take()
        except BaseException as err:
            waiting.error = waiting.error or err
            raise

    def beside() -> None:
        try:
            with within():
                first = waiting.take()
                if first is not None and not granted(first):
                    waiting.give_back(first)
                    return
                run(first)
        except BaseException as err:  # noqa: BLE001 - raised again in the thread that waits for all
            waiting.error = waiting.error or err

    others = [
        threading.Thread(target=copy_context().run, args=(beside,), name=f"beside-{number}")
        for number in range(1, min(threads, len(items)))
    ]
    started: list[threading.Thread] = []
    try:
        with within():
            first = waiting.take()
            if first is not None and others:
                granted(first)
            for thread in others:
                thread.start()
                started.append(thread)
            run(first)
    except BaseException as err:
        waiting.error = waiting.error or err
        raise
    finally:
        for thread in started:
            thread.join()
    with within():  # one that was given back when this thread had found nothing more
        run(waiting.take())
    if waiting.error is not None:
        raise waiting.error
