"""The clock that never goes back."""

from claude_relay.core.steady import Steady


class Clocks:
    def __init__(self):
        self.system, self.ticks = 1000.0, 5.0

    def passed(self, seconds):
        self.system += seconds
        self.ticks += seconds

    def steady(self):
        return Steady(lambda: self.system, lambda: self.ticks)


def test_it_is_the_systems_clock_as_long_as_that_is_sane():
    clocks = Clocks()
    steady = clocks.steady()
    clocks.passed(3.0)
    assert steady() == 1003.0
    assert steady.ahead() == 0.0


def test_a_clock_that_is_set_back_makes_three_seconds_no_two_hours():
    clocks = Clocks()
    steady = clocks.steady()
    before = steady()
    clocks.system -= 7200.0
    clocks.passed(3.0)
    assert steady() == before + 3.0
    assert steady.ahead() == 7200.0
    assert steady.wall() == 1003.0 - 7200.0


def test_it_follows_forward_and_never_returns():
    clocks = Clocks()
    steady = clocks.steady()
    clocks.system += 7200.0  # a machine that slept, for its ticks stood still
    assert steady() == 8200.0
    clocks.system -= 7200.0
    assert steady() == 8200.0


def test_small_corrections_are_no_change_of_clock():
    clocks = Clocks()
    steady = clocks.steady()
    clocks.system -= 0.5
    assert steady.ahead() == 0.0
    assert steady() == 1000.0


def test_a_jump_ahead_is_known_for_a_while():
    clocks = Clocks()
    steady = clocks.steady()
    clocks.passed(100.0)
    assert steady.jumped(600.0) is None
    clocks.system += 7200.0
    assert steady.jumped(600.0) == 7200.0
    clocks.passed(599.0)
    assert steady.jumped(600.0) == 7200.0
    clocks.passed(1.0)
    assert steady.jumped(600.0) is None
