"""Switching a plugin in a policy file leaves every other character as it was."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from inbox.base.errors import PolicyError
from inbox.policy.catalogue import Mode
from inbox.policy.edit import set_plugin, with_plugin, write_atomically
from inbox.policy.snapshot import PolicySet
from tests.support.policies import Catalogue

HEAD = "# Policy of the tenant demo. What is left out is inherited from default.yaml.\n"


def switched(text: str, plugin: str, *, on: bool) -> str:
    return with_plugin(text, plugin, enabled=on, tenant="demo")


COMMENTED = """\
# Acme's policy. Ask Bob before you change it.
plugins:
  # the scanner in the cellar
  clamav: {address: "tcp://127.0.0.1:3310", on_error: defer}   # never accept
  spam_rules:
    rules:
      - name: A
        when: 'subject.matches("(?i)invoice")'
        score: 4.50     # was 4

# the rest
thresholds: {tag: 4, reject: 12}
"""


def test_a_new_plugin_is_appended_as_one_line() -> None:
    lines = COMMENTED.splitlines(keepends=True)
    lines.insert(9, "  hello: {enabled: true}\n")
    assert switched(COMMENTED, "hello", on=True) == "".join(lines)


@pytest.mark.parametrize(
    ("before", "plugin", "on", "after"),
    [
        ("", "a", False, HEAD + "plugins:\n  a: {enabled: false}\n"),
        ("# nothing yet", "a", True, "# nothing yet\nplugins:\n  a: {enabled: true}\n"),
        ("plugins:\n", "a", True, "plugins: {a: {enabled: true}}\n"),
        ("plugins: {}\n", "a", True, "plugins: {a: {enabled: true}}\n"),
        ("plugins: {b: {}}\n", "a", True, "plugins: {b: {}, a: {enabled: true}}\n"),
        ("plugins: {b: {},}\n", "a", True, "plugins: {b: {},a: {enabled: true}}\n"),
        ("plugins:\n  a:\n", "a", False, "plugins:\n  a: {enabled: false}\n"),
        ("plugins:\n  a: ~ # x\n", "a", False, "plugins:\n  a: {enabled: false} # x\n"),
        ("plugins:\n  a: {}", "a", False, "plugins:\n  a: {enabled: false}"),
        ("plugins:\n  a: {x: 1} # c\n", "a", False, "plugins:\n  a: {x: 1, enabled: false} # c\n"),
        ("plugins:\n  a:\n    x: 1 # c\n", "a", False, "plugins:\n  a:\n    x: 1 # c\n    enabled: false\n"),
        ("plugins:\n  a: {enabled: no}\n", "a", True, "plugins:\n  a: {enabled: true}\n"),
        ("plugins:\n  a: {mode: off, enabled: false}\n", "a", True, "plugins:\n  a: {mode: enforce, enabled: true}\n"),
        ("plugins:\n  a: {mode: shadow}\n", "a", True, "plugins:\n  a: {mode: shadow, enabled: true}\n"),
        ("thresholds: {tag: 1}", "a", True, "thresholds: {tag: 1}\nplugins: {a: {enabled: true}}\n"),
        ("plugins:\n  a:\n    t: |\n      x\n\nmode: shadow\n", "a", False,
         "plugins:\n  a:\n    t: |\n      x\n\n    enabled: false\nmode: shadow\n"),
        ("plugins:\n- a\n", "a", True, None),
        ("- a\n", "a", True, None),
        ("plugins: {a: b\n", "a", True, None),
        ("plugins:\n  a: 3\n", "a", True, None),
        ("x: *nowhere\n", "a", True, None),
    ],
)  # fmt: skip
def test_every_shape_that_a_file_may_have(before: str, plugin: str, on: bool, after: str | None) -> None:
    if after is None:
        with pytest.raises(PolicyError):
            switched(before, plugin, on=on)
    else:
        assert switched(before, plugin, on=on) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", HEAD + "domains:\n  d.test:\n    plugins:\n      a: {enabled: true}\n"),
        ("mode: shadow # c\n", "mode: shadow # c\ndomains: {d.test: {plugins: {a: {enabled: true}}}}\n"),
        ("domains:\n  e.test: {}\n", "domains:\n  e.test: {}\n  d.test: {plugins: {a: {enabled: true}}}\n"),
        ("domains:\n  d.test:\n    thresholds: {tag: 1} # c\n",
         "domains:\n  d.test:\n    thresholds: {tag: 1} # c\n    plugins: {a: {enabled: true}}\n"),
        ("domains: {d.test: {plugins: {a: {mode: off}}}}\n",
         "domains: {d.test: {plugins: {a: {mode: enforce, enabled: true}}}}\n"),
        ("plugins: {a: {enabled: false}}\ndomains: {d.test: {plugins: {a: {enabled: false}}}}\n",
         "plugins: {a: {enabled: false}}\ndomains: {d.test: {plugins: {a: {enabled: true}}}}\n"),
        ("domains: [d.test]\n", None),
    ],
)  # fmt: skip
def test_a_domain_has_its_own_switch(before: str, after: str | None) -> None:
    if after is None:
        with pytest.raises(PolicyError):
            with_plugin(before, "a", enabled=True, tenant="demo", domain="d.test")
    else:
        assert with_plugin(before, "a", enabled=True, tenant="demo", domain="d.test") == after


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("abc #:-{}[]'\"\n", max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["x", "y", "enabled"]), inner, max_size=3)
    ),
    max_leaves=8,
)
plugins = st.dictionaries(
    st.sampled_from(["a", "b", "c"]), st.none() | st.dictionaries(st.sampled_from(["x", "y"]), values)
)


@given(
    document=st.fixed_dictionaries({}, optional={"plugins": st.none() | plugins, "groups": values, "zz": values}),
    flow=st.sampled_from([None, True, False]),
    on=st.booleans(),
)
def test_only_what_was_asked_for_changes(document: dict[str, object], flow: bool | None, on: bool) -> None:
    before = yaml.safe_dump(document, default_flow_style=flow, sort_keys=False)
    entries = document.get("plugins") or {}
    assert isinstance(entries, dict)
    wanted = {**document, "plugins": {**entries, "a": {**(entries.get("a") or {}), "enabled": on}}}
    assert yaml.safe_load(switched(before, "a", on=on)) == wanted


COMMENTED_FILE = """\
# ACME: ask Ann before you change anything.
plugins:
  rules: {limit: 7}  # our own
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tenants").mkdir()
    (tmp_path / "default.yaml").write_text("plugins: {spf: {enabled: false}}")
    (tmp_path / "tenants" / "acme.yaml").write_text(COMMENTED_FILE)
    return tmp_path


