"""Groups that only make sense as a whole: database, S3, DKIM, reports, telemetry."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from inbox.app.config.loading import load
from inbox.base.errors import ConfigError

S3 = {
    "S3_ENDPOINT": "https://s3.example.org",
    "S3_BUCKET": "mail",
    "S3_ACCESS_KEY_ID": "id",
    "S3_SECRET_ACCESS_KEY": "secret",
}


def refused(**environ: str) -> str:
    with pytest.raises(ConfigError) as raised:
        load(environ)
    return str(raised.value)


@pytest.mark.parametrize("missing", S3)
def test_s3_is_set_all_together_or_not_at_all(missing: str) -> None:
    text = refused(**{name: value for name, value in S3.items() if name != missing})
    assert text.startswith(f"{missing} is missing")


def test_s3_whole() -> None:
    config = load(S3)
    assert config.s3.enabled
    assert config.s3.sse_c_allowed
    assert config.s3.region == "auto"


@pytest.mark.parametrize("host", ["127.0.0.1:9000", "localhost:9000", "[::1]:9000"])
def test_plain_http_is_for_this_machine_and_never_carries_a_key(host: str) -> None:
    config = load({**S3, "S3_ENDPOINT": f"http://{host}"})
    assert config.s3.enabled
    assert not config.s3.sse_c_allowed


@pytest.mark.parametrize("endpoint", ["http://s3.example.org", "ftp://s3.example.org", "s3.example.org"])
def test_other_endpoints_are_refused(endpoint: str) -> None:
    assert "S3_ENDPOINT" in refused(**{**S3, "S3_ENDPOINT": endpoint})


@pytest.mark.parametrize(
    ("environ", "path"),
    [
        ({}, "data/inbox.db"),
        ({"DATABASE_URL": "sqlite:///data/inbox.db"}, "data/inbox.db"),
        ({"DATABASE_URL": "sqlite:////var/lib/inbox/mail.db"}, "/var/lib/inbox/mail.db"),
    ],
)
def test_sqlite_paths(environ: dict[str, str], path: str) -> None:
    config = load(environ)
    assert config.sqlite_path == Path(path)
    assert config.database.surreal_url is None


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({"DATABASE_HOSTNAME": "db"}, "ws://db:8000/rpc"),
        ({"DATABASE_HOSTNAME": "db:9000"}, "ws://db:9000/rpc"),
        ({"DATABASE_HOSTNAME": "[::1]:9000"}, "ws://[::1]:9000/rpc"),
        ({"DATABASE_HOSTNAME": "wss://db.example.org/rpc"}, "wss://db.example.org:8000/rpc"),
        ({"DATABASE_URL": "ws://db:8001"}, "ws://db:8001/rpc"),
    ],
)
def test_surrealdb_addresses(environ: dict[str, str], url: str) -> None:
    assert load(environ).database.surreal_url == url


def test_credentials_come_from_the_variables_or_from_the_url() -> None:
    by_name = load({"DATABASE_HOSTNAME": "db", "DATABASE_USERNAME": "ann", "DATABASE_PASSWORD": "p"})
    assert by_name.database.credentials == ("ann", "p")
    assert load({"DATABASE_URL": "ws://ann:p%40ss@db"}).database.credentials == ("ann", "p@ss")
    assert load({}).database.credentials is None


@pytest.mark.parametrize("scheme", ["mem", "memory", "rocksdb", "surrealkv", "file"])
def test_embedded_engines_of_surrealdb_are_refused_with_the_reason(scheme: str) -> None:
    assert "loses acknowledged updates" in refused(DATABASE_URL=f"{scheme}://data/db")
    assert "loses acknowledged updates" in refused(DATABASE_HOSTNAME=f"{scheme}://data/db")


@pytest.mark.parametrize(
    "environ",
    [
        {"DATABASE_URL": "sqlite:inbox.db"},
        {"DATABASE_URL": "sqlite:///"},
        {"DATABASE_URL": "postgres://db"},
        {"DATABASE_URL": "ws://"},
        {"DATABASE_HOSTNAME": "db:99999"},
        {"DATABASE_URL": "sqlite:///x.db", "DATABASE_HOSTNAME": "db"},
        {"DATABASE_HOSTNAME": "db", "DATABASE_USERNAME": "ann"},
    ],
)
def test_database_settings_that_make_no_sense(environ: dict[str, str]) -> None:
    assert "DATABASE_" in refused(**environ)


def test_a_dkim_key_needs_a_domain_and_a_selector() -> None:
    der = ed25519.Ed25519PrivateKey.generate().private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    key = {"SMTP_DKIM_PRIVATE_KEY_B64_PKCS8": base64.b64encode(der).decode()}
    assert refused(**key).startswith("SMTP_DKIM_DOMAIN is missing")
    assert refused(**key, SMTP_DKIM_DOMAIN="example.org").startswith("SMTP_DKIM_SELECTOR is missing")
    assert not load({"SMTP_DKIM_DOMAIN": "example.org", "SMTP_DKIM_SELECTOR": "mail"}).dkim.enabled


def test_fields_to_sign() -> None:
    assert load({"SMTP_DKIM_HEADERS": " From , Subject,"}).dkim.headers == "From,Subject"
    assert "From has to be among them" in refused(SMTP_DKIM_HEADERS="To,Date")
    assert "not a header field name" in refused(SMTP_DKIM_HEADERS="From,Sub ject")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SMTP_TLS_RPT_SEND_HOUR_UTC", "24"),
        ("SMTP_TLS_RPT_FALLBACK_FROM", "postmaster"),
        ("OTEL_SAMPLE_RATIO", "1.5"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4318"),
    ],
)
def test_reports_and_telemetry(name: str, value: str) -> None:
    assert refused(**{name: value}).startswith(f"{name}: ")
