"""The repository keeps its own rules: settings and plugins have docs, files stay small, locks pin."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
import yaml

from inbox.app.config.loading import load
from scripts import gendocs
from scripts.manpages import share_files
from scripts.pluginpages import plugin_modules
from tests.support.sources import ROOT, modules, nodes_of

#: In one process, so that each file is parsed once (tests/support/sources.py).
pytestmark = pytest.mark.xdist_group("sources")

MOST_LINES = 400
MOST_FUNCTION_LINES = 50

#: Name and default of every variable that the program was described with; an empty default: unset.
VARIABLES = {
    "SERVER_BIND_ADDR": "0.0.0.0",
    "SERVER_MAX_CONNECTIONS": "256",
    "SMTP_TRANSFER_PORT": "25",
    "SMTP_SUBMISSION_PORT": "587",
    "SMTP_SUBMISSIONS_PORT": "465",
    "LMTP_PORT": "0",
    "IMAP_PORT": "143",
    "IMAPS_PORT": "993",
    "HTTP_PORT": "3000",
    "SMTP_OUTBOUND_PORT": "25",
    "SMTP_OUTBOUND_REQUIRE_STARTTLS": "false",
    "SMTP_OUTBOUND_ALLOW_INVALID_CERTS": "false",
    "SMTP_OUTBOUND_ALLOW_PLAINTEXT_FALLBACK": "true",
    "SMTP_OUTBOUND_TLS_MODE": "required",
    "SMTP_OUTBOUND_DANE_MODE": "prefer",
    "SMTP_OUTBOUND_DNSSEC_VALIDATE": "true",
    "SMTP_OUTBOUND_MTA_STS_ENFORCE": "true",
    "SMTP_TLS_REPORT_DIR": "data/tlsrpt",
    "SMTP_TLS_RPT_ENABLED": "true",
    "SMTP_TLS_RPT_SEND_HOUR_UTC": "2",
    "SMTP_TLS_RPT_MAX_RECIPIENTS_PER_DOMAIN": "5",
    "SMTP_TLS_RPT_FALLBACK_FROM": "",
    "SMTP_OUTBOUND_TIMEOUT_SECS": "30",
    "SMTP_OUTBOUND_QUEUE_ENABLED": "true",
    "SMTP_OUTBOUND_QUEUE_POLL_INTERVAL_SECS": "2",
    "SMTP_OUTBOUND_QUEUE_CLEANUP_INTERVAL_SECS": "300",
    "SMTP_OUTBOUND_QUEUE_BATCH_SIZE": "100",
    "SMTP_OUTBOUND_QUEUE_LEASE_SECS": "120",
    "SMTP_OUTBOUND_RETRY_BASE_DELAY_SECS": "30",
    "SMTP_OUTBOUND_RETRY_MAX_DELAY_SECS": "3600",
    "SMTP_OUTBOUND_MAX_ATTEMPTS": "10",
    "SMTP_OUTBOUND_TTL_SECS": "86400",
    "SMTP_OUTBOUND_DEAD_JOB_RETENTION_SECS": "604800",
    "SMTP_OUTBOUND_DELIVERY_RETENTION_SECS": "2592000",
    "SMTP_INBOUND_MAX_RCPT_TO": "100",
    "SMTP_MAX_MESSAGE_BYTES": "26214400",
    "SMTP_RATE_LIMIT_ENABLED": "true",
    "SMTP_RATE_LIMIT_WINDOW_SECS": "60",
    "SMTP_RATE_LIMIT_TRANSFER_CONNECTIONS_PER_WINDOW": "240",
    "SMTP_RATE_LIMIT_SUBMISSION_CONNECTIONS_PER_WINDOW": "120",
    "SMTP_RATE_LIMIT_TRANSFER_MESSAGES_PER_WINDOW": "240",
    "SMTP_RATE_LIMIT_SUBMISSION_MESSAGES_PER_WINDOW": "120",
    "SMTP_RATE_LIMIT_FAIL_OPEN_ON_DB_ERROR": "true",
    "SMTP_REQUIRE_SPF_PASS": "true",
    "SMTP_REQUIRE_DKIM_PASS": "false",
    "SMTP_REQUIRE_DMARC_PASS": "false",
    "SMTP_AUTH_ALLOW_HEADER_OVERRIDE": "false",
    "SMTP_DKIM_DOMAIN": "",
    "SMTP_DKIM_SELECTOR": "",
    "SMTP_DKIM_PRIVATE_KEY_B64_PKCS8": "",
    "SMTP_DKIM_HEADERS": "From,To,Subject,Date",
    "S3_ENDPOINT": "",
    "S3_REGION": "auto",
    "S3_BUCKET": "",
    "S3_ACCESS_KEY_ID": "",
    "S3_SECRET_ACCESS_KEY": "",
    "S3_FORCE_PATH_STYLE": "false",
    "INBOX_STORE_PARSED_PARTS": "false",
    "INBOX_DATA_DIR": "data",
    "INBOX_POLICY_DIR": "policies",
    "INBOX_INCOMING_DIR": "data/incoming",
    "OTEL_ENABLED": "false",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318/v1/traces",
    "OTEL_SERVICE_NAME": "inbox",
    "OTEL_SAMPLE_RATIO": "1.0",
    "OTEL_CONSOLE_LOGS": "true",
    "DATABASE_URL": "sqlite:///data/inbox.db",
    "DATABASE_HOSTNAME": "",
    "DATABASE_USERNAME": "",
    "DATABASE_PASSWORD": "",
    "TLS_CERT_FILE": "",
    "TLS_KEY_FILE": "",
    "DNS_RESOLVER": "",
}
#: Variables whose default is ours to choose.
NAMED_ONLY = {"SERVER_HOSTNAME", "INBOX_PLUGIN_DIR", "DATABASE_NAMESPACE", "DATABASE_DATABASE"}


def tracked() -> list[Path]:
    """The files of the repository; outside a checkout, those that are there."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode == 0:
        found = [ROOT / name for name in listed.stdout.split("\0") if name]
        return [path for path in found if path.is_file()]
    return [
        path for path in ROOT.rglob("*") if path.is_file() and not {".venv", ".git", "node_modules"} & {*path.parts}
    ]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_files_are_short() -> None:
    long = {name_of(path): lines for path in modules() if (lines := path.read_text().count("\n")) >= MOST_LINES}
    assert long == {}


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Each function with the number of its lines, its signature and docstring left out."""
    for node in nodes_of(path):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            yield node.name, (node.end_lineno or 0) - body[0].lineno + 1 if body else 0


def test_functions_are_short() -> None:
    long = [f"{name_of(p)}:{name} {n}" for p in modules() for name, n in functions(p) if n >= MOST_FUNCTION_LINES]
    assert long == []


def import_graph(folder: Path) -> dict[str, set[str]]:
    """Each module below ``folder`` with those that it imports: at its top, within functions, or only for types.

    That a module's package is imported first does not count: a package that exports names of its modules is not one
    that they depend on.
    """
    named = {
        ".".join(path.relative_to(folder.parent).with_suffix("").parts).removesuffix(".__init__"): path
        for path in folder.rglob("*.py")
    }

    def imported(path: Path) -> Iterator[str]:
        for node in nodes_of(path):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.module and not node.level, f"{path}:{node.lineno}: an import that is not absolute"
                for alias in node.names:
                    whole = f"{node.module}.{alias.name}"
                    yield whole if whole in named else node.module

    return {name: {*imported(path)} & named.keys() - {name} for name, path in named.items()}


def circle_of(graph: dict[str, set[str]]) -> list[str]:
    """A circle, each module imported by the next; empty if there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Not even for types alone: what needs another's type to be understood cannot be read, or changed, before it."""
    graph = import_graph(ROOT / "inbox")
    assert len(graph) > 200
    assert graph["inbox.app.serve.server"] >= {"inbox.app.wiring.program", "inbox.server.listener"}
    assert circle_of(graph) == []


