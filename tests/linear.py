"""How the time of a function grows with its input, measured by ratios.

    assert growth(work, lambda size: b"a" * size) < TOO_MUCH

A linear function takes 16 times as long for 16 times as much; a quadratic one 256 times. What is measured is the processor's time of this
thread, the least of some runs. What else the machine does (its caches and its memory are shared) makes a run longer, never shorter: so
what looks like too much is measured again, and the least counts.
"""

from __future__ import annotations

import gc
import math
import re
import time
from collections.abc import Callable, Iterator
from re import _constants, _parser  # type: ignore[attr-defined]
from typing import Any

SIZES = (4096, 16384, 65536, 1048576)
"""In small steps at first, so that what is bad is given up early."""
TOO_MUCH = 1.6
"""The exponent of the growth: 1 is linear, 2 quadratic. 85 times for 16 times as much."""
MEASURED = 3
"""How often what looks like too much is measured."""
FLOOR = 20e-6
"""Seconds that no measurement goes below: there, what does not grow is measured."""
WORTH_IT = 5
"""Texts of those that were tried on a small scale which are tried on a large one."""

CHARACTERS = (
    "a",
    "_",
    " ",
    "1",
    "-",
    ".",
    ",",
    '"',
    "\\",
    "{",
    "[",
    "<",
    "\r",
    "\n",
    "\r\n",
    '"a',
    "1.",
    "a ",
    "\\u",
    '\\"',
    ";",
    "=",
)
ENDS = ("", "\n", "!", '"', "}")

type Make = Callable[[int], Any]


def seconds(work: Callable[[Any], object], given: Any, runs: int = 3) -> float:
    """The least processor time of some runs; of one when it takes long."""
    best = float("inf")
    for _ in range(runs):
        started = time.thread_time()
        work(given)
        best = min(best, time.thread_time() - started)
        if best > 0.02:
            break
    return max(best, FLOOR)


def growth(work: Callable[[Any], object], make: Make, sizes: tuple[int, ...] = SIZES) -> float:
    """With which power of the size the time grows: the least of some measurements when the first says too much."""
    exponent = measured_growth(work, make, sizes)
    for _ in range(MEASURED - 1):
        if exponent <= TOO_MUCH:
            break
        exponent = min(exponent, measured_growth(work, make, sizes))
    return exponent


def measured_growth(work: Callable[[Any], object], make: Make, sizes: tuple[int, ...]) -> float:
    """The exponent between the largest size and the one before.

    One step may be bad, where a function does something else with more: after two it is given up, and the last one must be so in its second
    half, too.
    """
    times: dict[int, float] = {}
    exponent = 1.0
    collects = gc.isenabled()
    gc.disable()
    try:
        for before, size in zip((None, *sizes), sizes, strict=False):
            times[size] = seconds(work, make(size))
            if before is None:
                continue
            last, exponent = exponent, power(times, before, size)
            if min(last, exponent) > TOO_MUCH:
                break
        else:
            if exponent > TOO_MUCH:
                middle = sizes[-1] // 4
                times[middle] = seconds(work, make(middle))
                exponent = min(exponent, power(times, middle, sizes[-1]))
    finally:
        if collects:
            gc.enable()
    return exponent


def power(times: dict[int, float], less: int, more: int) -> float:
    """The exponent of the growth from one size to another."""
    return math.log(times[more] / times[less]) / math.log(more / less)


def repeated[T: (str, bytes)](unit: T, prefix: T | None = None, suffix: T | None = None) -> Make:
    """Texts of any size: the unit over and over between a prefix and a suffix."""
    before, after = prefix or unit[:0], suffix or unit[:0]
    return lambda size: before + unit * (max(1, size - len(before) - len(after)) // len(unit)) + after


# -- the worst texts for a regular expression, found by trying


def literals(pattern: re.Pattern[Any]) -> list[str]:
    """The texts that a pattern names, each as long as it goes."""
    text = pattern.pattern if isinstance(pattern.pattern, str) else pattern.pattern.decode("latin-1")
    return list(dict.fromkeys(_runs(_parser.parse(text, pattern.flags & ~re.UNICODE & ~re.DEBUG))))


def _runs(parsed: Any) -> Iterator[str]:
    run = ""
    for kind, value in parsed:
        if kind is _constants.LITERAL:
            run += chr(value)
            continue
        if run:
            yield run
        run = ""
        for inner in _inside(value):
            yield from _runs(inner)
    if run:
        yield run


def _inside(value: Any) -> Iterator[Any]:
    for part in value if isinstance(value, tuple | list) else (value,):
        if isinstance(part, _parser.SubPattern):
            yield part
        elif isinstance(part, tuple | list):
            yield from _inside(part)


def texts(pattern: re.Pattern[Any]) -> Iterator[Make]:
    """Texts that might be bad for a pattern: what it names, and characters, over and over, after what it names."""
    named = [*literals(pattern)[:12], "".join(literals(pattern)[:2])]
    as_bytes = isinstance(pattern.pattern, bytes)
    units = dict.fromkeys([*CHARACTERS, *named, *(name + more for name in named for more in " a1")])
    for prefix in dict.fromkeys(["", *named]):
        for unit in units if prefix == "" else CHARACTERS:
            for suffix in ENDS:
                if not unit:
                    continue
                parts = (unit, prefix, suffix)
                yield repeated(*(part.encode("latin-1") for part in parts)) if as_bytes else repeated(*parts)


def worst_growth(pattern: re.Pattern[Any], use: Callable[[re.Pattern[Any], Any], object]) -> float:
    """How the time grows with the worst of those texts."""

    def work(text: Any) -> object:
        return use(pattern, text)

    tried = sorted(texts(pattern), key=lambda make: seconds(work, make(1000), 1), reverse=True)
    return max(growth(work, make) for make in tried[:WORTH_IT])
