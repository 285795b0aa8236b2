"""The lines of `--json`: whole, whoever writes them, and never waited for at the very end."""

import io
import os
import select
import threading

import pytest

from search.json_lines import JsonLines
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
