"""`ready/`: the trained model as the stock `Xtts` class loads it, with everything needed to speak."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from search.files import link, whole_folder
from search.full_run.result import FOR_TRAINING
from search.training import corpus
from search.training.base import COMPANIONS, config_values
from search.training.corpus import Clip, Corpus, longest_first
from search.trial import Prepared, TrialSpec

REFERENCES = 3
LONGEST_REFERENCE = 12.0  # seconds; XTTS looks at 6 to 30 s of all references together


def make_ready(spec: TrialSpec, report: Path, small: bool = False) -> Path:
    """Makes `ready/` of the best state of the run of `spec`, whole or not at all, in place of one that is there.

    Its model stands in for a state that was deleted. A small one lacks what only training needs.
    """
    directory = Path(spec.directory)
    prepared = Prepared.from_json((Path(spec.prepared) / "prepared.json").read_text(encoding="utf-8"))
    args = prepared.coqui_config["model_args"]
    source = Path(args["xtts_checkpoint"]).parent
    target = directory / "ready"
    for left in directory.glob(".ready.*"):  # by a process that was killed
        shutil.rmtree(left)
    with whole_folder(target) as folder:
        best = directory / "state" / "best.pth"
        link(best if best.exists() else target / "model.pth", folder / "model.pth")
        shutil.copyfile(source / "vocab.json", folder / "vocab.json")
        for name in (*COMPANIONS, *(() if small else FOR_TRAINING)):
            if (source / name).exists():
                link((source / name).resolve(), folder / name)
        content = inference_config(source, prepared)
        (folder / "config.json").write_text(json.dumps(content, ensure_ascii=False, indent=2), encoding="utf-8")
        write_references(corpus.load(Path(spec.prepared) / "corpus"), folder / "reference", content["audio"])
        shutil.copyfile(Path(__file__).with_name("speak.py"), folder / "speak.py")
        shutil.copyfile(report, folder / report.name)
        shutil.rmtree(target, ignore_errors=True)
    return target


def inference_config(source: Path, prepared: Prepared) -> dict[str, Any]:
    """The base's `config.json` with the data's language, the vocabulary's size, and no path of this machine."""
    content = config_values(source)
    content["model_args"] = {
        **content["model_args"],
        "gpt_number_text_tokens": prepared.vocabulary_size,
        "tokenizer_file": "",
    }
    content["audio"] = dict(prepared.coqui_config["audio"])
    languages = content.get("languages", [])
    data = [d["language"] for d in prepared.coqui_config["datasets"]]
    content["languages"] = [*languages, *(language for language in data if language not in languages)]
    content["model"] = "xtts"
    return content


def write_references(clips: Corpus, folder: Path, audio: dict[str, Any]) -> None:
    """A few training clips as 1.wav, 2.wav, …: 16-bit, at the model's rate."""
    folder.mkdir()
    rate = int(audio["sample_rate"])
    for number, clip in enumerate(references(clips.train, rate), 1):
        soundfile.write(folder / f"{number}.wav", np.array(clips.wav(clip)[0]), rate, subtype="PCM_16")


def references(clips: list[Clip], rate: int) -> list[Clip]:
    """The longest clips up to `LONGEST_REFERENCE` seconds: of the speaker with most clips, of the next, and so on."""
    by_speaker: dict[str, list[Clip]] = {}
    for clip in clips:
        by_speaker.setdefault(clip.speaker, []).append(clip)
    speakers = sorted(by_speaker.values(), key=len, reverse=True)
    queues = [longest_first(own, LONGEST_REFERENCE * rate) for own in speakers]
    in_turn = [queue[i] for i in range(REFERENCES) for queue in queues if i < len(queue)]
    return in_turn[:REFERENCES]
