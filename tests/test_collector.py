"""Pausing the garbage collector loses no garbage and leaves the process as it was."""

import gc
import weakref

import pytest

from jaxcls.collector import collector_paused


class Node:
    """Something that refers to itself."""

    def __init__(self) -> None:
        self.me = self


def test_nothing_is_collected_inside_and_everything_afterwards() -> None:
    with collector_paused():
        assert not gc.isenabled()
        garbage = weakref.ref(Node())
        assert garbage() is not None
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
    gc.collect()
    assert garbage() is None


def test_an_error_inside_leaves_the_collector_on() -> None:
    with pytest.raises(RuntimeError), collector_paused():
        raise RuntimeError
    assert gc.isenabled()


def test_a_collector_that_is_off_stays_off() -> None:
    gc.disable()
    try:
        with collector_paused():
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_what_the_process_has_frozen_stays_frozen() -> None:
    gc.freeze()
    try:
        frozen = gc.get_freeze_count()
        with collector_paused():
            assert gc.isenabled()
        # Threads that other tests have left may free some.
        assert gc.get_freeze_count() > frozen / 2
    finally:
        gc.unfreeze()
