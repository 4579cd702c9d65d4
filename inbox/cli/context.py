"""The context of commands: configuration, database, running server.

Heavy modules are imported when a command needs them: ``inbox --help`` needs none.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any, ParamSpec, get_type_hints

import typer

from inbox.base.errors import InboxError, NotFound
from inbox.cli.output import warn

if TYPE_CHECKING:
    from inbox.app.admin import AdminClient
    from inbox.app.config.loading import Config
    from inbox.base.clock import Clock
    from inbox.base.ids import Ids
    from inbox.mail.tenancy import HostedDomain, Tenant
    from inbox.policy.snapshot import PolicySet
    from inbox.store.ports import Blobs, Database

P = ParamSpec("P")


class CommandFailed(InboxError):
    """The command failed, or its answer is negative (exit code 1)."""


class WrongUsage(InboxError):
    """An argument is invalid (exit code 2)."""


def command(app: typer.Typer, name: str) -> Callable[[Callable[P, Awaitable[None]]], Callable[P, Awaitable[None]]]:
    """Registers a coroutine function as the command ``name``; its docstring is the help.

    A parameter that is annotated with a dataclass stands for a group of options: one for each field of the dataclass.
    """

    def register(function: Callable[P, Awaitable[None]]) -> Callable[P, Awaitable[None]]:
        # Annotations are strings in this package; typer needs the real ones, in the command's own namespace.
        own = inspect.signature(function, eval_str=True)
        groups: dict[str, Any] = {
            one.name: one.annotation for one in own.parameters.values() if is_dataclass(one.annotation)
        }

        def run(**given: Any) -> None:
            for group, kind in groups.items():
                given[group] = kind(**{field.name: given.pop(field.name) for field in fields(kind)})
            call: Callable[..., Awaitable[None]] = function

            async def whole() -> None:
                await call(**given)

            _log_to_standard_error()
            asyncio.run(whole())

        functools.update_wrapper(run, function)
        run.__signature__ = own.replace(parameters=list(_parameters(own)))  # type: ignore[attr-defined]  # PEP 362
        app.command(name)(run)
        return function

    return register


def _parameters(signature: inspect.Signature) -> Iterator[inspect.Parameter]:
    """The parameters of a command, with the fields of a group in the place of the group."""
    for one in signature.parameters.values():
        if not is_dataclass(one.annotation):
            yield one
            continue
        hints = get_type_hints(one.annotation, include_extras=True)
        for field in fields(one.annotation):
            yield one.replace(name=field.name, default=field.default, annotation=hints[field.name])


def _log_to_standard_error() -> None:
    """Standard output carries the command's answer, which programs read."""
    from inbox.app.serve.logs import configure_logs

    configure_logs(console=True, level=logging.WARNING)


def config() -> Config:
    """The configuration from the environment. Raises ConfigError."""
    from inbox.app.config.loading import load

    return load(os.environ)


def warn_of_suspended(policies: PolicySet) -> None:
    """One line on standard error if the policies of other tenants are wrong."""
    from inbox.app.wiring.policies import suspended_text

    text = suspended_text(policies)
    if text:
        warn(text)


@asynccontextmanager
async def database(*, create: bool = False) -> AsyncIterator[Database]:
    """The open database of the configuration, with and without a running server.

    Raises:
        NotFound: the database does not exist and ``create`` is false. Creating an empty one would make a typing error
            in INBOX_DATA_DIR look like an installation without mail.
    """
    from inbox.app.wiring.stores import make_database, missing_database
    from inbox.base.clock import SystemClock
    from inbox.base.ids import RandomIds

    settings = config()
    missing = None if create else missing_database(settings)
    if missing is not None:
        raise NotFound(missing)
    clock = SystemClock()
    opened = make_database(settings, clock, RandomIds(clock.now))
    await opened.open()
    try:
        yield opened
    finally:
        await opened.close()


@dataclass(frozen=True)
class Stores:
    """The open database and blob store of the configuration."""

    config: Config
    database: Database
    blobs: Blobs
    clock: Clock
    ids: Ids


@asynccontextmanager
async def stores() -> AsyncIterator[Stores]:
    """Both stores, open, whether they belong together or not.

    Raises:
        NotFound: the database or the folder of the blobs was never made.
        StoreUnavailable: one of the two cannot be reached.
    """
    from inbox.app.wiring.stores import make_blobs, missing_blobs
    from inbox.base.clock import SystemClock
    from inbox.base.ids import RandomIds

    settings = config()
    clock = SystemClock()
    async with database() as db:
        missing = missing_blobs(settings)
        if missing is not None:
            raise NotFound(missing)
        blobs = make_blobs(settings)
        await blobs.open()
        try:
            yield Stores(settings, db, blobs, clock, RandomIds(clock.now))
        finally:
            await blobs.close()


def server(*, timeout: float = 30) -> AdminClient:
    """The running server's admin socket; ``timeout`` in seconds."""
    from inbox.app.admin import AdminClient

    return AdminClient(config().folders.admin_socket, timeout)


async def tenant_named(db: Database, name: str) -> Tenant:
    """The tenant of this name. Raises NotFound."""
    found = await db.tenants.by_name(name)
    if found is None:
        raise NotFound(f"no tenant {name}")
    return found


async def tenant_id(db: Database, name: str | None) -> str | None:
    """The id of the tenant of ``--tenant``; None without the option. Raises NotFound."""
    return None if name is None else (await tenant_named(db, name)).id


async def hosting(db: Database, fqdn: str) -> HostedDomain:
    """The tenant that hosts a domain. Raises NotFound."""
    found = await db.tenants.domain(fqdn)
    if found is None:
        raise NotFound(f"no tenant hosts {fqdn} (inbox domain add TENANT {fqdn})")
    return found
