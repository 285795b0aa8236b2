"""What the dashboard shows of a study, on the documents that Optuna's dashboard itself makes of it."""

import copy
import json
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import optuna
import pytest

from search.pages.dashboard_content import FIGURE, LOG_BYTES, Content
from search.study import artifacts
from tests import dashboards, shown
from tests.dashboards import TENSORBOARD, Served, figures_of, pairs
from tests.markdown import LINKED, read, tokens
from tests.shown import HOSTILE
from tests.studies import FLAT, STEPPED, run


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    """40 trials with sound and hostile texts; only to be read."""
    return Served(shown.study(tmp_path_factory.mktemp("shown")))


@pytest.fixture
def small(tmp_path: Path) -> tuple[optuna.Study, Served]:
    return dashboards.small(tmp_path)


def test_every_trial_has_a_note_a_figure_and_columns(served: Served) -> None:
    document = served.study()
    assert len(document["trials"]) == 41
    columns = {c["key"]: c["sortable"] for c in document["union_user_attrs"]}
    assert columns == {
        "baseline": False, "stop_reason": False, "at_step": True, "text_ce": True, "gap": True, "clipped_share": True,
        "similarity": True, "cer": True, "host": False,
    }  # fmt: skip
    for trial in (*document["trials"], *document["best_trials"]):
        assert "Learning rate" in trial["note"]["body"] or trial["number"] == 40  # which is being drawn
        assert trial["artifacts"][0]["filename"] == "evaluations.svg"
        attributes = pairs(trial["user_attrs"])
        assert attributes.keys() <= columns.keys()
        assert all(float(v) >= 0 for k, v in attributes.items() if columns[k])
    first = pairs(document["trials"][0]["user_attrs"])
    assert first["stop_reason"] == "finished"
    assert first["baseline"] == "V0"
    assert pairs(document["trials"][3]["user_attrs"])["baseline"] == "V0, repeat 1"
    assert document["objective_names"] == ["lowest eval, nats per audio token"]


def test_the_document_grows_by_little(served: Served) -> None:
    before, after = served.raw(), served.study()
    assert len(json.dumps(after["trials"])) - len(json.dumps(before["trials"])) < 3000 * len(after["trials"])


def test_a_page_that_knows_the_first_trials_gets_the_others_the_same(served: Served) -> None:
    whole, rest = served.study(), served.study(after=38)
    assert rest["trials"] == whole["trials"][38:]
    assert {k: v for k, v in rest.items() if k != "trials"} == {k: v for k, v in whole.items() if k != "trials"}


def test_no_text_of_the_data_breaks_out_of_a_note(served: Served) -> None:
    document = served.study()
    notes = [document["note"]["body"], *(trial["note"]["body"] for trial in document["trials"])]
    links = [t.attrs["href"] for note in notes for t in tokens(note) if t.type == "link_open"]
    images = [str(t.attrs["src"]) for note in notes for t in tokens(note) if t.type == "image"]
    assert all(str(link).startswith(TENSORBOARD) for link in links)
    assert len(images) == 41
    assert all(source.startswith("/artifacts/1/") for source in images)
    assert not any(t.type.startswith("html") for note in notes for t in tokens(note))
    assert not any(LINKED.search(t.content) for note in notes for t in tokens(note) if t.type.startswith("text"))
    assert f"wavs/{HOSTILE}.wav: longer than 11.6 s" in read(document["note"]["body"])
    assert f"3 clips are in both sets, the first: {HOSTILE}" in read(document["note"]["body"])
    assert sum(HOSTILE in read(note) for note in notes) == 4  # the study, and the three trials that spoke


def test_sound_is_in_the_order_to_listen_and_says_what_one_hears(served: Served) -> None:
    spoke = [t for t in served.study()["trials"] if len(t["artifacts"]) > 1]
    assert len(spoke) == 3
    names = [a["filename"] for a in spoke[0]["artifacts"]]
    assert names == [
        "evaluations.svg", "sentence 1, model.wav", "sentence 1, recording.wav", "voice reference.wav",
        "sentence 2, model.wav", "sentence 2, recording.wav",
    ]  # fmt: skip
    assert min(names) == names[0]  # the page sorts by name
    found = served.storage.get_trial(spoke[0]["trial_id"]).user_attrs["speech"]["artifacts"]
    assert spoke[0]["artifacts"][2]["artifact_id"] == found["1-recorded.wav"]
    assert "similarity" in pairs(spoke[0]["user_attrs"])
    store = artifacts.open_store(served.settings)
    assert artifacts.read(store, spoke[0]["artifacts"][1]["artifact_id"])


