"""The default policy that ships."""

from __future__ import annotations

from pathlib import Path

from inbox.plugin.engine.registry import Registry
from inbox.policy.catalogue import Mode
from inbox.policy.snapshot import PolicySet
from inbox.policy.stages import Stage

DEFAULT = Path(__file__).parents[3] / "policies" / "default.yaml"


def test_it_fits_the_shipped_plugins() -> None:
    policies = PolicySet.from_texts({"default.yaml": DEFAULT.read_bytes()}, Registry(points=[]).discover())
    policy = policies.effective()
    assert [entry.name for entry in policy.plugins] == [
        "recipients", "rate_limit", "spf", "dkim", "arc", "dmarc", "bimi", "clamav", "spam_rules", "headers",
        "dmarc_reports", "suppression", "authentication_results",
    ]  # fmt: skip
    assert [entry.name for entry in policy.plugins if entry.mode is Mode.OFF] == ["bimi", "clamav"]
    assert [[entry.name for entry in level] for level in policy.levels(Stage.RCPT)] == [
        ["recipients", "spf", "suppression"]
    ]
    assert policy.thresholds.reject == 15


def test_its_server_section_has_the_defaults() -> None:
    plugins = Registry(points=[]).discover()
    said = PolicySet.from_texts({"default.yaml": DEFAULT.read_bytes()}, plugins).server
    assert said == PolicySet.from_texts({}, plugins).server
