"""What a check says of data, split, sound, letters, base, steps and machine: surveys made by hand, and a large one."""

from dataclasses import replace
from typing import Any

import pytest

from search.check.judging import refuse
from search.check.machine import Gpu
from search.check.memory import Probe
from search.check.survey import Recording, Row
from search.errors import UserError
from tests.surveys import BASE, GB, MACHINE, healthy, recording, report, row, said


def test_healthy_data_are_without_error_or_warning() -> None:
    made = report(healthy())
    assert [f.message for f in made.findings if f.level != "info"] == []
    assert [(p.name, p.clips, p.seconds, p.dropped) for p in made.parts] == [
        ("train", 175, 525, 0),
        ("eval", 25, 75, 0),
    ]
    assert [(s.name, s.train_clips, s.eval_clips) for s in made.speakers] == [("a", 75, 25), ("b", 100, 0)]
    assert made.verdict == "info"
    refuse(made)


X = [row("train", "x")]
XY = [row("train", "x", text="one"), row("train", "y", text="two")]
LEFT_OUT = [row(p, n, reason=f"shorter than 0.5 s: 0.3{n} s") for p, n in (("train", "1"), ("eval", "2"))]
MANY_LEFT_OUT = [row("train", f"x{i}", reason="empty text") for i in range(201)]
UNREADABLE = [recording(name, digest="") for name in "xy"]
# Rows and recordings that join the healthy ones, and the finding: (level or "" for none, words, details).
ADDED: list[tuple[list[Row], list[Recording], str, str, list[str]]] = [
    (LEFT_OUT, [], "warning", "2 clips left out: shorter than 0.5 s", ["1 (0.31 s)", "2 (0.32 s)"]),
    (MANY_LEFT_OUT, [], "warning", "more clips are left out (201) than used (200)", []),
    ([row("train", "x", stock="a letter that")], [], "info", "1 clip used here that coqui's own code would", ["x"]),
    ([row("train", "x", speaker="")], [], "warning", "1 clip without a speaker", ["x"]),
    ([row("train", "x", text="a\x1b[31m")], [], "warning", "control characters", ["x"]),
    ([row("train", "x", text="ሰላም፡፡ ፲፪ ።")], [], "", "control characters", []),
    ([row("train", "x", text="so [Stop] it")], [], "warning", "special token", ["x"]),
    ([row("train", "/elsewhere/x.wav")], [], "warning", "outside data.path", ["/elsewhere/x.wav"]),
    (
        [row("eval", "x")], [recording("x", digest="digest of /d/clip-b1x.wav")], "warning",
        "1 clip of eval with the same audio", ["x (in training: /d/clip-b1x.wav)"],
    ),
    ([row("eval", "x"), row("train", "y")], UNREADABLE, "", "the same audio", []),
    (XY, UNREADABLE, "", "1 recording", []),
    (
        [row("eval", "x", text="The text, of /d clip b1x: WAV!")], [], "warning",
        "1 clip of eval with the text", ["x (in training: /d/clip-b1x.wav)"],
    ),
    ([row("eval", "x", text="?!"), row("train", "y", text="…")], [], "", "of eval with the text", []),
    (XY, [recording(n, digest="d") for n in "xy"], "warning", "1 recording in training with different", ["x (also y)"]),
    (
        [row("train", "x", text="He\u0301 x"), row("train", "y", text="Hé, X.")],
        [recording(n, digest="d") for n in "xy"], "warning", "1 recording more than once", ["x (also y)"],
    ),
    ([row("eval", "x", speaker="c")], [], "warning", "1 eval speaker not in training: c", ["x (c)"]),
    (X, [recording("x", peak=0.0005, rms=0.0001)], "warning", "nothing but silence", ["x"]),
    (X, [recording("x", silent=0.99)], "warning", "nothing but silence", ["x"]),
    (X, [recording("x", silent=0.7)], "warning", "silence in more than", ["x (70%)"]),
    (X, [recording("x", finite=False)], "warning", "NaN or infinite", ["x"]),
    (X, [recording("x", clipped=0.02)], "warning", "full scale", ["x (2.0%)"]),
    (X, [recording("x", rms=0.002)], "warning", "low level", ["x (root mean square 0.0020)"]),
    (X, [recording("x", offset=-0.1)], "warning", "DC offset", ["x (mean -0.100)"]),
    (X, [recording("x", sample_rate=8000)], "warning", "sample rate below", ["x (8,000 Hz)"]),
    (X, [recording("x", sample_rate=16_000)], "info", "1 clip below the model's rate", []),
    (X, [recording("x", channels=6)], "warning", "more than two channels", ["x (6 channels)"]),
    (X, [recording("x", channels=2)], "info", "1 clip in stereo", []),
    (X, [recording("x", remark="is {MP3}")], "warning", "does not match", ["x (is {MP3})"]),
    (
        [row("train", "x", reason="audio cannot be read: no")], [recording("x", error="no", remark="is cut short")],
        "warning", "left out, with a header", ["x (is cut short)"],
    ),
    ([row("train", "x", text="a" * 200)], [], "warning", "hardly be said", ["x (200 letters in 3.0 s)"]),
    ([row("train", "x", text="...?!")], [], "warning", "1 clip with a text without a letter", ["x (...?!)"]),
    ([row("train", "x", text="a")], [], "warning", "hardly be said", ["x (1 letters in 3.0 s)"]),
]  # fmt: skip


