"""What is worth a message: the end of a command, an error, a new best. No text of the dataset."""

import socket
import time
from collections.abc import Mapping
from typing import Any

from search.commands.notify import Kind, Post
from search.study.spending import HOUR, Amount
from search.text import duration
from search.trial import StopReason
from search.workers.events import End, View
from search.workers.scoreboard import Board

EARLY = 10  # or a quarter of all trials, if that is less: before that many have finished, a new best is no news
BEST_SECONDS = 60.0  # between two messages of a new best


class News(View):
    """Sends the news of one study by `post`."""

    def __init__(self, post: Post, board: Board, study: str) -> None:
        self._post, self._board, self._study = post, board, study
        self._since = time.monotonic()
        self._best_told = self._since - BEST_SECONDS
        self._best: tuple[int, float] | None = None  # still to be told
        self._failures: list[StopReason] = []  # the last ones, without a success between

    def ended(self, end: End) -> None:
        """A new best waits for `refresh`; a better one replaces it."""
        with self._board.lock:
            is_late = self._board.finished > min(EARLY, self._board.extent.trials // 4)
            if end.is_best and end.best and is_late and self._board.noun == "trial":  # not a confirmation's run
                self._best = (end.number, end.best.mel_ce)
            if end.is_failure:
                self._failures.append(end.reason)
            elif end.reason != StopReason.STOPPED_BY_USER:
                self._failures.clear()

    def refresh(self) -> None:
        with self._board.lock:
            if self._best is None or time.monotonic() - self._best_told < BEST_SECONDS:
                return
            (number, value), self._best, self._best_told = self._best, None, time.monotonic()
            below = _side(self._board.extent.base_mel_ce - value)
        self._send("new best", f"Trial {number}: eval {value:.4f}, {below} the untouched base.")

    def over(self, event: str, found: Mapping[str, Any]) -> None:
        """A stop by the user is no news. What an error says stays on the machine: it may name files and texts."""
        self._best = None
        match event, found.get("of"):
            case "result", "search":
                title = "search ended by its budget" if found.get("over_budget") else "search finished"
                self._send(title, _search(found) + _paid(found), "success")
            case "result", "confirmation":
                self._send(found["verdict"], f"{found['text']}{_paid(found)}", "success")
            case "stopped", "confirmation" if found.get("over_budget"):
                self._send("confirmation ended by its budget", _paid(found).lstrip(), "failure")
            case "result", "full run":
                best = "Best: step {step}, eval {mel_ce:.4f}, gap {gap:.2f}. ".format(**found["best"])
                is_failure = found["reason"] == StopReason.DIVERGED
                text = f"{best}It ended because {found['why']}."
                self._send("training ended", text, "failure" if is_failure else "success")
            case "error", _:
                self._send("stopped with an error", self._failed() + "The command's own output says why.", "failure")

    def _failed(self) -> str:
        text, count, board = "", len(self._failures), self._board
        if count:
            text = f"The last {f'{count} runs' if count > 1 else 'run'} failed ({self._failures[-1]}). "
        if board.extent.trials:
            text += f"{board.finished} of {board.extent.trials} {board.noun}s are finished. "
        return text

    def _send(self, title: str, text: str, kind: Kind = "info") -> None:
        spent = duration(time.monotonic() - self._since)
        self._post.send(f"{self._study}: {title}", f"{text} ({spent}, on {socket.gethostname()})", kind)


def _search(found: Mapping[str, Any]) -> str:
    text, best = f"{found['finished']} of {found['total']} trials finished. ", found["best"]
    if best is None:
        return text + "None has completed."
    text += f"Best: trial {best['trial']}, eval {best['lowest']['mel_ce']:.4f}"
    for name, words in (("over_stock", "the stock recipe"), ("over_base", "the untouched base")):
        if found[name]:
            text += f", {_side(found[name]['estimate'])} {words}"
    if found["over_base"]["estimate"] <= 0:
        return text + ". Do not fine-tune: no trial beats the base."
    return text + ". One seed each: study.py confirm proves it."


def _paid(found: Mapping[str, Any]) -> str:
    """What a study has cost, and why runs are missing that would have run under a larger budget."""
    amount = Amount(found["spent"]["gpu_hours"] * HOUR, found["spent"]["slot_hours"] * HOUR)
    missing = f" Runs are missing: {found['over_budget']}." if found.get("over_budget") else ""
    return f" Spent: {amount}.{missing}" if amount != Amount() else missing


def _side(margin: float) -> str:
    return f"{abs(margin):.4f} {'below' if margin >= 0 else 'above'}"
