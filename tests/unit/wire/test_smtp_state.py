"""The order of SMTP commands as a table."""

from __future__ import annotations

import pytest

from inbox.wire.smtp.errors import CommandError
from inbox.wire.smtp.state import AFTER, AFTER_REFUSAL, Dialogue, State, Verb


def after(*verbs: Verb, lmtp: bool = False, tls: bool = False) -> Dialogue:
    dialogue = Dialogue(lmtp=lmtp, tls_offered=tls)
    for verb in verbs:
        dialogue.admit(verb)
        dialogue.succeeded(verb)
    return dialogue


def states_of(verb: Verb) -> set[State]:
    return {state for state, row in AFTER.items() if verb in row}


def test_every_state_has_a_row_and_lets_the_client_leave() -> None:
    assert set(AFTER) == set(State)
    assert all(AFTER[state][Verb.QUIT] is state for state in State)
    assert set(AFTER_REFUSAL) <= {(state, verb) for state, row in AFTER.items() for verb in row}


def test_nobody_gets_to_data_without_a_recipient() -> None:
    assert states_of(Verb.DATA) == {State.RCPTS}
    assert states_of(Verb.BDAT) == {State.RCPTS, State.CHUNKS}
    assert states_of(Verb.RCPT) == {State.SENDER, State.NO_RCPTS, State.RCPTS}
    assert states_of(Verb.MAIL) == states_of(Verb.STARTTLS) == {State.READY}
    entrances = {(state, verb) for state, row in AFTER.items() for verb, then in row.items() if then is State.RCPTS}
    moves_in = {(state, verb) for state, verb in entrances if state is not State.RCPTS}
    assert moves_in == {(State.SENDER, Verb.RCPT), (State.NO_RCPTS, Verb.RCPT)}


def test_a_whole_transaction_ends_in_the_first_state() -> None:
    dialogue = after(Verb.EHLO, Verb.MAIL, Verb.RCPT, Verb.RCPT, Verb.DATA)
    assert dialogue.state is State.READY
    dialogue = after(Verb.LHLO, Verb.MAIL, Verb.RCPT, Verb.BDAT, Verb.BDAT, lmtp=True)
    before = dialogue.state
    dialogue.reset()
    assert (before, dialogue.state) == (State.CHUNKS, State.READY)


def test_a_reset_does_not_replace_the_greeting() -> None:
    dialogue = after(Verb.RSET)
    assert dialogue.state is State.FRESH


def test_a_refused_recipient_is_remembered_until_one_is_accepted() -> None:
    dialogue = after(Verb.EHLO, Verb.MAIL)
    dialogue.refused(Verb.RCPT)
    before = dialogue.state
    dialogue.succeeded(Verb.RCPT)
    dialogue.refused(Verb.RCPT)
    assert (before, dialogue.state) == (State.NO_RCPTS, State.RCPTS)


def test_tls_is_offered_once() -> None:
    dialogue = after(Verb.EHLO, tls=True)
    assert dialogue.offers_tls
    dialogue.admit(Verb.STARTTLS)
    dialogue.succeeded(Verb.STARTTLS)
    assert (dialogue.state, dialogue.offers_tls) == (State.FRESH, False)
    dialogue.succeeded(Verb.EHLO)
    with pytest.raises(CommandError, match="TLS is active already"):
        dialogue.admit(Verb.STARTTLS)


def test_a_command_that_was_not_admitted_cannot_succeed() -> None:
    with pytest.raises(KeyError):
        after(Verb.EHLO).succeeded(Verb.DATA)
