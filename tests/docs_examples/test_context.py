"""Arguments of hooks: docs/plugins.md shows these tests."""

from __future__ import annotations

from inbox.plugin import (
    Accept,
    AddHeader,
    Address,
    ChangeHeader,
    Defer,
    Delivery,
    Door,
    Failure,
    FileInto,
    Identity,
    Plugin,
    Recipient,
    Reject,
    Score,
    Session,
    Stage,
    Tls,
    Transaction,
    hookimpl,
)
from inbox.plugin.testing import PluginTest


async def test_session_and_tls() -> None:
    class Strict(Plugin):
        @hookimpl
        def helo(self, session: Session) -> Reject | Defer | None:
            if session.door is Door.SUBMISSION and session.tls is None:
                return Reject(530, "5.7.0", "Use STARTTLS first")
            if session.early_talker or session.helo == "localhost":
                return Defer(450, "4.7.1", "Please introduce yourself")
            return None

    test = PluginTest(Strict)
    session = test.session("192.0.2.7", helo="laptop", door=Door.SUBMISSION)
    assert isinstance((await test.run(Stage.HELO, session=session)).verdict, Reject)
    session.tls = Tls("TLSv1.3", "TLS_AES_256_GCM_SHA384")
    assert (await test.run(Stage.HELO, session=session)).verdict == Accept()
    assert isinstance((await test.helo("localhost")).verdict, Defer)


async def test_identity() -> None:
    class OfficeHours(Plugin):
        @hookimpl
        def auth(self, session: Session, identity: Identity) -> Defer | None:
            if identity.tenant_name == "demo" and session.peer.is_loopback:
                return None
            return Defer(454, "4.7.0", f"{identity.address} cannot log in now")

    assert (await PluginTest(OfficeHours).auth("ann@demo.test", "127.0.0.1")).verdict == Accept()
    refused = await PluginTest(OfficeHours).auth("ann@demo.test", "192.0.2.1")
    assert refused.verdict == Defer(454, "4.7.0", "ann@demo.test cannot log in now")


async def test_transaction() -> None:
    class Careful(Plugin):
        @hookimpl
        def mail(self, tx: Transaction) -> Reject | None:
            if tx.sender is None:  # the null reverse-path: a bounce
                return None
            if int(tx.params.get("SIZE") or 0) > 1_000_000 and tx.sender.domain != "partner.test":
                return Reject(552, "5.3.4", "Please send a link")
            return None

    test = PluginTest(Careful)
    tx = test.transaction(sender="bob@elsewhere.test", to=())
    tx.params["SIZE"] = "2000000"
    assert isinstance((await test.run(Stage.MAIL, tx=tx)).verdict, Reject)
    assert (await test.mail(sender=None)).verdict == Accept()


async def test_recipient() -> None:
    class NoSupportByRobots(Plugin):
        @hookimpl
        def rcpt(self, tx: Transaction, recipient: Recipient) -> Reject | None:
            robot = tx.sender is None or tx.sender.local.startswith("no-reply")
            if robot and recipient.address.key == "support@demo.test":
                return Reject(550, "5.7.1", "Only people write to support")
            return None

    refused = await PluginTest(NoSupportByRobots).rcpt("Support@DEMO.test", sender="no-reply@shop.test")
    assert isinstance(refused.verdict, Reject)


async def test_message() -> None:
    class Reader(Plugin):
        @hookimpl
        def data(self, tx: Transaction) -> list[AddHeader | Score]:
            message = tx.message
            if message is None:
                return []
            seen = f"{message.size} octets, {len(message.attachments)} attachments, from {message.from_address}"
            said: list[AddHeader | Score] = [AddHeader("X-Seen", seen)]
            if "lottery" in message.subject.lower() or "lottery" in message.text(10_000).lower():
                said.append(Score("LOTTERY", 3.0))
            if any("login" in url for url in message.urls(50)):
                said.append(Score("LOGIN_LINK", 1.0))
            if "<form" in message.html(10_000):
                said.append(Score("FORM", 1.0))
            return said

    eml = b"From: Bob <bob@elsewhere.test>\r\nSubject: The LOTTERY\r\n\r\nhttps://bank.test/login\r\n"
    outcome = await PluginTest(Reader).data(eml)
    assert outcome.symbols == {"LOTTERY": 3.0, "LOGIN_LINK": 1.0}
    assert outcome.edits == [AddHeader("X-Seen", "81 octets, 0 attachments, from bob@elsewhere.test")]


async def test_headers() -> None:
    class Tidy(Plugin):
        @hookimpl
        def data(self, tx: Transaction) -> list[ChangeHeader | Score]:
            if tx.message is None:
                return []
            headers = tx.message.headers
            said: list[ChangeHeader | Score] = []
            if headers.count("Subject") > 1:  # RFC 5322 §3.6: once at most
                said.append(Score("TWO_SUBJECTS", 2.0, " / ".join(headers.get_all("Subject"))))
            if headers.get("X-Priority", "3") == "1" and b"\r\n" not in headers.raw_all("X-Priority")[0]:
                said.append(ChangeHeader("X-Priority", "3"))
            return said

    outcome = await PluginTest(Tidy).data(b"Subject: a\r\nX-Priority: 1\r\nSubject: =?utf-8?q?b=C3=BC?=\r\n\r\n")
    assert outcome.symbols == {"TWO_SUBJECTS": 2.0}
    assert outcome.trace.opinions[0] == Score("TWO_SUBJECTS", 2.0, "a / bü")
    assert outcome.edits == [ChangeHeader("X-Priority", "3")]


