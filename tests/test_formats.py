"""Data as people have it: each of coqui's formatters by name, in the layout that it is for; kinds of audio files."""

import codecs
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from search.errors import UserError
from search.preparation.recordings import decode, usable
from search.preparation.tables import Rows, read_rows
from search.settings.sections import Data

RATE = 22_050  # Hz, of the model
SPEAKERS = ("1001", "1002")
CLIPS = 8


@dataclass(frozen=True)
class Layout:
    """Where a corpus keeps its tables and audio; `{id}`, `{speaker}` and `{text}` are of a clip.

    A table that differs by speaker or clip becomes several files.
    """

    train: str  # data.train
    table: str
    line: str
    audio: str
    header: str = ""
    footer: str = ""
    speaker: str = "{speaker}"  # as the formatter calls it
    text: str = "{text}"
    encoding: str = "utf-8"

    @property
    def is_one_table(self) -> bool:
        return "{" not in self.table and self.train == self.table


LAYOUTS = {
    "coqui": Layout("t.csv", "t.csv", "w/{id}.wav|{text}|{speaker}", "w/{id}.wav", "audio_file|text|speaker_name\n"),
    "cml_tts": Layout(
        "t.csv", "t.csv", "a/{id}.wav|{text}|{speaker}", "a/{id}.wav", "wav_filename|transcript|client_id\n"
    ),
    "tweb": Layout("t.txt", "t.txt", "{id}\t{text}", "{id}.wav", speaker="tweb"),
    "mozilla": Layout("m.csv", "m.csv", "{text}|{id}.wav", "wavs/{id}.wav", speaker="mozilla"),
    "mozilla_de": Layout(
        "m.csv", "m.csv", "1_{id}.wav|{text}", "BATCH_1_FINAL/1_{id}.wav", speaker="mozilla", encoding="latin-1"
    ),
    # An empty data.train: every metadata.csv below the folder.
    "mailabs": Layout(
        "", "by_book/female/{speaker}/book/metadata.csv", "{id}|{text}|{text}",
        "by_book/female/{speaker}/book/wavs/{id}.wav",
    ),
    "ljspeech": Layout("metadata.csv", "metadata.csv", "{id}|raw|{text}", "wavs/{id}.wav", speaker="ljspeech"),
    "ljspeech_test": Layout("m.csv", "m.csv", "{id}|raw|{text}", "wavs/{id}.wav", speaker="ljspeech-{pair}"),
    "thorsten": Layout("metadata.csv", "metadata.csv", "{id}|{text}", "wavs/{id}.wav", speaker="thorsten"),
    "sam_accenture": Layout(
        "script.xml", "voice_over_recordings/script.xml", '<fileid id="{id}">{text}</fileid>',
        "vo_voice_quality_transformation/{id}.wav", "<recording>\n", "</recording>\n", speaker="sam_accenture",
    ),
    "ruslan": Layout("m.csv", "m.csv", "{id}|{text}", "RUSLAN/{id}.wav", speaker="ruslan"),
    "css10": Layout("transcript.txt", "transcript.txt", "book/{id}.wav|{text}|n|1.0", "book/{id}.wav", speaker="css10"),
    "nancy": Layout("prompts.data", "prompts.data", '( {id} "{text} " )', "wavn/{id}.wav", speaker="nancy"),
    "common_voice": Layout(
        "validated.tsv", "validated.tsv", "{speaker}\t{id}.mp3\t{text}\t2", "clips/{id}.mp3",
        "client_id\tpath\tsentence\tup_votes\n",
    ),
    "libri_tts": Layout(
        "", "{speaker}/7/{speaker}_7.trans.tsv", "{speaker}_7_{id}\traw\t{text}", "{speaker}/7/{speaker}_7_{id}.wav",
        speaker="LTTS_{speaker}",
    ),
    "custom_turkish": Layout("m.csv", "m.csv", "{id}|{text}", "wavs/{id}.wav", speaker="turkish-female"),
    "brspeech": Layout(
        "m.csv", "m.csv", "a/{id}.wav|raw|{text}|{speaker}", "a/{id}.wav",
        "wav_filename|transcript_raw|transcript|speaker_id\n",
    ),
    "vctk": Layout(
        "", "txt/{speaker}/{speaker}_{id}.txt", "{text}",
        "wav48_silence_trimmed/{speaker}/{speaker}_{id}_mic1.flac", speaker="VCTK_{speaker}",
    ),
    "vctk_old": Layout(
        "", "txt/{speaker}/{speaker}_{id}.txt", "{text}", "wav48/{speaker}/{speaker}_{id}.wav",
        speaker="VCTK_old_{speaker}",
    ),
    "synpaflex": Layout("", "txt/{id}.txt", "{text}", "wav/{id}.wav", speaker="synpaflex"),
    "open_bible": Layout(
        "train", "train/{speaker}/{id}.txt", "{text}", "train/{speaker}/{id}.flac", speaker="OB_{speaker}"
    ),
    "mls": Layout(
        "train/transcripts.txt", "train/transcripts.txt", "{speaker}_9_{id}\t{text}",
        "train/audio/{speaker}/9/{speaker}_9_{id}.wav", speaker="MLS_{speaker}",
    ),
    "baker": Layout("m.csv", "m.csv", "{id}.wav|{text}", "clips_22/{id}.wav", speaker="baker"),
    "kokoro": Layout("m.csv", "m.csv", "{id}|raw|{text}", "wavs/{id}.wav", speaker="kokoro", text="{joined}"),
    "kss": Layout(
        "transcript.v.1.4.txt", "transcript.v.1.4.txt", "1/{id}.wav|raw|{text}|x|1.0", "1/{id}.wav", speaker="kss"
    ),
    "bel_tts_formatter": Layout("m.csv", "m.csv", "a/{id}.wav|{text}", "a/{id}.wav", speaker="bel_tts"),
}  # fmt: skip


