"""Cached answers, their lifetime, and eviction."""

from __future__ import annotations

from inbox.dns.answers import Answer, DnsTemporary
from inbox.dns.cache import AnswerCache
from inbox.plugin.api.standins import FakeClock


def test_the_ttl_is_what_is_left() -> None:
    clock = FakeClock()
    cache = AnswerCache(clock)
    cache.put(("TXT", "a.test"), Answer((b"x",), ttl=10), 10)
    known = cache.get(("TXT", "a.test"))
    clock.advance(0.5)
    assert cache.get(("TXT", "a.test")) is known
    clock.advance(5.5)
    assert cache.get(("TXT", "a.test")) == Answer((b"x",), ttl=4)
    clock.advance(4)
    assert cache.get(("TXT", "a.test")) is None
    assert (len(cache), cache.octets) == (0, 0)


def test_a_failure_is_kept_as_it_is() -> None:
    clock = FakeClock()
    cache = AnswerCache(clock)
    failure = DnsTemporary("SERVFAIL")
    cache.put(("TXT", "a.test"), failure, 5)
    clock.advance(4)
    assert cache.get(("TXT", "a.test")) is failure


def test_types_of_one_name_are_apart() -> None:
    cache = AnswerCache(FakeClock())
    cache.put(("TXT", "a.test"), Answer((b"x",), ttl=10), 10)
    assert cache.get(("MX", "a.test")) is None


def test_the_most_recently_used_entry_stays() -> None:
    cache = AnswerCache(FakeClock(), entries=2)
    for name in ("a", "b"):
        cache.put(("TXT", name), Answer(ttl=10), 10)
    cache.get(("TXT", "a"))
    cache.put(("TXT", "c"), Answer(ttl=10), 10)
    assert [cache.get(("TXT", name)) is None for name in "abc"] == [False, True, False]


def test_octets_are_bounded() -> None:
    cache = AnswerCache(FakeClock(), octets=20_000)
    for number in range(100):
        cache.put(("TXT", f"{number}.test"), Answer((b"x" * 4_000,), ttl=10), 10)
        assert cache.octets <= 20_000
    assert 0 < len(cache) < 6
    cache.put(("TXT", "big.test"), Answer((b"x" * 30_000,), ttl=10), 10)
    assert cache.get(("TXT", "big.test")) is None
    assert cache.get(("TXT", "99.test")) is not None
