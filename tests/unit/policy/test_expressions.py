"""Conditions: what they may say, where their mistakes are, and that nothing in them runs away."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inbox.base.limits import EXPRESSION_WORK
from inbox.policy.expressions import EvaluationError, ExpressionError, Language, Method
from inbox.policy.shapes import NUMBER, TEXT, TEXTS, Shape

VARIABLES = {
    "subject": "string",
    "text": "string",
    "size": "int",
    "to": "list<string>",
    "headers": "map<string,list<string>>",
    "attachments": "list<map<string,dyn>>",
    "facts": "map<string,dyn>",
}
LANGUAGE = Language(
    VARIABLES,
    [Method("reversed", ("string",), "string", lambda text: text[::-1], "TEXT.reversed()")],
    {"attachments": Shape(element=Shape(fields={"name": TEXT, "extension": TEXT, "size": NUMBER, "names": TEXTS}))},
    ["headers"],
)
VALUES: dict[str, object] = {
    "subject": "Your Invoice",
    "text": "hello wörld",
    "size": 1000,
    "to": ["ann@acme.test"],
    "headers": {"x-a": ["1", "2"]},
    "attachments": [{"name": "a.zip", "extension": "zip", "size": 3, "names": []}],
    "facts": {"virus": None, "spf": {"result": "pass"}},
}


def holds(source: str, **values: object) -> bool:
    return LANGUAGE.compile(source).holds(LANGUAGE.scope(VALUES | values))


@pytest.mark.parametrize(
    "source",
    [
        'subject.matches("(?i)invoice") && attachments.exists(a, a.extension in ["zip", "iso"])',
        'text.contains("wörld") && size > 999 && size in [1000]',
        '"ann@acme.test" in to && to.all(one, one.endsWith("@acme.test"))',
        'headers["x-a"].size() == 2 && subject.reversed() == "eciovnI ruoY"',
        "facts.virus == null && has(facts.spf) && !has(facts.dkim)",
        'facts.spf.result == "pass" || facts.dkim.result == "pass"',
        "attachments.filter(a, a.name.startsWith('a')).size() == 1  // a comment\n",
        'subject.matches(r"\\AYour\\s") && true',
        '"X-A" in headers && headers["X-a"][0] == "1" && !("X-B" in headers) && "\\x58-a" in headers',
        "attachments.exists(a, a.name.size() == 5 && a.names == [] && has(a.name))",
        "attachments.all(a, a.size == 3) && to.exists(a, a.size() > 3)",
        "attachments.exists(a, a.name == 'a.zip') && attachments[0].size + 1 > size - 1000",
    ],
)
def test_conditions_that_hold(source: str) -> None:
    assert holds(source)


@pytest.mark.parametrize(
    ("source", "what", "line", "column"),
    [
        ('subjct == "a"', "unknown variable 'subjct'; did you mean 'subject'\\? There are: attachments, facts", 1, 1),
        ("zzz > 1", "unknown variable 'zzz'; known here: attachments, facts, headers", 1, 1),
        ("subject =", "Syntax error", 1, 9),
        ('size > 0 &&\n  subject.matchs("a")', "unknown function 'matchs'; did you mean 'matches'", 2, 17),
        ('size > "a"', "> does not take these types; here it has number and text", 1, 6),
        ('size == "a"', "== compares values of one type; here it has number and text", 1, 6),
        ("subject && true", "&& needs a condition .true or false. on both sides; here it has text and condition", 1, 9),
        ("subject in text", "in needs a list or a map on its right; here it has text and text", 1, 9),
        ("subject.contains(5)", "contains is used as TEXT.contains.TEXT.; here it has text and number", 1, 17),
        ('subject.reversed("a") == ""', "reversed is used as TEXT.reversed..; here it has other arguments", 1, 17),
        ("to == 1", "== compares values of one type; here it has list of texts and number", 1, 4),
        ("subject.size > 3", "a text has no fields", 1, 8),
        ("attachments.exists(a, a.size == 'x')", "== compares values of one type; here it has number and text", 1, 30),
        ("attachments[0].nam == ''", "unknown field of attachments.. 'nam'; did you mean 'name'", 1, 16),
        ("attachments.exists(a, a['nam'] == '')", "unknown field of a 'nam'; did you mean 'name'", 1, 25),
        ("attachments.exists(a, a.names == 'x')", "here it has list of texts and text", 1, 31),
        ('true &&\n subject.matches("(")', "missing \\)", 2, 18),
        ('text.matches("(?=a)")', "invalid perl operator", 1, 14),
        ('text.matches("(?:x{1,1000}){1,20}")', "repetition", 1, 14),
        (
            "attachments.exists(a, a.extention == 'zip')",
            "unknown field of a 'extention'; did you mean 'extension'",
            1,
            25,
        ),
        ("subject", "it is a string, not a condition", 1, 1),
        ("", "Syntax error", 1, 1),
        ("to.map(t, t).size() > 0", "unknown", 1, 8),
        ("true\0", "control characters", 1, 1),
        ("'\ud800' == ''", "control characters", 1, 1),
        ("true" + " " * 4000, "longer than 4000 characters", 1, 1),
        ("(" * 1900 + "true" + ")" * 1900, "nested too deeply", 1, 1),
        ("facts" + ".a" * 1900, "nested too deeply", 1, 1),
        ("size == " + "+".join(["1"] * 1000), "nested too deeply", 1, 1),
    ],
)
def test_mistakes_are_found_when_the_condition_is_read(source: str, what: str, line: int, column: int) -> None:
    with pytest.raises(ExpressionError, match=what) as caught:
        LANGUAGE.compile(source)
    assert (caught.value.line, caught.value.column) == (line, column)


def test_many_alternatives_are_not_deep() -> None:
    assert holds(" || ".join(["size == 1"] * 300 + ["true"]))


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ('headers["none"].size() > 0', "Key not found"),
        ('facts.virus.status == "infected"', "a fact that it reads is not known"),
        ("1 / (size - size) == 1", "divide by zero"),
        ("to[9] == ''", "Index"),
        ("facts.spf.result", "neither true nor false"),
        ("subject.matches(text)", "missing"),
    ],
)
def test_an_evaluation_error_has_a_reason(source: str, why: str) -> None:
    with pytest.raises(EvaluationError, match=why):
        holds(source, text="(")


def test_functions_of_ours_do_a_bounded_amount_of_work() -> None:
    with pytest.raises(EvaluationError, match="reversed is called too often"):
        holds("to.all(a, to.all(b, text.reversed() != a))", to=["x"] * 90, text="x" * (EXPRESSION_WORK // 1000))
    assert holds("text.reversed() != ''", text="x" * (EXPRESSION_WORK // 1000))


def test_shapes_may_be_given_later() -> None:
    shapes = {"facts": Shape(fields={"spf": Shape(fields={"result": Shape("string", choices=("pass", "fail"))})})}
    assert LANGUAGE.compile('facts.spf.result == "pass"', shapes).holds(LANGUAGE.scope(VALUES))
    assert LANGUAGE.compile('facts["spf"]["result"] in ["pass", "fail"]', shapes).holds(LANGUAGE.scope(VALUES))
    for source, what, column in (
        ("facts.spff == null", "unknown field of facts 'spff'; did you mean 'spf'", 7),
        ("facts.spf.reslt == 'pass'", "unknown field of facts.spf 'reslt'; did you mean 'result'", 11),
        ("facts.spf.result == 'passed'", "unknown value of facts.spf.result 'passed'; did you mean 'pass'", 21),
        ("facts.spf.result in ['pass', 'x']", "unknown value of facts.spf.result 'x'; known here: fail, pass", 30),
        ("facts.spf.result == 5", "== compares values of one type; here it has text and number", 18),
        ("facts['spf'].reslt == ''", "unknown field of facts.spf 'reslt'", 14),
        ("has(facts.spf.reslt)", "unknown field of facts.spf 'reslt'", 15),
    ):
        with pytest.raises(ExpressionError, match=what) as caught:
            LANGUAGE.compile(source, shapes)
        assert (caught.value.line, caught.value.column) == (1, column)


def test_comprehensions_end() -> None:
    bomb = "to.all(a, to.all(b, to.all(c, to.all(d, a + b + c + d != ''))))"
    with pytest.raises(EvaluationError, match="budget"):
        holds(bomb, to=["x"] * 500)


def test_a_strangers_text_in_a_reason_is_short_and_printable() -> None:
    with pytest.raises(EvaluationError) as caught:
        holds("subject.matches(text)", text="(\r\n\x1b[31m" + "x" * 1000)
    assert len(str(caught.value)) <= 200
    assert str(caught.value).isprintable()


def test_regular_expressions_take_linear_time() -> None:
    assert not holds('text.matches("(a+)+$")', text="a" * 100_000 + "b")


def test_a_variable_without_a_value_matters_only_when_it_is_needed() -> None:
    scope = LANGUAGE.scope({"size": 1000})
    assert not LANGUAGE.compile('size > 5000 && text.contains("hello")').holds(scope)
    assert LANGUAGE.compile('text.contains("hello") || size > 500').holds(scope)
    with pytest.raises(EvaluationError):
        LANGUAGE.compile('size > 500 && text.contains("hello")').holds(scope)


def test_references_are_known() -> None:
    compiled = LANGUAGE.compile('facts.spf.result == "text" && facts . virus == null && to.exists(size_, size_ == "")')
    assert compiled.names == {"facts", "to"}
    assert compiled.members == {("facts", "spf"), ("facts", "virus"), ("to", "exists")}
    compiled = LANGUAGE.compile("""headers["X-\\u0041"] == [] || headers [ r'b' ] == [] || headers[subject] == []""")
    assert compiled.members == {("headers", "X-A"), ("headers", "b")}


def test_names_in_texts_are_no_references() -> None:
    compiled = LANGUAGE.compile(
        r"""subject == r"text\d" || subject == "a\"text" || subject.contains('size') && size > 1"""
    )
    assert compiled.names == {"subject", "size"}


def test_expressions_are_values() -> None:
    one, other = LANGUAGE.compile("size > 1"), LANGUAGE.compile("size > 1")
    assert one == other
    assert hash(one) == hash(other)
    assert copy.deepcopy([one])[0] is one
    assert copy.copy(one) is one
    assert one != LANGUAGE.compile("size > 2")
    assert "size > 1" in repr(one)


@given(source=st.one_of(st.text(max_size=80), st.text(alphabet="()[]{}.\"'\\ratsizeu<>=!&|+-?:,1 \n/", max_size=80)))
def test_any_source_is_a_condition_or_a_mistake(source: str) -> None:
    try:
        compiled = LANGUAGE.compile(source)
    except ExpressionError as mistake:
        assert mistake.line >= 1
        assert mistake.column >= 1
        assert str(mistake)
        return
    try:
        assert compiled.holds(LANGUAGE.scope(VALUES)) in (True, False)
    except EvaluationError as error:
        assert str(error)
