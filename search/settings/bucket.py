"""Where a bucket of storage that speaks S3 is, as a URL."""

import re
from urllib.parse import unquote

from search.errors import UserError

_BUCKET = r"s3://([A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9])/?"
_ENDPOINT = r"(https?://(?:\[[0-9A-Fa-f:.]+\]|[\w.-]+)(?::[1-9]\d{0,4})?(?:/[^\s@?#&]*)?)"
_URL = re.compile(rf"{_BUCKET}(?:\?endpoint_url={_ENDPOINT})?")


def parse_s3(url: str) -> tuple[str, str | None]:
    """(bucket, endpoint or None for Amazon's) of `s3://BUCKET?endpoint_url=https://HOST`.

    Raises UserError, which never repeats the URL: it may hold a key.
    """
    if found := _URL.fullmatch(unquote(url)):
        return found[1], found[2]
    keys = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or as else boto3 reads them"
    what = f"with credentials; give them in {keys}" if "@" in url else "of another form"
    raise UserError(
        f"study.artifacts is a URL {what}: it must be a folder, s3://BUCKET, or s3://BUCKET?endpoint_url=https://HOST,"
        " with a bucket of 3 to 63 characters"
    )
