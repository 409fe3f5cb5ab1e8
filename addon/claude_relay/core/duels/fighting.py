"""The order in which a duel's requests are sent.

fight(requests, ("anthropic", "glm/glm-4.6"), times=3, send=send, say=print)      -> a Round for each request

It must not know how a request gets to its target.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from claude_relay.core.recordings.recorded import Recorded

from .outcomes import Outcome, Round


def fight(
    found: Sequence[Recorded],
    targets: Sequence[str],
    times: int,
    send: Callable[[Recorded, str], Outcome],
    say: Callable[[str], object],
) -> Iterator[Round]:
    """Each request to each target; the targets take turns, so that all meet the same hour. `say`: is given what comes next."""
    for number, recorded in enumerate(found, 1):
        outcomes: dict[str, list[Outcome]] = {target: [] for target in targets}
        for turn in range(times):
            for target in targets:
                again = f", {turn + 1} of {times}" if times > 1 else ""
                say(f"{number} of {len(found)}: {recorded.name} to {target}{again} …")
                outcomes[target].append(send(recorded, target))
        yield Round(recorded, outcomes)
