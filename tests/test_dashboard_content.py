"""What the dashboard shows of a study, on the documents that Optuna's dashboard itself makes of it."""

import copy
import json
import re
import threading
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import optuna
import pytest
from optuna.trial import TrialState, create_trial
from werkzeug.test import Client

from search import artifacts, storage
from search.cache import StudyCache
from search.confirmation.candidates import Candidate
from search.dashboard import figures
from search.dashboard.content import FIGURE, LOG_BYTES, Content
from search.report import Row
from search.settings import Settings
from search.trial import StopReason
from space.hyperparameters import Hyperparameters
from tests import shown
from tests.shown import HOSTILE
from tests.studies import BASE, FLAT, PREPARED, STEPPED, evaluations, miniature, new_study, record, run
from tests.test_dashboard_notes import LINKED, read, tokens

TENSORBOARD = "http://127.0.0.1:6006/"


class Served:
    """A study as Optuna's dashboard and the content answer for it."""

    def __init__(self, settings: Settings) -> None:
        from optuna_dashboard import wsgi

        self.settings = settings
        self.storage = StudyCache(storage.open_storage(settings.storage_url))
        self._app = wsgi(self.storage, artifact_store=artifacts.open_store(settings))
        self.content = Content(settings, self.storage, TENSORBOARD)

    def raw(self, name: str | None = None, after: int = 0) -> dict[str, Any]:
        self._app._inmemory_cache.clear()
        study_id = self.storage.get_study_id_from_name(name or self.settings.study.name)
        return dict(json.loads(Client(self._app).get(f"/api/studies/{study_id}?after={after}").data))

    def study(self, name: str | None = None, after: int = 0) -> dict[str, Any]:
        document = self.raw(name, after)
        self.content.study(document)
        return document

    def studies(self) -> list[dict[str, Any]]:
        document = json.loads(Client(self._app).get("/api/studies").data)
        self.content.studies(document)
        return list(document["study_summaries"])

    def note(self, number: int) -> str:
        return str(self.study()["trials"][number]["note"]["body"])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    """40 trials with sound and hostile texts; only to be read."""
    return Served(shown.study(tmp_path_factory.mktemp("shown")))


@pytest.fixture
def small(tmp_path: Path) -> tuple[optuna.Study, Served]:
    """A study that a test fills."""
    settings = miniature(tmp_path)
    return new_study(settings), Served(settings)


def pairs(attributes: list[dict[str, str]]) -> dict[str, str]:
    return {attribute["key"]: attribute["value"] for attribute in attributes}


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
        "base": "5.0000 nats per audio token",
        "trial": "200 optimizer steps",
        "full run": "1,000 optimizer steps",
        "training clips": "100 (5 m 00 s)",
        "eval clips": "20 (1 m 00 s)",
        "clips left out": "0",
        "added tokens": "2",
        "owner of the data": "Abebe",
    }
    listed = pairs(served.studies()[0]["user_attrs"])
    assert listed["base"] == "5.0000 nats per audio token"
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
    from search.dashboard import seen

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
    runs = re.compile(unquote(linked.partition("?runFilter=")[2].partition("#timeseries>)")[0]))
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


