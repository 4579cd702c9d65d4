"""Blob store in an S3 bucket, or a bucket of a compatible service (Cloudflare R2, MinIO, Ceph).

boto3 is synchronous and its client is thread-safe: calls run in our own thread pool, with as many connections as
threads. It is imported when the store is opened, because the import takes a second. A PUT is atomic, and durable when
it is acknowledged, so nothing unfinished is ever left behind.
"""

from __future__ import annotations

import asyncio
import io
import os
import tempfile
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from inbox.base.errors import NotFound, StorageFull, StoreError, StoreUnavailable
from inbox.base.limits import SPOOL_OCTETS
from inbox.mail.content import CHUNK, Content, FileContent, MemoryContent
from inbox.store.blobs.files import translated
from inbox.store.blobs.keys import components

T = TypeVar("T")

#: Seconds to connect, seconds to wait for the next octets, and the total number of tries of a call.
CONNECT_SECONDS: Final = 5
READ_SECONDS: Final = 20
ATTEMPTS: Final = 3

_ABSENT: Final = frozenset({"NoSuchKey", "404", "NotFound"})
#: Error codes of a conditional write whose condition failed (RFC 9110 §13.1.2), and of servers without conditional
#: writes.
_TAKEN: Final = frozenset({"PreconditionFailed", "ConditionalRequestConflict"})
_NO_CONDITIONS: Final = frozenset({"NotImplemented", "InvalidArgument", "InvalidRequest"})
_FULL: Final = frozenset({"QuotaExceeded", "EntityTooLarge", "XMinioStorageFull", "507"})


@dataclass(frozen=True, slots=True)
class S3Config:
    """A bucket and its credentials.

    Args:
        endpoint: for example ``https://<account>.r2.cloudflarestorage.com``; None or empty: Amazon's.
        force_path_style: put the bucket's name into the path instead of the host name.
    """

    bucket: str
    endpoint: str | None = None
    region: str = "auto"
    access_key_id: str = ""
    secret_access_key: str = field(default="", repr=False)
    force_path_style: bool = False