PDF = (
    b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nhello\r\n--b\r\n"
    b'Content-Type: application/pdf\r\nContent-Disposition: attachment; filename="../Bill.PDF"\r\n'
    b"Content-Transfer-Encoding: base64\r\n\r\nJVBERi0xLjcK\r\n--b--\r\n"
)


async def test_parts() -> None:
    class Pdf(Plugin):
        @hookimpl
        def data(self, tx: Transaction) -> list[Score]:
            return [
                Score("FALSE_PDF", 4.0, part.file_name)
                for part in (tx.message.attachments if tx.message is not None else ())
                if part.extension == "pdf" and not part.decoded(5).startswith(b"%PDF-")
            ]

    test = PluginTest(Pdf)
    assert (await test.data(PDF)).symbols == {}
    assert (await test.data(PDF.replace(b"JVBE", b"TVqQ"))).symbols == {"FALSE_PDF": 4.0}
    message = test.transaction(eml=PDF).message
    assert message is not None
    (part,) = message.attachments
    assert (part.path, part.content_type, part.disposition) == ("2", "application/pdf", "attachment")
    assert (part.file_name, part.decoded_size, part.encoded_size) == ("Bill.PDF", 9, 12)
    assert (part.file_names, part.extensions, part.languages) == (("Bill.PDF",), ("pdf",), ())
    assert (part.is_readable, part.is_reordered) == (False, False)
    assert message.examined_completely, "no limit left anything unread"
    assert [one.content_type for one in message.parts] == ["text/plain", "application/pdf"]


async def test_links() -> None:
    class Phishing(Plugin):
        @hookimpl
        def data(self, tx: Transaction) -> list[Score]:
            links = tx.message.links(100) if tx.message is not None else ()
            false = [link for link in links if link.named_host and link.named_host != link.host]
            return [Score("FALSE_LINK", 4.0, f"shows {link.named_host}, leads to {link.host}") for link in false]

    eml = b'Content-Type: text/html\r\n\r\n<a href="https://EVIL.test/x">https://www.bank.test/</a>\r\n'
    outcome = await PluginTest(Phishing).data(eml)
    assert outcome.trace.opinions == (Score("FALSE_LINK", 4.0, "shows www.bank.test, leads to evil.test"),)


class Words:
    """A slow result that depends on the message alone."""

    def __init__(self) -> None:
        self.count: int | None = None


async def test_work_that_tenants_share() -> None:
    class Wordy(Plugin):
        @hookimpl
        def data(self, tx: Transaction) -> Score | None:
            if tx.message is None:
                return None
            words = tx.message.shared(Words)
            if words.count is None:
                words.count = len(tx.message.text().split())
            return Score("WORDY", words.count / 100)

    assert (await PluginTest(Wordy).data(b"\r\n" + b"word " * 200)).symbols == {"WORDY": 2.0}


async def test_delivery() -> None:
    class Plus(Plugin):
        @hookimpl
        def store(self, delivery: Delivery) -> FileInto | None:
            if delivery.kind != "local" or delivery.mailbox != "INBOX" or delivery.transaction.sender is None:
                return None
            _, plus, detail = delivery.recipient.address.local.partition("+")
            return FileInto(f"Plus/{detail[:40]}") if plus and detail.isalnum() else None

    assert (await PluginTest(Plus).store(to=["ann+shop@demo.test"])).edits == [FileInto("Plus/shop")]


async def test_failure() -> None:
    class Alarm(Plugin):
        def __init__(self, settings: object, services: object) -> None:
            self.seen: list[str] = []

        @hookimpl
        def bounce(self, failure: Failure) -> None:
            address = failure.delivery.recipient.effective
            self.seen.append(f"{address}: {failure.code} {failure.enhanced} {failure.text}")

    test = PluginTest(Alarm)
    await test.bounce(550, "5.1.1", "No such user", to=["bob@elsewhere.test"])
    (instance,) = test.instances.living()
    assert isinstance(instance.plugin, Alarm)
    assert instance.plugin.seen == ["bob@elsewhere.test: 550 5.1.1 No such user"]


def test_address() -> None:
    address = Address.parse("Ann.Lee+News@BÜCHER.test")
    assert (address.local, address.domain) == ("Ann.Lee+News", "xn--bcher-kva.test")
    assert address.key == "ann.lee+news@xn--bcher-kva.test", "compare addresses by their key"
    assert str(Address("ann lee", "demo.test")) == '"ann lee"@demo.test'
    assert Address.parse("ann@demo.test").is_ascii