def texts(svg: bytes) -> list[str]:
    """The words of a picture, which is well-formed."""
    return ["".join(e.itertext()) for e in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_a_trials_figure_names_its_lines_and_follows_the_study(small: tuple[optuna.Study, Served]) -> None:
    study, served = small
    run(study, FLAT, [4.5, 4.0, 4.2])
    path = f"/artifacts/1/1/{FIGURE}"
    found = served.content.resource(path)
    assert found is not None
    assert found[0] == "image/svg+xml"
    words = texts(found[1])
    assert {"optimizer steps", "mel cross-entropy, nats per audio token", "untouched base", "train probe"} <= set(words)
    assert {"trial 0", "median of completed trials", "lowest: 4.0000 at step 40"} <= set(words)
    assert served.content.resource(path) == found
    run(study, STEPPED, [3.5, 3.0, 2.9])
    newer = served.content.resource(path)
    assert newer is not None
    assert newer[1] != found[1]  # the median has moved
    waiting = study.ask(shown.DISTRIBUTIONS)
    empty = served.content.resource(f"/artifacts/1/{waiting._trial_id}/{FIGURE}")
    assert empty is not None
    assert "untouched base" in texts(empty[1])


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


def rows_of(losses: dict[int, list[float]], reason: StopReason = StopReason.FINISHED) -> list[Row]:
    rows = []
    for number, values in losses.items():
        made = create_trial(state=TrialState.COMPLETE, value=min(values), user_attrs={"stop_reason": str(reason)})
        made.number = number
        rows.append(Row(made, evaluations(values), None))
    return rows


def test_the_figure_of_a_study_has_units_reasons_median_and_base(served: Served) -> None:
    found = {g["id"]: json.loads(g["graph_object"]) for g in served.study()["plotly_graph_objects"]}
    assert found.keys() == {"evaluations"}
    figure = found["evaluations"]
    names = [trace["name"].partition(" (")[0] for trace in figure["data"]]
    assert {"finished", "median", "two_increases", "running", "median of completed"} < set(names)
    assert any(name.startswith("best, trial ") for name in names)
    assert figure["layout"]["xaxis"]["title"]["text"] == "optimizer steps"
    assert "nats per audio token" in figure["layout"]["yaxis"]["title"]["text"]
    assert figure["layout"]["annotations"][0]["text"] == "untouched base, 5.0000"
    drawn = [t for t in figure["data"] if t["name"] != "median of completed"]
    assert all("trial %{customdata}" in trace["hovertemplate"] for trace in drawn)
    counted = sum(int(t["name"].split("(")[1].strip(")")) for t in drawn if "(" in t["name"])
    assert counted == 41
    assert len({t["line"]["color"] for t in figure["data"]}) >= 5


def test_of_many_trials_some_are_drawn_and_the_best_always() -> None:
    rows = rows_of({i: [5.0, 4.0 + (i != 698) * i / 1000] for i in range(701)})
    best = rows[698]
    figure = figures.evaluations(rows, figures.median_of(rows), BASE, best)
    assert figure["layout"]["title"]["text"] == "Evaluations of 235 of 701 trials, evenly over the study"
    lines = figure["data"][0]
    assert len(set(lines["customdata"]) - {None}) == 235
    assert 698 in lines["customdata"]
    assert figure["data"][1]["name"] == "best, trial 698"
    assert figure["data"][2]["y"] == [5.0, 4.349]  # the median of all, not of those that are drawn
    assert len(json.dumps(figure)) < 60_000
    assert figures.evaluations([], [], BASE, None)["data"] == []


def test_the_median_is_of_the_completed_trials() -> None:
    rows = rows_of({0: [4.0, 3.0], 1: [5.0, 3.5], 2: [4.5]})
    pruned = create_trial(state=TrialState.PRUNED, user_attrs={"stop_reason": "median"})
    rows += [Row(pruned, evaluations([9.0, 9.0]), None)] * 3
    assert figures.median_of(rows) == [(20, 4.5), (40, 3.25)]


def test_one_trial_that_diverges_does_not_flatten_the_others() -> None:
    rows = rows_of({i: [4.0, 3.0 + i / 100] for i in range(60)}) + rows_of({60: [1e6]}, StopReason.DIVERGED)
    low, high = figures.evaluations(rows, [], BASE, None)["layout"]["yaxis"]["range"]
    assert 2.8 < low < 3.0
    assert 5.0 < high < 5.2  # the base is in it


V0, BEST = Hyperparameters(1e-3, 0.01), Hyperparameters(4e-4, 0.02)


def confirmed(served: Served, losses: dict[str, list[float]], over: bool = True) -> None:
    """A confirmation with a run a loss and seed, of the stock recipe and of trial 1."""
    name = served.settings.study.name + ".confirm"
    study = optuna.create_study(study_name=name, storage=storage.open_storage(served.settings.storage_url))
    attributes = storage.attributes_of(served.settings, PREPARED)
    attributes["fingerprint"]["confirms"] = served.settings.study.name
    for key, value in {**attributes, "seeds": len(losses["V0"])}.items():
        study.set_user_attr(key, value)
    for config, values in losses.items():
        point, short = (V0, 4.0) if config == "V0" else (BEST, 3.25)
        candidate = Candidate(config, point, 0 if config == "V0" else 1, short)
        for seed, value in enumerate(values, 1):
            found = [vars(e) for e in evaluations([value + 0.2, value])]
            run_of = {"evaluations": found, "record": record(40, []), "error": None}
            study.add_trial(
                create_trial(
                    value=value,
                    user_attrs={
                        "candidate": candidate.to_dict(), "seed": seed, "length": "full", "run": run_of,
                        "stop_reason": "finished",
                    },
                )
            )  # fmt: skip
    if not over:
        study.ask()


def test_a_confirmation_is_shown_with_the_search_and_by_itself(small: tuple[optuna.Study, Served]) -> None:
    study, served = small
    run(study, FLAT, [4.5, 4.0], baseline="V0")
    run(study, STEPPED, [3.5, 3.25])
    assert "`study.py confirm` proves the winner" in served.study()["note"]["body"]
    confirmed(served, {"V0": [3.9, 3.95, 3.92], "trial <b>1</b>": [3.0, 3.06, 3.01]})
    search, proof = served.study(), served.study("miniature.confirm")
    assert "is better than the stock recipe (V0), by 0.8950 nats" in read(search["note"]["body"])
    assert "Next: study.py export" in read(search["note"]["body"])
    assert "is better than the stock recipe (V0), by 0.8950 nats" in read(proof["note"]["body"])
    assert pairs(proof["trials"][4]["user_attrs"]).items() >= {"config": "trial <b>1</b>", "seed": "2"}.items()
    assert "| stock recipe, trial 1 |" in proof["trials"][4]["note"]["body"]  # of the same seed
    assert "40 of 1000" in proof["trials"][4]["note"]["body"]
    assert "confirm%2F4%2F#timeseries" in proof["trials"][4]["note"]["body"]
    for document in (search, proof):
        found = {g["id"]: json.loads(g["graph_object"]) for g in document["plotly_graph_objects"]}
        assert found.keys() == {"confirmation", "fidelity", "evaluations"}
    mean = found["confirmation"]["data"][1]
    assert mean["y"] == ["trial &lt;b&gt;1&lt;/b&gt; (exported)", "V0"]  # Plotly renders some tags
    assert mean["x"][0] == pytest.approx(3.03)  # the race was over after two seeds
    assert 0 < mean["error_x"]["array"][0] == pytest.approx(mean["error_x"]["arrayminus"][0])
    assert found["fidelity"]["data"][0]["x"] == [3.25, 4.0]
    assert "Kendall's tau 1.00" in found["fidelity"]["layout"]["title"]["text"]


def test_a_confirmation_that_is_not_over_says_so(small: tuple[optuna.Study, Served]) -> None:
    study, served = small
    run(study, FLAT, [4.5, 4.0], baseline="V0")
    confirmed(served, {"V0": [3.9, 3.95], "trial 1": [3.0, 3.06]}, over=False)
    trial = StudyCache(storage.open_storage(served.settings.storage_url)).get_all_trials(2)[-1]
    for key, value in {"candidate": Candidate("V0", V0).to_dict(), "seed": 1, "length": "full"}.items():
        served.storage.set_trial_user_attr(trial._trial_id, key, value)
    assert "It is not over: 4 of 5 runs have ended." in served.study("miniature.confirm")["note"]["body"]
    assert "`study.py confirm` goes on" in served.study()["note"]["body"]
