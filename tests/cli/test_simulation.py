"""The simulated day: its buckets, its made-up Claude, and a small day with the relay's own core."""

from __future__ import annotations

import io
import json
from functools import partial
from itertools import pairwise
from random import Random

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from claude_relay.cli.demo import demo
from claude_relay.core.bodies.ratelimits import headroom
from claude_relay.core.exchange import Endpoint, Facts, Key
from claude_relay.core.keys.selection import STRATEGIES
from claude_relay.core.retry.verdicts import judge
from simulation.answers import limit_headers
from simulation.buckets import MINUTE, Allowance, Bucket, Cost, Limits
from simulation.caches import LIFE, Caches
from simulation.clock import World
from simulation.command import ORDER, simulate
from simulation.day import MIDNIGHT, Plan, Relay, play
from simulation.fleet import DAY, PROVIDER, SMALL, Account, Fleet, Span, make_fleet
from simulation.report import as_json, print_report
from simulation.tally import percentile
from simulation.traffic import LARGEST, Session, Size, Turn, make_traffic
from simulation.upstream import Upstream

QUIET = Size(sessions=12, rushes=1, rush=4, singles=20, bursts=0, burst=0)
STORMY = Size(sessions=12, rushes=0, rush=0, singles=0, bursts=3, burst=430)
TURN = Turn(context=20_000, shared=0, output=400)

limits = st.floats(1, 1e6)
arrivals = st.lists(st.tuples(st.floats(0, 90), st.floats(0, 1.2)), max_size=40)
"""Seconds since the one before, and what it takes as a share of the limit."""


class TestBuckets:
    @given(limits, arrivals)
    def test_never_lets_through_more_than_its_limit_and_what_came_meanwhile(self, limit, arrivals):
        bucket, now, let_through = Bucket(limit, at=0.0), 0.0, []
        for gap, share in arrivals:
            now += gap
            if bucket.lacks(share * limit, now) == 0:
                bucket.spend(share * limit, now)
                let_through.append((now, share * limit))
        for start, _ in let_through:
            for end, _ in let_through:
                between = sum(amount for when, amount in let_through if start <= when <= end)
                assert between <= (limit + max(0.0, end - start) * limit / MINUTE) * (1 + 1e-9) + 0.1

    @given(limits, arrivals)
    def test_what_it_tells_to_wait_is_enough_and_no_more_than_needed(self, limit, arrivals):
        bucket, now = Bucket(limit, at=0.0), 0.0
        for gap, share in arrivals:
            now += gap
            wait = bucket.lacks(share * limit, now)
            assert (wait == float("inf")) == (share > 1.0 and share * limit - bucket.level(now) > 0.001)
            if 1e-6 < wait < float("inf"):
                assert Bucket.lacks(copied(bucket, now), share * limit, now + wait) == 0
                assert Bucket.lacks(copied(bucket, now), share * limit, now + wait * 0.5 - 0.01 * MINUTE / limit) > 0
            bucket.spend(share * limit, now)  # overdrawn, as by an answer that was longer than what was left

    @given(limits, arrivals)
    def test_is_never_more_than_full_and_full_when_it_says_so(self, limit, arrivals):
        bucket, now = Bucket(limit, at=0.0), 0.0
        for gap, share in arrivals:
            now += gap
            bucket.spend(share * limit, now)
            assert bucket.level(now) <= limit
            later = copied(bucket, now)
            assert later.level(now + bucket.full_in(now)) == pytest.approx(limit)

    def test_an_answer_may_overdraw_and_is_paid_back(self):
        allowance = Allowance(Limits(requests=10, input_tokens=600, output_tokens=60), at=0.0)
        allowance.produce(90, now=0.0)
        lack = allowance.lacks(Cost(10), now=0.0)
        assert lack is not None
        assert (round(lack.seconds), lack.bucket, lack.limit) == (31, "output_tokens", 60)
        assert allowance.lacks(Cost(10), now=31.0) is None


def copied(bucket: Bucket, now: float) -> Bucket:
    copy = Bucket(bucket.limit, now)
    copy.spend(bucket.limit - bucket.level(now), now)
    return copy


def fleet_of(*accounts: Account, overloads: tuple[Span, ...] = ()) -> Fleet:
    return Fleet(accounts, overloads)


def account(number: int, organisation: str = "north", **more: Span) -> Account:
    return Account(Key(PROVIDER, f"k{number}", f"secret-{number}", f"id{number}"), organisation, SMALL, **more)


