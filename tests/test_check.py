"""What a check says of data, split, sound, letters, base, steps and machine: surveys made by hand, and large ones."""

import dataclasses
import time
from pathlib import Path
from typing import Any

import pytest

from search.check.clips import split_reason
from search.check.judgement import Finding
from search.check.judging import judge, refuse
from search.check.split import plain, source
from search.check.survey import BaseFacts, Recording, Row, read_survey
from search.errors import UserError
from tests.surveys import BASE, MACHINE, healthy, recording, report, row, said, settings, survey


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
# Findings of the rows that are added to, or put in place of, healthy ones.
ADDED: list[tuple[str, list[Row], list[Recording], str, str, list[str]]] = [
    (
        "reasons are grouped, with what is the clip's own in its line",
        [row(p, n, dropped=f"0.3{n} s, shorter than 0.5 s") for p, n in (("train", "1"), ("eval", "2"))],
        [],
        "warning",
        "2 clips left out: shorter than 0.5 s",
        ["1 (0.31 s)", "2 (0.32 s)"],
    ),
    (
        "only stock drops it",
        [row("train", "x", stock="a letter that the vocabulary lacks")],
        [],
        "info",
        "1 clip that coqui's own code would drop in silence",
        ["x"],
    ),
    ("no speaker", [row("train", "x", speaker="")], [], "warning", "1 clip without a speaker", ["x"]),
    ("a control sign", [row("train", "x", text="a\x1b[31m")], [], "warning", "control characters", ["x"]),
    ("another script's sign", [row("train", "x", text="ሰላም፡፡ ፲፪ ።")], [], "", "control characters", []),
    ("a token", [row("train", "x", text="so [Stop] it")], [], "warning", "special token", ["x"]),
    ("brackets", [row("train", "x", text="so [laughs] it")], [], "", "special token", []),
    ("outside", [row("train", "/elsewhere/x.wav")], [], "warning", "outside data.path", ["/elsewhere/x.wav"]),
    (
        "swallowed",
        [row("train", "x", text="he said|a\ny.wav|hello|a\nz.wav|and|b\n")],
        [],
        "error",
        "swallows the rows after it",
        ["x (and 2 rows more)"],
    ),
    ("a text of two lines", [row("train", "x", text="one\ntwo")], [], "", "swallows", []),
    (
        "the same audio",
        [row("eval", "x")],
        [recording("x", digest="digest of /d/clip-b1x.wav")],
        "warning",
        "1 clip of eval with the same audio",
        ["x (in training: /d/clip-b1x.wav)"],
    ),
    (
        "files that cannot be read are not the same",
        [row("eval", "x"), row("train", "y")],
        [recording("x", digest=""), recording("y", digest="")],
        "",
        "the same audio",
        [],
    ),
    (
        "nor are they repeats",
        [row("train", "x", text="one"), row("train", "y", text="two"), row("train", "z", text="two")],
        [recording(name, digest="") for name in "xyz"],
        "",
        "1 recording",
        [],
    ),
    (
        "the same text but for its signs",
        [row("eval", "x", text="The text, of /d clip b1x: WAV!")],
        [],
        "warning",
        "1 clip of eval with the text",
        ["x (in training: /d/clip-b1x.wav)"],
    ),
    (
        "a recording with two texts",
        [row("train", "x", text="one"), row("train", "y", text="two")],
        [recording("x", digest="d"), recording("y", digest="d")],
        "warning",
        "1 recording with more than one text",
        ["x (also y)"],
    ),
    (
        "a recording twice",
        [row("train", "x", text="one"), row("train", "y", text="One.")],
        [recording("x", digest="d"), recording("y", digest="d")],
        "warning",
        "1 recording more than once",
        ["x (also y)"],
    ),
    ("a stranger", [row("eval", "x", speaker="c")], [], "warning", "1 eval speaker not in training: c", ["x (c)"]),
    ("silent", X, [recording("x", peak=0.0005, rms=0.0001)], "warning", "nothing but silence", ["x"]),
    ("silent is not quiet as well", X, [recording("x", peak=0.0, rms=0.0)], "", "low level", []),
    ("hiss", X, [recording("x", silent=0.99)], "warning", "nothing but silence", ["x"]),
    ("mute in part", X, [recording("x", silent=0.7)], "warning", "silence in more than", ["x (70%)"]),
    ("infinite", X, [recording("x", finite=False)], "warning", "NaN or infinite", ["x"]),
    ("clipped", X, [recording("x", clipped=0.02)], "warning", "full scale", ["x (2.0%)"]),
    ("a single sample at full scale", X, [recording("x", clipped=1e-5)], "", "full scale", []),
    ("quiet", X, [recording("x", rms=0.002)], "warning", "low level", ["x (root mean square 0.0020)"]),
    ("offset", X, [recording("x", offset=-0.1)], "warning", "DC offset", ["x (mean -0.100)"]),
    ("telephone", X, [recording("x", sample_rate=8000)], "warning", "sample rate below", ["x (8,000 Hz)"]),
    ("8 kHz is said once", X, [recording("x", sample_rate=8000)], "", "below the model's rate", []),
    ("16 kHz", X, [recording("x", sample_rate=16_000)], "info", "1 clip below the model's rate", []),
    ("5.1", X, [recording("x", channels=6)], "warning", "more than two channels", ["x (6 channels)"]),
    ("stereo", X, [recording("x", channels=2)], "info", "1 clip in stereo", []),
    ("a header", X, [recording("x", remark="is MP3")], "warning", "does not bear out", ["x (is MP3)"]),
    (
        "a header of a clip that is left out",
        [row("train", "x", dropped="audio cannot be read: no")],
        [recording("x", error="no", remark="is cut short")],
        "warning",
        "left out, with a header that lies",
        ["x (is cut short)"],
    ),
    (
        "sound of what is left out is no finding",
        [row("train", "x", dropped="empty text")],
        [recording("x", rms=0.0001)],
        "",
        "low level",
        [],
    ),
    ("a long text", [row("train", "x", text="a" * 200)], [], "warning", "hardly be said", ["x (200 letters in 3.0 s)"]),
    ("left out with it", [row("train", "x", text="a" * 900, dropped="too long")], [], "", "hardly be said", []),
    ("hardly any text", [row("train", "x", text="a")], [], "warning", "hardly be said", ["x (1 letters in 3.0 s)"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "recordings", "level", "words", "details"), [c[1:] for c in ADDED], ids=[c[0] for c in ADDED]
)
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
        (19_800, 200, []),
        (600, 400, [("warning", "40.0% of the clips")]),
        (800, 200, [("info", "20.0% of the clips")]),
        (136, 19, [("warning", "an evaluation of 19 clips is noise")]),
        (136, 20, []),
    ],
)
def test_the_share_of_eval(train: int, held_out: int, expected: list[tuple[str, str]]) -> None:
    made = report(split(train, held_out))
    found = [(f.level, f.message) for f in made.findings if f.area == "split"]
    assert [level for level, _ in found] == [level for level, _ in expected]
    assert all(words in message for (_, message), (_, words) in zip(found, expected, strict=True))