def write_tone(
    path: Path, rate: int = RATE, channels: int = 1, subtype: str | None = None, seconds: float = 0.6
) -> None:
    """A tone of 440 Hz at half of full scale."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate)) / rate)
    soundfile.write(path, np.stack([tone] * channels, axis=1), rate, subtype=subtype)


def write_corpus(
    root: Path, layout: Layout, end: str = "\n", mark: bytes = b"", word: str = "fährt"
) -> dict[Path, tuple[str, str]]:
    """Writes `CLIPS` clips; (speaker, text) as expected by audio file."""
    tables: dict[Path, str] = {}
    expected = {}
    for number in range(CLIPS):
        text = f"Clip {'abcdefgh'[number]} {word}."
        clip = {
            "id": f"{number:06}",
            "speaker": SPEAKERS[number % 2],
            "text": text,
            "joined": text.replace(" ", ""),
            "pair": number // 2 + 1,
        }
        table = root / layout.table.format(**clip)
        tables[table] = tables.get(table, layout.header) + layout.line.format(**clip) + "\n"
        audio = root / layout.audio.format(**clip)
        write_tone(audio)
        expected[audio] = (layout.speaker.format(**clip), layout.text.format(**clip))
    for table, content in tables.items():
        table.parent.mkdir(parents=True, exist_ok=True)
        table.write_bytes(mark + (content + layout.footer).replace("\n", end).encode(layout.encoding))
    return expected


def read(root: Path, formatter: str, train: str) -> Rows:
    return read_rows(Data(path=root, formatter=formatter, train=train, language="de", eval_share=0.5), root, 1)


def found(rows: Rows) -> dict[Path, tuple[str, str]]:
    """As `write_corpus`; white space at the ends, which some formatters leave, is not compared."""
    return {Path(r["audio_file"]): (r["speaker_name"].strip(), r["text"].strip()) for part in rows.parts for r in part}


@pytest.mark.parametrize("formatter", LAYOUTS)
def test_each_formatter_reads_its_own_layout(tmp_path: Path, formatter: str) -> None:
    expected = write_corpus(tmp_path, LAYOUTS[formatter])
    rows = read(tmp_path, formatter, LAYOUTS[formatter].train)
    assert found(rows) == expected
    assert len(rows.eval) == len(rows.train) == CLIPS / 2
    assert {row["language"] for part in rows.parts for row in part} == {"de"}
    for path in expected:
        recording, wav = decode(str(path), RATE)
        assert usable(recording, 11.6) is None and wav.shape[0] == 1, recording


@pytest.mark.parametrize(
    ("formatter", "mark"),
    [
        (name, mark)
        for name, layout in LAYOUTS.items()
        for mark in ("", "UTF-8", "UTF-16")
        if layout.is_one_table and (not mark or layout.encoding == "utf-8")
    ],
)
def test_tables_of_a_spreadsheet_are_read(tmp_path: Path, formatter: str, mark: str) -> None:
    """CRLF, and a byte order mark with UTF-8 or in UTF-16; paths and text in other scripts."""
    layout = LAYOUTS[formatter]
    root = tmp_path / "ድምፅ und Wörter"
    expected = write_corpus(root, layout, "\r\n", codecs.BOM_UTF8 if mark == "UTF-8" else b"", word="größer")
    if mark == "UTF-16":
        table = root / layout.table
        table.write_bytes(table.read_bytes().decode().encode("utf-16"))
    if mark and formatter == "mls":  # it finds the audio by the table's folder, so that no copy can be read instead
        with pytest.raises(UserError, match="save it as UTF-8 without a byte order mark"):
            read(root, formatter, layout.train)
    else:
        assert found(read(root, formatter, layout.train)) == expected


@pytest.mark.parametrize("formatter", ["emotion", "voxceleb1", "voxceleb2"])
def test_data_without_texts_is_refused(tmp_path: Path, formatter: str) -> None:
    write_tone(tmp_path / "id1" / "a" / "x.wav")
    (tmp_path / "t.csv").write_text("file_path,speaker_id,emotion_id\n" + "id1/a/x.wav,1,happy\n" * CLIPS)
    with pytest.raises(UserError):
        read(tmp_path, formatter, "t.csv")


# Audio

KINDS = [
    ("wav", "PCM_U8", 2, 48_000), ("wav", "PCM_24", 2, 48_000), ("wav", "FLOAT", 1, 44_100), ("wav", "ULAW", 1, 8_000),
    ("flac", "PCM_16", 1, 96_000), ("ogg", "VORBIS", 2, 48_000), ("ogg", "OPUS", 2, 48_000),
    ("mp3", "MPEG_LAYER_III", 2, 44_100), ("mp3", "MPEG_LAYER_III", 1, 16_000),
]  # fmt: skip


@pytest.mark.parametrize(("suffix", "subtype", "channels", "rate"), KINDS)
def test_audio_becomes_one_channel_at_the_models_rate(
    tmp_path: Path, suffix: str, subtype: str, channels: int, rate: int
) -> None:
    path = tmp_path / f"ድምፅ {rate}.{suffix}"
    write_tone(path, rate, channels, subtype, seconds=1.0)
    recording, wav = decode(str(path), RATE)
    assert usable(recording, 11.6) is None, recording
    assert recording.channels == channels and abs(recording.seconds - 1) < 0.1
    spectrum = torch.fft.rfft(wav[0, :RATE], RATE).abs()
    assert abs(int(spectrum.argmax()) - 440) <= 1  # Hz
    assert abs(float(wav[0, 4_000:18_000].abs().max()) - 0.5) < 0.05
