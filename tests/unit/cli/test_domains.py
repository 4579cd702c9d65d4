from __future__ import annotations

import base64

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.support.cli import Cli


def test_a_domain_is_hosted_by_one_tenant(cli: Cli) -> None:
    cli.demo()
    cli("tenant", "add", "other")
    assert cli("domain", "add", "other", "DEMO.test").code == 1
    assert cli("domain", "add", "nobody", "x.test").code == 1
    assert cli("domain", "add", "other", "bücher.test").out == "other hosts xn--bcher-kva.test\n"
    assert cli("domain", "add", "other", "not..one").code == 2
    assert [row["domain"] for row in cli("domain", "list", "--json").json] == ["demo.test", "xn--bcher-kva.test"]
    assert [row["tenant"] for row in cli("domain", "list", "--tenant", "other", "--json").json] == ["other"]
    assert cli("domain", "list", "--tenant", "nobody").code == 1


def test_override_fields_are_set_kept_and_unset(cli: Cli) -> None:
    cli.demo()
    ran = cli("domain", "set", "demo.test", "require_spf_pass=false", "plus_delimiter=-")
    assert (ran.code, ran.err) == (0, "")
    ran = cli("domain", "set", "demo.test", "quota_daily_send_limit=500", "plus_delimiter=")
    assert (ran.code, ran.err) == (
        0,
        "inbox: quota_daily_send_limit: stored, but this version does not use it\n",
    )
    (row,) = cli("domain", "list", "--json").json
    assert row["overrides"] == {"require_spf_pass": False, "quota_daily_send_limit": 500}


def test_a_secret_comes_from_a_file_and_is_never_shown(cli: Cli) -> None:
    cli.demo()
    key = cli.folder / "key"
    made = Ed25519PrivateKey.generate().private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    text = base64.b64encode(made).decode()
    key.write_text(f"{text}\n")
    ran = cli("domain", "set", "demo.test", f"dkim_private_key_b64_pkcs8=@{key}")
    assert ran.code == 0
    assert ran.err == ""
    assert text not in ran.out + ran.err + cli("domain", "list", "--json").out
    assert cli("domain", "list", "--json").json[0]["overrides"] == {"dkim_private_key_b64_pkcs8": "********"}


def test_encryption_that_is_not_there_is_refused(cli: Cli) -> None:
    cli.demo()
    ran = cli("domain", "set", "demo.test", "enc_mode=e2ee")
    assert (ran.code, ran.err) == (1, "inbox: enc_mode: this version does not encrypt stored mail\n")
    assert cli("domain", "list", "--json").json[0]["overrides"] == {}


def test_mistakes_are_named_and_change_nothing(cli: Cli) -> None:
    cli.demo()
    assert "did you mean require_spf_pass" in cli("domain", "set", "demo.test", "require_spf=1").err
    assert cli("domain", "set", "demo.test", "require_spf_pass").code == 2
    assert cli("domain", "set", "demo.test", "quota_daily_send_limit=-1").code == 2
    assert cli("domain", "set", "demo.test", f"enc_sse_c_key_b64=@{cli.folder}/none").code == 2
    assert cli("domain", "set", "other.test", "require_spf_pass=1").code == 1
    assert cli("domain", "list", "--json").json[0]["overrides"] == {}


def test_the_error_for_a_hosted_domain_names_its_tenant(cli: Cli) -> None:
    cli.demo()
    cli("tenant", "add", "other")
    ran = cli("domain", "add", "other", "demo.test")
    assert (ran.code, ran.err) == (1, "inbox: demo.test is hosted by demo already\n")
