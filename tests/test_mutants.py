"""The faults of tests/mutants.py can be planted: a rename of code has not orphaned one."""

from __future__ import annotations

from tests.mutants import problems


def test_each_fault_has_its_text_and_its_tests() -> None:
    assert problems() == []
