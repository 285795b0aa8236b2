import math
from pathlib import Path
from typing import Any

import pytest

from search.errors import UserError
from search.settings.settings import Settings, load, safe_url
from search.study.storage import exists as storage_exists
from search.study.storage import open_storage

BASE_FILES = ("config.json", "model.pth", "dvae.pth", "mel_stats.pth", "vocab.json")
SPACE = "version = 1\n[lr]\nlow = 1e-5\nhigh = 1e-3\n[weight_decay]\nvalue = 0\n"
GAMMA_1 = SPACE + "[milestones]\nmax = 2\n[gamma]\nvalue = 1\n"
NO_GAMMA = SPACE + "[milestones]\nmax = 2\n"


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
    (
        "trials = 3",
        ["unknown key 'trials'", "study, data, base, training, space, pruning, confirm, train, speech, service"],
    ),
    (
        "[optimizer]\nlr = 1",
        ["unknown key optimizer", "study, data, base, training, space, pruning, confirm, train, speech, service"],
    ),
    ('[study]\nname = "a.confirm"', ["study.name is 'a.confirm'", "ends with .confirm"]),
    ("[study]\ntrails = 3", ["unknown key study.trails", "trials"]),
    ("[training]\nbatch = 3", ["unknown key training.batch", "batch_size"]),
    ("[study]\ntrials = 0", ["study.trials is 0", "greater than or equal to 1"]),
    ("[study]\ntrials = 2.5", ["study.trials is 2.5", "integer"]),
    ("[study]\ntrials = 'many'", ["study.trials is 'many'", "integer"]),
    ("[study]\nseed = -1", ["study.seed is -1", "greater than or equal to 0"]),
    ("[study]\nworkers = 0", ["study.workers is 0", "greater than or equal to 1"]),
    ("[study]\nname = 'a/b'", ["study.name is 'a/b'", "1 to 64 letters"]),
    ("[study]\nname = ''", ["study.name is ''", "1 to 64 letters"]),
    ("[study]\nmax_retries = -1", ["study.max_retries is -1", "greater than or equal to 0"]),
    ("[study]\nstall_minutes = 0", ["study.stall_minutes is 0", "greater than 0"]),
    ("[study]\nstorage = 'nonsense'", ["study.storage is 'nonsense'", "sqlite:///study.db", "postgresql"]),
    ("[study]\nstorage = 'oraculum://u:secret@h/d'", ["study.storage is 'oraculum://u:***@h/d'", "postgresql"]),
    ("[study]\nstorage = 'sqlite:////nowhere/study.db'", ["sqlite:////nowhere/study.db", "/nowhere is not a folder"]),
    ("[data]\npath = 'nowhere'", ["data.path is", "my-project/nowhere", "not a folder"]),
    ("[data]\npath = 'space.toml'", ["data.path is", "my-project/space.toml", "not a folder"]),
    ("[data]\npath = 'speech'\ntrain = 'all.csv'", ["data.train is 'all.csv'", "speech/all.csv does not exist"]),
    ("[data]\npath = 'speech'\neval = 'dev.csv'", ["data.eval is 'dev.csv'", "speech/dev.csv does not exist"]),
    ("[data]\neval_share = 1.0", ["data.eval_share is 1.0", "less than 1"]),
    ("[data]\nlanguage = 'Amharic'", ["data.language is 'Amharic': it must be a language code in lower case"]),
    ("[data]\nmin_conditioning_seconds = 3", ["data.min_conditioning_seconds is 3.0", "max_conditioning_seconds 1.0"]),
    ("[base]\npath = 'nowhere'", ["base.path is", "my-project/nowhere", "XTTS layout"]),
    ("[base]\npath = 'speech'", ["base.path", "lacks config.json, model.pth, dvae.pth, mel_stats.pth, vocab.json"]),
    ("[training]\nbatch_size = 1", ["training.batch_size is 1", "greater than or equal to 2"]),
    ("[training]\naccumulation = 0", ["training.accumulation is 0", "greater than or equal to 1"]),
    ("[training]\ntruncation = 0", ["training.truncation is 0", "greater than 0"]),
    ("[training]\ntruncation = 1.5", ["training.truncation is 1.5", "less than or equal to 1"]),
    ("[training]\ntruncation = nan", ["training.truncation is nan"]),
    ("[training]\nevaluations = 1", ["training.evaluations is 1", "greater than or equal to 2"]),
    ("[training]\nprecision = 'fp16'", ["training.precision is 'fp16'", "'fp32', 'tf32' or 'bf16'"]),
    ("[data]\npath = 'speech'\n[training]\nepochs = 5\nsteps = 500", ["training: give epochs or steps, not both"]),
    ("[space]\npreset = 'huge'", ["space.preset is 'huge'", "xtts-v2, miniature"]),
    ("[space]\nfile = 'nowhere.toml'", ["space.file is", "my-project/nowhere.toml", "does not exist"]),
    ("[space]\nfile = 'speech'", ["space.file is", "my-project/speech", "cannot be read"]),
    ("[space]\npreset = 'miniature'\nfile = 'space.toml'", ["space: give preset or file, not both"]),
    ("[pruning]\nn_increases = 0", ["pruning.n_increases is 0", "greater than or equal to 1"]),
    ("[pruning]\nmin_delta = -0.1", ["pruning.min_delta is -0.1", "greater than or equal to 0"]),
    ("[pruning]\nstartup_trials = 0", ["pruning.startup_trials is 0", "greater than or equal to 1"]),
    ("[pruning]\nmedian = 'perhaps'", ["pruning.median is 'perhaps'", "boolean"]),
    ("[confirm]\ntop = 0", ["confirm.top is 0", "greater than or equal to 1"]),
    ("[confirm]\nlower_rates = 0.5", ["confirm.lower_rates is 0.5", "tuple"]),
    ("[confirm]\nlower_rates = [0]", ["confirm.lower_rates is 0:", "greater than 0"]),
    ("[confirm]\nlower_rates = [0.5, 1.0]", ["confirm.lower_rates is 1.0", "less than 1"]),
    ("[confirm]\nlower_rates = [-0.5]", ["confirm.lower_rates is -0.5", "greater than 0"]),
    ("[confirm]\nlower_rates = [nan]", ["confirm.lower_rates is nan"]),
    ("[confirm]\nlower_rates = ['half']", ["confirm.lower_rates is 'half'", "number"]),
    ("[service]\nheartbeat = 5", ["unknown key service.heartbeat", "heartbeat_seconds, grace_seconds"]),
    ("[service]\nheartbeat_seconds = 0", ["service.heartbeat_seconds is 0", "greater than or equal to 0.1"]),
    ("[service]\nheartbeat_seconds = nan", ["service.heartbeat_seconds is nan"]),
    ("[service]\ngrace_seconds = 0", ["service.grace_seconds is 0", "greater than 0"]),
    ("[service]\ngrace_seconds = 100_000", ["service.grace_seconds is 100000", "less than or equal to 86400"]),
    ("[service]\ngrace_seconds = 29", ["service: grace_seconds is 29", "at least 3 heartbeat_seconds, which is 10"]),
    (
        "[service]\nheartbeat_seconds = 21",
        ["service: grace_seconds is 60", "at least 3 heartbeat_seconds, which is 21"],
    ),
    ("[service]\noutage_minutes = -1", ["service.outage_minutes is -1", "greater than or equal to 0"]),
    ("[service]\noutage_minutes = nan", ["service.outage_minutes is nan"]),
    ("[service]\nconnections = 1", ["service.connections is 1", "greater than or equal to 2"]),
    ("[service]\nconnections = 65", ["service.connections is 65", "less than or equal to 64"]),
]


