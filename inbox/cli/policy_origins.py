"""The part of ``inbox policy show`` that names the level of each value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from inbox.cli.output import say, show_one, show_rows

if TYPE_CHECKING:
    from inbox.mail.tenancy import DomainOverrides
    from inbox.policy.origins import NamedLevel
    from inbox.policy.snapshot import EffectivePolicy


def origins(policy: EffectivePolicy, levels: Sequence[NamedLevel], overrides: DomainOverrides | None) -> dict[str, Any]:
    """The names of the levels, in the shape that the values have."""
    from dataclasses import asdict

    from inbox.policy.origins import of_group, of_outbound, of_plugin, of_submission, of_threshold

    given = {} if overrides is None else {name: v for name, v in asdict(overrides).items() if v is not None}
    thresholds = policy.thresholds.model_dump(exclude_none=True)
    return {
        "thresholds": {name: of_threshold(levels, name) for name in thresholds},
        "groups": {name: of_group(levels, name) for name in policy.caps},
        "outbound": {name: of_outbound(levels, name) for name in policy.outbound.model_dump(exclude_unset=True)},
        "submission": {name: of_submission(levels, name) for name in policy.submission.model_dump(exclude_unset=True)},
        "plugins": {entry.name: of_plugin(levels, entry, given) for entry in policy.plugins},
    }


def show(values: dict[str, Any], named: dict[str, Any], *, everything: bool) -> None:
    """Tables for people. Without ``everything``, settings that have their built-in defaults are left out."""
    from inbox.policy.origins import BUILT_IN

    show_one({"tenant": values["tenant"] or "(none: the default policy)"}, as_json=False)
    rows = []
    for kind in ("thresholds", "groups", "outbound", "submission"):
        for name, value in values[kind].items():
            rows.append({"part": kind, "setting": name, "value": value, "from": named[kind][name]})
    for plugin in values["plugins"]:
        name = plugin["plugin"]
        settings = {key: plugin[key] for key in ("mode", "on_error", "timeout")} | plugin["settings"]
        # A plugin's mode is always shown; enabled: is part of it.
        whose = named["plugins"][name]
        mode_from = [level for level in (whose["enabled"], whose["mode"]) if level != BUILT_IN]
        levels = {**whose, "mode": mode_from[-1] if mode_from else BUILT_IN}
        rows += [
            {"part": name, "setting": key, "value": value, "from": levels[key]}
            for key, value in settings.items()
            if everything or key == "mode" or levels[key] != BUILT_IN
        ]
    say("")
    columns = ("part", "setting", "value", "from")
    show_rows(rows, columns, as_json=False, none="no plugins", wrapped=("value", "from"))
