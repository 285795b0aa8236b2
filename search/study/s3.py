"""Artifacts in a bucket of storage that speaks S3. Imports boto3."""

import io
import math
from contextlib import closing
from time import monotonic
from typing import Any, BinaryIO

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from optuna.artifacts import Boto3ArtifactStore

from search.errors import UserError

ANSWER = 10.0  # seconds for which a server may keep silent, twice


class S3Store(Boto3ArtifactStore):
    """Optuna's, whose errors, besides ArtifactNotFound, are OSErrors that say no more than where and what.

    A page asks for dozens of files, several at a time. What one of them waited for in vain is not asked for again by
    the others for as long as that took: they get its error at once.
    """

    def __init__(self, bucket: str, client: Any) -> None:
        super().__init__(bucket, client)
        self._lost: tuple[float, str] = (-math.inf, "")  # until when, by the monotonic clock, and as what

    def open_reader(self, artifact_id: str) -> BinaryIO:
        until, lost = self._lost
        began = monotonic()
        if began < until:
            raise OSError(lost)
        try:
            # Within its own `with` a botocore body is urllib3's, which raises errors of its own.
            with closing(super().open_reader(artifact_id)) as body:
                return io.BytesIO(body.read())
        except (BotoCoreError, ClientError) as error:
            found = self._error("read from", error)
            now = monotonic()
            self._lost = (now + (now - began), str(found))
            raise found from error

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        try:
            self.client.put_object(Bucket=self.bucket, Key=artifact_id, Body=content_body.read())
        except (BotoCoreError, ClientError) as error:
            raise self._error("write to", error) from error

    def _error(self, what: str, error: Exception) -> OSError:
        """Of a server's answer the code only: some servers name the key in its text."""
        said = error.response.get("Error", {}).get("Code") if isinstance(error, ClientError) else error
        return OSError(f"cannot {what} bucket {self.bucket!r}: {said}")


def open_bucket(bucket: str, endpoint: str | None) -> S3Store:
    """Keys come from where boto3 looks: its environment, files and roles. Asks nothing of the server yet.

    A server that does not answer is given up within half a minute. Raises UserError.
    """
    config = Config(
        connect_timeout=ANSWER,
        read_timeout=ANSWER,
        retries={"total_max_attempts": 2, "mode": "standard"},
        # Checksums not always, as since 2025: some servers other than Amazon's refuse them.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    try:
        return S3Store(bucket, boto3.client("s3", endpoint_url=endpoint, config=config))
    except (BotoCoreError, ValueError) as error:
        raise UserError(f"study.artifacts is in bucket {bucket!r}, which boto3 cannot open: {error}") from error
