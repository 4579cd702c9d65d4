"""Base class of plugin settings, and types for secrets and trusted header fields."""

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

    A policy's loader validates with the context ``{"facts": …}``, the fact types that installed plugins give. A method
    ``remarks`` warns of settings that are allowed and probably not intended (:class:`inbox.policy.remarks.HasRemarks`).
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class SecretFromFile(SecretStr):
    """A secret that a policy names by its file; ``path`` is that file."""

    def __init__(self, secret: str, path: Path) -> None:
        super().__init__(secret)
        self.path = path


def _secret(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    path = value.get("file")
    if set(value) != {"file"} or not isinstance(path, str):
        raise ValueError("a secret must be a string, or {file: PATH}")
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


#: Whether to trust a gateway in front with SPF, DKIM or DMARC: ``allow_header_override: HeaderOverride = False``.
HeaderOverride = Annotated[
    bool,
    Field(
        description="Dangerous: trust the message's own topmost Authentication-Results field with our ``authserv_id``. "
        "Anyone who can send mail here can write one; only for servers that are reachable from nowhere but a gateway "
        "that removes forged ones.",
        json_schema_extra={"env": "SMTP_AUTH_ALLOW_HEADER_OVERRIDE"},
    ),
]
#: The name of that gateway: ``authserv_id: BelievedName = ""``.
BelievedName = Annotated[
    str,
    Field(
        max_length=255,
        description="The name in the trusted field. Empty: this server's name.",
        examples=["mx.acme.test"],
    ),
]
