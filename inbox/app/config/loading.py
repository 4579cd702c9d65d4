"""Read the configuration from the environment, once at the start; the program passes it on as values.

A malformed variable, or an unknown one with a prefix of this program, raises a ``ConfigError`` of one line that names
it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import SecretStr, ValidationError

from inbox.app.config.secret_files import SecretFile, resolved
from inbox.app.config.settings import Folders, Group, Outbound, RateLimit, Server, Smtp, Tls
from inbox.app.config.settings_services import S3, Database, Dkim, Otel, TlsReports
from inbox.base.errors import ConfigError
from inbox.base.secrets import MASK

#: An unknown variable with such a prefix is a mistake. OTEL_ and HTTP_ have variables of other programs.
OUR_PREFIXES = ("SMTP_", "LMTP_", "IMAP_", "IMAPS_", "INBOX_", "SERVER_", "DATABASE_", "S3_", "TLS_", "DNS_")
#: Variables whose values may have a password in a URL.
_WITH_PASSWORDS = frozenset({"DATABASE_URL", "DATABASE_HOSTNAME"})
#: Variables of container runtimes for a service that is called smtp, imap, inbox, …
_SERVICE_LINK = re.compile(r"_SERVICE_(HOST|PORT)(_[A-Z0-9_]+)?\Z|_PORT_\d+_(TCP|UDP)(_(PROTO|PORT|ADDR))?\Z")


class Variable(NamedTuple):
    """One variable for ``inbox doctor`` and the reference. ``value`` is masked if it is a secret."""

    name: str
    group: str
    value: str
    default: str
    given: bool
    meaning: str


@dataclass(frozen=True, slots=True)
class Config:
    """All settings, by group. ``given`` are the names of the variables that are set, ``secret_files`` the files that
    contain secrets."""

    given: frozenset[str]
    secret_files: tuple[SecretFile, ...]
    server: Server
    tls: Tls
    folders: Folders
    smtp: Smtp
    rate_limit: RateLimit
    outbound: Outbound
    dkim: Dkim
    tls_reports: TlsReports
    database: Database
    s3: S3
    otel: Otel

    @property
    def sqlite_path(self) -> Path:
        """The file of the embedded database."""
        return self.database.sqlite_path(self.folders.data_dir)

    @property
    def spool_dir(self) -> Path:
        """The folder for large messages while they are received."""
        return self.folders.data_dir / "spool"

    @property
    def tls_report_dir(self) -> Path:
        """The folder for TLS failures."""
        return self.tls_reports.report_dir or self.folders.data_dir / "tlsrpt"

    def values(self) -> dict[str, Any]:
        """Each variable's value, parsed, by its name: the source of defaults for plugins' settings."""
        return {type(group).variable(name): getattr(group, name) for group, name in self._fields()}

    def variables(self) -> list[Variable]:
        """All variables with the values in effect, secrets masked, in the order of the reference."""
        derived = {
            "DATABASE_URL": self.database.masked_url(self.folders.data_dir),
            "INBOX_PLUGIN_DIR": str(self.folders.plugins),
            "INBOX_INCOMING_DIR": str(self.folders.incoming),
            "SMTP_TLS_REPORT_DIR": str(self.tls_report_dir),
        }
        if self.database.hostname is not None:
            derived["DATABASE_HOSTNAME"] = self.database.masked_url(self.folders.data_dir)
        rows = []
        for group, name in self._fields():
            field, variable = type(group).model_fields[name], type(group).variable(name)
            shown = derived.get(variable) or _shown(getattr(group, name))
            rows.append(
                Variable(
                    variable,
                    type(group).__name__,
                    shown,
                    _shown(field.default),
                    variable in self.given,
                    field.description or "",
                )
            )
        return rows

    def unused(self) -> list[str]:
        """Variables that are set although this version does not use them."""
        return [
            type(group).variable(name)
            for group, name in self._fields()
            if type(group).variable(name) in self.given and not type(group).is_used(name)
        ]

    def _fields(self) -> Iterator[tuple[Group, str]]:
        for slot in fields(self):
            group = getattr(self, slot.name)
            if isinstance(group, Group):
                for name in type(group).model_fields:
                    yield group, name


def groups() -> list[type[Group]]:
    """The groups in the order of the reference."""
    return [Server, Tls, Folders, Smtp, RateLimit, Outbound, Dkim, TlsReports, Database, S3, Otel]


def known_variables() -> dict[str, tuple[type[Group], str]]:
    """Group and field of each variable."""
    return {group.variable(name): (group, name) for group in groups() for name in group.model_fields}


def secret_variables() -> list[str]:
    """The variables whose values are secrets. Each can be given as a file, too: ``NAME_FILE``."""
    return [
        name
        for name, (group, field) in known_variables().items()
        if _is_secret(group, field) and name != "DATABASE_HOSTNAME"
    ]


def load(environ: Mapping[str, str]) -> Config:
    """The configuration in ``environ``, with secrets read from the files that ``NAME_FILE`` names.

    Raises:
        ConfigError: one line that names each variable that is unknown or malformed.
    """
    known = known_variables()
    environ, files = resolved(environ, secret_variables())
    mistakes = [_unknown(name, known) for name, value in sorted(environ.items()) if _is_misspelt(name, value, known)]
    loaded: dict[type[Group], Any] = {}
    for group in groups():
        try:
            # Group.settings_customise_sources removes this keyword.
            loaded[group] = group(environ=environ)  # type: ignore[call-arg]  # no field of any group
        except ValidationError as error:
            mistakes += _mistakes(group, error, environ)
    if mistakes:
        raise ConfigError("; ".join(dict.fromkeys(mistakes)))
    given = frozenset(name for name in known if environ.get(name))
    return Config(given, files, *(loaded[group] for group in groups()))


def _is_misspelt(name: str, value: str, known: Mapping[str, Any]) -> bool:
    if name in known or not name.startswith(OUR_PREFIXES):
        return False
    return not (_SERVICE_LINK.search(name) or (name.endswith("_PORT") and value.startswith(("tcp://", "udp://"))))


def _unknown(name: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
    return f"{name}: unknown setting" + (f"; did you mean {near[0]}?" if near else "")


def _mistakes(group: type[Group], error: ValidationError, environ: Mapping[str, str]) -> Iterator[str]:
    for detail in error.errors(include_url=False, include_context=False, include_input=False):
        text = detail["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
        if not detail["loc"]:
            # A rule over several variables: its text names them.
            yield text
            continue
        field = str(detail["loc"][0])
        variable = group.variable(field)
        got = "" if _is_secret(group, field) else f" (got {environ.get(variable, '')[:80]!r})"
        yield f"{variable}: {text}{got}"


def _is_secret(group: type[Group], field: str) -> bool:
    return "SecretStr" in repr(group.model_fields[field].annotation) or group.variable(field) in _WITH_PASSWORDS


def _shown(value: object) -> str:
    match value:
        case None:
            return ""
        case SecretStr():
            return MASK
        case bool():
            return "true" if value else "false"
        case _:
            return str(value)