@pytest.mark.parametrize(("text", "parts"), BAD_FILES)
def test_a_bad_file_is_refused_in_one_line(project: Path, text: str, parts: list[str]) -> None:
    message = refusal(project, text)
    assert all(part in message for part in parts), message


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        ({"study.trials": 0}, ["study.trials is 0", "greater than or equal to 1"]),
        ({"training.batch_size": 1}, ["training.batch_size is 1", "greater than or equal to 2"]),
        ({"training.bach_size": 2}, ["unknown key training.bach_size", "batch_size"]),
        ({"trials": 3}, ["'trials'", "section.key=value"]),
        ({"optimizer.lr": 3}, ["unknown key optimizer", "study, data, base, training, space, pruning"]),
        ({"study.storage": 5}, ["study.storage is 5", "string"]),
        ({"data.path": "/nowhere"}, ["data.path is /nowhere", "not a folder"]),
        ({"space.file": "nowhere.toml"}, ["space.file is nowhere.toml", "does not exist"]),
    ],
)
def test_a_bad_override_is_refused_in_one_line(project: Path, overrides: dict[str, Any], parts: list[str]) -> None:
    message = refusal(project, None, overrides)
    assert all(part in message for part in parts), message


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (GAMMA_1, ["gamma.low is 1", "above 0 and below 1"]),
        (NO_GAMMA, ["gamma is missing", "milestones change nothing without it"]),
        (SPACE + "[gamma]\nvalue = 0.5", ["gamma is given", "milestones.max is 0"]),
        (SPACE + "[betas]\nvalue = 0.5", ["unknown key 'betas'", "clip_norm"]),
        ("nonsense", ["Expected"]),
    ],
)
def test_a_space_whose_knob_cannot_act_is_refused_in_one_line(project: Path, text: str, parts: list[str]) -> None:
    (project / "space.toml").write_text(text)
    message = refusal(project, "[space]\nfile = 'space.toml'")
    assert all(part in message for part in [str(project / "space.toml"), *parts]), message


