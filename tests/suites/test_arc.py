"""The ARC suite: 171 chains to validate, 17 messages to seal, with their keys and zones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dkim
import yaml
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from inbox.authentication.arc.seal import seal
from inbox.authentication.arc.validate import validate
from inbox.mail.content import MemoryContent
from inbox.plugin.api.facts import ArcFact, Result
from inbox.plugin.api.signing import SigningKey
from inbox.plugin.api.standins import MemoryResolver
from tests.support.suites import suite_dir

#: All signatures of the suite say t=12345 or a little later.
NOW = 12400.0
#: An empty ``cv`` marks chains that a hop before declared broken: RFC 8617 §5.2 step 2 has them fail.
EXPECTED = {"pass": Result.PASS, "fail": Result.FAIL, "": Result.FAIL, "none": Result.NONE}


def scenarios(file: str) -> list[dict[str, Any]]:
    path = suite_dir("arc") / file
    return [each for each in yaml.load_all(path.read_text(), yaml.CSafeLoader) if each]


def cases(file: str) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    for scenario in scenarios(file):
        for name, case in scenario["tests"].items():
            yield name, case, scenario


def zone(scenario: dict[str, Any]) -> MemoryResolver:
    dns = MemoryResolver()
    for name, text in scenario["txt-records"].items():
        dns.txt_records[name] = ["".join(text.split("\n")).encode()]
    return dns


def octets(text: str) -> bytes:
    return text.encode().replace(b"\n", b"\r\n")


async def test_all_chains_are_judged_as_the_suite_says() -> None:
    wrong = {}
    count = 0
    for name, case, scenario in cases("arc-draft-validation-tests.yml"):
        fact = await validate(MemoryContent(octets(case["message"])), zone(scenario), now=NOW)
        expected = EXPECTED[(case["cv"] or "").lower()]
        count += 1
        if fact.result is not expected:
            wrong[name] = f"{fact.result} ({fact.reason}), expected {expected}"
    assert wrong == {}
    assert count == 171


def results_of(message: str, server: str) -> str:
    """The Authentication-Results of ``server`` in one."""
    head = message.partition("\n\n")[0].replace("\n ", " ")
    values = [line.partition(":")[2].split() for line in head.split("\n") if line.startswith("Authentication-Results:")]
    parts = [" ".join(words[1:]) for words in values if words[0] == f"{server};"]
    return "; ".join([server, *(part.rstrip(";") for part in parts)])


def tags(value: str) -> dict[str, str]:
    """The tags of a field, white space in them apart."""
    pairs = (part.partition("=") for part in value.strip().rstrip(";").split(";"))
    return {name.strip(): "".join(text.split()) for name, _, text in pairs}


def value_of(field: bytes) -> str:
    return " ".join(field.decode().partition(":")[2].split())


async def test_all_messages_are_sealed_as_the_suite_says() -> None:
    count = 0
    for name, case, scenario in cases("arc-draft-sign-tests.yml"):
        count += 1
        dns = zone(scenario)
        message = octets(case["message"])
        private = load_pem_private_key(scenario["privatekey"].encode(), None)
        assert isinstance(private, RSAPrivateKey)
        key = SigningKey(scenario["domain"], scenario["sel"], private)
        chain = await validate(MemoryContent(message), dns, now=NOW)
        made = seal(
            MemoryContent(message), results_of(case["message"], case["srv-id"]), key, case["t"], chain,
            case["sig-headers"].split(":"),
        )  # fmt: skip
        if not case["AS"]:
            assert made is None, name
            continue
        assert made is not None, name
        assert value_of(made.results) == " ".join(case["AAR"].split()), name
        assert tags(value_of(made.message_signature)) == tags(case["AMS"]), name
        # The octets that a seal signs depend on the folding of the other two fields, which the sealer chooses.
        assert tags(value_of(made.seal)) | {"b": ""} == tags(case["AS"]) | {"b": ""}, name
        await _verified(bytes(made) + message, dns, chain, name)
    assert count == 17


async def _verified(sealed: bytes, dns: MemoryResolver, before: ArcFact, name: str) -> None:
    after = await validate(MemoryContent(sealed), dns, now=NOW)
    expected = Result.FAIL if before.result is Result.FAIL else Result.PASS
    assert after.result is expected, (name, after.reason)
    state, hops, _ = dkim.arc_verify(sealed, dnsfunc=lambda asked, timeout=5: dns.txt_records[asked.decode()[:-1]][0])
    # dkimpy has no result for a chain that ended, and looks at the last seal only for those that did not.
    assert state == (None if before.result is Result.FAIL else b"pass"), name
    assert hops[0]["ams-valid"], name
