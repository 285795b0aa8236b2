"""What a study remembers of its clips, so that data that has changed is named clip by clip: about 10 bytes per clip."""

import base64
import hashlib
import json
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from search.text import printable

SHOWN = 5  # clips named per kind of change

Clip = tuple[str, str, str, str, str]  # name below the folder of the data, part, text, speaker, digest of the audio


def pack(clips: Iterable[Clip], limits: Mapping[str, Any]) -> str:
    """The name, the part and short digests of text and audio of each clip, and `limits`, compressed; ASCII."""
    lines = [json.dumps(limits)]
    for name, part, text, speaker, audio in clips:
        said = hashlib.sha256(repr((text, speaker)).encode("utf-8", "surrogateescape")).hexdigest()
        lines.append(f"{name}\t{part[0]}{said[:4]}{audio[:4]}")
    return base64.b64encode(zlib.compress("\0".join(lines).encode("utf-8", "surrogateescape"), 9)).decode()


def changes(there: str, here: str) -> str:
    """How the clips that were packed here differ from those there, in one line."""
    (old_limits, old), (limits, new) = _unpacked(there), _unpacked(here)
    both = {name: (sorted(old[name]), sorted(new[name])) for name in old.keys() & new.keys()}
    rows = {name: list(zip(*pair, strict=True)) for name, pair in both.items() if len(pair[0]) == len(pair[1])}

    def differing(digits: slice) -> set[str]:
        return {name for name, pairs in rows.items() if any(old[digits] != new[digits] for old, new in pairs)}

    kinds = {
        "of the study gone": old.keys() - new.keys(),
        "not in the study": new.keys() - old.keys(),
        "in another number of rows": both.keys() - rows.keys(),
        "with another text or speaker": differing(slice(1, 5)),
        "with other audio": differing(slice(5, None)),
        "moved between train and eval": differing(slice(0, 1)),
    }
    told = [f"{len(names):,} {'clip' if len(names) == 1 else 'clips'} {kind} ({_some(names)})"
            for kind, names in kinds.items() if names]  # fmt: skip
    told += [f"data.{k} is {v}, {old_limits.get(k)} there" for k, v in limits.items() if v != old_limits.get(k)]
    return f"data: {'; '.join(told) or 'the same clips in another order'}"


def _some(names: Iterable[str]) -> str:
    first, *more = [printable(name) for name in sorted(names)]
    return ", ".join([first, *more[: SHOWN - 1], *(["…"] if len(more) >= SHOWN else [])])


def named(lines: list[str], there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """`fingerprint.differences`, with clips in place of the digests of the data. The maps are `Prepared` in JSON."""
    if not there.get("clips") or not here.get("clips"):  # of an earlier release
        return lines
    return [changes(there["clips"], here["clips"]) if line.startswith("data: ") else line for line in lines]


def _unpacked(packed: str) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """The limits; part and digests of each row, by the clip's name."""
    content = zlib.decompress(base64.b64decode(packed)).decode("utf-8", "surrogateescape")
    found: dict[str, list[str]] = defaultdict(list)
    limits, *lines = content.split("\0")
    for line in lines:
        name, _, values = line.rpartition("\t")
        found[name].append(values)
    return json.loads(limits), found
