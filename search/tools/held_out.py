"""Which clips a run of coqui's trainer trained on, and which it held out: by its lists, or by coqui's own split."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from TTS.config.shared_configs import BaseDatasetConfig
from TTS.tts.configs.shared_configs import BaseTTSConfig
from TTS.tts.datasets import load_tts_samples

from search.errors import UserError, first_line
from search.tools.run_folder import NAME_A_TABLE

Row = dict[str, Any]
Clip = tuple[str, int]  # name and bytes of an audio file: the same clip in a folder that was moved or copied


def parts(
    split: tuple[set[Clip], set[Clip]], train: list[Row], held_out: list[Row], has_table: bool
) -> tuple[list[Row], list[Row], int]:
    """(clips for the probe, eval clips, eval clips left out since the run trained on them), of these rows.

    With a table of eval clips those of `held_out` that the run did not train on are eval clips; without one, the
    clips of both that the run held out. Raises UserError where none is left.
    """
    trained, kept_apart = split
    every = train if has_table else [*train, *held_out]
    learnt = [row for row in every if clip_of(row) in trained]
    candidates = held_out if has_table else [row for row in every if clip_of(row) in kept_apart]
    kept = [row for row in candidates if clip_of(row) not in trained]
    if not kept:
        what = "the run trained on every clip of data.eval" if has_table else "data.train has no clip that it held out"
        raise UserError(f"no eval clip is left: {what}; {NAME_A_TABLE}")
    if not learnt:
        raise UserError("the run trained on none of the clips of data.train; name its own table by data.train")
    return learnt, kept, len(candidates) - len(kept)


def read_split(values: Mapping[str, Any], moved_to: Path) -> tuple[set[Clip], set[Clip]]:
    """(clips that a run trained on, clips that it held out), split again as coqui does it: seed 0, today's table.

    Args:
        values: Of its config.json, and "batches" of an epoch by its log, which show whether it had that split.
        moved_to: The data, where it is no longer in the folder that the config names.

    Raises UserError with the reason where the clips cannot be known.
    """
    datasets = []
    for given in values["datasets"]:
        path = Path(str(given.get("path"))).expanduser()
        known = {k: v for k, v in given.items() if k in BaseDatasetConfig.__dataclass_fields__ and v is not None}
        is_moved = len(values["datasets"]) == 1 and not path.is_dir()
        datasets.append(BaseDatasetConfig(**{**known, "path": str(moved_to if is_moved else path)}))
    sizes = {name: values[name] for name in ("eval_split_max_size", "eval_split_size") if values.get(name) is not None}
    try:
        train, held_out = load_tts_samples(BaseTTSConfig(datasets=datasets), eval_split=True, **sizes)
    except Exception as error:  # as in search.preparation.tables: formatters fail in many ways
        raise UserError(f"the tables of its config.json cannot be read ({first_line(error)})") from error
    _compare(len(train), values.get("batch_size"), values.get("batches"))
    return {*map(clip_of, train)}, {*map(clip_of, held_out)}


def _compare(clips: int, size: Any, batches: int | None) -> None:
    """Raises UserError where the batches that were logged are not of `clips` training clips, on one to eight GPUs."""
    if not batches or not isinstance(size, int) or size < 1:
        return
    if not any(abs(clips - gpus * size * batches) <= gpus * size + clips / 100 for gpus in range(1, 9)):
        raise UserError(
            f"its log shows about {size * batches} training clips, and the split of its config.json leaves {clips}, so"
            " its script split them otherwise, or the table has changed"
        )


def clip_of(row: Row) -> Clip:
    path = Path(row["audio_file"])
    return path.name, path.stat().st_size if path.exists() else 0
