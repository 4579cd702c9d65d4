"""The override fields of a hosted domain (``has_domain``), parsed from texts of an operator."""

from __future__ import annotations

import base64
import binascii
import difflib
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from typing import Any

from pydantic import TypeAdapter, ValidationError

from inbox.authentication.dkim.configured import check_private_key, field_names
from inbox.base.errors import ConfigError
from inbox.base.secrets import MASK
from inbox.mail.address import Address, AddressError, canonical_domain
from inbox.mail.tenancy import DomainOverrides
from inbox.policy.catalogue import Catalogue

#: The key size of SSE-C (AES-256).
SSE_C_KEY_OCTETS = 32
#: Refused by the command line: an operator who sets them would believe that mail is encrypted.
ENCRYPTION = frozenset({"enc_mode", "enc_sse_c_key_b64", "enc_wrapped_dek_customer"})
#: Fields with an effect in this version, besides those that plugins' settings name.
USED = frozenset(
    {
        "dkim_selector",
        "dkim_private_key_b64_pkcs8",
        "dkim_headers",
        "plus_addressing_enabled",
        "plus_delimiter",
        "postmaster",
    }
)
SECRETS = frozenset({"dkim_private_key_b64_pkcs8", "enc_sse_c_key_b64", "enc_wrapped_dek_customer"})
_ADAPTER = TypeAdapter(DomainOverrides)
_NAMES = [field.name for field in fields(DomainOverrides)]


def acted_on(plugins: Catalogue) -> frozenset[str]:
    """The fields with an effect: built-in ones, and those that settings of installed plugins name."""
    found = [plugins.get(name) for name in plugins.names()]
    return USED | {column for plugin in found if plugin is not None for column in plugin.domain_fields.values()}


def changed(overrides: DomainOverrides, given: Mapping[str, str]) -> DomainOverrides:
    """``overrides`` with the fields in ``given`` parsed and set; an empty text unsets a field.

    Raises:
        ConfigError: unknown field, or malformed text; one line that names the field.
    """
    values: dict[str, Any] = {}
    for name, text in given.items():
        if name not in _NAMES:
            near = difflib.get_close_matches(name, _NAMES, n=1)
            raise ConfigError(f"{name}: unknown field" + (f"; did you mean {near[0]}?" if near else ""))
        values[name] = _value(name, text.strip()) if text.strip() else None
    try:
        checked = _ADAPTER.validate_python(values)
    except ValidationError as error:
        detail = error.errors(include_url=False, include_context=False, include_input=False)[0]
        raise ConfigError(f"{detail['loc'][0]}: {detail['msg'].replace('Input should be', 'has to be')}") from None
    return replace(overrides, **{name: getattr(checked, name) for name in values})


def shown(overrides: DomainOverrides) -> dict[str, Any]:
    """The fields that are set, secrets masked."""
    return {
        name: MASK if name in SECRETS else list(value) if isinstance(value, tuple) else value
        for name, value in asdict(overrides).items()
        if value is not None
    }


def _value(name: str, text: str) -> object:
    try:
        match name:
            case "dkim_selector":
                return _selector(text)
            case "dkim_private_key_b64_pkcs8":
                check_private_key(text)
            case "postmaster":
                return Address.parse(text).key
            case "dkim_headers":
                return field_names(text)
            case "enc_sse_c_key_b64":
                if len(base64.b64decode(text, validate=True)) != SSE_C_KEY_OCTETS:
                    raise ValueError("not 32 octets in base64")
            case "plus_delimiter":
                if len(text) != 1 or not text.isascii() or text.isalnum() or text in '@"\\<>()[],;: ':
                    raise ValueError("must be one character such as + or -")
            case _ if name.startswith("quota_") and text.startswith("-"):
                raise ValueError("must be 0 or more")
    except (ValueError, binascii.Error, AddressError) as error:
        raise ConfigError(f"{name}: {error}") from None
    return text


def _selector(text: str) -> str:
    try:
        return canonical_domain(text)
    except AddressError:
        raise ValueError("not a domain name") from None