def test_a_missing_file_is_named(project: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.toml does not exist; see study\.example\.toml"):
        load(project / "nowhere.toml", {})


@pytest.mark.parametrize("content", [b"\xff\xfe[study]", b"[study]\nname = '\xe9'"])
def test_a_file_that_is_not_utf8_is_named(project: Path, content: bytes) -> None:
    (project / "study.toml").write_bytes(content)
    with pytest.raises(UserError, match=r"study\.toml cannot be read"):
        load(project / "study.toml", {})


@pytest.mark.parametrize("missing", BASE_FILES)
def test_a_base_that_lacks_a_file_is_refused_by_its_name(project: Path, missing: str) -> None:
    (project / "base" / missing).unlink()
    message = refusal(project, "[data]\npath = 'speech'\n[base]\npath = 'base'")
    assert f"{project / 'base'} lacks {missing};" in message


def test_refused_settings_create_nothing(project: Path) -> None:
    before = sorted(project.parent.rglob("*"))
    with pytest.raises(UserError):
        load(None, {"study.trials": 0})
    assert sorted(project.parent.rglob("*")) == before


def test_paths_are_relative_to_the_file(project: Path) -> None:
    text = "[study]\ndirectory = 'out'\n[data]\npath = 'speech'\n[base]\npath = 'base'\n[space]\nfile = 'space.toml'"
    settings = loaded(project, text)
    assert settings.data.path == project / "speech"
    assert settings.base.path == project / "base"
    assert settings.space.file == project / "space.toml"
    assert settings.directory == project / "out/my-project"
    assert settings.storage_url == f"sqlite:///{project}/out/my-project/study.db"


def test_the_home_folder_may_be_meant(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(project))
    assert loaded(project, "[data]\npath = '~/speech'").data.path == project / "speech"


def test_the_study_of_own_data_is_named_after_its_folder(project: Path) -> None:
    assert loaded(project, "[data]\npath = 'speech'").study.name == "my-project"
    assert loaded(project, "[study]\nname = 'mine'\n[data]\npath = 'speech'").study.name == "mine"


@pytest.mark.parametrize(
    ("folder", "name"), [("ድምፅ", "study"), (".hidden", "hidden"), ("a b", "a-b"), ("x" * 99, "x" * 64)]
)
def test_a_folder_that_is_no_name_gives_one(project: Path, folder: str, name: str) -> None:
    renamed = project.rename(project.parent / folder)
    assert loaded(renamed, "[data]\npath = 'speech'").study.name == name


@pytest.mark.usefixtures("project")
def test_without_a_file_it_is_the_miniature() -> None:
    settings = load(None, {})
    assert settings.is_miniature
    assert settings.study.name == "miniature"
    assert settings.search_space().name == "miniature"


@pytest.mark.usefixtures("project")
def test_the_file_of_the_working_folder_is_read() -> None:
    Path("study.toml").write_text("[study]\ntrials = 7")
    assert load(None, {}).study.trials == 7


def test_a_file_without_data_is_the_miniature_with_changes(project: Path) -> None:
    settings = loaded(project, "[training]\nevaluations = 5")
    assert settings.is_miniature
    assert settings.training == load(None, {}).training.model_copy(update={"evaluations": 5})


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", (10, 60, 1, 60, 3, 200)),
        (
            "[service]\nheartbeat_seconds = 0.5\ngrace_seconds = 1.5\nconnections = 2\ncache_gb = 0.5",
            (0.5, 1.5, 1, 60, 2, 0.5),
        ),
        ("[service]\nheartbeat_seconds = 0.1\ngrace_seconds = 0.3", (0.1, 0.3, 1, 60, 3, 200)),
        ("[service]\nheartbeat_seconds = 20\nstart_minutes = 0\noutage_minutes = 0", (20, 60, 0, 0, 3, 200)),
    ],
)
def test_how_machines_keep_in_touch(project: Path, text: str, values: tuple[float, ...]) -> None:
    assert tuple(loaded(project, text).service.model_dump().values()) == values