def test_an_evaluation_of_training_clips_is_an_error() -> None:
    rows = split(100, 20)
    copies = [recording(f"e{i}x", digest=f"digest of t{i}x") for i in range(10)]
    assert said(report(rows, copies), "same audio")[0][0] == "error"
    assert said(report(rows, copies[:9]), "same audio")[0][0] == "warning"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("/d/rec1_001.wav", "/d/rec1"), ("/d/LJ001-0002.flac", "/d/LJ001"), ("/d/a b.c 12.wav", "/d/a b.c"),
        ("/d/001.wav", None), ("/d/_001.wav", None), ("/d/take.wav", None), ("/d/rec001.wav", None),
        ("/d/1_2.wav", "/d/1"), ("/d/ድምፅ_፩_1.wav", "/d/ድምፅ_፩"),
    ],
)  # fmt: skip
def test_the_recording_of_a_clip(name: str, expected: str | None) -> None:
    assert source(name) == expected


def recorded(train: list[str], held_out: list[str], speaker: str = "a") -> list[Row]:
    """Clips of recordings; "r1" three times is r1_1, r1_2, r1_3 across both parts."""
    return [
        row(part, f"/d/{name}_{i:03}.wav", speaker=speaker)
        for part, names in (("train", train), ("eval", held_out))
        for i, name in enumerate(names)
    ]


def test_recordings_that_stand_on_both_sides_are_told_where_names_tell() -> None:
    apart = recorded(["r1"] * 60 + ["r2"] * 60, ["r3"] * 20)
    assert said(report(apart), "cut from") == []
    strayed = recorded(["r1"] * 60 + ["r2"] * 60, ["r3"] * 19 + ["r1"])
    assert said(report(strayed), "cut from") == [("warning", ["/d/r1_019.wav"])]
    by_clip = recorded(["r1", "r2", "r3"] * 40, ["r1", "r2", "r3"] * 7)
    assert said(report(by_clip), "cut from") == [("info", [])]
    # One name for all, or that of the speaker, tells nothing.
    assert said(report(recorded(["r1"] * 120, ["r1"] * 20)), "cut from") == []
    voices = [r for name in "abcd" for r in recorded([name] * 30, [name] * 5, name)]
    assert said(report(voices), "cut from") == []


