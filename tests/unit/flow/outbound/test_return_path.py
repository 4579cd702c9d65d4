"""Signed return paths."""

from __future__ import annotations

from dataclasses import replace

import pytest

from inbox.flow.outbound.return_path import ReturnPaths, Signed
from inbox.mail.address import Address
from inbox.plugin.testing import FakeClock
from inbox.store.ports.queue import Job, JobClass, JobRecipient

DAY = 86_400.0
JOB = "06h2zrvth2r0r1zs9kx0"


def paths(clock: FakeClock, key: bytes = b"key") -> ReturnPaths:
    return ReturnPaths(key, clock.now)


def made(clock: FakeClock, key: bytes = b"key", tenant: str = "acme", days: int = 14, **changes: object) -> str | None:
    job = Job(JOB, "ann@acme.test", (JobRecipient("bob@far.test"),), "far.test", clock.now(), clock.now() + DAY)
    return paths(clock, key).address(replace(job, **changes), tenant, "acme.test", days)  # type: ignore[arg-type]


def read(clock: FakeClock, text: str | None, tenant: str = "acme") -> Signed | None:
    assert text is not None
    return paths(clock).read(Address.parse(text), tenant)


@pytest.mark.parametrize("job_class", ["transactional", "bulk", "report"])
def test_an_address_names_its_job_and_class(job_class: JobClass) -> None:
    clock = FakeClock()
    text = made(clock, job_class=job_class)
    assert read(clock, text) == Signed(JOB, job_class)
    assert text is not None
    assert read(clock, text.upper()) == Signed(JOB, job_class)
    # RFC 5321 §4.5.3.1.1
    assert len(text.partition("@")[0]) <= 64


def test_the_address_is_the_same_for_all_attempts() -> None:
    clock = FakeClock()
    job = Job(JOB, "ann@acme.test", (JobRecipient("bob@far.test"),), "far.test", 1.0, 9.0)
    first = paths(clock).address(job, "acme", "acme.test", 14)
    clock.advance(3 * DAY)
    assert paths(clock).address(job, "acme", "acme.test", 14) == first


def test_a_forged_address_names_nothing() -> None:
    clock = FakeClock()
    text = made(clock)
    assert text is not None
    for place in (10, 28, 30, 40):
        other = text[:place] + ("0" if text[place] != "0" else "1") + text[place + 1 :]
        assert read(clock, other) is None
    assert read(clock, made(clock, key=b"another")) is None
    assert read(clock, "bounce+x@acme.test") is None
    assert read(clock, "ann@acme.test") is None


def test_an_address_is_valid_for_its_own_tenant_only() -> None:
    clock = FakeClock()
    assert read(clock, made(clock), "umbra") is None
    assert read(clock, made(clock, tenant="umbra"), "umbra") is not None


def test_an_address_expires_after_its_days() -> None:
    clock = FakeClock()
    text = made(clock, days=3)
    clock.advance(4 * DAY)
    assert read(clock, text) is not None
    clock.advance(DAY)
    assert read(clock, text) is None
    clock.advance(700 * DAY)
    assert read(clock, text) is None
    clock.advance(-720 * DAY)
    assert read(clock, text) is not None, "the clock was set back"


def test_notifications_and_foreign_ids_have_no_address() -> None:
    clock = FakeClock()
    assert made(clock, job_class="dsn") is None
    assert made(clock, id="job1-failed-0123456789ab") is None
