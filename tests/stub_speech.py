"""Runs that do not train, and speak by script: `script.json` in the study's folder says what each trial does."""

import json
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from search.trial import Caller, RunRecord, StopReason, TrialSpec
from tests.shown import tone

PRELOAD = ["search.study.storage", "search.workers.supervisor", "tests.shown"]


def run_script(line: Caller, spec: str) -> dict[str, Any]:
    """In place of `search.training.child.run`.

    A script is {"losses": [...], "waits": true to run on until it is stopped, "late": [...] evaluated before it obeys,
    "sentences": how many are spoken, else those of the spec, "seconds": of each, "fails": error, "dies": true}.
    """
    order = TrialSpec.from_json(spec)
    folder = Path(order.directory)
    script = json.loads((folder.parent.parent / "script.json").read_text())[str(order.number)]
    reason = StopReason.FINISHED
    evaluated: dict[int, float] = {}

    def evaluate(value: float) -> None:
        step = order.evaluation_steps[len(evaluated)]
        evaluated[step] = value
        losses = {"mel_ce": value, "text_ce": 2.0, "probe_mel_ce": value / 1.1, "probe_text_ce": 2.0}
        line.say("evaluation", step=step, **losses)

    for value in script["losses"]:
        evaluate(value)
    while script.get("waits") and not line.should_stop():
        time.sleep(0.02)
    for value in script.get("late", []):
        evaluate(value)
    if line.should_stop():
        reason = StopReason.STOPPED_BY_USER
    record = RunRecord(20, 20, None, None, [], 0, None, None, None, 1, 1, [], 0.0, 1.0, 1.0)
    line.say("trained", reason=reason, record=asdict(record))
    (folder / "wanted").write_text(str(line.is_wanted()))
    spoken = []
    (folder / "speech").mkdir()
    for number in range(1, script.get("sentences", order.sentences) + 1 if line.is_wanted() else 1):
        until = time.monotonic() + script.get("seconds", 0)
        while time.monotonic() < until and line.is_wanted():
            time.sleep(0.02)
        if not line.is_wanted():
            break
        if script.get("dies"):
            time.sleep(1)  # what was said is sent by then
            os._exit(9)
        names = [f"{number}-{kind}.wav" for kind in ("spoken", "recorded", "reference")]
        for pitch, name in enumerate(names):
            (folder / "speech" / name).write_bytes(tone(0.1, 200 + 50 * pitch + (number if pitch == 0 else 0)))
        figures = {"seconds": 0.1, "cut": False, "similarity": 0.5, "recorded_similarity": 0.9}
        spoken.append({"text": f"sentence {number}", "speaker": "s"} | dict(zip(FILES, names, strict=True)) | figures)
    best = min(evaluated, key=lambda step: evaluated[step])
    speech = {"step": best, "sentences": spoken, "recogniser": None, "artifacts": {}, "took": 0.5} if spoken else None
    (folder / "ended").touch()
    if "fails" in script:
        raise RuntimeError(script["fails"])
    return {"reason": reason, "speech": speech}


FILES = ("spoken", "recorded", "reference")