def test_steps_take_the_place_of_the_miniature_s_epochs(project: Path) -> None:
    assert loaded(project, "[training]\nsteps = 300").full_horizon(100) == 300
    assert load(None, {"training.steps": 300}).full_horizon(100) == 300


def test_own_data_has_none_of_the_miniature_s_defaults(project: Path) -> None:
    settings = loaded(project, "[data]\npath = 'speech'\n[base]\npath = 'base'")
    assert not settings.is_miniature
    assert (settings.data.language, settings.data.eval, settings.training.epochs) == ("en", None, None)
    assert settings.search_space().name == "xtts-v2"


def test_data_named_by_an_override_has_none_of_them_either(project: Path) -> None:
    settings = load(None, {"data.path": str(project / "speech")})
    assert (settings.study.name, settings.data.language, settings.data.eval) == ("elsewhere", "en", None)


def test_an_override_wins_over_the_file(project: Path) -> None:
    settings = loaded(project, "[study]\ntrials = 7\nseed = 2", {"study.trials": 9})
    assert (settings.study.trials, settings.study.seed) == (9, 2)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("", (0.5, 1.0)),
        ("[base]\npath = 'base'", (3.0, 6.0)),
        ("[base]\npath = 'base'\n[data]\nmin_conditioning_seconds = 2", (2.0, 6.0)),
        ("[data]\nmax_conditioning_seconds = 2", (0.5, 2.0)),
    ],
)
def test_conditioning_seconds(project: Path, text: str, seconds: tuple[float, float]) -> None:
    assert loaded(project, text).conditioning_seconds == seconds


@pytest.mark.parametrize(
    ("training", "clips", "full", "trial"),
    [
        ("batch_size = 4\naccumulation = 1\nepochs = 10\ntruncation = 0.5", 400, 1000, 500),
        ("batch_size = 4\naccumulation = 3\nepochs = 10\ntruncation = 0.5", 400, 340, 170),  # 34 updates an epoch
        ("batch_size = 4\naccumulation = 1\nepochs = 10\ntruncation = 1", 401, 1010, 1010),
        ("batch_size = 4\naccumulation = 1\nepochs = 1.5\ntruncation = 0.2", 400, 150, 30),
        ("batch_size = 4\nsteps = 777\ntruncation = 0.2", 5, 777, 155),
    ],
)
def test_horizons(project: Path, training: str, clips: int, full: int, trial: int) -> None:
    settings = loaded(project, f"[data]\npath = 'speech'\n[training]\n{training}")
    assert (settings.full_horizon(clips), settings.trial_horizon(clips)) == (full, trial)


def test_the_full_run_of_own_data_is_ten_epochs(project: Path) -> None:
    settings = loaded(project, "[data]\npath = 'speech'\n[training]\nbatch_size = 4\naccumulation = 2")
    assert settings.full_horizon(400) == 500


