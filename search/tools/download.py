"""Downloads a base: whole or not at all, every byte checked, resumed wherever it stopped.

While it lasts everything lies in a hidden folder beside the target, `.<name>.download`: finished files under their
names, the one under way as `<name>.<digest>.part`. Once all are there and checked, that folder becomes the target.
"""

import errno
import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from search.errors import UserError
from search.files import write_text
from search.settings.sections import Section
from search.tools.base_files import XTTS_V2, BaseFile, Check, Manifest, same_commit
from search.tools.download_display import FetchView, amount
from search.tools.hub import AGAIN, Hub, TransferBroken

NOTE = "source.json"
WAITS = (1.0, 2.0, 4.0, 8.0)  # seconds before each new attempt while nothing arrives; then the command gives up
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class SourceFile(Section):
    size: int  # bytes
    sha256: str
    check: Check


class Source(Section):
    """`source.json`: where the files of a base come from. docs/base_models.md explains each key."""

    version: Literal[1]
    repository: str
    revision: str  # full commit hash
    asked: str  # branch, tag or commit that was asked for
    date: str  # UTC, ISO 8601
    licence: str
    accepted: str  # by which means
    files: dict[str, SourceFile]


@dataclass(frozen=True)
class Fetched:
    """What lies in the target now."""

    source: Source
    downloaded: tuple[str, ...]  # names of the files that this call brought

    @property
    def size(self) -> int:
        return sum(file.size for file in self.source.files.values())  # bytes


def fetch(
    target: Path,
    revision: str | None,
    accept: Callable[[], str],
    view: FetchView,
    manifest: Manifest = XTTS_V2,
    endpoint: str | None = None,
    waits: Sequence[float] = WAITS,
) -> Fetched:
    """Makes `target` a folder with the files of `manifest` at `revision`, or checks and mends one that it made before.

    Args:
        revision: Branch, tag or commit; None for the manifest's own, whose digests are pinned. Files of another
            revision are checked against what the hub states for it.
        accept: Called before anything is downloaded; says how the licence was accepted, or raises UserError.
        endpoint: URL of the hub; None for that of HF_ENDPOINT.

    Raises UserError; then the target is as it was, and what had arrived is resumed by the next call.
    """
    target = target.absolute()
    asked = revision or manifest.revision
    before = read_source(target, manifest)
    if before and same_commit(asked) and asked != before.revision:
        raise _another(target, before, asked)
    damaged = _damaged(target, before, manifest, view) if before else []
    if before and not damaged and same_commit(asked):
        return Fetched(before, ())
    accepted = accept() if damaged or not before else ""
    hub = Hub(manifest.repository, endpoint)
    commit, files = asked, manifest.files
    if asked != manifest.revision:
        commit, files = hub.resolve(asked, [file.name for file in manifest.files])
        view.note(f"{asked} of {manifest.repository} is commit {commit}")
    if commit == manifest.revision:
        files = manifest.files
    if before and commit != before.revision:
        raise _another(target, before, commit)
    if before and not damaged:
        return Fetched(before, ())
    wanted = [file for file in files if before is None or file.name in damaged]
    with _staging(target) as staging:
        digests = _bring(staging, hub, commit, wanted, view, waits)
        known = before.files if before else {}
        source = Source(
            version=1,
            repository=manifest.repository,
            revision=commit,
            asked=asked,
            date=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            licence=manifest.licence,
            accepted=accepted,
            files={
                f.name: SourceFile(size=f.size, sha256=digests[f.name], check=f.check)
                if f.name in digests
                else known[f.name]
                for f in files
            },
        )
        _publish(staging, target, source, [file.name for file in wanted])
    return Fetched(source, tuple(file.name for file in wanted))


