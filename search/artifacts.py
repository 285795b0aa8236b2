"""Where the files of trials are kept that people look at and listen to: a folder, or storage that speaks S3."""

import hashlib
import io
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import parse_qsl, urlsplit

from optuna.artifacts import FileSystemArtifactStore
from optuna.artifacts.exceptions import ArtifactNotFound

from search.errors import UserError
from search.settings import Settings

META = "artifacts:"  # Optuna's prefix of the system attributes that describe artifacts


def open_store(settings: Settings, make: bool = True) -> Any:
    """The study's artifact store, an Optuna one. A folder is made if `make`. Raises UserError."""
    given = settings.study.artifacts
    if given is not None and "://" in given:
        return _s3(given)
    folder = Path(given) if given else settings.directory / "artifacts"
    if make:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"study.artifacts {folder} cannot be made ({error.strerror}); name another folder, or s3://BUCKET"
            ) from error
    return FileSystemArtifactStore(folder)


def artifact_id(content: bytes) -> str:
    """By the content, so that a clip that many trials refer to is stored once; of the form of a UUID."""
    digest = hashlib.sha256(content).hexdigest()
    return "-".join((digest[:8], digest[8:12], digest[12:16], digest[16:20], digest[20:32]))


def upload(store: Any, files: Iterable[Path]) -> dict[str, str]:
    """Stores the files; the artifact id of each, by its name. Raises what the store raises."""
    ids = {}
    for file in files:
        content = file.read_bytes()
        ids[file.name] = artifact_id(content)
        store.write(ids[file.name], io.BytesIO(content))
    return ids


def described(ids: dict[str, str], mimetype: str) -> dict[str, dict[str, Any]]:
    """System attributes by which Optuna and its dashboard know the artifacts of a trial."""
    return {
        META + known: {"artifact_id": known, "filename": name, "mimetype": mimetype, "encoding": None}
        for name, known in ids.items()
    }


def read(store: Any, known: str) -> bytes | None:
    """The artifact; None where the store has it no more, or cannot be reached."""
    try:
        reader: BinaryIO
        with store.open_reader(known) as reader:
            return reader.read()
    except (ArtifactNotFound, OSError):
        return None


def _s3(url: str) -> Any:
    """`s3://BUCKET?endpoint_url=https://…`; the keys come from where boto3 looks: its environment, files and roles."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    endpoint = query.pop("endpoint_url", None)
    if parts.scheme != "s3" or not parts.hostname or parts.path.strip("/") or query:
        raise UserError(
            f"study.artifacts is {shown(url)!r}; it must be a folder, or s3://BUCKET, or"
            " s3://BUCKET?endpoint_url=https://HOST"
        )
    if parts.username or parts.password:
        raise UserError(
            f"study.artifacts is {shown(url)!r}: give keys in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, not here"
        )
    import boto3  # half a second, which folders need not spend
    from botocore.config import Config
    from optuna.artifacts import Boto3ArtifactStore

    patience = Config(connect_timeout=10, read_timeout=30, retries={"max_attempts": 3})
    try:
        client = boto3.client("s3", endpoint_url=endpoint, config=patience)
    except ValueError as error:
        raise UserError(f"study.artifacts is {shown(url)!r}: {error}") from error
    return Boto3ArtifactStore(parts.netloc.rpartition("@")[2], client)


def shown(url: str) -> str:
    """`url` without what may be a secret."""
    return re.sub(r"(://)[^/@]*@", r"\1***@", url)
