"""Where files of trials for people are kept, such as sound: a folder, or storage that speaks S3."""

import hashlib
import io
import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, BinaryIO

import boto3  # Optuna's artifacts import it in any case
from botocore.config import Config
from botocore.exceptions import BotoCoreError
from optuna.artifacts import Boto3ArtifactStore, FileSystemArtifactStore
from optuna.artifacts.exceptions import ArtifactNotFound

from search.errors import UserError
from search.files import link
from search.settings.bucket import parse_s3
from search.settings.settings import Settings
from search.study.folder import refuse_closed
from search.study.recorded import ARTIFACT

MISSING = "not in the artifact store that this machine reads"
CHUNK = 2**24  # bytes of a large artifact that are read at once
ANSWER = 10.0  # seconds for which an S3 server may keep silent, twice


def open_store(settings: Settings, make: bool = True) -> Any:
    """The study's artifact store, an Optuna one. A folder is made if `make`. Raises UserError."""
    given = settings.study.artifacts
    if given is not None and "://" in given:
        return _bucket(*parse_s3(given))
    folder = Path(given) if given else settings.directory / "artifacts"
    if make:
        refuse_closed(settings)
        folder.mkdir(parents=True, exist_ok=True)
    return Folder(folder)


def _bucket(name: str, endpoint: str | None) -> Boto3ArtifactStore:
    """Optuna's store of a bucket. Keys come from where boto3 looks: its environment, files and roles.

    Asks nothing of the server yet. A server that does not answer is given up within half a minute.
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
        # Without its copy in memory: a saved state has gigabytes.
        return Boto3ArtifactStore(name, boto3.client("s3", endpoint_url=endpoint, config=config), avoid_buf_copy=True)
    except (BotoCoreError, ValueError) as error:
        raise UserError(f"study.artifacts is in bucket {name!r}, which boto3 cannot open: {error}") from error


def artifact_id(content: bytes) -> str:
    """By the content, so that a clip that many trials refer to is stored once; of the form of a UUID."""
    digest = hashlib.sha256(content).hexdigest()
    return "-".join((digest[:8], digest[8:12], digest[12:16], digest[16:20], digest[20:32]))


def identified(files: Sequence[Path]) -> dict[str, str]:
    """The artifact id of each file, by its name."""
    return {file.name: artifact_id(file.read_bytes()) for file in files}


def upload(store: Any, files: Sequence[Path]) -> dict[str, str]:
    """Stores the files; the artifact id of each, by its name. Raises what the store raises."""
    ids = identified(files)
    for file in files:
        store.write(ids[file.name], io.BytesIO(file.read_bytes()))
    return ids


def put(store: Any, known: str, file: Path) -> None:
    """Stores a file of any size, whole or not at all; it may be replaced meanwhile. Raises what the store raises."""
    if isinstance(store, Folder):
        store.put(known, file)
        return
    with file.open("rb") as content:
        store.write(known, content)


def fetch(store: Any, known: str, file: Path, go_on: Callable[[], bool]) -> bool:
    """Writes an artifact of any size to `file`; False if it was not to `go_on`. Raises what the store raises."""
    if isinstance(store, Folder):
        link(store.place(known), file)
        return True
    with closing(store.open_reader(known)) as reader, file.open("wb") as target:
        while wanted := go_on():
            if not (chunk := reader.read(CHUNK)):
                break
            target.write(chunk)
    return wanted


def remove(store: Any, known: str) -> None:
    """Removes an artifact, if it is there. Raises what the store raises."""
    with suppress(ArtifactNotFound):
        store.remove(known)


def described(ids: dict[str, str], mimetype: str) -> dict[str, dict[str, Any]]:
    """System attributes by which Optuna and its dashboard know the artifacts of a trial."""
    return {
        ARTIFACT + known: {"artifact_id": known, "filename": name, "mimetype": mimetype, "encoding": None}
        for name, known in reversed(ids.items())
    }


def read(store: Any, known: str) -> bytes | str:
    """The artifact, or the reason why it cannot be read."""
    try:
        with closing(store.open_reader(known)) as reader:
            content: bytes = reader.read()
            return content
    except (ArtifactNotFound, ValueError):  # ValueError: a name that could lead out of the store
        return MISSING
    except Exception as error:  # each kind of store raises its own
        return f"not read from the artifact store: {reason_of(error)}"


def reason_of(error: Exception) -> str:
    """What a store's error says. Of an S3 server's answer only the code: its text may repeat a key."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    answer = getattr(error, "response", None)
    return str(answer["Error"]["Code"] if isinstance(answer, dict) and "Error" in answer else error)


class Folder(FileSystemArtifactStore):
    """Optuna's, but that a file is there whole or not at all; ids are by content, so what is there stays."""

    def place(self, artifact_id: str) -> Path:
        path: Path = self._get_filepath(artifact_id)
        return path

    def put(self, artifact_id: str, file: Path) -> None:
        """Without a copy where both lie on one file system."""
        path = self.place(artifact_id)
        hidden = path.with_name(f".{path.name}")
        link(file, hidden)
        with hidden.open("rb") as content:
            os.fsync(content.fileno())
        os.replace(hidden, path)

    def remove(self, artifact_id: str) -> None:
        """Also what a process left that was killed in `put`."""
        path = self.place(artifact_id)
        path.with_name(f".{path.name}").unlink(missing_ok=True)
        super().remove(artifact_id)

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        path = self.place(artifact_id)
        if path.exists():
            return
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as private:
            whole = Path(private) / path.name
            with whole.open("wb") as file:
                file.write(content_body.read())
                file.flush()
                os.fsync(file.fileno())
            os.replace(whole, path)
