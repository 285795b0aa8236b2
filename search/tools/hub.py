"""What is asked of a Hugging Face hub: the files of a revision, and their bytes from any offset on.

`huggingface_hub.hf_hub_download` is not used: it deletes what has arrived when a transfer breaks or the user stops it
(release 2.4, `_download_to_tmp_and_move`), and 1.9 GB would start again. Its plain protocol is enough, and is what can
be resumed byte by byte; Xet, its other one, keeps a cache of chunks in the user's home beside the files.
"""

import re
from collections.abc import Iterator, Sequence

import httpx2
from huggingface_hub import HfApi, constants, get_token, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError, RemoteEntryNotFoundError, RevisionNotFoundError
from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

from search.errors import UserError
from search.settings.settings import safe_url
from search.tools.base_files import BaseFile, Check, same_commit

AGAIN = "the same command continues"


class TransferBroken(Exception):
    """The connection failed in a way that may pass; the message is the reason, without URL or token."""


class Hub:
    """A repository on the hub that HF_ENDPOINT names, or on huggingface.co.

    Raises UserError for an endpoint that is no URL, and in offline mode.
    """

    def __init__(self, repository: str, endpoint: str | None = None) -> None:
        self.repository = repository
        self.endpoint = (endpoint or constants.ENDPOINT).rstrip("/")
        self.name = safe_url(self.endpoint)
        self._answered = False
        if constants.is_offline_mode():
            raise UserError(
                "HF_HUB_OFFLINE (or TRANSFORMERS_OFFLINE) is set, and a download is needed; unset it, or copy a"
                " complete folder from another machine"
            )
        if not re.match(r"https?://[^/]", self.endpoint):
            raise UserError(f"HF_ENDPOINT is {self.name!r}; it must be a URL like https://huggingface.co")

    def resolve(self, revision: str, names: Sequence[str]) -> tuple[str, tuple[BaseFile, ...]]:
        """The commit that `revision` (branch, tag or commit) stands for, and its files of these names.

        Raises UserError when the hub cannot be reached or refuses, has no such revision, or lacks a file or its digest.
        """
        try:
            info = HfApi(endpoint=self.endpoint).model_info(
                self.repository, revision=revision, files_metadata=True, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT
            )
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, UnicodeError) as error:
            raise self.refusal(error, revision) from error
        except (ValueError, KeyError, TypeError) as error:  # a page of a proxy, say
            raise UserError(f"{self.name} does not answer as a hub does; check HF_ENDPOINT and any proxy") from error
        stated = {file.rfilename: file for file in info.siblings or []}
        if missing := [name for name in names if name not in stated]:
            raise UserError(f"{self.repository} at {revision!r} lacks {', '.join(missing)}; name another --revision")
        files = []
        for file in (stated[name] for name in names):
            digest = file.lfs.sha256 if file.lfs else file.blob_id
            if file.size is None or digest is None:
                raise UserError(f"{self.name} states no digest of {file.rfilename}, which could not be checked")
            check: Check = "sha256, stated by the hub" if file.lfs else "git blob, stated by the hub"
            files.append(BaseFile(file.rfilename, file.size, digest, check))
        if not same_commit(info.sha or ""):
            raise UserError(f"{self.name} does not say which commit {revision!r} is; name another hub with HF_ENDPOINT")
        return str(info.sha), tuple(files)

    def read(self, name: str, commit: str, offset: int) -> Iterator[tuple[int, bytes]]:
        """(position, bytes) of a file from `offset` on; from 0 where the server does not know ranges.

        Raises TransferBroken for what may pass, EOFError when the file has no byte at `offset`, UserError otherwise.
        """
        # Compression would make positions in the file and in the transfer two things.
        headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={offset}-"} if offset else {})}
        try:
            url = hf_hub_url(self.repository, name, revision=commit, endpoint=self.endpoint)
            # The client takes the token off the request when it is redirected to another host.
            with get_session().stream(
                "GET", url, headers=build_hf_headers(headers=headers), timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT
            ) as response:
                self._answered = True
                if response.status_code == 416:
                    raise EOFError
                if response.status_code in (408, 429) or response.status_code >= 500:
                    raise TransferBroken(f"{self.name} answered {response.status_code}")
                if response.is_error:
                    response.read()
                hf_raise_for_status(response)
                position = _start(response)
                for piece in response.iter_bytes():
                    yield position, piece
                    position += len(piece)
        except httpx2.TransportError as error:
            if self._answered:
                raise TransferBroken(reason(error)) from error
            raise self.refusal(error, commit) from error  # what never worked is hardly a passing fault
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:  # also of a proxy's URL
            raise self.refusal(error, commit, name) from error

    def refusal(self, error: Exception, revision: str, name: str | None = None) -> UserError:
        """What to tell the user. The library's messages hold URLs, and some what a header held: none is shown."""
        match error:
            case RevisionNotFoundError():
                return UserError(
                    f"{self.repository} has no revision {revision!r} on {self.name}; leave --revision out for the"
                    " pinned one, or name a branch, a tag or a full commit hash"
                )
            case RemoteEntryNotFoundError():
                return UserError(f"{self.repository} has no {name} at {revision} on {self.name}; try another hub")
            case HfHubHTTPError() if (status := error.response.status_code) in (401, 403):
                token = (
                    "the token of HF_TOKEN or of `hf auth login` may be out of date: renew or unset it"
                    if get_token()
                    else "set HF_TOKEN to a token that may read it, or check HF_ENDPOINT"
                )
                return UserError(f"{self.name} refuses {self.repository} ({status}); XTTS-v2 needs no account; {token}")
            case HfHubHTTPError():
                status = error.response.status_code
                return UserError(f"{self.name} answered {status} for {self.repository}; try later: {AGAIN}")
            case httpx2.LocalProtocolError() | UnicodeError():
                return UserError(f"no request can be made to {self.name}; check HF_TOKEN for signs that are none of it")
            case httpx2.TransportError():
                return UserError(
                    f"{self.name} cannot be reached ({reason(error)}); check the network and any proxy, or name a"
                    f" mirror with HF_ENDPOINT; {AGAIN}"
                )
        return UserError(
            f"{self.name} cannot be asked ({type(error).__name__}); check HF_ENDPOINT, any proxy, and its certificates"
        )


def _start(response: httpx2.Response) -> int:
    """The position of the first byte of the body."""
    match = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(match[1]) if match else 0


def reason(error: httpx2.TransportError) -> str:
    """Why a connection failed, in a few words."""
    if isinstance(error, httpx2.TimeoutException):
        return f"no answer for {constants.HF_HUB_DOWNLOAD_TIMEOUT} s"
    if isinstance(error, httpx2.ConnectError):
        return str(error) or "no connection"
    return "the connection was broken off"