def test_files_of_the_same_content_are_one_card_with_all_their_names(small: tuple[optuna.Study, Served]) -> None:
    study, served = small
    sentence = {"text": "a", "speaker": "s", "seconds": 1.0, "cut": False, "similarity": None}
    sentences = [
        {**sentence, "recorded_similarity": None, "spoken": f"{i}s", "recorded": f"{i}r", "reference": f"{i}v"}
        for i in range(1, 11)
    ]
    ids = {f"{i}s": "aa" if i < 3 else f"a{i}" for i in range(1, 11)}
    trial = study.ask(shown.DISTRIBUTIONS)
    trial.set_user_attr("speech", {"step": 20, "sentences": sentences, "artifacts": {**ids, "1v": "b1", "2v": "b2"}})
    for known in ["bb", *dict.fromkeys(ids.values()), "b1", "b2"]:
        meta = {"artifact_id": known, "filename": "x.wav", "mimetype": "audio/wav", "encoding": None}
        study._storage.set_trial_system_attr(trial._trial_id, f"artifacts:{known}", json.dumps(meta))
    study.tell(trial, 4.0)
    names = [a["filename"] for a in served.study()["trials"][0]["artifacts"]]
    assert names[:4] == [
        "evaluations.svg",
        "sentence 01, model; sentence 02, model.wav",
        "voice reference 1.wav",
        "voice reference 2.wav",
    ]
    assert names[-1] == "x.wav"  # somebody else's
    models = [name for name in names if "model" in name]
    assert sorted(models) == models


def test_what_others_have_set_stays_and_what_a_program_needs_is_put_in_words(
    small: tuple[optuna.Study, Served],
) -> None:
    study, served = small
    run(study, FLAT, [4.5, 4.0], attributes={"remark": "mine", "score": 3})
    study.set_user_attr("owner of the data", "Abebe")
    document = served.study()
    assert pairs(document["trials"][0]["user_attrs"]).items() >= {"remark": "mine", "score": "3"}.items()
    assert "run" not in pairs(document["trials"][0]["user_attrs"])
    assert pairs(document["user_attrs"]) == {
        "finished trials": "1",
        "best": "4.0000 nats per audio token, trial 0",
        "untouched base": "5.0000 nats per audio token",
        "length of a trial": "200 optimizer steps",
        "length of a full run": "1,000 optimizer steps",
        "training clips": "100 (5 m 00 s)",
        "eval clips": "20 (1 m 00 s)",
        "clips left out": "0",
        "added tokens": "2",
        "owner of the data": "Abebe",
    }
    listed = pairs(served.studies()[0]["user_attrs"])
    assert listed["untouched base"] == "5.0000 nats per audio token"
    assert not {"fingerprint", "prepared"} & listed.keys()


def test_a_study_of_another_tool_stays_as_it_is(small: tuple[optuna.Study, Served]) -> None:
    _, served = small
    other = optuna.create_study(study_name="other", storage=served.storage)
    other.set_user_attr("remark", "theirs")
    other.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
    odd = optuna.create_study(study_name="odd", storage=served.storage)
    odd.set_user_attr("fingerprint", "not ours")
    for name in ("other", "odd"):
        assert served.study(name) == served.raw(name)
        assert served.content.resource(f"/artifacts/{served.storage.get_study_id_from_name(name)}/1/{FIGURE}") is None
    assert [pairs(s["user_attrs"]) for s in served.studies()][1:] == [{"remark": "theirs"}, {"fingerprint": "not ours"}]


def test_a_note_that_somebody_wrote_is_left_to_them(small: tuple[optuna.Study, Served]) -> None:
    from optuna_dashboard import save_note

    study, served = small
    run(study, FLAT, [4.5, 4.0])
    save_note(study, "*ours*")
    document = served.study()
    assert document["note"] == {"version": 1, "body": "*ours*"}
    assert document["trials"][0]["note"]["version"] == 0


def test_notes_follow_the_study(small: tuple[optuna.Study, Served]) -> None:
    study, served = small
    run(study, STEPPED, [4.5, 4.0])
    assert "stock recipe" not in served.note(0)
    asked = study.ask(shown.DISTRIBUTIONS)
    asked.report(4.75, 20)
    assert "**Running**: 20 of 200" in served.note(1)
    asked.report(4.5, 40)
    assert "**Running**: 40 of 200" in served.note(1)
    study.tell(asked, 4.5)
    assert "Running" not in served.note(1)
    run(study, FLAT, [3.75, 3.5], baseline="V0")
    assert "| stock recipe, trial 2 |" in served.note(0)
    assert "| stock recipe" not in served.note(2)
    assert "Trial 2 is 1.5000 nats per audio token below" in served.study()["note"]["body"]