def test_texts_are_compared_by_what_is_said() -> None:
    assert plain("  Héllo,\tWORLD… “x”") == plain("he\u0301llo world x")
    assert plain("ሰላም፡ልዑል።") == "ሰላም ልዑል"
    assert plain("?!") == ""


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("empty text", ("empty text", "")),
        ("0.30 s, shorter than 0.5 s", ("shorter than 0.5 s", "0.30 s")),
        (
            "250 text tokens, more than data.max_text_tokens 200",
            ("more than data.max_text_tokens 200", "250 text tokens"),
        ),
        ("audio cannot be read: No such: thing", ("audio cannot be read", "No such: thing")),
        ("12.10 s, longer than data.max_audio_seconds 11.6", ("longer than data.max_audio_seconds 11.6", "12.10 s")),
    ],
)
def test_reasons_by_kind(reason: str, expected: tuple[str, str]) -> None:
    assert split_reason(reason) == expected


def test_a_part_without_clips_is_an_error() -> None:
    made = report([row("train", "x", dropped="empty text"), row("eval", "y", stock="a letter")])
    assert [(d.audio_file, d.reason, d.stock) for d in made.dropped] == [
        ("x", "empty text", None),
        ("y", None, "a letter"),
    ]
    assert said(made, "no clip of 1 is left for train; the first: x: empty text")[0][0] == "error"
    with pytest.raises(UserError, match="no clip of 1 is left"):
        refuse(made)
    assert said(report([]), "no clip of 0")[0][0] == "error"


def test_all_errors_are_told_at_once() -> None:
    made = report(
        split(10, 5), base=dataclasses.replace(BASE, start=None), missing=["ሰ"], base__extend_vocabulary=False
    )
    with pytest.raises(UserError) as caught:
        refuse(made)
    assert "[START]" in str(caught.value)
    assert len(caught.value.details) == len(made.of("error")) - 1 == 2  # letters, and a trial of too few steps
    assert [f.level for f in made.findings] == sorted(
        (f.level for f in made.findings), key=["error", "warning", "info"].index
    )


def test_what_the_caller_found_is_judged_with_the_rest() -> None:
    away = Finding("error", "storage", "away")
    assert judge(settings(), survey(healthy()), MACHINE, further=[away]).findings[0] == away


def test_more_left_out_than_used_is_said_first() -> None:
    rows = [*healthy(), *(row("train", f"x{i}", dropped="empty text") for i in range(201))]
    warnings = report(rows).of("warning")
    assert "more clips are left out (201) than used (200)" in warnings[0].message


def test_letters_are_named_and_counted() -> None:
    rows = healthy()
    rows[0] = dataclasses.replace(rows[0], text="ሰላም ሰ ፲፪፡", unknown=["[am]", "ላ", "ም", "ሰ", "፡", "፪", "፲"])
    rows[1] = dataclasses.replace(
        rows[1], text="E\u0301 é ሰ", unknown=["é", "ሰ"], stock="a letter that the vocabulary lacks"
    )
    missing = ["[am]", "é", "ላ", "ም", "ሰ", "፡", "፪", "፲"]
    made = report(rows, missing=missing)
    first = made.letters[0]
    assert (first.character, first.code_points, first.name) == ("ሰ", "U+1230", "ETHIOPIC SYLLABLE SA")
    assert (first.count, first.clips, first.example) == (3, 2, rows[0].audio_file)
    assert {letter.character: letter.name for letter in made.letters}["፡"] == "ETHIOPIC WORDSPACE"
    assert {letter.character: letter.count for letter in made.letters}["é"] == 2
    assert made.tags == ["[am]"] and len(made.letters) == 7
    assert said(made, "lacks 8 tokens")[0][0] == "info"
    assert said(made, "7 new letters with fewer than 5")[0][0] == "warning"
    refused = report(rows, missing=missing, base__extend_vocabulary=False)
    assert said(refused, "base.extend_vocabulary is off")[0][0] == "error"


def test_a_common_letter_is_not_called_rare() -> None:
    rows = [dataclasses.replace(r, text=f"ሰ {r.audio_file}", unknown=["ሰ"]) for r in healthy()]
    made = report(rows, missing=["ሰ"])
    assert said(made, "fewer than") == []
    assert made.letters[0].count == made.letters[0].clips == 200


