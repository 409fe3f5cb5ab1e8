"""A duel as JSON.

document(duel, aspects)["alike"]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from .comparing import alike, differences
from .outcomes import Duel, Outcome, Round, middle, total

FIGURES = (
    "provider",
    "key",
    "served_model",
    "attempts",
    "input_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "output_tokens",
    "cost_usd",
    "ttft_ms",
    "duration_ms",
)
"""Columns of the ledger's row."""


def document(duel: Duel, aspects: Sequence[str]) -> dict[str, Any]:
    """All of it. `aspects`: those that decide whether the targets are alike."""
    return {
        "alike": alike(duel, aspects),
        "decides": list(aspects),
        "targets": [
            {
                "target": target,
                "answers": len(outcomes := duel.of(target)),
                "good": sum(outcome.answer.good for outcome in outcomes),
                "cost_usd": total(outcomes, "cost_usd"),
                "output_tokens": total(outcomes, "output_tokens"),
                "ttft_ms": middle(outcomes, "ttft_ms"),
                "duration_ms": middle(outcomes, "duration_ms"),
            }
            for target in duel.targets
        ],
        "requests": [_round(played) for played in duel.rounds],
    }


def _round(played: Round) -> dict[str, Any]:
    return {
        "name": played.recorded.name,
        "path": played.recorded.path,
        "model": played.recorded.model,
        "stream": played.recorded.streamed,
        "differences": [asdict(difference) for difference in differences(played)],
        "answers": {target: [_outcome(one) for one in outcomes] for target, outcomes in played.outcomes.items()},
    }


def _outcome(outcome: Outcome) -> dict[str, Any]:
    row = outcome.row or {}
    return {"request": outcome.request, **asdict(outcome.answer), **{name: row.get(name) for name in FIGURES}}
