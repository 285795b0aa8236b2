"""Where a bucket of storage that speaks S3 is, as a URL."""

import re
from urllib.parse import parse_qsl, urlsplit

from search.errors import UserError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")


def parse_s3(url: str) -> tuple[str, str | None]:
    """(bucket, endpoint or None for Amazon's) of `s3://BUCKET?endpoint_url=https://HOST`.

    Raises UserError, which never repeats the URL: it may hold a key.
    """
    allowed = "it must be a folder, s3://BUCKET, or s3://BUCKET?endpoint_url=https://HOST"
    if "@" in url:
        raise UserError(
            "study.artifacts is a URL with credentials; give them in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or as"
            f" else boto3 reads them: {allowed}"
        )
    try:
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        endpoint = query.pop("endpoint_url", None)
        known = endpoint is None or _is_web(endpoint)
    except ValueError:  # brackets or a port that are none
        raise UserError(f"study.artifacts is a URL that cannot be read; {allowed}") from None
    if parts.scheme != "s3" or not NAME.fullmatch(parts.netloc) or parts.path.strip("/") or parts.fragment:
        raise UserError(f"study.artifacts is a URL of another form; {allowed}, with a bucket of 3 to 63 characters")
    if query or not known:
        raise UserError(f"study.artifacts is in bucket {parts.netloc!r} with parameters of another form; {allowed}")
    return parts.netloc, endpoint


def _is_web(endpoint: str) -> bool:
    parts = urlsplit(endpoint)
    is_host = bool(parts.hostname) and "@" not in parts.netloc and parts.port != 0
    return parts.scheme in ("http", "https") and is_host and not parts.query + parts.fragment
