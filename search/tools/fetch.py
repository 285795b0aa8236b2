"""Downloads a base: the folder appears complete and checked, or not at all.

During the download the files are in a hidden folder beside the target, `.<name>.download`. An interrupted download
leaves it there, and the next call continues each file at the byte where it stopped.

The library's `snapshot_download` is not used: it deletes an unfinished file when it is interrupted
(`_download_to_tmp_and_move`), here up to 1.9 GB, and on Ctrl-C it first waits for its threads. `http_get`, which it
calls for each file, makes the requests, the retries and the progress bar.
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
from filelock import FileLock, Timeout
from huggingface_hub import constants, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import build_hf_headers

from search.errors import UserError
from search.files import write_text
from search.settings.settings import safe_url
from search.tools.base_files import XTTS_V2, BaseFile, PinnedBase

NOTE = "source.json"
AGAIN = "run the same command again to continue"


def fetch(target: Path, accept: Callable[[], str], base: PinnedBase = XTTS_V2) -> list[str]:
    """Completes the folder `target` with the files of `base`; returns the names of the files that it downloaded.

    Args:
        accept: Called before anything is downloaded; says how the licence was accepted, or raises UserError.

    Raises UserError; then `target` is as it was, and the next call continues.
    """
    target = target.absolute()
    try:
        wanted = [file for file in base.files if not file.is_at(target / file.name)]
        if not wanted:
            return []
        is_ours = (target / NOTE).is_file() or not target.exists() or (target.is_dir() and not any(target.iterdir()))
        if not is_ours:  # nothing in it is overwritten
            raise UserError(
                f"{target} exists and was not made by this command (it has no {NOTE}); move it away, or name another"
                " folder with --output"
            )
        accepted = accept()
        with _staging(target) as staging:
            for file in wanted:
                print(f"Downloading {file.name}, {file.size:,} bytes", flush=True)
                _download(file, staging / file.name, base)
            _publish(staging, target, base, accepted)
    except OSError as error:
        raise UserError(
            f"{error.filename or target} cannot be written or read ({error.strerror or error}); make room or check"
            f" permissions, or name another folder with --output; {AGAIN}"
        ) from error
    return [file.name for file in wanted]


@contextmanager
def _staging(target: Path) -> Iterator[Path]:
    """The hidden folder of a download, held by one process at a time. It stays while it holds data."""
    staging = target.with_name(f".{target.name}.download")
    staging.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(f"{staging}.lock", blocking=False):
            try:
                yield staging
            finally:
                os.unlink(f"{staging}.lock")
                if staging.exists() and not any(path.stat().st_size for path in staging.iterdir()):
                    shutil.rmtree(staging)
    except Timeout as error:
        raise UserError(f"another process is downloading to {target}; wait for it, or name another --output") from error


def _download(file: BaseFile, path: Path, base: PinnedBase) -> None:
    """Completes `path` and checks it. Raises UserError, also for a wrong digest; OSError for the disk."""
    with open(path, "ab") as stream:
        if stream.tell() < file.size:
            try:
                http_get(
                    hf_hub_url(base.repository, file.name, revision=base.revision),
                    stream,
                    resume_size=stream.tell(),
                    # Without compression a position in the transfer is a position in the file.
                    headers=build_hf_headers(headers={"Accept-Encoding": "identity"}),
                    displayed_filename=file.name,
                )
            except (HfHubHTTPError, OfflineModeIsEnabled, httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
                raise UserError(_reason(error, file, base)) from error
    if not file.is_at(path):
        path.unlink()
        raise UserError(
            f"{file.name} from {safe_url(constants.ENDPOINT)} does not have the pinned SHA-256 {file.sha256}, and was"
            " removed; run the same command again, without a mirror (HF_ENDPOINT) or proxy if it fails again"
        )


def _reason(error: Exception, file: BaseFile, base: PinnedBase) -> str:
    """What to tell the user. The library's own messages contain URLs and headers, so none of them is shown."""
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set; unset it, or copy a complete folder from another machine"
    what = f"status {error.response.status_code}" if isinstance(error, HfHubHTTPError) else type(error).__name__
    return (
        f"{safe_url(constants.ENDPOINT)} does not give {file.name} ({what}); check the network, any proxy, HF_ENDPOINT"
        f" and HF_TOKEN ({base.repository} needs no account), then {AGAIN}"
    )


def _publish(staging: Path, target: Path, base: PinnedBase, accepted: str) -> None:
    """Makes the staging folder the target; or moves repaired files into the target that is there."""
    note = {
        "version": 1,
        "repository": base.repository,
        "revision": base.revision,
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "licence": base.licence,
        "accepted": accepted,
    }
    write_text(staging / NOTE, json.dumps(note, indent=2) + "\n")
    if not (target / NOTE).exists():
        os.rename(staging, target)  # also over an empty folder
        return
    for path in staging.iterdir():
        os.replace(path, target / path.name)
