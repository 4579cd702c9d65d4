"""Create database and blob store from the configuration; unused backends are not imported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from inbox.app.config.loading import Config
from inbox.base.clock import Clock
from inbox.base.ids import Ids
from inbox.store.pairing import Places
from inbox.store.ports import Blobs, Database
from inbox.store.worker.client import WorkerClient
from inbox.store.worker.starting import WORKER, OwnWorker, SharedWorker

if TYPE_CHECKING:
    from inbox.store.surreal.config import SurrealConfig


@dataclass(frozen=True, slots=True)
class Stores:
    """The stores, not yet opened; ``worker`` writes to one or both of them."""

    database: Database
    blobs: Blobs
    worker: WorkerClient | None = None


def make_stores(config: Config, clock: Clock, ids: Ids, *, serving: bool = False, worker: int | None = None) -> Stores:
    """Creates all stores.

    Args:
        serving: for a server, which writes much mail and uses a worker process for it.
        worker: the handover socket of a worker that several servers share (:func:`shared_worker`); without it this
            server has its own.
    """
    if config.database.surreal_url is not None or not serving:
        blobs = make_blobs(config, serving=serving)
        return Stores(make_database(config, clock, ids), blobs, getattr(blobs, "worker", None))
    from inbox.store.sqlite.database import SqliteDatabase

    handover = OwnWorker() if worker is None else SharedWorker(worker)
    folder = None if config.s3.enabled else config.folders.incoming
    database = SqliteDatabase(config.sqlite_path, clock, ids, worker=handover, blobs=folder)
    return Stores(database, make_blobs(config), database.worker)


def shared_worker(config: Config) -> str | None:
    """The module of the worker process that the server processes of one machine share, if there is one."""
    return None if config.database.surreal_url is not None else WORKER


def make_database(config: Config, clock: Clock, ids: Ids) -> Database:
    """The database, not yet opened: SurrealDB if a server is configured, otherwise the embedded one."""
    settings = surreal_config(config)
    if settings is not None:
        from inbox.store.surreal.database import SurrealDatabase

        return SurrealDatabase(settings, clock, ids)
    from inbox.store.sqlite.database import SqliteDatabase

    return SqliteDatabase(config.sqlite_path, clock, ids)


def surreal_config(config: Config) -> SurrealConfig | None:
    """Address and user of the SurrealDB server; None if the database is the embedded one. Raises ConfigError."""
    url = config.database.surreal_url
    if url is None:
        return None
    from inbox.store.surreal.config import SurrealConfig

    user, password = config.database.credentials or ("", "")
    return SurrealConfig(
        url=url,
        namespace=config.database.namespace,
        database=config.database.database,
        username=user,
        password=password,
    )


def places(config: Config) -> Places:
    """Names of the database and the blob store in errors and reports."""
    url = config.database.masked_url(config.folders.data_dir)
    if config.database.surreal_url is not None:
        url = f"{url} ({config.database.namespace}/{config.database.database})"
    if config.s3.enabled:
        return Places(url, f"s3://{config.s3.bucket} at {config.s3.endpoint or 'Amazon S3'}")
    return Places(url, str(config.folders.incoming))


def missing_database(config: Config) -> str | None:
    """A sentence for the operator if the embedded database does not exist, or this user may not access it; None if it
    exists, or if a database server is used.
    """
    if config.database.surreal_url is not None:
        return None
    try:
        config.sqlite_path.lstat()
    except PermissionError:
        return f"{config.sqlite_path} may not be opened by this user: run inbox as the user of the server"
    except (FileNotFoundError, NotADirectoryError):
        pass
    else:
        return None
    return (
        f"no database at {config.sqlite_path}: is INBOX_DATA_DIR ({config.folders.data_dir}) right? "
        "inbox tenant add and inbox serve create a new one"
    )


def missing_blobs(config: Config) -> str | None:
    """A sentence for the operator if the folder of the blobs does not exist; None if it does, or if S3 is used."""
    if config.s3.enabled or config.folders.incoming.is_dir():
        return None
    return (
        f"no folder {config.folders.incoming}: is INBOX_INCOMING_DIR right and its disk mounted? inbox serve creates it"
    )


def make_blobs(config: Config, *, serving: bool = False) -> Blobs:
    """The blob store, not yet opened: S3 if the ``S3_*`` variables are set, otherwise a folder.

    Args:
        serving: for a server, which has many blobs to write.
    """
    if config.s3.enabled:
        from inbox.store.blobs.s3 import S3Blobs, S3Config

        settings = S3Config(
            endpoint=config.s3.endpoint or "",
            region=config.s3.region,
            bucket=config.s3.bucket or "",
            access_key_id=config.s3.access_key_id or "",
            secret_access_key=config.s3.secret_access_key.get_secret_value() if config.s3.secret_access_key else "",
            force_path_style=config.s3.force_path_style,
        )
        return S3Blobs(settings)
    from inbox.store.blobs.local import LocalBlobs

    return LocalBlobs(config.folders.incoming, process=serving)