def read_source(target: Path, manifest: Manifest) -> Source | None:
    """The note of an earlier download; None where there is no folder or an empty one. Else UserError."""
    path = target / NOTE
    try:
        if not target.exists() or (target.is_dir() and not any(target.iterdir())):
            return None
        source = Source.model_validate_json(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(
            f"{target} exists and holds no download of this command ({NOTE}); name another folder with --output, or"
            " move it away"
        ) from error
    except (OSError, ValidationError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no note of this version"
        raise UserError(f"{path} cannot be read ({why}); name another folder with --output, or move it away") from error
    if source.repository != manifest.repository or {*source.files} != {f.name for f in manifest.files}:
        raise UserError(
            f"{target} holds {', '.join(source.files)} of {source.repository}; name another folder with --output"
        )
    return source


def _another(target: Path, source: Source, wanted: str) -> UserError:
    return UserError(
        f"{target} holds {source.repository} at {source.revision}, not at {wanted}; name another folder with --output,"
        " or move it away"
    )


def _damaged(target: Path, source: Source, manifest: Manifest, view: FetchView) -> list[str]:
    """Names of the files that are gone or not as they came; those of the pinned revision by the pinned digests."""
    files = [BaseFile(name, file.size, file.sha256) for name, file in source.files.items()]
    if source.revision == manifest.revision:
        files = list(manifest.files)
    damaged = []
    for file in files:
        path = target / file.name
        try:
            if path.stat().st_size == file.size and digest_of(path, file, view) == file.digest:
                continue
        except (FileNotFoundError, IsADirectoryError):
            pass
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror}); mend its rights or disk, or move it") from error
        if path.is_dir():
            raise UserError(f"{path} is a folder where a file belongs; move it away")
        view.note(f"{file.name} is damaged or gone")
        damaged.append(file.name)
    return damaged


def digest_of(path: Path, file: BaseFile, view: FetchView) -> str:
    """The digest of the kind that `file` states, in hexadecimal. Raises OSError."""
    digest = hashlib.sha256()
    if file.check == "git blob, stated by the hub":  # git names a content by this
        digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode())
    with open(path, "rb") as stream, _shown(view, f"{file.name}  checking", file.size) as at:
        while piece := stream.read(1 << 20):
            digest.update(piece)
            at(stream.tell())
    return digest.hexdigest()


@contextmanager
def _shown(view: FetchView, text: str, size: int, position: int = 0) -> Iterator[Callable[[int], None]]:
    view.begin(text, size, position)
    try:
        yield view.at
    finally:
        view.end()


@contextmanager
def _staging(target: Path) -> Iterator[Path]:
    """The hidden folder of a download, for one process at a time. It stays while it holds anything."""
    staging = target.with_name(f".{target.name}.download")
    try:
        staging.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(staging, os.O_RDONLY)
    except OSError as error:
        raise _unwritable(error, staging) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            current = staging.exists() and os.path.samestat(os.fstat(descriptor), staging.stat())
        except BlockingIOError:
            current = False
        if not current:  # held, or just made the target, by another
            raise UserError(f"another process is downloading to {target}; wait for it, or name another --output")
        yield staging
    except OSError as error:
        raise _unwritable(error, staging) from error
    finally:
        with suppress(OSError):  # not empty, or the target by now
            for empty in (path for path in staging.iterdir() if _size(path) == 0):
                empty.unlink()
            staging.rmdir()
        os.close(descriptor)


def _unwritable(error: OSError, staging: Path) -> UserError:
    if error.errno in NO_ROOM:
        return UserError(
            f"{staging.parent} has no room left ({error.strerror}); make room, or name another folder with --output;"
            f" what has arrived stays in {staging}: {AGAIN}"
        )
    return UserError(
        f"{error.filename or staging} cannot be written ({error.strerror}); give this user the right to, or name"
        " another folder with --output"
    )


def _bring(
    staging: Path, hub: Hub, commit: str, files: Sequence[BaseFile], view: FetchView, waits: Sequence[float]
) -> dict[str, str]:
    """Downloads what is not there yet; SHA-256 of each file by name."""
    parts = {file.name: staging / f"{file.name}.{file.digest[:12]}.part" for file in files}
    for path in staging.iterdir():  # of another revision, or of a download that was given up
        if path not in parts.values() and path.name not in parts:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    _check_room(staging, sum(f.size - max(_size(staging / f.name), _size(parts[f.name])) for f in files))
    digests = {}
    for file in files:
        path, part = staging / file.name, parts[file.name]
        if _size(path) != file.size or digest_of(path, file, view) != file.digest:
            path.unlink(missing_ok=True)
            _download(file, part, hub, commit, view, waits)
            os.replace(part, path)
        digests[file.name] = file.digest
        if file.check == "git blob, stated by the hub":
            digests[file.name] = digest_of(path, BaseFile(file.name, file.size, ""), view)
    return digests


