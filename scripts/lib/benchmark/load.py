"""The load process: reads orders from standard input, carries them out one after the other, writes a report for each.

It ends when its input does. Collecting garbage waits until a run is over, so that its pauses are not taken for the target's.
"""

from __future__ import annotations

import asyncio
import gc
import sys

from . import hammer, listeners, mixture
from .orders import Failed, Hammer, Listen, Order, Report, decode_order, encode


async def carry_out(order: Order) -> Report:
    """Run one order."""
    try:
        match order:
            case Hammer():
                return await hammer.run(order)
            case Listen():
                return await listeners.run(order)
            case _:
                return await mixture.run(order)
    except OSError as error:
        return Failed(str(error))


def main() -> None:
    """Serve orders until there are no more."""
    gc.disable()
    for line in sys.stdin.buffer:
        report = asyncio.run(carry_out(decode_order(line)))
        sys.stdout.buffer.write(encode(report) + b"\n")
        sys.stdout.buffer.flush()
        del report
        gc.collect()


if __name__ == "__main__":
    main()