def test_an_edit_is_checked_and_written(folder: Path) -> None:
    path = folder / "tenants" / "acme.yaml"
    path.chmod(0o640)
    policies = PolicySet.load(folder, Catalogue())
    assert set_plugin(policies, "acme", "spf", enabled=True) == path
    assert path.stat().st_mode & 0o777 == 0o640
    entry = PolicySet.load(folder, Catalogue()).effective("acme").plugin("spf")
    assert entry is not None
    assert entry.mode is Mode.ENFORCE
    assert set_plugin(policies, "new", "spf", enabled=True) == folder / "tenants" / "new.yaml"
    assert sorted(found.name for found in (folder / "tenants").iterdir()) == ["acme.yaml", "new.yaml"]


def test_an_edit_that_would_be_wrong_is_not_written(folder: Path) -> None:
    policies = PolicySet.load(folder, Catalogue())
    with pytest.raises(PolicyError, match=r"unknown plugin 'spff'; did you mean 'spf'\?"):
        set_plugin(policies, "acme", "spff", enabled=True)
    assert (folder / "tenants" / "acme.yaml").read_text() == COMMENTED_FILE


def test_a_write_that_fails_leaves_the_old_text(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "tenants" / "acme.yaml"

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, "new")
    assert path.read_text() == COMMENTED_FILE
    assert [found.name for found in (folder / "tenants").iterdir()] == ["acme.yaml"]
