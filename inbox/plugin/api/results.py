"""Actions that follow from the result of a check: the part of a policy that SPF, DKIM, DMARC and ARC have in common.

::

    spf:
      require_pass: true                                  # every result but pass is rejected, temperror deferred
      results: {none: ignore, softfail: {score: 2.5}}     # except for these
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from inbox.plugin.api.facts import Result
from inbox.policy.verdicts import AddHeader, Defer, Opinion, Quarantine, Reject, Score


class ScoreAction(BaseModel):
    """``{score: 2.5}``: points towards the policy's thresholds; negative ones count in favour of the message."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    score: float = Field(ge=-100, le=100, description="Points.", examples=[2.5])


#: ``tag`` adds a header field that mail rules can look at; the others do what their names say.
Action = Annotated[
    Literal["reject", "defer", "quarantine", "tag", "ignore"] | ScoreAction, Field(union_mode="left_to_right")
]

#: The action of ``require_pass`` for each result.
REQUIRED: Mapping[Result, Action] = {
    Result.PASS: "ignore",
    Result.FAIL: "reject",
    Result.SOFTFAIL: "reject",
    Result.NEUTRAL: "reject",
    Result.NONE: "reject",
    Result.POLICY: "reject",
    Result.PERMERROR: "reject",
    Result.TEMPERROR: "defer",
}


def action_for(
    result: Result, actions: Mapping[Result, Action], *, require_pass: bool, domain_requires: bool | None = None
) -> Action:
    """The action of a policy for ``result``.

    Args:
        actions: those that the policy names, by result.
        require_pass: whether a result that it does not name is refused.
        domain_requires: the ``has_domain`` field, which overrides both for one domain: True refuses every result but
            pass, also those that ``actions`` would accept; False overrides ``require_pass``; None changes nothing.
    """
    if domain_requires:
        return REQUIRED[result]
    found = actions.get(result)
    if found is not None:
        return found
    return REQUIRED[result] if require_pass and domain_requires is None else "ignore"


def opinion_of(
    action: Action,
    method: str,
    result: Result,
    *,
    text: str,
    enhanced: str,
    why: str,
    server: str,
    deferred: str = "4.7.0",
) -> Opinion | None:
    """The opinion that carries ``action`` out; None for ``ignore``.

    Args:
        method: ``spf``, ``dkim``, ``dmarc`` or ``arc``: names the score's symbol (``SPF_SOFTFAIL``) and its group.
        text: the text of the reply to the peer.
        enhanced: the enhanced status code of a rejection, such as 5.7.23 (RFC 7372).
        why: the reason for the decision record.
        deferred: the enhanced status code of a deferral.
        server: SERVER_HOSTNAME, for the header field that a tag adds.
    """
    match action:
        case "reject":
            return Reject(550, enhanced, text)
        case "defer":
            return Defer(451, deferred, text)
        case "quarantine":
            return Quarantine(f"{method}={result}: {why}" if why else f"{method}={result}")
        case "tag":
            return AddHeader("X-Authentication-Warning", f"{server}: {method}={result}")
        case ScoreAction(score=points):
            return Score(f"{method.upper()}_{result.upper()}", points, why, group="authentication")
    return None