@pytest.mark.parametrize(("rows", "recordings", "level", "words", "details"), ADDED)
def test_a_fault_is_named(
    rows: list[Row], recordings: list[Recording], level: str, words: str, details: list[str]
) -> None:
    made = report([*healthy(), *rows], recordings)
    assert said(made, words) == ([(level, details)] if level else [])


def split(train: int, held_out: int) -> list[Row]:
    return [*(row("train", f"t{i}x") for i in range(train)), *(row("eval", f"e{i}x") for i in range(held_out))]


@pytest.mark.parametrize(
    ("train", "held_out", "expected"),
    [
        (880, 120, []),
        (960, 40, [("warning", "4.0% of the clips")]),
        (930, 70, [("info", "7.0% of the clips")]),
        (600, 400, [("warning", "40.0% of the clips")]),
        (136, 19, [("warning", "only 19 clips for evaluation")]),
    ],
)
def test_the_share_of_eval(train: int, held_out: int, expected: list[tuple[str, str]]) -> None:
    found = [(f.level, f.message) for f in report(split(train, held_out)).findings if f.area == "split"]
    assert [
        (level, message[: len(words)]) for (level, message), (_, words) in zip(found, expected, strict=True)
    ] == expected


def test_an_evaluation_of_training_clips_is_an_error() -> None:
    copies = [recording(f"e{i}x", digest=f"digest of t{i}x") for i in range(10)]
    assert said(report(split(100, 20), copies), "same audio")[0][0] == "error"
    assert said(report(split(100, 20), copies[:9]), "same audio")[0][0] == "warning"


def recorded(train: list[str], held_out: list[str], speaker: str = "a") -> list[Row]:
    """Clips of recordings; "r1" three times is r1_1, r1_2, r1_3 across both parts."""
    return [
        row(part, f"/d/{name}_{i:03}.wav", speaker=speaker)
        for part, names in (("train", train), ("eval", held_out))
        for i, name in enumerate(names)
    ]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (recorded(["r1"] * 60 + ["r2"] * 60, ["r3"] * 20), []),
        (recorded(["r1"] * 60 + ["r2"] * 60, ["r3"] * 19 + ["r1"]), [("warning", ["/d/r1_019.wav"])]),
        (recorded(["r1", "r2", "r3"] * 40, ["r1", "r2", "r3"] * 7), [("info", [])]),  # split clip by clip
        (recorded(["r1"] * 120, ["r1"] * 20), []),  # one name for all tells nothing
        ([r for name in "abcd" for r in recorded([name] * 30, [name] * 5, name)], []),  # nor does the speaker's
    ],
)
def test_recordings_on_both_sides_are_told_where_names_tell(rows: list[Row], expected: list[Any]) -> None:
    assert said(report(rows), "cut from") == expected


def test_all_errors_are_told_at_once() -> None:
    given = {"base__extend_vocabulary": False, "training__steps": 3}
    made = report(split(10, 5), base=replace(BASE, error="no [START]"), missing=["ሰ"], **given)
    with pytest.raises(UserError) as caught:
        refuse(made)
    assert "[START]" in str(caught.value)
    assert len(caught.value.details) == len(made.of("error")) - 1 == 2  # letters, and a full run of too few steps


def test_a_part_without_clips_is_an_error() -> None:
    made = report([row("train", "x", reason="empty text"), row("eval", "y", stock="a letter")])
    assert [(d.audio_file, d.reason, d.stock) for d in made.dropped] == [
        ("x", "empty text", None),
        ("y", None, "a letter"),
    ]
    assert said(made, "no clip of 1 is left for train; the first: x: empty text")[0][0] == "error"
    assert said(report([]), "no clip of 0")[0][0] == "error"


