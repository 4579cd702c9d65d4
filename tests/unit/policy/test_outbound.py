"""The section ``outbound`` of policies."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from inbox.policy.origins import BUILT_IN, of_outbound
from inbox.policy.outbound import OutboundPolicy
from tests.support.policies import mistakes, policies


def test_without_a_section_everything_has_its_default() -> None:
    outbound = policies("").effective("acme").outbound

    assert outbound == OutboundPolicy()
    assert (outbound.smarthost, outbound.tls, outbound.connections, outbound.delay_warning) == (None, None, 20, 14_400)


def test_levels_of_the_sender_inherit_key_by_key() -> None:
    found = policies(
        "outbound: {connections: 5, rate: 10, breaker: {failures: 2, cool_down: 9}}",
        acme="""
outbound: {ehlo_name: Mail.Acme.test, source_ipv4: 192.0.2.7, breaker: {failures: 3}}
domains:
  shop.acme.test: {outbound: {smarthost: {host: relay.test, port: 587}}}
accounts:
  ann@shop.acme.test: {outbound: {smarthost: null}}
""",
    )

    tenant = found.effective("acme").outbound
    shop = found.effective("acme", "shop.acme.test").outbound
    ann = found.effective("acme", "shop.acme.test", "ann@shop.acme.test").outbound

    assert (tenant.connections, tenant.rate, tenant.ehlo_name) == (5, 10, "mail.acme.test")
    assert tenant.source_ipv4 == IPv4Address("192.0.2.7")
    assert (tenant.breaker.failures, tenant.breaker.cool_down) == (3, 9)
    assert shop.smarthost is not None
    assert (shop.smarthost.host, shop.smarthost.port, shop.ehlo_name) == ("relay.test", 587, "mail.acme.test")
    assert ann.smarthost is None
    assert found.effective("other").outbound.ehlo_name is None


def test_a_destination_has_its_exceptions() -> None:
    outbound = policies(
        """
outbound:
  smarthost: {host: relay.test}
  rate: 100
  destinations:
    Partner.test: {smarthost: null, tls: opportunistic, connections: 2}
    lists.test: {rate: 0}
"""
    ).effective().outbound  # fmt: skip

    partner, lists, other = (outbound.towards(name) for name in ("partner.test", "lists.test", "other.test"))

    assert (partner.smarthost, partner.tls, partner.connections, partner.rate) == (None, "opportunistic", 2, 100)
    assert (lists.smarthost, lists.rate, lists.connections) == (outbound.smarthost, 0, 20)
    assert other is outbound


def test_every_exception_of_a_destination_counts() -> None:
    outbound = policies(
        """
outbound:
  retry: {base_delay: 10, max_attempts: 4}
  breaker: {failures: 7}
  destinations:
    partner.test:
      messages_per_connection: 3
      rate: 6
      rate_seconds: 5
      breaker: {cool_down: 9}
      retry: {max_delay: 100, max_attempts: 2}
      to_seven_bit: never
      chunking: false
"""
    ).effective().outbound  # fmt: skip

    partner = outbound.towards("partner.test")

    assert (partner.messages_per_connection, partner.rate, partner.rate_seconds) == (3, 6, 5)
    assert (partner.breaker.failures, partner.breaker.cool_down) == (7, 9)
    assert (partner.retry.base_delay, partner.retry.max_delay, partner.retry.max_attempts) == (10, 100, 2)
    assert (partner.to_seven_bit, partner.chunking) == ("never", False)
    assert (outbound.to_seven_bit, outbound.chunking, outbound.retry.max_attempts) == ("unsigned", True, 4)


def test_destinations_of_the_levels_are_joined() -> None:
    outbound = policies(
        "outbound: {destinations: {a.test: {connections: 1}, b.test: {connections: 1}}}",
        acme="outbound: {destinations: {b.test: {connections: 2}}}",
    ).effective("acme").outbound  # fmt: skip

    assert [outbound.towards(name).connections for name in ("a.test", "b.test", "c.test")] == [1, 2, 20]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("outbound: 5\n", "1:11: outbound: must be a mapping (key: value)"),
        ("outbound: {smarhost: {}}\n", "1:12: unknown key 'smarhost'; did you mean 'smarthost'?"),
        ("outbound: {smarthost: {}}\n", "1:12: 'host' is required here"),
        ("outbound: {smarthost: {host: a b}}\n", "1:30: host: must be one name or address"),
        ("outbound: {smarthost: {host: a, username: u}}\n",
         "1:23: smarthost: username and password belong together: set both or none"),
        ("outbound: {connections: 0}\n", "1:25: connections: must be greater than or equal to 1, not 0"),
        ("outbound: {tls: none}\n", "1:17: tls: must be 'required' or 'opportunistic', not 'none'"),
        ("outbound: {destinations: {a..b: {}}}\n", "1:27: a..b: must be a domain such as example.com"),
    ],
)  # fmt: skip
def test_mistakes_have_their_place(text: str, expected: str) -> None:
    assert mistakes(text) == [f"default.yaml:{expected}"]


def test_a_password_is_not_shown() -> None:
    text = "outbound: {smarthost: {host: relay.test, username: u, password: hunter2}}"
    outbound = policies(text).effective().outbound

    assert "hunter2" not in repr(outbound)
    assert "hunter2" not in outbound.model_dump_json()
    assert outbound.smarthost is not None
    assert outbound.smarthost.password.get_secret_value() == "hunter2"


def test_the_level_of_each_key_is_known() -> None:
    found = policies("outbound: {rate: 1, connections: 3}", acme="outbound: {rate: 2}")
    levels = found.named_levels("acme")

    assert of_outbound(levels, "rate") == "tenant acme"
    assert of_outbound(levels, "connections") == "default"
    assert of_outbound(levels, "tls") == BUILT_IN
