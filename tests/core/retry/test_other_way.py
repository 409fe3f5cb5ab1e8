"""A way out that fails: keys that take another come first, then other providers, and it only after them."""

from claude_relay.core.exchange import Accepted, Failure, Key, Outcome, Refused
from core.world import FACTS, OK, OPUS, Retry, World

NO_WAY = Outcome(failure=Failure.PROXY, message="the proxy gave no answer, through socks5://h:1080")


def keys(provider, **ways):
    """Keys by alias, with their own proxies."""
    return [Key(provider, name, "secret", f"{provider}-{name}", proxy=way) for name, way in ways.items()]


def dead(*ways):
    return lambda attempt: NO_WAY if attempt.key.proxy in ways else OK


def test_a_key_that_goes_another_way_is_next():
    world = World(a=keys("a", k1="dead", k2="dead", k3="dead", k4="alive", k5=None))
    for _ in range(3):
        assert isinstance(world.ask(dead("dead")), Accepted)
        assert len(world.tries) <= 2
        assert world.tries[-1] in [("a", "k4"), ("a", "k5")]


def test_then_another_provider():
    world = World(a=keys("a", k1="dead", k2="dead"), b=keys("b", k1=None))
    assert isinstance(world.ask(dead("dead")), Accepted)
    assert world.log == [("a", "k1"), ("b", "k1")]


def test_then_the_same_way_once_more():
    world = World(a=keys("a", k1="flaky"))
    assert isinstance(world.ask([NO_WAY, OK]), Accepted)
    assert world.tries == [("a", "k1")] * 2


def test_at_the_end_the_proxy_is_named():
    world = World(Retry(attempts=3), a=keys("a", k1="dead"), b=keys("b", k1="dead"))
    end = world.ask(dead("dead"))
    assert isinstance(end, Refused)
    assert end.error.status == 502
    assert "through socks5://h:1080" in end.error.message
    assert len(world.tries) == 3


def test_no_key_has_a_cooldown_for_it():
    world = World(a=keys("a", k1="dead", k2="alive"))
    world.ask(dead("dead"))
    pool = world.pools["a"]
    assert all(pool.is_ready(key, OPUS, world.now) for key in pool.keys)
    assert FACTS.model == OPUS