def test_what_does_not_change_is_made_once(small: tuple[optuna.Study, Served], monkeypatch: pytest.MonkeyPatch) -> None:
    from search.pages import dashboard_seen as seen

    made: list[int] = []
    note = seen.trial_note
    monkeypatch.setattr(seen, "trial_note", lambda row, *rest: (made.append(row.trial.number), note(row, *rest))[1])
    study, served = small
    run(study, FLAT, [3.75, 3.5], baseline="V0")
    run(study, STEPPED, [4.5, 4.0])
    asked = study.ask(shown.DISTRIBUTIONS)
    served.study()
    served.study()
    served.content.resource(f"/artifacts/1/1/{FIGURE}")
    assert sorted(made) == [0, 1, 2]
    asked.report(4.75, 20)
    served.study()
    assert sorted(made) == [0, 1, 2, 2]


def test_a_log_is_served_from_the_studys_own_folder_only(small: tuple[optuna.Study, Served]) -> None:
    study, served = small
    run(study, FLAT, [4.5, 4.0])
    assert "[Log]" not in served.note(0)
    folder = served.settings.directory / "trials" / "0"
    folder.mkdir(parents=True)
    (folder / "log.txt").write_text("<script>ሰላም", encoding="utf-8")
    (served.settings.directory / "log.txt").write_text("above")
    linked = served.note(0)
    assert "[Log](/logs/miniature/0) · [TensorBoard](<http://127.0.0.1:6006/?runFilter=" in linked
    runs = re.compile(unquote(linked.partition("?runFilter=")[2].partition("&smoothing=0#timeseries>)")[0]))
    assert all(runs.search(name) for name in ("trials/0/tensorboard", "miniature/trials/0/tensorboard"))
    assert not any(runs.search(name) for name in ("trials/10/tensorboard", "other/trials/0/tensorboard", "confirm/0/t"))
    assert served.content.resource("/logs/miniature/0") == ("text/plain; charset=utf-8", "<script>ሰላም".encode())
    for path in (
        "/logs/miniature/1", "/logs/other/0", "/logs/../0", "/logs/miniature/..", "/logs/miniature/0/",
        "/logs/miniature", "/logs/miniature/../trials/0", "/logs/miniature/٠", "/logs/miniature/0\n", "/logs//0",
        "/logs/miniature.confirm/0", "/", "/artifacts/1/1/aa", f"/artifacts/1/99/{FIGURE}", f"/artifacts/9/1/{FIGURE}",
    ):  # fmt: skip
        assert served.content.resource(path) is None, path


def test_of_a_long_log_the_end_is_shown(small: tuple[optuna.Study, Served]) -> None:
    _, served = small
    folder = served.settings.directory / "trials" / "0"
    folder.mkdir(parents=True)
    (folder / "log.txt").write_bytes(b"first\n" * LOG_BYTES + b"last\n")
    found = served.content.resource("/logs/miniature/0")
    assert found is not None
    assert found[1].endswith(b"first\nlast\n")
    assert found[1].startswith("… the last 1,000,000 of 6,000,005 bytes\nfirst\n".encode())


def test_pages_may_ask_at_the_same_time(served: Served) -> None:
    failed: list[BaseException] = []

    def ask(what: Callable[[], Any]) -> None:
        try:
            assert what()
        except BaseException as error:
            failed.append(error)

    document = served.raw()
    content = Content(served.settings, served.storage, TENSORBOARD)
    asked: list[Callable[[], Any]] = [
        lambda i=i: content.resource(f"/artifacts/1/{i}/{FIGURE}")
        for i in range(1, 5)  # type: ignore[misc]
    ]
    asked += [lambda: content.study(copy.deepcopy(document)) is None] * 2
    threads = [threading.Thread(target=ask, args=(what,)) for what in asked]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


def test_the_figure_of_a_study_has_units_reasons_median_and_base(served: Served) -> None:
    found = figures_of(served.study())
    assert found.keys() == {"evaluations"}
    figure = found["evaluations"]
    names = [trace["name"].partition(" (")[0] for trace in figure["data"]]
    assert {"finished", "median", "two_increases", "running", "median of completed trials"} < set(names)
    assert any(name.startswith("best, trial ") for name in names)
    assert figure["layout"]["xaxis"]["title"]["text"] == "optimizer steps"
    assert "nats per audio token" in figure["layout"]["yaxis"]["title"]["text"]
    assert figure["layout"]["annotations"][0]["text"] == "untouched base, 5.0000"
    drawn = [t for t in figure["data"] if not t["name"].startswith("median of")]
    assert all("trial %{customdata}" in trace["hovertemplate"] for trace in drawn)
    counted = sum(int(t["name"].split("(")[1].strip(")")) for t in drawn if "(" in t["name"])
    assert counted == 41
    assert len({t["line"]["color"] for t in figure["data"]}) >= 5
