"""The lines of `--json`: whole, whoever writes them, and never waited for at the very end."""

import io
import os
import select
import signal
import threading

import pytest

from search.commands.json_lines import JsonLines
from tests.test_json_view import events


def test_lines_of_many_threads_are_whole() -> None:
    reader, writer = os.pipe()
    lines = JsonLines(writer)
    told = io.StringIO()

    def read() -> None:
        while data := os.read(reader, 4096):
            told.write(data.decode())

    reading = threading.Thread(target=read)
    reading.start()
    text = "x" * 9000  # more than a pipe takes at once
    writing = [threading.Thread(target=lambda: [lines.tell("note", text=text) for _ in range(20)]) for _ in range(4)]
    for thread in writing:
        thread.start()
    for thread in writing:
        thread.join()
    os.close(writer)
    reading.join()
    assert [event["text"] for event in events(told.getvalue())] == [text] * 80
    os.close(reader)


def test_a_broken_pipe_is_raised_once() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    lines = JsonLines(writer)
    with pytest.raises(BrokenPipeError):
        lines.tell("note", text="")
    lines.tell("note", text="")
    os.close(writer)


@pytest.mark.parametrize(
    ("state", "told"), [("free", ["stopped"]), ("being written to", []), ("full", []), ("not read any more", [])]
)
def test_the_last_line_of_a_process_that_ends_at_once_waits_for_nobody(state: str, told: list[str]) -> None:
    reader, writer = os.pipe()
    lines = JsonLines(writer)
    if state == "being written to":
        lines._lock.acquire()
    while state == "full" and select.select([], [writer], [], 0)[1]:
        os.write(writer, b"\n" * 4096)
    if state == "not read any more":
        os.close(reader)
    telling = threading.Thread(target=lines.tell_at_once, args=("stopped",), daemon=True)
    telling.start()
    telling.join(30)
    assert not telling.is_alive()
    os.close(writer)
    if state != "not read any more":
        with open(reader) as file:
            assert [event["event"] for event in events(file.read().strip("\n") + "\n" * bool(told))] == told


@pytest.mark.parametrize(("length", "told"), [(10, ["note", "stopped"]), (90000, [])])
def test_a_signal_amid_a_line_of_its_own_thread(length: int, told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    lines = JsonLines(writer)
    write = os.write
    written: list[int] = []

    def write_and_be_interrupted(descriptor: int, data: bytes) -> int:
        written.append(write(descriptor, data[:40000]))  # a pipe takes no more of a long line at once
        if len(written) == 1:
            signal.raise_signal(signal.SIGUSR1)
            os.close(writer)  # the process ends there
        return written[0] if length < 4096 else len(data)

    before = signal.signal(signal.SIGUSR1, lambda *_: lines.tell_at_once("stopped"))
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write_and_be_interrupted)
        lines.tell("note", text="x" * length)
    signal.signal(signal.SIGUSR1, before)
    with open(reader) as file:
        text = file.read()
    assert [event["event"] for event in events(text if told else "")] == told
    assert told or "stopped" not in text, "it would stand amid the other"