class S3Blobs:
    """``Blobs`` of ``inbox.store.ports`` in one bucket, which must exist.

    Args:
        threads: the maximum number of concurrent calls, each with its own connection.
        spool_above: larger contents (in octets) are read into an unlinked temporary file.
        spool: the folder for these files; the system's if None.
    """

    def __init__(
        self, config: S3Config, *, threads: int = 16, spool_above: int = SPOOL_OCTETS, spool: Path | None = None
    ) -> None:
        self._config = config
        self._threads = threads
        self._spool_above = spool_above
        self._spool = spool
        self._pool: ThreadPoolExecutor | None = None
        self._client: Any = None

    async def open(self) -> None:
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="s3")
        try:
            await self._run(self._connect)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        pool, self._pool = self._pool, None
        client, self._client = self._client, None
        if pool is not None:
            # Running calls end by their timeouts; waiting calls fail.
            pool.shutdown(wait=False, cancel_futures=True)
        if client is not None:
            client.close()

    async def put(self, key: str, content: Content) -> None:
        components(key)
        await self._run(self._put, key, content)

    async def create(self, key: str, content: Content) -> bool:
        components(key)
        return await self._run(self._create, key, content)

    async def move(self, key: str, target: str) -> None:
        components(key)
        components(target)
        await self._run(self._move, key, target)

    async def get(self, key: str) -> Content:
        components(key)
        return await self._run(self._get, key)

    async def read(self, key: str, offset: int, length: int) -> bytes:
        components(key)
        return await self._run(self._read, key, offset, length)

    async def delete(self, key: str) -> None:
        components(key)
        await self._run(lambda: self._client.delete_object(Bucket=self._config.bucket, Key=key))

    async def keys(self, prefix: str = "") -> AsyncIterator[tuple[str, float]]:
        more: dict[str, str] = {}
        while True:
            page = await self._run(self._list, prefix, more)
            for found in page.get("Contents", ()):
                yield found["Key"], found["LastModified"].timestamp()
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    async def remove_unfinished(self, before: float) -> int:  # noqa: ARG002 - a PUT is atomic
        return 0

    async def _run(self, function: Callable[..., T], *arguments: object) -> T:
        if self._pool is None:
            raise StoreUnavailable("the blob store is not open")
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._mapped, function, arguments)

    # -- threads -------------------------------------------------------------------------------------------

    def _mapped(self, function: Callable[..., T], arguments: tuple[object, ...]) -> T:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return function(*arguments)
        except ClientError as error:
            raise self._translated(error) from error
        except BotoCoreError as error:
            raise StoreUnavailable(f"s3 {self._config.bucket}: {type(error).__name__}: {error}") from error
        except OSError as error:
            raise translated(error, str(self._spool or tempfile.gettempdir()), StoreUnavailable) from error

    def _translated(self, error: Any) -> StoreError:
        code = str(error.response.get("Error", {}).get("Code", ""))
        text = f"s3 {self._config.bucket}: {error}"
        if code in _ABSENT:
            return NotFound(text)
        return StorageFull(text) if code in _FULL else StoreUnavailable(text)

    def _connect(self) -> None:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import ClientError

        config = self._config
        self._client = boto3.session.Session().client(
            "s3",
            endpoint_url=config.endpoint or None,
            region_name=config.region or None,
            aws_access_key_id=config.access_key_id,
            aws_secret_access_key=config.secret_access_key,
            config=Config(
                signature_version="s3v4",
                s3={"addressing_style": "path" if config.force_path_style else "auto"},
                # Checksums by default are specific to Amazon; other servers reject the trailers.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                connect_timeout=CONNECT_SECONDS,
                read_timeout=READ_SECONDS,
                retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
                max_pool_connections=self._threads,
            ),
        )
        try:
            self._client.head_bucket(Bucket=config.bucket)
        except ClientError as error:
            raise StoreUnavailable(f"s3: cannot use the bucket {config.bucket}: {error}") from error

    def _put(self, key: str, content: Content) -> None:
        if content.size <= self._spool_above:
            body: Any = b"".join(content.chunks())
        else:
            body = io.BufferedReader(_Reader(content), CHUNK)
        self._client.put_object(Bucket=self._config.bucket, Key=key, Body=body, ContentLength=content.size)

    def _create(self, key: str, content: Content) -> bool:
        from botocore.exceptions import ClientError

        body = b"".join(content.chunks())
        bucket = self._config.bucket
        try:
            self._client.put_object(Bucket=bucket, Key=key, Body=body, IfNoneMatch="*")
        except ClientError as error:
            code, status = error.response["Error"].get("Code"), error.response["ResponseMetadata"].get("HTTPStatusCode")
            if code in _TAKEN or status == 412:
                return False
            if code not in _NO_CONDITIONS and status != 501:
                raise
            # A server without conditional writes. Two instances may both get here, so callers read the blob back.
            try:
                self._client.head_object(Bucket=bucket, Key=key)
            except ClientError as absent:
                if str(absent.response["Error"].get("Code")) not in _ABSENT:
                    raise
                self._client.put_object(Bucket=bucket, Key=key, Body=body)
                return True
            return False
        return True

    def _move(self, key: str, target: str) -> None:
        bucket = self._config.bucket
        self._client.copy_object(Bucket=bucket, Key=target, CopySource={"Bucket": bucket, "Key": key})
        self._client.delete_object(Bucket=bucket, Key=key)

    def _get(self, key: str) -> Content:
        answer = self._client.get_object(Bucket=self._config.bucket, Key=key)
        with closing(answer["Body"]) as body:
            if answer["ContentLength"] <= self._spool_above:
                return MemoryContent(body.read())
            fd, name = tempfile.mkstemp(prefix="inbox-", dir=self._spool)
            try:
                with os.fdopen(fd, "wb") as file:
                    for chunk in body.iter_chunks(CHUNK):
                        file.write(chunk)
                return FileContent(Path(name), unlink=True)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise

    def _read(self, key: str, offset: int, length: int) -> bytes:
        from botocore.exceptions import ClientError

        bucket = self._config.bucket
        if length <= 0:
            self._client.head_object(Bucket=bucket, Key=key)
            return b""
        try:
            answer = self._client.get_object(Bucket=bucket, Key=key, Range=f"bytes={offset}-{offset + length - 1}")
        except ClientError as error:
            # RFC 9110 §15.5.17: the range begins after the end of the blob, which exists.
            if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 416:
                return b""
            raise
        with closing(answer["Body"]) as body:
            return bytes(body.read())

    def _list(self, prefix: str, more: dict[str, str]) -> dict[str, Any]:
        page: dict[str, Any] = self._client.list_objects_v2(Bucket=self._config.bucket, Prefix=prefix, **more)
        return page


class _Reader(io.RawIOBase):
    """File interface to a content, so that a large one is sent without a copy."""

    def __init__(self, content: Content) -> None:
        self._content = content
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._content.read(self._at, len(buffer))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._content.size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at
