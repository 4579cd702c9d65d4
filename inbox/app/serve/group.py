"""All processes of a server, as its admin socket shows them.

The first process has the socket that operators use; each other process has its own socket beside it, named after its
number, and the first process queries it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from inbox.app.admin import Running, ask, owner
from inbox.app.serve.vitals import TIMEOUT_SECONDS
from inbox.base.errors import InboxError
from inbox.base.metrics import Family, decoded, gauge, merged

#: Seconds for another process to report its status: it may itself wait for the worker process.
STATUS_SECONDS = TIMEOUT_SECONDS + 2
#: Seconds for another process's metrics.
METRICS_SECONDS = TIMEOUT_SECONDS + 2
#: Seconds for it to reload: it loads policies and creates plugins again.
RELOAD_SECONDS = 20.0
#: Fields of each process's status in the list of processes.
_OF_EACH = ("pid", "uptime_seconds", "failing_plugins", "policy_error", "suspended_tenants", "log", "rate_counters")


def socket_of(first: Path, index: int) -> Path:
    """The admin socket of the process with that number; 0 has ``first`` itself."""
    return first if index == 0 else first.with_name(f"{first.stem}-{index}{first.suffix}")


class Group:
    """``Running`` of :mod:`inbox.app.admin` for the first process: its own view, and the answers of the others.

    Args:
        own: this process.
        others: the admin sockets of the others, in the order of their numbers.
    """

    def __init__(self, own: Running, others: Sequence[Path]) -> None:
        self._own = own
        self._others = others

    async def health(self) -> list[str]:
        """The health of this process: another process that hangs accepts no new connections."""
        return await self._own.health()

    async def reload(self) -> list[str]:
        """Reloads all processes; each error once."""
        own, *others = await asyncio.gather(
            self._own.reload(),
            *(_answer(index, path, "POST", "/reload", RELOAD_SECONDS) for index, path in enumerate(self._others, 1)),
        )
        problems = list(own)
        for answer in others:
            silent = answer.get("why")
            problems += [f"{silent}: it continues with what it has"] if silent else answer["problems"]
        return list(dict.fromkeys(problems))

    async def metrics(self) -> list[Family]:
        """The metrics of all processes, with the label ``process``; ``inbox_process_up`` is 0 for one that does not
        answer."""
        own, *others = await asyncio.gather(
            self._own.metrics(),
            *(
                _answer(index, path, "GET", "/metrics.json", METRICS_SECONDS)
                for index, path in enumerate(self._others, 1)
            ),
        )
        parts = [("0", own)]
        for index, answer in enumerate(others, 1):
            if "families" in answer:
                parts.append((str(index), decoded(answer["families"])))
        answered = {name for name, _ in parts}
        ups = [({"process": name}, float(name in answered)) for name in map(str, range(len(self._others) + 1))]
        return [gauge("inbox_process_up", "1 if the server process answers.", ups), *merged(parts, "process")]

    async def take_policy(self, tenant: str) -> dict[str, Any]:
        """Loads it in all processes; each error once. A plugin has the weakest mode of all processes."""
        target = f"/policies/{tenant}"
        own, *others = await asyncio.gather(
            self._own.take_policy(tenant),
            *(_answer(index, path, "POST", target, RELOAD_SECONDS) for index, path in enumerate(self._others, 1)),
        )
        problems = list(own["problems"])
        modes = dict(own["plugins"])
        for answer in others:
            silent = answer.get("why")
            problems += [f"{silent}: it continues with what it has"] if silent else answer["problems"]
            for name, mode in answer.get("plugins", {}).items():
                modes[name] = mode if modes.get(name) == "enforce" else modes.get(name, mode)
        return {"problems": list(dict.fromkeys(problems)), "plugins": modes}

    async def status(self) -> dict[str, Any]:
        """The status of this process, with ``processes``; ``failing_plugins`` are those of all."""
        own, *others = await asyncio.gather(
            self._own.status(),
            *(_answer(index, path, "GET", "/status", STATUS_SECONDS) for index, path in enumerate(self._others, 1)),
        )
        processes = [_entry(index, answer) for index, answer in enumerate((own, *others))]
        return {**own, "failing_plugins": _worst(processes), "processes": processes}


def _entry(index: int, answer: dict[str, Any]) -> dict[str, Any]:
    why = answer.get("why", "")
    fields = {"pid": answer["pid"]} if why else {name: answer[name] for name in _OF_EACH}
    return {"index": index, "answers": not why, **fields, **({"why": why} if why else {})}


def _worst(processes: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each failing plugin once, as it is in the process where it fails most, with that process's pid."""
    worst: dict[tuple[str, str], dict[str, Any]] = {}
    for process in processes:
        for failing in process.get("failing_plugins", ()):
            key = (failing["plugin"], failing["settings"])
            if key not in worst or _badness(failing) > _badness(worst[key]):
                worst[key] = {**failing, "pid": process["pid"]}
    return [worst[key] for key in sorted(worst)]


def _badness(failing: dict[str, Any]) -> tuple[bool, int]:
    return failing["breaker"] == "open", failing["failures"]


async def _answer(index: int, path: Path, method: str, target: str, seconds: float) -> dict[str, Any]:
    """The answer of another process; ``pid`` and ``why`` if it does not answer."""
    try:
        return await ask(path, method, target, seconds)
    except InboxError as error:
        pid = owner(path)
        name = f"process {index}" + (f" (pid {pid})" if pid is not None else "")
        return {"pid": pid, "why": f"{name} {error}"}
