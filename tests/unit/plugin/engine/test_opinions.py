"""Valid answers for each stage, and harmful ones."""

from __future__ import annotations

import math
from typing import Any

import pytest

from inbox.plugin import (
    Accept,
    AddFlags,
    AddHeader,
    AddRecipient,
    Classify,
    DeleteHeader,
    Discard,
    DropDsn,
    FileInto,
    Redirect,
    Reject,
    ReplaceBody,
    Score,
    Shadow,
    Stage,
    Suppress,
    Transform,
    Via,
    WriteDsn,
)
from inbox.plugin.engine.opinions import InvalidAnswer, opinions_of


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        (Stage.CONNECT, Reject()), (Stage.RCPT, Redirect("a@b.test")), (Stage.DATA, [Discard(), Score("A", 1)]),
        (Stage.DATA, (ReplaceBody(b""), DeleteHeader("X"))), (Stage.STORE, [FileInto("x"), AddFlags(("a",))]),
        (Stage.BOUNCE, Accept()), (Stage.DATA, Shadow(Reject())), (Stage.STORE, Transform(b"")), (Stage.DATA, None),
        (Stage.DATA, []), (Stage.DELIVER, Via("relay.test", 587, "192.0.2.1", "required", lmtp=True)),
        (Stage.NOTIFY, [WriteDsn("a text", True, "ann@demo.test"), DropDsn()]),
        (Stage.BOUNCE, [Classify("quota"), Suppress("domain", "gone", 3600), DropDsn("known")]),
    ],
)  # fmt: skip
def test_sense(stage: Stage, said: Any) -> None:
    assert opinions_of(said, stage) == (
        () if said is None else tuple(said) if isinstance(said, list | tuple) else (said,)
    )


@pytest.mark.parametrize(
    ("stage", "said", "why"),
    [
        (Stage.CONNECT, Score("A", 1), "returned Score at connect, where it may return Accept, Defer, Reject"),
        (Stage.CONNECT, Shadow(Score("A", 1)), "returned Score at connect"),
        (Stage.DATA, True, "returned bool at data"),
        (Stage.DATA, [[Reject()]], "returned list at data"),
        (Stage.DATA, Reject, "returned type at data"),
        (Stage.BOUNCE, Reject(), "returned Reject at bounce, where it may return Accept"),
        (Stage.DATA, [Score("A", 1)] * 1001, "returned 1001 opinions; at most 1000 are allowed"),
        (Stage.DATA, Score("", 1), "a score's symbol must be a name"),
        (Stage.DATA, Score("A", "1"), "A: points must be a finite number, not '1'"),  # type: ignore[arg-type]  # nonsense
        (Stage.DATA, AddHeader("X A", "1"), "invalid header field name: 'X A'"),
        (Stage.DATA, AddHeader("X-A", "1\n2"), "X-A: the value must be one line of text"),
        (Stage.DATA, DeleteHeader(""), "invalid header field name: ''"),
        (Stage.DATA, AddRecipient("nobody"), "invalid address: 'nobody'"),
        (Stage.RCPT, Redirect(None), "invalid address: None"),  # type: ignore[arg-type]  # nonsense
        (Stage.DATA, Reject(text="a\r\nb"), "must be one line of text"),
        (Stage.DATA, ReplaceBody("x"), "ReplaceBody takes bytes, not str"),  # type: ignore[arg-type]  # nonsense
        (Stage.STORE, FileInto(""), "must be one line of text: ''"),
        (Stage.STORE, Via("relay.test"), "returned Via at store"),
        (Stage.DATA, DropDsn(), "returned DropDsn at data"),
        (Stage.DELIVER, Via(""), "must be one line of text: ''"),
        (Stage.DELIVER, Via("a", 0), "Via: port must be a number from 1 to 65535, not 0"),
        (Stage.DELIVER, Via("a", source="b"), "Via: source must be an IP address, not 'b'"),
        (Stage.DELIVER, Via("a", tls="none"), "Via: tls must be 'required',"),  # type: ignore[arg-type]  # nonsense
        (Stage.NOTIFY, Reject(), "returned Reject at notify, where it may return Accept, DropDsn, WriteDsn"),
        (Stage.NOTIFY, WriteDsn("x" * 5001), "WriteDsn: note must be a text of at most 5000 characters"),
        (Stage.NOTIFY, WriteDsn(headers_only=1), "WriteDsn: headers_only must be"),  # type: ignore[arg-type]  # nonsense
        (Stage.NOTIFY, WriteDsn(copy_to="nobody"), "invalid address: 'nobody'"),
        (Stage.BOUNCE, Classify("full"), "category must be one of address,"),  # type: ignore[arg-type]  # nonsense
        (Stage.BOUNCE, Suppress("all"), "Suppress: scope must be"),  # type: ignore[arg-type]  # nonsense
        (Stage.BOUNCE, Suppress(seconds=-1), "Suppress: seconds must be a positive number or None, not -1"),
        (Stage.BOUNCE, Suppress(seconds=math.nan), "Suppress: seconds must be a positive number or None, not nan"),
        (Stage.STORE, AddFlags(["a"]), "AddFlags takes a tuple of strings"),  # type: ignore[arg-type]  # nonsense
    ],
)  # fmt: skip
def test_nonsense(stage: Stage, said: Any, why: str) -> None:
    with pytest.raises(InvalidAnswer) as caught:
        opinions_of(said, stage)
    assert str(caught.value).startswith(why)
