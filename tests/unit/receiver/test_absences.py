from __future__ import annotations

from growi_transfer.receiver.absences import MOST, SECONDS, Absences


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_what_the_plan_did_not_find_is_believed_once() -> None:
    absences = Absences(True, Clock())
    absences.remember("t", ["attachment/a", "attachment/b"])
    assert absences.take("t", "attachment/a")
    assert not absences.take("t", "attachment/a")
    assert not absences.take("other", "attachment/b")
    assert absences.take("t", "attachment/b")


def test_not_for_long() -> None:
    clock = Clock()
    absences = Absences(True, clock)
    absences.remember("t", ["attachment/a"])
    clock.now = SECONDS
    assert not absences.take("t", "attachment/a")


def test_a_later_plan_makes_it_fresh_again() -> None:
    clock = Clock()
    absences = Absences(True, clock)
    absences.remember("t", ["attachment/a"])
    clock.now = SECONDS - 1
    absences.remember("t", ["attachment/a"])
    clock.now = SECONDS + 1
    assert absences.take("t", "attachment/a")


def test_the_oldest_are_forgotten_and_local_ones_never_kept() -> None:
    absences = Absences(True, Clock())
    absences.remember("t", (f"attachment/{number}" for number in range(MOST + 1)))
    assert not absences.take("t", "attachment/0")
    assert absences.take("t", "attachment/1")
    local = Absences(False, Clock())
    local.remember("t", ["attachment/a"])
    assert not local.take("t", "attachment/a")