def claude_of(*accounts: Account, **more: tuple[Span, ...]) -> Upstream:
    return Upstream(fleet_of(*accounts, **more), Random(1), MIDNIGHT)


def verdict(claude: Upstream, secret: str = "secret-1", now: float = MIDNIGHT, turn: Turn = TURN) -> str:
    return judge(claude.answer(secret, turn, None, now).outcome, Facts(Endpoint.MESSAGES, "m"), now=now).name


class TestUpstream:
    def test_a_key_in_trouble(self):
        always = Span(MIDNIGHT, MIDNIGHT + DAY)
        assert verdict(claude_of(account(1, revoked=always))) == "unauthorized"
        assert verdict(claude_of(account(1, penniless=always))) == "no_credit"
        assert verdict(claude_of(account(1, penniless=always)), now=MIDNIGHT + DAY) == "ok"
        overloaded = claude_of(account(1), overloads=(always,))
        verdicts = {verdict(overloaded, now=MIDNIGHT + 60 * n) for n in range(20)}
        assert verdicts == {"ok", "overloaded"}

    def test_keeps_its_word(self):
        """Who comes again when it says so is served, if nobody else came meanwhile; who comes a second before is not."""
        claude, now = claude_of(account(1)), MIDNIGHT
        while (outcome := claude.answer("secret-1", TURN, None, now).outcome).status == 200:
            pass
        seconds = int(outcome.headers["retry-after"])
        assert judge(outcome, Facts(Endpoint.MESSAGES, "m"), now=now).cooldown_until == now + seconds
        assert verdict(claude, now=now + seconds - 1) == "rate_limited"
        assert verdict(claude, now=now + seconds) == "ok"

    def test_keys_of_an_organisation_share_its_limits(self):
        together, apart = [account(n) for n in (1, 2)], [account(1), account(2, "south")]
        counts = []
        for accounts in (together, apart):
            claude = claude_of(*accounts)
            counts.append(sum(verdict(claude, f"secret-{n % 2 + 1}") == "ok" for n in range(10)))
        assert counts == [3, 2], "70 % of 100,000 tokens for both, or 35,000 for each"

    def test_headers_say_what_is_left_of_the_scarcest(self):
        roomy, narrow = Allowance(SMALL * 4, MIDNIGHT), Allowance(SMALL, MIDNIGHT)
        narrow.admit(Cost(40_000), MIDNIGHT)
        headers = limit_headers((roomy, narrow), MIDNIGHT)
        assert headers["anthropic-ratelimit-input-tokens-limit"] == "50000"
        assert headers["anthropic-ratelimit-input-tokens-remaining"] == "10000"
        found = headroom(headers, MIDNIGHT)
        assert found is not None
        assert found[:2] == (0.2, MIDNIGHT + 48)

    def test_the_cache_is_that_of_the_key_and_lives_five_minutes(self):
        caches = Caches()
        caches.write("a", "s", 9_000, 0.0)
        assert [caches.read(*place, 8_000, LIFE - 1) for place in (("a", "s"), ("b", "s"), ("a", "t"))] == [8_000, 0, 0]
        assert caches.read("a", "s", 8_000, LIFE) == 0
        assert caches.read("a", None, 8_000, 1.0) == 0

    def test_cached_tokens_do_not_count_against_the_limit(self):
        claude, later = claude_of(account(1)), MIDNIGHT + 1
        claude.answer("secret-1", Turn(34_000, 0, 100), "s", MIDNIGHT)
        assert claude.answer("secret-1", Turn(34_500, 34_000, 100), None, later).outcome.status == 429
        again = claude.answer("secret-1", Turn(34_500, 34_000, 100), "s", later)
        assert (again.outcome.status, again.cached) == (200, 34_000)


