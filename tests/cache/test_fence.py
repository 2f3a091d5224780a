"""Deletions against what is on its way: each waits for the other, and nothing comes back."""

from __future__ import annotations

import threading

import pytest

from minireranker.cache.fence import Fence


def test_while_a_key_is_deleted_it_is_not_carried() -> None:
    fence = Fence()
    with fence.closed("a".__eq__):
        with fence.passing("a", wait=False) as allowed:
            assert not allowed
        with fence.passing("b", wait=False) as allowed:
            assert allowed
    with fence.passing("a", wait=False) as allowed:
        assert allowed


def test_a_deletion_waits_for_those_who_carry_its_keys_and_for_no_others() -> None:
    fence, order = Fence(), []

    def delete() -> None:
        with fence.closed("a".__eq__):
            order.append("deleted")

    thread = threading.Thread(target=delete)
    with fence.passing("b", wait=False), fence.passing("a", wait=False):
        with fence.passing("a", wait=False):
            thread.start()
            thread.join(0.05)
        thread.join(0.05)
        order.append("arrived")
    thread.join(5)
    assert order == ["arrived", "deleted"]
    with fence.passing("b", wait=False), fence.closed("a".__eq__):
        pass


def test_who_may_not_carry_is_not_waited_for() -> None:
    fence = Fence()
    with fence.closed("a".__eq__), fence.passing("a", wait=False), fence.closed("a".__eq__):
        pass


def test_who_waits_goes_on_after_the_last_deletion() -> None:
    fence, order = Fence(), []

    def carry() -> None:
        with fence.passing("a", wait=True) as allowed:
            order.append(f"carried {allowed}")

    thread = threading.Thread(target=carry)
    with fence.closed("a".__eq__):
        with fence.closed("a".__eq__):
            thread.start()
            thread.join(0.05)
        thread.join(0.05)
        order.append("deleted")
    thread.join(5)
    assert order == ["deleted", "carried True"]


def test_a_failure_leaves_it_open() -> None:
    fence = Fence()
    with pytest.raises(OSError, match="disk"), fence.closed("a".__eq__):
        raise OSError("disk")
    with pytest.raises(OSError, match="disk"), fence.passing("a", wait=True):
        raise OSError("disk")
    with fence.closed("a".__eq__):
        pass
