"""Work in several threads: each item once, none lost, the first error ends it."""

from __future__ import annotations

import threading
from contextlib import contextmanager

import pytest

from gtr_batch.night.at_once import do_each


@pytest.fixture
def within():
    """Counts the threads that are at work, and how many there were at most."""
    lock, now, most = threading.Lock(), [0], [0]

    @contextmanager
    def counted():
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        yield
        with lock:
            now[0] -= 1

    counted.most = most
    return counted


def test_each_item_is_done_once_by_as_many_threads_as_asked_for(within):
    done, both = [], threading.Barrier(3)

    def work(item):
        if item < 3:
            both.wait(20)
        done.append(item)

    do_each(range(30), work, threads=3, within=within, granted=lambda item: True)

    assert sorted(done) == list(range(30))
    assert within.most == [3]


@pytest.mark.parametrize("count", [0, 1, 2, 9])
def test_where_no_second_is_granted_one_thread_does_all(within, count):
    me, done = threading.current_thread(), []

    def work(item):
        assert threading.current_thread() is me
        done.append(item)

    do_each(range(count), work, threads=4, within=within, granted=lambda item: threading.current_thread() is me)

    assert sorted(done) == list(range(count))


@pytest.mark.parametrize("where", ["here", "beside"])
def test_an_error_that_is_about_no_item_ends_all_after_what_was_begun(within, where):
    me, met, done = threading.current_thread(), threading.Barrier(2), []

    def work(item):
        if item < 2:
            met.wait(20)
            if (threading.current_thread() is me) == (where == "here"):
                raise KeyError(where)
            failing.wait(20)
        done.append(item)

    failing = threading.Event()

    @contextmanager
    def noted():
        try:
            with within():
                yield
        except KeyError:
            failing.set()
            raise

    with pytest.raises(KeyError, match=where):
        do_each(range(50), work, threads=2, within=noted, granted=lambda item: True)

    assert len(done) == 1