def test_letters_are_named_and_counted() -> None:
    rows = healthy()
    rows[0] = replace(rows[0], text="ሰላም ሰ ፲፪፡", unknown=["[am]", "ላ", "ም", "ሰ", "፡", "፪", "፲"])
    rows[1] = replace(rows[1], text="E\u0301 é ሰ", unknown=["é", "ሰ"])
    rows[2:] = [replace(r, text=f"ß {r.text}", unknown=["ß"]) for r in rows[2:]]
    missing = ["[am]", "é", "ß", "ላ", "ም", "ሰ", "፡", "፪", "፲"]
    made = report(rows, missing=missing)
    common, second = made.letters[:2]
    assert (common.character, common.count, common.clips) == ("ß", 198, 198)
    assert (second.character, second.code_points, second.name) == ("ሰ", "U+1230", "ETHIOPIC SYLLABLE SA")
    assert (second.count, second.clips, second.example) == (3, 2, rows[0].audio_file)
    assert {letter.character: letter.count for letter in made.letters}["é"] == 2
    assert made.tags == ["[am]"] and len(made.letters) == 8
    assert said(made, "lacks 9 tokens")[0][0] == "info"
    assert said(made, "7 new letters with fewer than 5")[0][0] == "warning"
    refused = report(rows, missing=missing, base__extend_vocabulary=False)
    assert said(refused, "base.extend_vocabulary is off")[0][0] == "error"


@pytest.mark.parametrize(
    ("given", "level", "words"),
    [
        ({"error": "model.pth is no checkpoint"}, "error", "model.pth is no checkpoint"),
        ({"language_listed": False}, "info", "would silently drop every clip"),
        ({"languages": ("de",)}, "info", "does not know the language 'en'"),
    ],
)
def test_a_base_that_does_not_fit(given: dict[str, Any], level: str, words: str) -> None:
    made = report(healthy(), base=replace(BASE, **given))
    assert [found for found, _ in said(made, words)] == [level]
    assert (made.memory is None) == ("error" in given)


def test_steps_of_an_epoch_a_trial_and_the_full_run() -> None:
    course = report(healthy()).course  # 175 clips: 88 batches of 2, 11 steps of 8
    assert (course.steps_an_epoch, course.full_steps, course.trial_steps, course.evaluations) == (11, 110, 6, 5)
    assert course.trial_epochs == pytest.approx(6 / 11)
    short = report(healthy(), training__steps=4)
    assert said(short, "full run has 4 optimizer steps")[0][0] == "error" and short.course.trial_steps == 0
    tiny = report(split(10, 2), training__steps=200)
    assert said(tiny, "an optimizer step draws 16 clips (batch 2 x 8), but there are 10")[0][0] == "warning"


@pytest.mark.parametrize(
    ("machine", "given", "level", "words"),
    [
        ({}, {}, "info", "computed, not measured"),
        ({"gpus": (MACHINE.gpus[0], Gpu("small", 8 * GB))}, {}, "warning", "of the 8.0 GB of small"),
        ({}, {"study__workers": 3}, "warning", "3 slots of"),
        ({"gpus": ()}, {}, "info", "of this machine, which has no GPU; computed, not measured"),
        ({"gpus": (), "memory": 8 * GB}, {}, "warning", "of the 8.0 GB of this machine"),
        ({}, {"probe": Probe("X", 24 * GB, 8, 9 * GB, 64, True)}, "info", "of X, measured in two steps"),
        ({}, {"probe": Probe("X", 24 * GB, 8, None, 3, False)}, "error", "fit into the 24.0 GB of X; 3 does, measured"),
        ({"cache_free": GB // 10}, {}, "error", "cache folder /cache has 0.1 GB free"),
        ({"study_free": GB // 10}, {}, "error", "study.directory /study has 0.1 GB free"),
        ({"cache_free": GB}, {"missing": ["ሰ"]}, "error", "cache folder"),  # a larger vocabulary: a copy of the base
        ({"cache_free": 7 * GB, "study_free": 7 * GB}, {"study__trials": 1_000_000}, "error", "study.directory"),
        ({"study_free": 10 * GB}, {"study__save_minutes": 15}, "error", "study.directory"),  # two states of 5 GB
        ({"study_free": 10 * GB}, {}, "", "study.directory"),
        ({}, {"study__workers": 9}, "warning", "9 slots on 8 processors"),
    ],
)
def test_whether_the_machine_suffices(machine: dict[str, Any], given: dict[str, Any], level: str, words: str) -> None:
    made = report(healthy(), machine=replace(MACHINE, **machine), **given)
    assert [found for found, _ in said(made, words)] == ([level] if level else [])
    if "probe" in given:
        assert said(made, "not measured") == []
