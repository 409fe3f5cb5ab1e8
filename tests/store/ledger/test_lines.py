"""What the sums and times of one group say."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from claude_relay.store.ledger.lines import _percentiles


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=60))
def test_percentiles_are_by_nearest_rank(times: list[float]) -> None:
    for percent, found in zip((50, 95), _percentiles(list(times)), strict=True):
        not_above = sum(time <= found for time in times)
        below = sum(time < found for time in times)
        assert found in times
        assert not_above * 100 >= percent * len(times) > below * 100
