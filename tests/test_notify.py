"""`--notify`: what is sent to a real HTTP server, when, and that no secret is told. No run trains."""

import json
import logging
import os
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import apprise
import pytest

from search.commands import news, notify
from search.commands.news import News
from search.commands.notify import Post
from search.errors import UserError
from search.settings.settings import load
from search.trial import StopReason
from search.workers import session
from search.workers.events import End, Extent
from search.workers.listeners import Listeners
from tests.conftest import wait_until
from tests.in_process import StudyPy, in_process
from tests.stub_confirm import truth
from tests.stub_study import stub
from tests.test_json_lines import events, of
from tests.test_view import evaluation

SECRET = "hunter2token"


class Receiver:
    """An HTTP server that keeps what is posted to it."""

    def __init__(self) -> None:
        self.got: list[dict[str, str]] = []
        self.answer = 200
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                assert self.path == f"/{SECRET}"
                receiver.got.append({name: content[name] for name in ("title", "message", "type")})
                self.send_response(receiver.answer)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"json://127.0.0.1:{self.server.server_port}/{SECRET}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def titles(self) -> list[str]:
        return [message["title"] for message in self.got]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def dead() -> str:
    """The URL of a server that is not there."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"json://127.0.0.1:{probe.getsockname()[1]}/{SECRET}"


@pytest.fixture
def study_py(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], caplog: Any
) -> Iterator[StudyPy]:
    """Neither what it prints, nor Apprise's log, nor a file holds the secret."""
    stub(monkeypatch.setattr)
    monkeypatch.setenv(notify.VARIABLE, SECRET)  # which --notify replaces, and status does not read
    caplog.set_level(logging.DEBUG)
    run = in_process(tmp_path, monkeypatch, capfd)

    def call(*arguments: str) -> tuple[int, str, str]:
        code, out, err = run(*arguments)
        logged = "".join(record.getMessage() for record in caplog.records if record.name.startswith("apprise"))
        assert SECRET not in out + err + logged
        return code, out, err

    yield call
    assert not [file for file in tmp_path.rglob("*") if file.is_file() and SECRET.encode() in file.read_bytes()]


