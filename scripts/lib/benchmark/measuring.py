"""Everything that a plan names, part by part."""

from __future__ import annotations

from .choosing import measure_choosing
from .figures import Results
from .panel import measure_panel
from .plan import Plan
from .reports import measure_reports
from .scenarios import Say, measure_memory, measure_requests, measure_streams, measure_web
from .targets import Bench
from .team import measure_team
from .translating import measure_translating


async def measure(bench: Bench, plan: Plan, say: Say) -> Results:
    """Everything the plan names."""
    results = Results()
    if "requests" in plan.parts:
        await measure_requests(bench, plan, results, say)
    if "streams" in plan.parts:
        await measure_streams(bench, plan, results, say)
    if "memory" in plan.parts:
        for program in ("mitmdump", "mitmweb") if plan.web else ("mitmdump",):
            results.memory.append(await measure_memory(bench, plan, program, say))
    if "mitmweb" in plan.parts:
        results.web = await measure_web(bench, plan, say)
    if "choosing" in plan.parts:
        say("choices among keys")
        results.choosing += measure_choosing(plan.choosing)
    if "translating" in plan.parts:
        say("requests and streams of other formats")
        results.translating += measure_translating(plan.translating)
    if "reports" in plan.parts:
        say(f"reports over {plan.reports:,} requests, which are written first")
        results.reports += measure_reports(bench.folder / "reports.db", plan.reports)
    if "team" in plan.parts:
        results.team = await measure_team(bench, plan, say)
    if "panel" in plan.parts:
        results.panel = await measure_panel(bench, plan, say)
    return results