def test_a_circle_of_imports_is_found(tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("from package.first import x\n")
    (package / "first.py").write_text("from typing import TYPE_CHECKING\nfrom package import second\n")
    (package / "second.py").write_text("def late():\n    import package.third\n")
    (package / "third.py").write_text("if TYPE_CHECKING:\n    from package.second import late\n")
    assert {*circle_of(import_graph(package))} == {"package.second", "package.third"}
    (package / "third.py").write_text("import package\n")
    assert len(circle_of(import_graph(package))) == 5
    (package / "third.py").write_text("import ast\n")
    assert circle_of(import_graph(package)) == []


@pytest.mark.slow
def test_no_regular_expression_has_a_possessive_group() -> None:
    """CPython before 3.11.5, and Debian 12 has 3.11.2, forgets to go back when such a group fails half-way.

    ``(?>(?:…)*)`` means the same and works.
    """
    possessive = re.compile(r"\)[*+?]\+")
    found = [
        f"{name_of(path)}:{node.lineno}"
        for path in modules()
        for node in nodes_of(path)
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)
        and possessive.search(node.value if isinstance(node.value, str) else node.value.decode("latin-1"))
    ]  # fmt: skip
    assert found == []


def test_every_module_says_what_it_is() -> None:
    found = [(path, nodes_of(path)[0]) for path in modules()]
    assert [
        name_of(path) for path, node in found if not isinstance(node, ast.Module) or not ast.get_docstring(node)
    ] == []