def test_a_trial_too_short_for_its_evaluations_is_refused(project: Path) -> None:
    settings = loaded(project, "[data]\npath = 'speech'\n[training]\nsteps = 40")
    with pytest.raises(UserError, match=r"truncation is 0.2: 8 of 40 optimizer steps.*training.evaluations = 10"):
        settings.trial_horizon(100)


def test_a_trial_too_short_for_its_milestones_is_refused(project: Path) -> None:
    settings = loaded(project, "[training]\nsteps = 3\ntruncation = 1\nevaluations = 2")
    with pytest.raises(UserError, match="3 milestones do not fit into a run of 3 optimizer steps"):
        settings.trial_horizon(100)


URLS = [
    ("sqlite:///study.db", "sqlite:///study.db"),
    ("postgresql://reader@host:5432/db", "postgresql://reader@host:5432/db"),
    ("postgresql://reader:hunter2@host:5432/db", "postgresql://reader:***@host:5432/db"),
    ("postgresql+psycopg://reader:hunter2@host/db", "postgresql+psycopg://reader:***@host/db"),
    ("postgresql://reader:hunter2%40x@host/db", "postgresql://reader:***@host/db"),
    ("postgresql://reader:hunter2:/x?&#@host/db", "postgresql://reader:***@host/db"),
    ("postgresql://:hunter2@host/db", "postgresql://:***@host/db"),
    ("postgresql://host:5432/db", "postgresql://host:5432/db"),
    ("postgresql://[::1]:5432/db", "postgresql://[::1]:5432/db"),
    ("postgresql:///db?host=/run:5432", "postgresql:///db?host=/run:5432"),
    ("postgresql://reader@host/db?password=hunter2", "postgresql://reader@host/db?password=***"),
    ("postgresql://host/db?user=a&password=hunter2&x=1", "postgresql://host/db?user=a&password=***&x=1"),
    ("postgresql://host/db?PASSWORD=hunter2", "postgresql://host/db?PASSWORD=***"),
    ("postgresql://host/db?sslpassword=hunter2", "postgresql://host/db?sslpassword=***"),
    ("mysql://reader:hunter2@host/db?passwd=hunter2", "mysql://reader:***@host/db?passwd=***"),
]


FORGOTTEN = [  # the @
    ("postgresql://reader:hunter2/db", "postgresql://reader:***"),
    ("postgresql://reader:5hunter2", "postgresql://reader:***"),
]


@pytest.mark.parametrize(("url", "shown"), URLS + FORGOTTEN)
def test_safe_url_hides_the_password_and_nothing_else(url: str, shown: str) -> None:
    assert safe_url(url) == shown


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


@pytest.mark.usefixtures("project")
def test_only_databases_that_were_tried_are_taken() -> None:
    with pytest.raises(UserError, match=r"study.storage is 'mysql://reader:\*\*\*@host/db'; it must be of sqlite or"):
        load(None, {"study.storage": "mysql://reader:hunter2@host/db"})


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(("url", "shown"), [row for row in URLS if not row[0].startswith("mysql")])
def test_no_password_is_written_to_the_study_s_folder(url: str, shown: str) -> None:
    written = load(None, {"study.storage": url}).to_toml()
    assert "hunter2" not in written
    assert f'storage = "{shown}"' in written


@pytest.mark.usefixtures("project")
def test_the_password_itself_reaches_the_database() -> None:
    url = "postgresql://reader:hunter2@host/db"
    assert load(None, {"study.storage": url}).storage_url == url


def test_what_is_written_is_read_again(project: Path) -> None:
    text = f"[study]\ntrials = 7\ndirectory = '{project}'\n[data]\npath = 'speech'\n[base]\npath = 'base'"
    settings = loaded(project, text + "\n[pruning]\nmin_delta = 0.01\n[training]\nsteps = 500")
    assert loaded(project, settings.to_toml()) == settings


def test_settings_survive_the_way_to_a_child(project: Path) -> None:
    for text in ("", "[data]\npath = 'speech'\n[base]\npath = 'base'\n[space]\nfile = 'space.toml'"):
        settings = loaded(project, text)
        assert Settings.model_validate_json(settings.model_dump_json()) == settings


def test_nan_is_no_threshold(project: Path) -> None:
    assert "pruning.min_delta is nan" in refusal(project, None, {"pruning.min_delta": math.nan})
