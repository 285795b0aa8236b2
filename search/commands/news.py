"""What of a command is worth a message: its end, an error, a new best, the verdict. No text of the dataset."""

import socket
import time
from typing import Any

from search.commands.notify import Message, Post
from search.full_run.result import FullResult
from search.text import duration
from search.trial import Evaluation, StopReason
from search.workers.events import Board, End, Extent, Start, View

EARLY = 10  # or a quarter of all, if that is less: while so few trials have finished, a new best is no news
BEST_SECONDS = 60.0  # between two messages of a new best


class News:
    """Of one study, by `post`."""

    def __init__(self, post: Post, study: str) -> None:
        self.board = Board()
        self._post = post
        self._study = study
        self._since = time.monotonic()
        self._best_told = -BEST_SECONDS + self._since
        self._best: tuple[int, float] | None = None  # that is still to be told
        self._failures: list[StopReason] = []  # in a row, up to now

    def ended(self, end: End) -> None:
        """Takes note; a new best waits for `look`, and gives way to a better one."""
        with self.board.lock:
            is_best = self.board.ended(end)
            trials = self.board.extent.trials
            if is_best and self.board.finished > min(EARLY, trials // 4):
                self._best = self.board.best
            if end.is_failure:
                self._failures.append(end.reason)
            elif end.reason != StopReason.STOPPED_BY_USER:
                self._failures.clear()

    def look(self) -> None:
        """Sends the new best when it is time to."""
        with self.board.lock:
            if self._best is None or time.monotonic() - self._best_told < BEST_SECONDS:
                return
            number, value = self._best
            self._best, self._best_told = None, time.monotonic()
            base = self.board.extent.base_mel_ce - value
            self._send("new best", f"Trial {number}: eval {value:.4f}, {_side(base)} the untouched base.")

    def searched(self, found: dict[str, Any]) -> None:
        """`found` is of search.commands.outcome.of_search."""
        best = found["best"]
        text = f"{found['finished']} of {found['total']} trials finished. "
        if best is None:
            return self._send("search finished", text + "None has completed.", "success")
        text += f"Best: trial {best['trial']}, eval {best['lowest']['mel_ce']:.4f}"
        for name, words in (("over_stock", "the stock recipe"), ("over_base", "the untouched base")):
            if found[name]:
                text += f", {_side(found[name]['estimate'])} {words}"
        over_base = found["over_base"]
        if over_base and over_base["estimate"] <= 0:
            return self._send("search finished", text + ". Do not fine-tune: none beats the base.", "success")
        return self._send("search finished", text + ". One seed each: study.py confirm proves it.", "success")

    def confirmed(self, found: dict[str, Any]) -> None:
        """`found` is of search.commands.outcome.of_confirmation."""
        self._send(found["verdict"], found["text"], "success")

    def trained(self, result: FullResult) -> None:
        best = result.best
        value = f"Best: step {best.step}, eval {best.mel_ce:.4f}, gap {best.gap:.2f}. " if best else ""
        kind = "failure" if result.reason == StopReason.DIVERGED else "success"
        self._send("training ended", f"{value}It ended because {result.why}.", kind)

    def failed(self) -> None:
        """An error has ended the command. What it says stays on the machine: it may name files and texts."""
        with self.board.lock:
            text = ""
            if self._failures:
                count, last = len(self._failures), self._failures[-1]
                text = f"The last {count} runs failed ({last}). " if count > 1 else f"The last run failed ({last}). "
            if self.board.extent.trials:
                text += f"{self.board.finished} of {self.board.extent.trials} {self.board.noun}s are finished. "
            self._send("stopped with an error", text + "The command's own output says why.", "failure")

    def _send(self, title: str, text: str, kind: Any = "info") -> None:
        spent = duration(time.monotonic() - self._since)
        self._post.send(Message(f"{self._study}: {title}", f"{text} ({spent}, on {socket.gethostname()})", kind))


def _side(margin: float) -> str:
    return f"{abs(margin):.4f} {'below' if margin >= 0 else 'above'}"


class NewsView:
    """Tells `view` everything, and `news` what makes news."""

    def __init__(self, view: View, news: News) -> None:
        self._view, self._news = view, news

    def note(self, text: str) -> None:
        self._view.note(text)

    def status(self, text: str) -> None:
        self._view.status(text)

    def begin(self, extent: Extent) -> None:
        with self._news.board.lock:
            self._news.board.begin(extent)
        self._view.begin(extent)

    def counted(self, finished: int, best: tuple[int, float] | None) -> None:
        with self._news.board.lock:
            self._news.board.counted(finished, best)
        self._view.counted(finished, best)

    def started(self, start: Start) -> None:
        self._view.started(start)

    def evaluated(self, slot: int, number: int, evaluation: Evaluation) -> None:
        self._view.evaluated(slot, number, evaluation)

    def ended(self, end: End) -> None:
        self._news.ended(end)
        self._view.ended(end)

    def refresh(self) -> None:
        self._news.look()
        self._view.refresh()

    def close(self) -> None:
        self._view.close()

    def leave(self) -> None:
        self._view.leave()