def test_a_search_that_confirms_in_json_lines_and_in_messages(
    study_py: StudyPy, receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(notify.VARIABLE, receiver.url)
    settings = ["confirm.seeds=3", "confirm.top=1", "confirm.rates=[]"]
    given = [word for entry in settings for word in ("--set", entry)]
    code, out, errors = study_py("--json", "--trials", "4", "--workers", "2", "--confirm", *given)
    assert code == 0, errors
    found = events(out)
    search, confirmation = of(found, "begin")
    assert (search["study"], search["unit"], search["total"], search["slots"]) == ("miniature", "trial", 4, 2)
    assert (search["finished"], search["base_mel_ce"], search["best"], search["n_increases"]) == (0, 5.0, None, 2)
    assert (confirmation["unit"], confirmation["total"]) == ("run", 8)
    ends = of(found, "ended")[:4]
    assert [(end["finished"], end["total"], end["error"]) for end in ends] == [(n, 4, None) for n in (1, 2, 3, 4)]
    for end in ends:
        own = [e["mel_ce"] for e in of(found, "evaluated") if e["trial"] == end["trial"] and e["step"] <= 200]
        assert end["lowest"]["mel_ce"] == min(own[:10])
        if end["is_best"]:
            assert end["best"] == {"trial": end["trial"], "mel_ce": end["lowest"]["mel_ce"]}
    assert [s["hyperparameters"]["lr"] for s in of(found, "started") if s["label"] == "baseline V0"] == [1e-3]
    result, last = of(found, "result")
    assert found[-1] == last
    values = {end["trial"]: end["lowest"]["mel_ce"] for end in ends}
    best = min(values, key=lambda number: values[number])
    assert (result["of"], result["finished"], result["total"]) == ("search", 4, 4)
    assert (result["best"]["trial"], result["best"]["lowest"]["mel_ce"]) == (best, values[best])
    assert result["over_stock"] == {"estimate": pytest.approx(values[0] - values[best]), "low": None, "high": None}
    path = tmp_path / "miniature" / "best_config.json"
    assert (result["path"], result["confirmed"], result["base"]["mel_ce"]) == (str(path), False, 5.0)
    exported = json.loads(path.read_text())
    assert (last["of"], last["path"], last["confirmed"]) == ("confirmation", str(path), True)
    assert (last["verdict"], last["text"]) == (exported["confirmation"]["verdict"], exported["status"])
    assert last["over_base"] == exported["confirmation"]["over_base"]
    assert last["hyperparameters"] == exported["hyperparameters"]
    assert "4 finished trials: " in errors and "Exported (confirmed): miniature/best_config.json" in errors
    *_, finished, verdict = receiver.got
    assert finished["title"] == "miniature: search finished"
    assert finished["message"].startswith(f"4 of 4 trials finished. Best: trial {best}, eval ")
    assert " below the stock recipe, " in finished["message"] and " below the untouched base." in finished["message"]
    assert finished["message"].endswith(f" s, on {socket.gethostname()})")
    assert verdict["title"] == "miniature: better than the stock recipe"
    assert verdict["message"].split(" (")[0] in last["text"]
    assert {finished["type"], verdict["type"]} == {"success"}
    assert receiver.titles[:-2] in ([], ["miniature: new best"])
    assert notify.VARIABLE not in os.environ, "children would have it"


def test_six_failures_in_a_row(study_py: StudyPy, receiver: Receiver, tmp_path: Path, dead: str) -> None:
    settings = load(tmp_path / "study.toml", {})
    settings.directory.mkdir()
    truth(settings, crashes=0)
    code, out, err = study_py("--workers", "1", "--notify", receiver.url, "--notify", dead)
    assert code == 1
    assert err.startswith("study.py: 6 runs in a row ended as crashed") or "by JSON could not be sent" in err
    assert receiver.titles == ["miniature: stopped with an error"]
    text = "The last 6 runs failed (crashed). 0 of 40 trials are finished. The command's own output says why."
    assert receiver.got[0]["message"].startswith(text)
    assert receiver.got[0]["type"] == "failure"
    assert (out + err).count("could not be sent") == 1


@pytest.mark.parametrize("error", [UserError("preparation failed: the text 'ሰላም' of wavs/1.wav"), KeyboardInterrupt()])
def test_what_an_error_says_stays_here_and_ctrl_c_is_no_news(
    study_py: StudyPy, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def refused(*_: Any) -> None:
        raise error

    monkeypatch.setattr(session, "search", refused)
    is_news = isinstance(error, UserError)
    assert study_py("--notify", receiver.url)[0] == (2 if is_news else 130)
    assert receiver.titles == ["miniature: stopped with an error"] * is_news
    assert "ሰላም" not in str(receiver.got) and "wavs" not in str(receiver.got)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--notify", f"nowhere://{SECRET}@host/{SECRET}"], "is a nowhere:// URL that Apprise cannot use"),
        (["confirm", "--notify", f"tgram://{SECRET}"], "is a tgram:// URL that Apprise cannot use"),
        (["--notify", SECRET], "is not a URL: it has no scheme"),
        (["--notify", "json://a", f"tgram://{SECRET}/1"], "tgram://…"),  # in the wrong place
        (["confirm", f"tgram://{SECRET}/1"], "tgram://…"),
        (["status"], "study 'miniature' does not exist"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_in_one_line(
    study_py: StudyPy, tmp_path: Path, arguments: list[str], words: str
) -> None:
    code, out, err = study_py(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert words in err
    assert not (tmp_path / "miniature").exists()


# Post


def test_a_service_that_never_answers_delays_nothing_and_no_other(
    receiver: Receiver, dead: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whatever waited for it would wait for ever."""
    post = Post([dead, receiver.url])
    monkeypatch.setattr(post._services[0]._sender, "notify", lambda *_, **__: threading.Event().wait())
    for i in range(3):
        post.send(str(i), "text", "info")
    wait_until(lambda: receiver.titles == ["0", "1", "2"])
    post.close(0.3)
    assert "study.py: JSON did not answer in time: a notification may be lost\n" in capfd.readouterr().err


@pytest.mark.parametrize("how", ["refusing", "plugin raises", "well"])
def test_a_failure_is_said_once_and_shows_nothing_of_the_url(
    receiver: Receiver, how: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    receiver.answer = 200 if how == "well" else 500
    post = Post([receiver.url])
    if how == "plugin raises":

        def failing(*_: Any, **__: Any) -> bool:
            raise TypeError(f"no {receiver.url}")

        monkeypatch.setattr(type(apprise.Apprise.instantiate(receiver.url)), "notify", failing)
    for title in "012":
        post.send(title, "text", "info")
    post.close()
    if how == "well":
        assert receiver.titles == ["0", "1", "2"], "what is unsent at the end is sent"
    else:
        said = "study.py: a notification by JSON could not be sent; this is said once\n"
        assert capfd.readouterr() == ("", said)


# What is news


class Kept(Post):
    """A search whose news are kept, by `title: text`, without the time spent."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.listeners = Listeners()
        self.listeners.add(News(self, self.listeners.board, "amharic"))

    def send(self, title: str, text: str, kind: str) -> None:
        assert text.endswith(f", on {socket.gethostname()})")
        self.sent.append(f"{title}: {text.rpartition(' (')[0]}")

    def told(self) -> list[str]:
        self.listeners.refresh()
        told, self.sent = self.sent, []
        return told


def test_a_new_best_is_news_after_the_first_trials_and_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(news, "time", type("Clock", (), {"monotonic": lambda: now[0]}))
    post = Kept()
    post.listeners.begin(Extent(8, 0, 1, 5.0, None))

    def end(number: int, value: float, competes: bool = True) -> list[str]:
        """What is told once trial `number` has ended."""
        post.listeners.counted(number, None)
        post.listeners.ended(End(0, number, StopReason.FINISHED, evaluation(12, value), None, competes))
        return post.told()

    assert end(1, 4.0) == end(2, 3.9) == [], "a quarter of all trials comes before any news"
    assert end(3, 3.0) == ["amharic: new best: Trial 3: eval 3.0000, 2.0000 below the untouched base."]
    assert end(4, 2.5, competes=False) == end(5, 2.9) == end(6, 2.8) == [], "within a minute"
    now[0] += 61
    assert end(7, 3.0) == ["amharic: new best: Trial 6: eval 2.8000, 2.2000 below the untouched base."]
    now[0] += 61
    post.listeners.counted(8, (99, 2.0))  # a peer's, who tells it
    assert end(8, 2.7) == []