def _size(path: Path) -> int:
    """In bytes; 0 where there is no file."""
    return path.stat().st_size if path.exists() else 0


def _check_room(staging: Path, needed: int) -> None:
    """Raises UserError when `needed` bytes do not fit."""
    free = shutil.disk_usage(staging).free
    if needed > free:
        raise UserError(
            f"{staging.parent} has {amount(free)} left, and {amount(needed)} are still to be downloaded; make room, or"
            " name another folder with --output"
        )


def _download(file: BaseFile, part: Path, hub: Hub, commit: str, view: FetchView, waits: Sequence[float]) -> None:
    """Makes `part` the whole file, and checks it. Raises UserError."""
    resumed = _size(part) > 0
    _receive(file, part, hub, commit, view, waits)
    found = digest_of(part, file, view)
    if found != file.digest and resumed:  # the beginning, of an earlier call, may be what is wrong
        view.note(f"{file.name} is not as it should be; it is downloaded again from its beginning")
        part.unlink()
        _receive(file, part, hub, commit, view, waits)
        found = digest_of(part, file, view)
    if found != file.digest:
        part.unlink()
        raise UserError(
            f"{file.name} as {hub.name} sends it has the digest {found}, not {file.digest} ({file.check}); it was"
            " removed. Try again, without a proxy or mirror in between (HF_ENDPOINT)"
        )
    view.note(f"{file.name}  {amount(file.size)}  matches: {file.check}")


def _receive(file: BaseFile, part: Path, hub: Hub, commit: str, view: FetchView, waits: Sequence[float]) -> None:
    """Brings `part` to the file's size, through broken transfers. Raises UserError."""
    part.touch()
    failures = 0  # in a row, without a new byte
    while (have := _size(part)) < file.size:
        why, end = "the file ended early", -1
        try:
            with open(part, "r+b") as stream, _shown(view, f"{file.name}  downloading", file.size, have) as at:
                for position, piece in hub.read(file.name, commit, have):
                    if position + len(piece) > file.size:
                        raise EOFError
                    if position != end:  # the first piece: at `have`, or at 0 where the server knows no ranges
                        stream.seek(position)
                        stream.truncate()
                    stream.write(piece)
                    end = position + len(piece)
                    at(end)
                stream.flush()
                os.fsync(stream.fileno())
        except TransferBroken as error:
            why = str(error)
        except EOFError as error:
            part.unlink()
            raise UserError(
                f"{file.name} as {hub.name} sends it is not of {file.size} bytes ({file.check}); it was removed. Try"
                " again, without a proxy or mirror in between (HF_ENDPOINT)"
            ) from error
        failures = 0 if _size(part) > have else failures + 1
        if _size(part) >= file.size:
            return
        if failures > len(waits):
            raise UserError(
                f"{file.name} could not be downloaded from {hub.name} ({why}, {failures} times in a row); what has"
                f" arrived stays in {part.parent}: {AGAIN}"
            )
        view.note(f"{file.name}: {why}; trying again from {amount(_size(part))} on")
        time.sleep(waits[max(failures - 1, 0)])


def _publish(staging: Path, target: Path, source: Source, names: Sequence[str]) -> None:
    """Makes the staging folder the target; or moves what was damaged into the target that is there."""
    text = source.model_dump_json(indent=2) + "\n"
    if (target / NOTE).exists():
        for name in names:
            os.replace(staging / name, target / name)
        write_text(target / NOTE, text)
        return
    write_text(staging / NOTE, text)
    os.rename(staging, target)  # over an empty folder, if there is one
