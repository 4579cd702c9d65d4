"""A real S3 server on loopback (ministack, from the package index), as a process of the session's own."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from inbox.store.blobs.s3 import S3Config
from tests.support.ports import free_port
from tests.support.waiting import until_it_answers


class Ministack:
    """The server, and buckets in it."""

    def __init__(self, port: int) -> None:
        self.endpoint = f"http://127.0.0.1:{port}"

    def config(self, bucket: str) -> S3Config:
        """Makes an empty bucket."""
        client: Any = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test-secret",
            config=Config(s3={"addressing_style": "path"}),
        )
        client.create_bucket(Bucket=bucket)
        client.close()
        return S3Config(bucket, self.endpoint, "us-east-1", "test", "test-secret", force_path_style=True)

    def answers(self) -> bool:
        """Whether it is ready. Raises OSError: it does not."""
        with urllib.request.urlopen(f"{self.endpoint}/_ministack/health", timeout=1) as answer:
            return bool(answer.status == 200)


@pytest.fixture(scope="session")
def ministack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ministack]:
    """One server for all tests of a session; each test uses a bucket of its own."""
    if importlib.util.find_spec("ministack") is None:
        pytest.skip("ministack is not installed")
    folder: Path = tmp_path_factory.mktemp("ministack")
    port = free_port()
    environment = {**os.environ, "BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port), "S3_DATA_DIR": str(folder)}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "ministack"],
            env=environment, cwd=folder, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
    server = Ministack(port)
    until_it_answers(process, server.answers, folder / "log")
    yield server
    process.kill()
    process.wait()