class TestDay:
    def test_traffic_is_possible_and_the_same_for_the_same_seed(self):
        traffic = make_traffic(3, MIDNIGHT, QUIET)
        assert traffic == make_traffic(3, MIDNIGHT, QUIET) != make_traffic(4, MIDNIGHT, QUIET)
        assert len([session for session in traffic if session.name]) in range(14, 18)
        for session in traffic:
            assert MIDNIGHT <= session.begin < MIDNIGHT + DAY + MINUTE
            assert all(0 < turn.context <= LARGEST <= SMALL.input_tokens for turn in session.turns)
            assert all(after.shared in (0, before.context) for before, after in pairwise(session.turns))

    def test_fleet(self):
        fleet = make_fleet(1, MIDNIGHT)
        assert len({key.id for key in fleet.keys}) == 50
        assert len(fleet.organisations()) == 3
        assert sum(account.revoked.happens for account in fleet.accounts) == 4
        assert not any(account.revoked.happens and account.penniless.happens for account in fleet.accounts)

    def test_processes_take_turns_by_the_clock(self):
        world, seen = World(0.0), []

        def process(name, *sleeps):
            for seconds in sleeps:
                yield seconds
                seen.append((name, world.now))

        world.spawn(process("a", 3, 3), 0.0)
        world.spawn(process("b", 1, 2), 0.0)
        world.run()
        assert seen == [("b", 1), ("a", 3), ("b", 3), ("a", 6)]

    @pytest.mark.parametrize("sticky", [False, True])
    def test_the_same_seed_gives_the_same_day(self, sticky):
        one, other = (play(Plan(2, QUIET), "headroom", sticky=sticky) for _ in range(2))
        assert one == other
        assert one != play(Plan(3, QUIET), "headroom", sticky=sticky)

    @pytest.mark.parametrize("strategy", STRATEGIES)
    def test_every_request_ends_and_no_key_stays_busy(self, strategy):
        plan = Plan(1, Size(sessions=6, rushes=0, rush=0, singles=10, bursts=1, burst=120))
        relay = Relay(plan, strategy, sticky=True)
        relay.run(plan.traffic)
        day = relay.tally.day(strategy, sticky=True)
        assert day.requests == day.served + day.refused == plan.requests
        assert relay.tally.statuses[200] == day.served
        assert not any(relay.pools[PROVIDER].busy(key) for key in plan.fleet.keys)

    def test_headroom_meets_clearly_fewer_429s_than_round_robin(self):
        plan = Plan(1, STORMY)
        for sticky in (False, True):
            ours, usual = (play(plan, strategy, sticky=sticky) for strategy in ("headroom", "round-robin"))
            assert usual.limited > 50
            assert ours.limited < usual.limited / 2

    def test_sticky_sessions_find_their_cache(self):
        free, stuck = (play(Plan(1, QUIET), "headroom", sticky=sticky) for sticky in (False, True))
        assert free.cache_hits < 0.2 < 0.6 < stuck.cache_hits

    def test_replays_and_waits_are_counted(self):
        """One key without credit first in the pool, one good: one replay, then it is left alone."""
        plan = Plan(1, QUIET)
        plan.__dict__["fleet"] = fleet_of(account(1, penniless=Span(MIDNIGHT, MIDNIGHT + DAY)), account(2))
        relay = Relay(plan, "priority", sticky=False)
        relay.run([Session(None, MIDNIGHT + 60 * n, (TURN,)) for n in range(5)])
        day = relay.tally.day("priority", sticky=False)
        assert (day.served, day.replays, day.rejected) == (5, 1, 1)
        assert day.wait_p50 == 0.0 < day.wait_p99

    def test_percentiles(self):
        assert [percentile([1.0, 2.0, 3.0, 4.0], share) for share in (0.0, 0.5, 0.99)] == [1.0, 3.0, 4.0]
        assert percentile([], 0.5) == 0.0


class TestReport:
    def test_table_and_findings(self):
        plan, shown = Plan(1, QUIET), io.StringIO()
        days = simulate(plan, ["headroom", "round-robin", "headroom"], Console(file=io.StringIO()))
        assert [(day.strategy, day.sticky) for day in days] == [
            ("headroom", False),
            ("round-robin", False),
            ("headroom", True),
            ("round-robin", True),
        ]
        print_report(days, plan, Console(file=shown, width=100))
        lines = shown.getvalue().splitlines()
        assert any(f" {days[0].served:,} " in line for line in lines)
        assert sum(line.strip().startswith(("headroom ", "round-robin ")) for line in lines) == 4
        assert any(line.startswith("Sticky sessions: headroom met ") for line in lines)
        assert max(map(len, lines)) <= 110
        assert json.loads(as_json(days, plan))["days"][0]["served"] == days[0].served

    def test_command(self, monkeypatch):
        """On a quiet day; the usual one takes too long for a test."""
        monkeypatch.setattr("simulation.command.Plan", partial(Plan, size=QUIET))
        assert ORDER[0] == "headroom"
        assert sorted(ORDER) == sorted(STRATEGIES)
        result = CliRunner().invoke(demo, ["keys", "--json", "--strategy", "random", "--seed", "5"])
        assert result.exit_code == 0, result.output
        document = json.loads(result.stdout)
        assert document["seed"] == 5
        assert [(day["strategy"], day["sticky"]) for day in document["days"]] == [("random", False), ("random", True)]
        assert document["days"][0]["requests"] == Plan(5, QUIET).requests
