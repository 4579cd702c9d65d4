from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from inbox.app.wiring.reports import make_report_sender
from inbox.authentication.aggregate.parse import parse_mail
from inbox.authentication.aggregate.records import encode_observation, observation_key
from inbox.mail.content import MemoryContent
from inbox.mail.message import Message
from inbox.plugin.api.testing import MemoryLog
from inbox.store.ports import ObservationCount
from tests.support.aggregate import SEEN
from tests.support.flow import world


async def test_the_policy_names_sender_and_organization(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        # The day before yesterday has ended at any time of the day.
        day = (datetime.now(UTC) - timedelta(days=2)).strftime("%Y-%m-%d")
        published = (("p", "none"), ("rua", "mailto:r@a.example"))
        body = encode_observation(
            replace(SEEN, day=day, policy_domain="a.example", header_from="a.example", published=published)
        )
        counted = ObservationCount(day, "a.example", observation_key(body), body, 1)
        await here.installation.database.dmarc_reports.count([counted])
        sender = make_report_sender(here.installation, here.parts, MemoryLog())
        await sender.run()
        assert await here.jobs() == [], "reports are sent only if the policy names a sender"
        reports = "server: {reports: {sender: dmarc@acme.test, organization: Acme}}\n"
        await here.policy("default.yaml", f"plugins:\n  recipients: {{}}\n{reports}")
        await sender.run()
        (queued,) = await here.jobs()
        assert (queued.job.sender, queued.job.job_class) == ("dmarc@acme.test", "report")
        report = parse_mail(Message(MemoryContent(await here.relayed(queued))))
        assert (report.organization, report.domain) == ("Acme", "a.example")
