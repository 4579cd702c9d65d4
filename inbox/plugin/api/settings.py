"""The base of every plugin's settings model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from inbox.base.secrets import read_secret


class PluginSettings(BaseModel):
    """Settings of one plugin as a policy writes them. Unknown keys and wrong types are errors.

    A field whose default an operator may set for the whole installation names the environment variable:
    ``Field(240, ge=1, description="…", json_schema_extra={"env": "SMTP_RATE_LIMIT_…"})``. Precedence: the
    field's default, the environment, ``default.yaml``, the tenant, the domain, the account.

    A policy's loader validates with the context ``{"facts": …}``, the fact types that the installed plugins give. A
    method ``remarks`` warns of what is allowed and perhaps not meant (:class:`inbox.policy.remarks.Remarking`).
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class SecretFromFile(SecretStr):
    """A secret that a policy names by its file; ``path`` is where it was read."""

    def __init__(self, secret: str, path: Path) -> None:
        super().__init__(secret)
        self.path = path


def _secret(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    path = value.get("file")
    if set(value) != {"file"} or not isinstance(path, str):
        raise ValueError("a secret is a text, or {file: PATH}")
    try:
        return SecretFromFile(read_secret(Path(path)), Path(path))
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"{path} {error}") from error


#: A password or key of a plugin's settings: ``password: Secret``. A policy writes the text, or ``{file: PATH}`` so that
#: the policy itself is no secret. It is shown as ``**********``; ``get_secret_value()`` gives it. The file is read when
#: the policy is loaded.
Secret = Annotated[SecretStr, BeforeValidator(_secret)]


#: Whether SPF, DKIM or DMARC are left to somebody in front: ``allow_header_override: HeaderOverride = False``.
HeaderOverride = Annotated[
    bool,
    Field(
        description="Dangerous: believe what the message's own topmost Authentication-Results field with our "
        "``authserv_id`` says. Anybody who can send mail here can write one; only for servers that nobody can reach "
        "but a gateway that removes forged ones.",
        json_schema_extra={"env": "SMTP_AUTH_ALLOW_HEADER_OVERRIDE"},
    ),
]
#: And in front by whom: ``authserv_id: BelievedName = ""``.
BelievedName = Annotated[
    str,
    Field(
        max_length=255,
        description="Whose field is believed then. Empty: this server's name.",
        examples=["mx.acme.test"],
    ),
]
