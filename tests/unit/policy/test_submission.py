"""The section ``submission`` of policies."""

from __future__ import annotations

import json

import pytest

from inbox.mail.address import Address
from inbox.policy.origins import BUILT_IN, of_submission
from inbox.policy.submission import SubmissionPolicy
from tests.support.policies import mistakes, policies
from tests.support.sources import ROOT


def test_nothing_is_set_by_default() -> None:
    submission = policies("").effective("acme").submission

    assert submission == SubmissionPolicy()
    assert (submission.max_message_octets, submission.max_recipients, submission.senders) == (26_214_400, None, ())


def test_the_innermost_level_sets_a_key() -> None:
    found = policies(
        "submission: {max_recipients: 50, hide_client: true}",
        acme="""
submission: {save_sent: true, senders: [News@Partner.test]}
domains:
  shop.acme.test: {submission: {hide_client: false}}
accounts:
  ann@shop.acme.test: {submission: {max_recipients: null, senders: ["@Lists.test"]}}
""",
    )

    tenant = found.effective("acme").submission
    shop = found.effective("acme", "shop.acme.test").submission
    ann = found.effective("acme", "shop.acme.test", "ann@shop.acme.test").submission

    assert (tenant.hide_client, tenant.save_sent, tenant.max_recipients) == (True, True, 50)
    assert tenant.senders == ("news@partner.test",)
    assert (shop.hide_client, shop.save_sent) == (False, True)
    assert (ann.max_recipients, ann.senders) == (None, ("@lists.test",))
    assert found.effective("other").submission.save_sent is False


def test_senders_are_addresses_and_domains() -> None:
    policy = SubmissionPolicy(senders=("news@partner.test", "@lists.test"))
    allowed = [
        policy.may_send_as(Address.parse(one)) for one in ("News@partner.test", "x@lists.test", "x@a.lists.test")
    ]
    assert allowed == [True, True, False]


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("submission: {savesent: true}\n", "1:14: unknown key 'savesent'; did you mean 'save_sent'?"),
        ("submission: {max_message_octets: 26214401}\n",
         "1:34: max_message_octets: must be less than or equal to 26214400, not 26214401"),
        ("submission: {max_recipients: 0}\n", "1:30: max_recipients: must be greater than or equal to 1, not 0"),
        ("submission: {senders: [nobody]}\n",
         "1:23: senders: 'nobody' is neither an address nor a domain such as @example.com"),
        ("submission: {senders: ['@a..b']}\n",
         "1:23: senders: '@a..b' is neither an address nor a domain such as @example.com"),
    ],
)  # fmt: skip
def test_mistakes_are_named(text: str, mistake: str) -> None:
    assert [one.partition("default.yaml:")[2] for one in mistakes(text)] == [mistake]


def test_the_level_of_each_key_is_known() -> None:
    found = policies("submission: {save_sent: true}", acme="submission: {hide_client: true}")
    levels = found.named_levels("acme")
    assert of_submission(levels, "hide_client") == "tenant acme"
    assert of_submission(levels, "save_sent") == "default"
    assert of_submission(levels, "seven_bit") == BUILT_IN


def test_the_page_for_operators_has_every_key_with_its_default() -> None:
    page = (ROOT / "docs" / "submission.md").read_text("utf-8")
    for name, field in SubmissionPolicy.model_fields.items():
        default = json.dumps(field.default)
        assert f"| `{name}` | {default} | " in page
