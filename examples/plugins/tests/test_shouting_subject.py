"""shouting_subject, called directly."""

from __future__ import annotations

import pytest

from examples.plugins.shouting_subject import Settings, ShoutingSubject
from inbox.plugin import Score
from tests.support.plugin_services import services, transaction


def judge(subject: str, **settings: float) -> Score | None:
    plugin = ShoutingSubject(Settings.model_validate(settings), services())
    return plugin.data(transaction(f"Subject: {subject}\r\n\r\nhello".encode()))


@pytest.mark.parametrize("subject", ["BUY NOW OR NEVER", "ДЕНЬГИ СРОЧНО", "!!! WINNER $$$ Ab"])
def test_it_hears_shouting(subject: str) -> None:
    score = judge(subject)
    assert score is not None
    assert (score.symbol, score.points) == ("SHOUTING_SUBJECT", 1.5)


@pytest.mark.parametrize(
    "subject", ["", "Hello Ann, how are You", "RE: FYI", "会议记录已经更新请查看附件", "12345 67890 !!!"]
)
def test_it_hears_speech(subject: str) -> None:
    assert judge(subject) is None


def test_settings_decide() -> None:
    assert judge("HALF half", share=0.5) == Score("SHOUTING_SUBJECT", 1.5, "50% of the subject's letters are capitals")
    assert judge("HALF half", share=0.51) is None
    assert judge("HALF", letters=4, points=3) == Score(
        "SHOUTING_SUBJECT", 3.0, "100% of the subject's letters are capitals"
    )


def test_without_a_message_there_is_no_opinion() -> None:
    assert ShoutingSubject(Settings(), services()).data(transaction()) is None
