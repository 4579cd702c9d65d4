"""The base of every plugin's settings model."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class PluginSettings(BaseModel):
    """Settings of one plugin as a policy writes them. Unknown keys and wrong types are errors.

    A field whose default an operator may set for the whole installation names the environment variable:
    ``Field(240, ge=1, description="…", json_schema_extra={"env": "SMTP_RATE_LIMIT_…"})``. Precedence: the
    field's default, the environment, ``default.yaml``, the tenant, the domain, the account.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
