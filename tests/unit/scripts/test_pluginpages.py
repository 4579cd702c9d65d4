"""Docstrings and settings models as Markdown."""

from __future__ import annotations

from inbox.plugin.engine.describe import FieldDescription, PluginDescription
from inbox.plugin.engine.registry import Registry
from scripts.pluginpages import _page, markup, plugin_modules, plugin_pages, prose, row

DOCSTRING = """Greylist: asks newcomers to come back.

Speaks at:  rcpt (Defer), with ``wait``
            in the reply.
Applies to: mail from <strangers>.

Text with ``code``, :class:`SpfFact`, a_name and * a star.
Note: this is a sentence.

An example::

    plugins:
      greylist: {wait: 5}

      # more

======  =====
a       ``b``
======  =====
"""


def test_a_docstring() -> None:
    assert "\n".join(prose(DOCSTRING)) == (
        "Greylist: asks newcomers to come back.\n\n"
        "- **Speaks at:** rcpt (Defer), with `wait` in the reply.\n"
        "- **Applies to:** mail from \\<strangers>.\n\n"
        "Text with `code`, `SpfFact`, a\\_name and \\* a star.\nNote: this is a sentence.\n\n"
        "An example:\n\n"
        "```yaml\nplugins:\n  greylist: {wait: 5}\n\n  # more\n```\n\n"
        "```text\n======  =====\na       ``b``\n======  =====\n```\n"
    )


def test_code_may_hold_what_would_end_it() -> None:
    assert markup("``a ` b`` and ``c|d``") == "``a ` b`` and `c|d`"
    assert row("`c|d`", " two\nlines ") == "| `c\\|d` | two lines |"


def page(*settings: FieldDescription) -> str:
    plugin = PluginDescription(
        "grey",
        "1",
        "shipped",
        "Grey.",
        "Grey.",
        ("rcpt",),
        (),
        ("SpfFact",),
        (),
        False,
        {"rcpt": "accept"},
        2.5,
        settings,
    )
    return _page(plugin, "<!-- note -->\n")


def test_a_setting() -> None:
    inner = FieldDescription("score", "number", None, "Points.", bounds="at least 0", example="score: 2")
    text = page(
        FieldDescription("wait", "number", "5", "How ``long``.", "GREY_WAIT", "grey_wait", "1 to 9", "wait: 7"),
        FieldDescription("rules", "list of mapping", None, "Rules.", fields=(inner,)),
    )
    assert "### wait\n\nHow `long`.\n\n- takes: number; 1 to 9\n- default: `5`\n" in text
    assert "- default from the environment: [`GREY_WAIT`](../environment.md)\n" in text
    assert "- last word: the domain's override field `grey_wait` (`inbox domain set`)\n- example: `wait: 7`\n" in text
    assert "- default: none, it has to be given\n" in text
    assert "| `score` | number; at least 0 | required | Points. | `score: 2` |" in text
    assert "| needs | `SpfFact` |" in text
    assert "| when it fails | accept at rcpt |\n| time-out | 2.5 s |" in text
    assert "It has none of its own." in page()


def test_every_plugin_has_its_page_with_every_setting() -> None:
    pages = plugin_pages("")
    found = Registry(environment={}, points=()).discover()
    assert set(pages) == {"plugins.md", *(f"plugins/{name}.md" for name in plugin_modules())}
    for name in plugin_modules():
        for setting in found.plugins[name].settings.model_fields:
            assert f"\n### {setting}\n" in pages[f"plugins/{name}.md"]
        for fact in found.plugins[name].gives:
            assert f"\n## {fact.__name__}\n" in pages[f"plugins/{name}.md"]
