"""The schema of aggregate reports (RFC 7489 Appendix C) as a RELAX NG grammar.

The appendix has an XML Schema that no validator accepts unchanged (its types lack their namespace); this says the
same. ``xs:all`` is ``interleave`` here.
"""

from __future__ import annotations

from lxml import etree


def _element(name: str, inside: str) -> str:
    return f'<element name="{name}">{inside}</element>'


def _choice(*values: str) -> str:
    return "<choice>" + "".join(f"<value>{value}</value>" for value in values) + "</choice>"


def _optional(inside: str) -> str:
    return f"<optional>{inside}</optional>"


def _many(inside: str) -> str:
    return f"<zeroOrMore>{inside}</zeroOrMore>"


def _all(*parts: str) -> str:
    return "<interleave>" + "".join(parts) + "</interleave>"


_STRING = '<data type="string"/>'
_INTEGER = '<data type="integer"/>'
_ALIGNMENT = _choice("r", "s")
_DISPOSITION = _choice("none", "quarantine", "reject")
_EVALUATED = _choice("pass", "fail")
_ADDRESS = (
    '<choice><data type="string"><param name="pattern">([0-9]{1,3}\\.){3}[0-9]{1,3}</param></data>'
    '<data type="string"><param name="pattern">[A-Fa-f0-9]{0,4}(:[A-Fa-f0-9]{0,4}){2,7}</param></data></choice>'
)
_METADATA = (
    _element("org_name", _STRING)
    + _element("email", _STRING)
    + _optional(_element("extra_contact_info", _STRING))
    + _element("report_id", _STRING)
    + _element("date_range", _all(_element("begin", _INTEGER), _element("end", _INTEGER)))
    + _many(_element("error", _STRING))
)
_POLICY = _all(
    _element("domain", _STRING),
    _optional(_element("adkim", _ALIGNMENT)),
    _optional(_element("aspf", _ALIGNMENT)),
    _element("p", _DISPOSITION),
    _element("sp", _DISPOSITION),
    _element("pct", _INTEGER),
    _element("fo", _STRING),
)
_REASON = _all(
    _element("type", _choice("forwarded", "sampled_out", "trusted_forwarder", "mailing_list", "local_policy", "other")),
    _optional(_element("comment", _STRING)),
)
_ROW = _all(
    _element("source_ip", _ADDRESS),
    _element("count", _INTEGER),
    _element(
        "policy_evaluated",
        _element("disposition", _DISPOSITION)
        + _element("dkim", _EVALUATED)
        + _element("spf", _EVALUATED)
        + _many(_element("reason", _REASON)),
    ),
)
_DKIM = _all(
    _element("domain", _STRING),
    _optional(_element("selector", _STRING)),
    _element("result", _choice("none", "pass", "fail", "policy", "neutral", "temperror", "permerror")),
    _optional(_element("human_result", _STRING)),
)
_SPF = _all(
    _element("domain", _STRING),
    _element("scope", _choice("helo", "mfrom")),
    _element("result", _choice("none", "neutral", "pass", "fail", "softfail", "temperror", "permerror")),
)
_RECORD = (
    _element("row", _ROW)
    + _element(
        "identifiers",
        _all(
            _optional(_element("envelope_to", _STRING)),
            _element("envelope_from", _STRING),
            _element("header_from", _STRING),
        ),
    )
    + _element("auth_results", _many(_element("dkim", _DKIM)) + f"<oneOrMore>{_element('spf', _SPF)}</oneOrMore>")
)
_GRAMMAR = (
    '<element name="feedback" xmlns="http://relaxng.org/ns/structure/1.0" '
    'datatypeLibrary="http://www.w3.org/2001/XMLSchema-datatypes">'
    + _element("version", '<data type="decimal"/>')
    + _element("report_metadata", _METADATA)
    + _element("policy_published", _POLICY)
    + f"<oneOrMore>{_element('record', _RECORD)}</oneOrMore></element>"
)


def check(xml: bytes) -> None:
    """Raises etree.DocumentInvalid, which names the line, if the report is not as the appendix has it."""
    etree.RelaxNG(etree.fromstring(_GRAMMAR)).assertValid(etree.fromstring(xml))