def test_no_file_names_a_package_registry() -> None:
    # Built here, so that this file does not name one.
    hosts = [
        ".".join(parts) for parts in (("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"), ("npmjs", "com"))
    ]
    pattern = re.compile("|".join(re.escape(host) for host in hosts).encode())
    named = [name_of(path) for path in tracked() if pattern.search(path.read_bytes())]
    assert named == []


def test_every_variable_of_the_description_is_there_with_its_default() -> None:
    rows = {row.name: row.value for row in load({}).variables()}
    assert {name: rows.get(name) for name in VARIABLES} == VARIABLES
    assert rows.keys() >= NAMED_ONLY


def test_the_reference_is_what_the_code_says() -> None:
    wanted = {name: text.rstrip() + "\n" for name, text in gendocs.pages().items()}
    folder = gendocs.REFERENCE
    written = {str(path.relative_to(folder)): path.read_text(encoding="utf-8") for path in folder.rglob("*.md")}
    stale = sorted(name for name in wanted.keys() | written.keys() if wanted.get(name) != written.get(name))
    assert stale == [], "run `make docs`"


def test_the_manual_page_and_the_completions_are_what_the_code_says() -> None:
    wanted = {name: text.rstrip() + "\n" for name, text in share_files().items()}
    written = {
        str(path.relative_to(gendocs.SHARE)): path.read_text(encoding="utf-8")
        for path in gendocs.SHARE.rglob("*")
        if path.is_file()
    }
    assert written == wanted, "run `make docs`"


def test_every_shipped_plugin_has_its_page() -> None:
    index = (gendocs.REFERENCE / "plugins.md").read_text(encoding="utf-8")
    assert [name for name in plugin_modules() if f"[{name}](plugins/{name}.md)" not in index] == []


def test_the_lock_pins_and_hashes_every_package() -> None:
    for name in ("dev.txt", "runtime.txt"):
        text = (ROOT / "requirements" / name).read_text()
        pinned = re.findall(
            r"^([a-z0-9][a-z0-9._-]*)==\S+(?: ;[^\\\n]*)? \\\n    --hash=sha256:[0-9a-f]{64}", text, re.MULTILINE
        )
        assert len(pinned) == len(re.findall(r"^\S", text, re.MULTILINE)) > 50


def test_the_scripts_that_a_newcomer_runs_are_executable() -> None:
    assert [name for name in ("run", ".ci/run", "scripts/lock") if not (ROOT / name).stat().st_mode & 0o100] == []


def test_the_hooks_before_a_commit_are_local_and_run_the_check() -> None:
    repos = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [(repo["repo"], [hook["entry"] for hook in repo["hooks"]]) for repo in repos] == [("local", ["./run check"])]


def test_every_decision_is_a_page_with_its_reasons_in_the_index() -> None:
    folder = ROOT / "docs" / "decisions"
    index = (folder / "README.md").read_text("utf-8")
    pages = sorted(path for path in folder.glob("*.md") if path.name != "README.md")
    assert len(pages) > 10
    assert [page.name for page in pages if f"]({page.name})" not in index] == []
    numbers = [page.name[:4] for page in pages]
    assert len(numbers) == len({*numbers})
    headings = ["## Context", "## Decision", "## Consequences"]
    for page in pages:
        lines = page.read_text("utf-8").splitlines()
        assert lines[0].startswith(f"# {page.name[:4]} "), page.name
        assert [line for line in lines if line in headings] == headings, page.name
        assert len(lines) < 80, f"{page.name} is longer than a page"
