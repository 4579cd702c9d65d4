"""The environment as a whole: unknown names, several mistakes, what doctor shows."""

from __future__ import annotations

import pytest

from inbox.app.config.loading import known_variables, load
from inbox.base.errors import ConfigError
from inbox.base.secrets import MASK

SECRET = "s3kr1t-value"


def refused(**environ: str) -> str:
    with pytest.raises(ConfigError) as raised:
        load(environ)
    return str(raised.value)


def test_an_empty_environment_gives_the_defaults() -> None:
    values = load({}).values()
    assert values["SMTP_TRANSFER_PORT"] == 25
    assert values["LMTP_PORT"] == 0
    assert values["SMTP_MAX_MESSAGE_BYTES"] == 26_214_400
    assert values["SMTP_OUTBOUND_TLS_MODE"] == "required"
    assert load({}).given == frozenset()


def test_an_empty_value_is_as_good_as_none() -> None:
    config = load({"SMTP_DKIM_PRIVATE_KEY_B64_PKCS8": "", "S3_ACCESS_KEY_ID": "", "SMTP_TRANSFER_PORT": ""})
    assert config.smtp.transfer_port == 25
    assert not config.s3.enabled
    assert config.given == frozenset()


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("SMTP_TRANSFER_PROT", "SMTP_TRANSFER_PORT"),
        ("INBOX_DATADIR", "INBOX_DATA_DIR"),
        ("S3_BUCKIT", "S3_BUCKET"),
        ("TLS_CERTFILE", "TLS_CERT_FILE"),
        ("IMAPS_PROT", "IMAPS_PORT"),
    ],
)
def test_a_typing_error_is_refused_with_the_nearest_name(name: str, near: str) -> None:
    assert refused(**{name: "1"}) == f"{name}: unknown setting; did you mean {near}?"


def test_an_unknown_name_that_is_near_nothing_is_refused_without_a_guess() -> None:
    assert refused(INBOX_XYZZY="1") == "INBOX_XYZZY: unknown setting"


def test_names_of_other_programs_are_left_alone() -> None:
    load(
        {
            "OTEL_TRACES_SAMPLER": "always_on",
            "HTTP_PROXY": "x",
            "PATH": "/bin",
            "SMTP_SERVICE_HOST": "10.0.0.1",
            "INBOX_SERVICE_PORT_SMTP": "25",
            "INBOX_PORT_25_TCP_ADDR": "10.0.0.1",
            "INBOX_PORT": "tcp://10.0.0.1:25",
        }
    )


def test_one_line_has_every_mistake() -> None:
    text = refused(SMTP_TRANSFER_PORT="70000", IMAP_PORT="-1", INBOX_NOPE="x")
    assert "\n" not in text
    for name in ("SMTP_TRANSFER_PORT", "IMAP_PORT", "INBOX_NOPE"):
        assert name in text


def test_a_mistake_shows_what_was_got_but_never_a_secret() -> None:
    assert "(got '70000')" in refused(SMTP_TRANSFER_PORT="70000")
    assert SECRET not in refused(SMTP_DKIM_PRIVATE_KEY_B64_PKCS8=SECRET)
    assert SECRET not in refused(DATABASE_URL=f"nosql://ann:{SECRET}@db")


def test_secrets_are_masked_and_marked_as_given() -> None:
    config = load(
        {
            "DATABASE_URL": f"ws://ann:{SECRET}@db:8000",
            "S3_ENDPOINT": "https://s3.example.org",
            "S3_BUCKET": "mail",
            "S3_ACCESS_KEY_ID": "id",
            "S3_SECRET_ACCESS_KEY": SECRET,
        }
    )
    rows = {row.name: row for row in config.variables()}
    assert rows["S3_SECRET_ACCESS_KEY"].value == MASK
    assert rows["DATABASE_URL"].value == "ws://ann@db:8000/rpc"
    assert rows["S3_BUCKET"].given
    assert not rows["S3_REGION"].given
    assert SECRET not in "".join(row.value for row in rows.values())
    assert SECRET not in repr(config.s3)


def test_folders_follow_the_data_folder_unless_they_are_set() -> None:
    config = load({"INBOX_DATA_DIR": "/srv/mail", "INBOX_INCOMING_DIR": "/blobs"})
    rows = {row.name: row.value for row in config.variables()}
    assert rows["DATABASE_URL"] == "sqlite:////srv/mail/inbox.db"
    assert rows["INBOX_INCOMING_DIR"] == "/blobs"
    assert rows["INBOX_PLUGIN_DIR"] == "/srv/mail/plugins"
    assert rows["SMTP_TLS_REPORT_DIR"] == "/srv/mail/tlsrpt"
    assert str(config.folders.admin_socket) == "/srv/mail/inbox.sock"


def test_every_variable_has_a_meaning_for_the_reference() -> None:
    rows = load({}).variables()
    assert {row.name for row in rows} == set(known_variables())
    assert [row.name for row in rows if not row.meaning] == []