@pytest.mark.parametrize(
    ("given", "level", "words"),
    [
        ({"error": "model.pth is no checkpoint"}, "error", "model.pth is no checkpoint"),
        ({"rows": 6680}, "error", "6,680 rows of text embedding, vocab.json has 6,681"),
        ({"start": None}, "error", "no [START]"),
        ({"stop": None}, "error", "no [STOP]"),
        ({"start": 6681}, "error", "[START] has the id 6,681"),
        ({"max_audio_seconds": 11.0}, "error", "data.max_audio_seconds is 11.6; the base has 11.0 s"),
        ({"max_text_tokens": 100}, "error", "data.max_text_tokens is 200; the base has 100"),
        ({"language_listed": False}, "info", "would drop every clip in silence"),
        ({"languages": ("de",)}, "info", "does not know the language 'en'"),
    ],
)
def test_a_base_that_does_not_fit(given: dict[str, Any], level: str, words: str) -> None:
    made = report(healthy(), base=dataclasses.replace(BASE, **given))
    assert [found for found, _ in said(made, words)] == [level]
    if "error" in given:  # nothing else is known then
        assert report(healthy(), base=BaseFacts("/base", "x")).memory is None


def test_limits_that_are_not_known_are_not_judged() -> None:
    made = report(healthy(), base=dataclasses.replace(BASE, max_audio_seconds=0.0, max_text_tokens=0))
    assert not made.of("error")


def test_steps_of_an_epoch_a_trial_and_the_full_run() -> None:
    course = report(healthy()).course  # 175 clips: 88 batches of 2, 11 steps of 8
    assert (course.steps_an_epoch, course.full_steps, course.trial_steps, course.evaluations) == (11, 110, 22, 10)
    assert course.trial_epochs == 2
    short = report(healthy(), training__epochs=2.0)
    assert said(short, "4 of 22 optimizer steps a trial")[0][0] == "error"
    assert short.course.trial_steps == 0
    tiny = report(split(10, 2), training__steps=200)
    assert said(tiny, "an optimizer step draws 16 clips (batch 2 x 8), and there are 10")[0][0] == "warning"
    brief = report(split(4400, 600), training__steps=400)
    assert said(brief, "sees 29% of an epoch")[0][0] == "warning"


def test_lengths_and_their_limits() -> None:
    rows = [row("train", f"x{i}", tokens=i) for i in range(1, 101)] + [row("eval", "y", tokens=0, dropped="empty text")]
    found = [recording(f"x{i}", seconds=i / 10) for i in range(1, 101)] + [recording("y", seconds=13.0)]
    made = {(d.part, d.what): d for d in report(rows, found, data__max_audio_seconds=9.0).lengths}
    audio = made["train", "audio"]
    assert audio.quantiles == {"min": 0.1, "5 %": 0.6, "median": 5.1, "95 %": 9.5, "max": 10.0}
    assert (audio.clips, audio.above, audio.close, sum(audio.counts)) == (100, 10, 9, 100)
    assert len(audio.edges) == len(audio.counts) + 1
    assert made["eval", "audio"].above == 1 and made["eval", "text"].quantiles == {}


def test_one_clip_of_an_hour_does_not_hide_the_others() -> None:
    rows = healthy()
    long = dataclasses.replace(rows[1], dropped="3600.00 s, longer than data.max_audio_seconds 11.6")
    made = report([rows[0], long, *rows[2:]], [recording(long.audio_file, seconds=3600.0)]).lengths[0]
    assert made.edges[-1] == pytest.approx(3 * 11.6) and made.counts[-1] == 1 and made.quantiles["max"] == 3600


def test_many_clips_at_the_limit_are_told() -> None:
    rows = healthy()
    found = [recording(r.audio_file, seconds=11.5) for r in rows[:60]]
    rows = [dataclasses.replace(r, text="a" * 60) for r in rows]
    assert "train: 30% of the clips are within a tenth of the limit of 11.6 s" in "\n".join(
        f.message for f in report(rows, found).findings
    )


def test_100_000_clips_take_seconds() -> None:
    rows = [
        row("eval" if i % 9 == 0 else "train", f"/d/book{i // 100}_{i:06}.wav", speaker=f"s{i % 500}",
            text=f"ሰላም የሚል ጽሑፍ ቁጥር {i}", unknown=["ሰ", "ላ", "ም"], dropped="empty text" if i % 50 == 0 else None)
        for i in range(100_000)
    ]  # fmt: skip
    wide = survey(rows, missing=["[am]", "ሰ", "ላ", "ም"])
    started = time.process_time()
    made = judge(settings(), wide, MACHINE)
    assert time.process_time() - started < 10  # 3 s where it was written
    assert len(made.dropped) == 2_000 and made.letters[0].clips == 100_000


def test_a_survey_can_be_written_and_read(tmp_path: Path) -> None:
    made = survey([row("train", "x"), row("eval", "\udcffy\x1b")], missing=["ሰ"])
    made.write(tmp_path / "s.json")
    assert read_survey(tmp_path / "s.json") == made
