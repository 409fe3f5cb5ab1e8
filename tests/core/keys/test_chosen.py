"""A key that somebody has chosen goes before the others, while it may be used."""

from claude_relay.core.bodies.resources import Owner
from claude_relay.core.exchange import Accepted, Endpoint, Facts, Key
from claude_relay.core.keys.pool import Pool
from claude_relay.core.keys.sessions import WARM
from core.world import BUSY, DENIED, OK, OPUS, World, limited


def keys_used(world, *answers, session=None):
    assert isinstance(world.ask(list(answers), Facts(Endpoint.MESSAGES, model=OPUS, session=session)), Accepted)
    return [alias for _, alias in world.tries]


def test_it_is_first_and_the_others_stand_behind_it():
    world = World(a=3)
    world.pools["a"].chosen = "a-2"
    assert [keys_used(world, OK) for _ in range(3)] == [["k2"]] * 3
    used = keys_used(world, limited(60), OK)
    assert used[0] == "k2"
    assert used[1] != "k2"
    assert keys_used(world, OK) != ["k2"], "it has a cooldown"
    world.now += 61
    assert keys_used(world, OK) == ["k2"], "it is back"
    world.pools["a"].chosen = ""
    assert {keys_used(world, OK)[0] for _ in range(3)} == {"k1", "k2", "k3"}


def test_within_a_request_others_follow_it():
    world = World(a=3)
    world.pools["a"].chosen = "a-3"
    used = keys_used(world, DENIED, OK)
    assert used[0] == "k3"
    assert used[1] != "k3"
    world.pools["a"].chosen = "a-1"
    assert set(keys_used(world, BUSY, BUSY, OK)) - {"k1"}, "and when it has no capacity"


def test_no_tier_goes_before_it_and_no_stranger_counts():
    pool = Pool("p", [Key("p", f"k{n}", "s", f"id{n}", tier=tier) for n, tier in enumerate(("admin", "", "public"))])
    pool.chosen = "id2"
    assert pool.choose(OPUS, 0.0).id == "id2"
    assert pool.choose(OPUS, 0.0, frozenset({"id2"})).id == "id0"
    pool.chosen = "id9"
    assert pool.choose(OPUS, 0.0).id == "id0"
    pool.chosen = "id1"
    pool.replace(pool.keys[:1])
    assert pool.choose(OPUS, 0.0).id == "id0", "it left the pool"


def test_a_conversation_moves_to_it_and_goes_home_when_it_is_cold_and_the_choice_over():
    world = World(a=3)
    assert keys_used(world, OK, session="s") == ["k1"]
    world.pools["a"].chosen = "a-3"
    assert keys_used(world, OK, session="s") == ["k3"], "though its cache is warm at k1"
    world.pools["a"].chosen = ""
    assert keys_used(world, OK, session="s") == ["k3"], "where it is warm now"
    world.now += WARM + 1
    assert keys_used(world, OK, session="s") == ["k1"]


def test_it_waits_for_no_warm_key_that_has_a_cooldown():
    world = World(a=3)
    assert keys_used(world, OK, session="s") == ["k1"]
    world.cool_down("a", 1, limited(3))
    world.pools["a"].chosen = "a-2"
    assert keys_used(world, OK, session="s") == ["k2"]
    assert world.waited == 0


def test_what_another_key_has_made_stays_with_that_key():
    world = World(a=3)
    world.pools["a"].chosen = "a-2"
    world.owner = Owner("a", "a-1")
    assert keys_used(world, OK) == ["k1"]
