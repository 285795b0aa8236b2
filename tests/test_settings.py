from pathlib import Path
from typing import Any

import pytest

from search.errors import UserError
from search.settings.settings import Settings, load
from search.study.storage import exists as storage_exists
from search.study.storage import open_storage

BASE_FILES = ("config.json", "model.pth", "dvae.pth", "mel_stats.pth", "vocab.json")
SPACE = "version = 1\n[lr]\nlow = 1e-5\nhigh = 1e-3\n[weight_decay]\nvalue = 0\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a dataset and a base, seen from a working folder elsewhere."""
    folder = tmp_path / "my-project"
    for name in ("speech/train.csv", "speech/eval.csv", *(f"base/{name}" for name in BASE_FILES)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    (folder / "space.toml").write_text(SPACE)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return folder


def loaded(folder: Path, text: str, overrides: dict[str, Any] | None = None) -> Settings:
    (folder / "study.toml").write_text(text, encoding="utf-8")
    return load(folder / "study.toml", overrides or {})


def refusal(folder: Path, text: str | None, overrides: dict[str, Any] | None = None) -> str:
    """What is said about bad settings, checked to be one line."""
    with pytest.raises(UserError) as caught:
        load(None, overrides or {}) if text is None else loaded(folder, text, overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


BAD_FILES = [
    # (study.toml, what the line must contain: field, value, what is allowed)
    ("nonsense", ["study.toml", "cannot be read"]),
    ("trials = 3", ["unknown key 'trials'", "study, data, base, training, space, pruning, confirm, train, speech"]),
    ('[study]\nname = "a.confirm"', ["study.name is 'a.confirm'", "end with .confirm"]),
    ("[study]\nname = 'a/b'", ["study.name is 'a/b'", "1 to 64 letters"]),
    *(
        (f"[study]\nname = {name}", ["study.name is", "1 to 64 letters"])
        for name in (r'"../../x"', r'"<b>x"', r'"\u001b[31m"', r'"x\u0000"', '"{0}%s"', '"x\\n"')
    ),
    ("[study]\nstorage = 'sqlite:////nowhere/study.db'", ["sqlite:////nowhere/study.db", "in a folder that exists"]),
    ("[data]\npath = 'nowhere'", ["data.path is", "my-project/nowhere", "not a folder"]),
    ("[data]\npath = 'speech'\ntrain = 'all.csv'", ["data.train is 'all.csv'", "all.csv does not exist; tables in"]),
    ("[data]\nlanguage = 'Amharic'", ["data.language is 'Amharic': it must be a language code"]),
    ("[data]\nmin_conditioning_seconds = 3", ["data.min_conditioning_seconds is 3.0", "max_conditioning_seconds 1.0"]),
    ("[base]\npath = 'speech'", ["base.path", "lacks config.json, model.pth, dvae.pth, mel_stats.pth, vocab.json"]),
    ("[training]\nprecision = 'fp16'", ["training.precision is 'fp16'", "'fp32', 'tf32' or 'bf16'"]),
    ("[data]\npath = 'speech'\n[training]\nepochs = 5\nsteps = 500", ["training: give epochs or steps, not both"]),
    ("[space]\nfile = 'speech'", ["space.file is", "my-project/speech", "cannot be read"]),
    ("[service]\ngrace_seconds = 29", ["service: grace_seconds is 29", "at least 3 heartbeat_seconds, which is 10"]),
    ("[study]\nstorage = 'mysql://a:secret@h/d'", ["study.storage is 'mysql://a:***@h/d'", "sqlite or postgresql"]),
]


@pytest.mark.parametrize(("text", "parts"), BAD_FILES)
def test_a_bad_file_is_refused_in_one_line(project: Path, text: str, parts: list[str]) -> None:
    message = refusal(project, text)
    assert all(part in message for part in parts), message


@pytest.mark.parametrize(
    "content",
    [SPACE.encode("utf-8-sig"), SPACE.encode("utf-16"), SPACE.replace("\n", "\r\n").encode("utf-8-sig")],
    ids=["UTF-8 with a mark", "UTF-16", "CRLF"],
)
def test_files_of_windows_are_read(project: Path, content: bytes) -> None:
    (project / "space.toml").write_bytes(content)
    (project / "study.toml").write_text("[study]\ntrials = 7\n[space]\nfile = 'space.toml'", encoding="utf-16")
    settings = load(project / "study.toml", {})
    assert (settings.study.trials, settings.search_space().lr.high) == (7, 1e-3)
    (project / "study.toml").write_bytes("[study]\nname = 'ü'".encode("latin-1"))
    with pytest.raises(UserError, match=r"study.toml cannot be read: it is not in UTF-8; save it as UTF-8$"):
        load(project / "study.toml", {})


@pytest.mark.parametrize(
    ("section", "entry", "said"),
    [
        ("data", r'path = "C:\Users\me"', "line 2 has a backslash in double quotes; use single quotes or"),
        ("data", r"path = 'C:\data'", "does not exist; use"),
        ("data", "path = 'speech'\n" r"train = 'a\b.csv'", "does not exist; use"),
    ],
)
def test_a_path_of_windows_is_refused_with_how_to_write_it(project: Path, section: str, entry: str, said: str) -> None:
    message = refusal(project, f"[{section}]\n{entry}".replace("\t", r"\t"))
    step = r" forward slashes. A path of Windows has WSL's form here: /mnt/c/Users/me for C:\Users\me"
    assert said in message and message.endswith(step)


@pytest.mark.parametrize(
    ("key", "value", "part"),
    [
        ("trials", 3, "'trials' is not of the form section.key=value"),
        ("space.file", "nowhere.toml", "space.file is nowhere.toml, which does not exist"),
    ],
)
def test_a_bad_override_is_refused_in_one_line(project: Path, key: str, value: Any, part: str) -> None:
    before = sorted(project.parent.rglob("*"))
    assert part in refusal(project, None, {key: value})
    assert sorted(project.parent.rglob("*")) == before  # nothing is created


def test_paths_are_relative_to_the_file(project: Path) -> None:
    text = "[study]\ndirectory = 'out'\n[data]\npath = 'speech'\n[base]\npath = 'base'\n[space]\nfile = 'space.toml'"
    settings = loaded(project, text)
    paths = (settings.data.path, settings.base.path, settings.space.file)
    assert paths == (project / "speech", project / "base", project / "space.toml")
    assert settings.directory == project / "out/my-project"
    assert settings.storage_url == f"sqlite:///{project}/out/my-project/study.db"


@pytest.mark.parametrize(
    ("folder", "name"), [("my-voice", "my-voice"), ("ድምፅ", "study"), (".hidden", "hidden"), ("x" * 99, "x" * 64)]
)
def test_a_study_is_named_after_its_folder(project: Path, folder: str, name: str) -> None:
    renamed = project.rename(project.parent / folder)
    assert loaded(renamed, "[data]\npath = 'speech'").study.name == name


def test_without_data_it_is_the_miniature_with_changes(project: Path) -> None:
    Path("study.toml").write_text("[study]\ntrials = 7\nseed = 2\n[training]\nevaluations = 5")
    assert load(None, {"training.steps": 300}).full_horizon(100) == 300  # in place of the miniature's epochs
    settings = load(None, {"study.trials": 9})  # a flag wins over the file of the working folder
    assert settings.is_miniature and settings.search_space().name == settings.study.name == "miniature"
    assert (settings.study.trials, settings.study.seed, settings.training.evaluations) == (9, 2, 5)
    assert (settings.data.language, settings.training.epochs, settings.conditioning_seconds) == ("am", 40, (0.5, 1.0))
    own = loaded(project, "[data]\npath = 'speech'\nmin_conditioning_seconds = 2\n[base]\npath = 'base'")
    assert not own.is_miniature and own.search_space().name == "xtts-v2"
    assert (own.data.language, own.data.eval, own.training.epochs) == ("en", None, None)
    assert own.conditioning_seconds == (2.0, 6.0)


@pytest.mark.parametrize(
    ("training", "clips", "full", "trial"),
    [
        ("batch_size = 4\naccumulation = 2", 400, 500, 25),  # the defaults: 10 epochs, and a twentieth of them
        ("batch_size = 4\naccumulation = 3\nepochs = 10\ntruncation = 0.5", 400, 340, 170),  # 34 updates an epoch
        ("batch_size = 4\naccumulation = 1\nepochs = 10\ntruncation = 1", 401, 1010, 1010),
        ("batch_size = 4\nsteps = 777\ntruncation = 0.2", 5, 777, 155),
        ("steps = 40", 100, 40, 5),  # a step an evaluation at least
        ("steps = 40\nevaluations = 2", 100, 40, 4),  # and one more than milestones
    ],
)
def test_horizons(project: Path, training: str, clips: int, full: int, trial: int) -> None:
    settings = loaded(project, f"[data]\npath = 'speech'\n[training]\n{training}")
    assert (settings.full_horizon(clips), settings.trial_horizon(clips)) == (full, trial)


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("name", ["a?b", "100%20", "{x}", "#1", "ድምፅ's voice"])
def test_the_database_lies_in_the_study_s_folder_whatever_its_name(name: str, tmp_path: Path) -> None:
    settings = load(None, {"study.directory": str(tmp_path / name)})
    settings.directory.mkdir(parents=True)
    open_storage(settings.storage_url).engine.dispose()
    assert [f.name for f in settings.directory.iterdir()] == ["study.db"]
    assert storage_exists(settings) is False, "a study of the name"


def test_what_only_shows_a_study_needs_no_data(project: Path) -> None:
    text = "[data]\npath = 'gone'\n[base]\npath = 'gone'\n[speech]\nrecogniser = 'gone'"
    with pytest.raises(UserError, match=r"data.path is .*gone, which is not a folder"):
        loaded(project, text)
    assert load(project / "study.toml", {}, shows=True).data.path == project / "gone"


def test_what_is_written_is_read_again_also_by_a_child(project: Path) -> None:
    text = f"[study]\ntrials = 7\ndirectory = '{project}'\n[data]\npath = 'speech'\n[base]\npath = 'base'\n"
    settings = loaded(project, text + "[pruning]\nmin_delta = 0.01\n[space]\nfile = 'space.toml'")
    assert loaded(project, settings.to_toml()) == settings
    assert Settings.model_validate_json(settings.model_dump_json()) == settings


def test_blanks_around_urls_are_no_part_of_them(project: Path) -> None:
    study = loaded(project, "[study]\nstorage = ' postgresql://db/x '\nartifacts = 's3://sound\t'").study
    assert (study.storage, study.artifacts) == ("postgresql://db/x", "s3://sound")
