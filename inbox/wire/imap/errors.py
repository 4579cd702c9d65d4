"""Errors of commands that cannot be parsed, with the text for the client."""

from __future__ import annotations

from inbox.base.errors import ProtocolError


class BadCommand(ProtocolError):
    """A syntax error in a command; the response is a tagged ``BAD`` (RFC 3501 §7.1.3).

    ``tag`` is the command's tag, or ``*`` if the tag could not be read. ``word`` is ``BAD``, or ``NO`` where an
    RFC asks for it (``BADCHARSET``, ``TOOBIG``); ``response_code`` goes into square brackets.
    """

    def __init__(self, text: str, *, tag: str = "*", word: str = "BAD", response_code: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.tag = tag
        self.word = word
        self.response_code = response_code

    def tagged(self, tag: str) -> BadCommand:
        """The same error with a tag."""
        return BadCommand(self.text, tag=tag, word=self.word, response_code=self.response_code)
