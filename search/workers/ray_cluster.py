"""The nodes of a Ray cluster: an actor on each that has runs to start, and what they say, as events of one view."""

import math
import time
from collections import Counter
from dataclasses import dataclass, field, fields, replace
from typing import Any

from search.errors import BUDGET_SPENT, UserError, first_line
from search.trial import Evaluation, StopReason
from search.workers.events import End, Extent, Start, View
from search.workers.ray_demand import Demand
from search.workers.ray_node import Node, Order
from space.hyperparameters import Hyperparameters

SLOW = 30.0  # seconds that Ray may take to give what was asked for before that is worth a line
MARKET = "ray.io/market-type"  # the label by which Ray knows a node that may be taken away: "spot"
LIVES = 3  # of an actor that dies on a node which lives on


@dataclass
class Seat:
    """The order on one node."""

    name: str
    gives: str  # what Ray is asked for there
    slots: int
    actor: Any  # None once its command has ended, so that Ray has back what it gave
    stream: Any  # of its lines; None once it has ended
    since: float  # seconds, of the monotonic clock
    is_placed: bool = False
    has_begun: bool = False
    is_released: bool = False  # told to end, since nothing is left that it could start
    running: dict[int, int] = field(default_factory=dict)  # trial by slot of the view
    last: dict[str, Any] = field(default_factory=dict)  # the line that told how the command ended
    code: int | None = None  # with which it ended

    @property
    def is_young(self) -> bool:
        """Whether Ray is still expected to give what was asked for."""
        return time.monotonic() - self.since < SLOW

    @property
    def message(self) -> str:
        return str(self.last.get("message", f"its command ended with code {self.code}"))


class Cluster:
    """Gives `order` to every node.

    Args:
        ray: The connected module.
        on_gpus: The most slots on a node with GPUs; None: as many as it has GPUs.
        on_cpu: Slots on a node without.
        at_once: The most slots that can be at work together.
        grows_by: What of a node, "GPU" or "CPU", a cluster that scales is asked for while none has a GPU.
    """

    def __init__(
        self, ray: Any, order: Order, view: View, on_gpus: int | None, on_cpu: int, at_once: int, grows_by: str
    ) -> None:
        self._ray, self._order, self._view, self._on_gpus, self._on_cpu = ray, order, view, on_gpus, on_cpu
        self._at_once, self._grows_by, self._demand = at_once, grows_by, Demand(ray)
        self._to_finish = at_once  # runs, of this and other machines
        self._seats: dict[str, Seat] = {}  # by node id
        self._deaths: Counter[str] = Counter()  # of actors, by node id
        self._slots: dict[tuple[str, int], int] = {}  # of the view, by a node's name and its own slot
        self._told: set[str] = set()
        self._has_begun = False

    @property
    def is_done(self) -> bool:
        """Whether a node has told that the study has all it asks for, or all that its budget allows."""
        return any(seat.code in (0, BUDGET_SPENT) for seat in self._seats.values())

    def is_over(self, is_stopped: bool) -> bool:
        """Whether nothing is left to wait for. Raises UserError, with its exit code, when all nodes have failed."""
        ended = [seat for seat in self._seats.values() if seat.code is not None]
        if self._active() or not (ended or is_stopped):
            return False
        if is_stopped or self.is_done or any(seat.last.get("event") == "stopped" for seat in ended):
            return True
        error = UserError(f"{ended[-1].name}: {ended[-1].message}", ended[-1].last.get("details", ()))
        error.exit_code = max(1, ended[-1].code or 0)
        raise error

    def _active(self) -> list[Seat]:
        return [seat for seat in self._seats.values() if seat.stream is not None]

    def look(self) -> None:
        """Starts an actor on each node that has none, as long as there are runs for it, and asks Ray for more nodes."""
        nodes = [node for node in self._ray.nodes() if node["Alive"]]
        has_gpus = any(node["Resources"].get("GPU", 0) >= 1 for node in nodes)
        what = "GPU" if has_gpus else "CPU"  # a node without a GPU is not used, if others have some
        for node in nodes:
            has = int(node["Resources"].get(what, 0))
            if has and node["NodeID"] not in self._seats and self._missing > 0 and not self.is_done:
                self._demand.ask(0)  # it is not to take what the actor needs
                self._seats[node["NodeID"]] = self._seat(node, what, has)
        waiting = [seat for seat in self._active() if not seat.is_placed]
        for seat in waiting:
            if not seat.is_young:
                self._tell_once(f"{seat.name}: waiting for {seat.gives}, which other work on Ray may hold")
        if not self._seats:
            self._tell_once("no node of the cluster has a GPU or CPU to give; waiting for one to join")
        self._release()
        if not any(seat.is_young for seat in waiting):
            self._grow("GPU" if has_gpus else self._grows_by)

    @property
    def _missing(self) -> int:
        """Slots that would find a run to start, beyond those of the nodes."""
        usable = sum(seat.slots for seat in self._active() if seat.is_placed or seat.is_young)
        return min(self._at_once, self._to_finish) - usable

    def _grow(self, by: str) -> None:
        """Lets a cluster that scales see what more is wanted: for each node one GPU, or the CPUs of its slots."""
        slots = self._on_gpus or 1 if by == "GPU" else self._on_cpu
        count = 0 if self.is_done else math.ceil(max(0, self._missing) / slots)
        self._demand.ask(count, {by: 1 if by == "GPU" else slots})

    def _release(self) -> None:
        """Ends what waits on a node while the last runs go on elsewhere; should they fail, their nodes repeat them."""
        running = sum(len(seat.running) for seat in self._active())
        for seat in self._active():
            if running and running >= self._to_finish and seat.has_begun and not (seat.running or seat.is_released):
                seat.is_released = True
                seat.actor.stop.remote()

    def _seat(self, node: dict[str, Any], what: str, has: int) -> Seat:
        """An actor on the node, which has so many GPUs or CPUs."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # an extra

        node_id, host, order = node["NodeID"], node["NodeManagerHostname"], self._order
        if node.get("Labels", {}).get(MARKET) == "spot":
            order = replace(order, words=[*order.words, *order.preemptible])
        slots = self._on_gpus or has if what == "GPU" else self._on_cpu
        taken = min(slots, has)
        resources = {"num_gpus": taken, "num_cpus": 0} if what == "GPU" else {"num_cpus": taken}
        there = NodeAffinitySchedulingStrategy(node_id, soft=False)
        actor = self._ray.remote(Node).options(**resources, max_concurrency=2, scheduling_strategy=there).remote()
        is_taken = any(seat.name == host for seat in self._seats.values())
        name = f"{host}/{node_id[-6:]}" if is_taken else host
        return Seat(name, f"{taken} of its {what}s", slots, actor, actor.run.remote(order), time.monotonic())

    def stop(self) -> None:
        """Asks each node to end its runs in order; what Ray has not placed yet is taken back."""
        self._demand.ask(0)
        for seat in self._active():
            if seat.is_placed:
                seat.actor.stop.remote()
            else:
                self._ray.kill(seat.actor)

    def hear(self, seconds: float) -> None:
        """Passes on what is said within `seconds`, each node's lines in their order."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            streams = {seat.stream: (node, seat) for node, seat in self._seats.items() if seat.stream is not None}
            if not streams:
                time.sleep(left)
                return
            ready, _ = self._ray.wait(list(streams), num_returns=len(streams), timeout=0)  # one is not to hide another
            if not ready:
                ready, _ = self._ray.wait(list(streams), timeout=left)
            for node, seat in map(streams.__getitem__, ready):
                try:
                    self._heard(seat, self._ray.get(next(seat.stream)))
                except StopIteration:
                    self._ended(node, seat)
                except self._ray.exceptions.RayError as error:
                    self._lost(node, seat, error)

    def _ended(self, node_id: str, seat: Seat) -> None:
        seat.stream = seat.actor = None
        if seat.is_released:  # should runs fail elsewhere, it may be needed again
            self._view.note(f"{seat.name}: nothing is left to start; Ray has back what it gave")
            del self._seats[node_id]

    def _lost(self, node_id: str, seat: Seat, error: Exception) -> None:
        """The node, its actor or the way to it is gone. Its trials run again elsewhere once their leases have ended."""
        error = getattr(error, "cause", error)  # without Ray's traceback
        kind, self._deaths[node_id] = type(error).__name__, self._deaths[node_id] + 1
        for slot, number in seat.running.items():
            self._view.ended(End(slot, number, StopReason.PREEMPTED, None, f"{seat.name} is gone", competes=False))
        if seat.is_placed:
            self._view.note(f"{seat.name} is gone ({kind}); what it ran starts again elsewhere")
        seat.stream, seat.actor, seat.code = None, None, 1
        seat.last = {"message": f"it died {LIVES} times ({kind}: {first_line(error)})"}
        if self._deaths[node_id] < LIVES:
            del self._seats[node_id]

    def _heard(self, seat: Seat, line: dict[str, Any]) -> None:
        match line:
            case {"event": "placed"}:
                seat.is_placed = True
            case {"event": "begin"}:
                self._begun(seat, line)
            case {"event": "note" | "status"} if seat.is_released:  # as after Ctrl-C, which nobody pressed
                pass
            case {"event": "note", "text": text}:  # before they begin, all nodes say the same
                self._view.note(f"{seat.name}: {text}") if seat.has_begun else self._tell_once(text)
            case {"event": "status", "text": text}:
                self._view.status(f"{seat.name}: {text}")
            case {"event": "started" | "evaluated" | "ended", "slot": own, "trial": number}:
                self._ran(seat, self._slots.setdefault((seat.name, own), len(self._slots)), number, line)
            case {"event": "result" | "stopped" | "error"}:
                seat.last = line
            case {"event": "exit", "code": code}:
                seat.code = code
                if seat.last.get("event") == "error" or code < 0:
                    self._view.note(f"{seat.name} is left out: {seat.message}")

    def _begun(self, seat: Seat, line: dict[str, Any]) -> None:
        """The first node's begin is that of the whole: a later one would empty the board."""
        if not self._has_begun:
            self._has_begun = True
            same = {name: line[name] for name in ("finished", "slots", "base_mel_ce", "n_increases", "min_delta")}
            is_open = line["unit"] == "run"  # of a confirmation
            self._view.begin(Extent(line["total"], best=_best(line), noun=line["unit"], may_end_sooner=is_open, **same))
        seat.has_begun, seat.slots = True, line["slots"]
        self._to_finish = line["total"] - line["finished"]
        slots = f"{line['slots']} slot{'s' if line['slots'] > 1 else ''}, with {seat.gives}"
        self._view.note(f"{seat.name}: {slots}; logs there in {self._order.folder}/NUMBER/log.txt")

    def _ran(self, seat: Seat, slot: int, number: int, line: dict[str, Any]) -> None:
        """An event of a run."""
        if line["event"] == "started":
            seat.running[slot] = number
            label = ", ".join(filter(None, (line["label"], f"on {seat.name}")))
            self._view.started(Start(slot, number, Hyperparameters(**line["hyperparameters"]), line["horizon"], label))
        elif line["event"] == "evaluated":
            self._view.evaluated(slot, number, _evaluation(line))
        else:
            seat.running.pop(slot, None)
            lowest = line["lowest"] and _evaluation(line["lowest"])
            self._to_finish = line["total"] - line["finished"]
            self._view.counted(line["finished"], _best(line))
            is_best, reason = line["is_best"], StopReason(line["reason"])
            self._view.ended(End(slot, number, reason, lowest, line["error"], competes=is_best))
            for text in line.get("log", ()):
                self._view.note(f"{seat.name}: log of {number}: {text}")

    def _tell_once(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self._view.note(text)


def _best(line: dict[str, Any]) -> tuple[int, float] | None:
    return (line["best"]["trial"], line["best"]["mel_ce"]) if line["best"] else None


def _evaluation(line: dict[str, Any]) -> Evaluation:
    """As it was before it became JSON, which has no NaN."""
    values: dict[str, Any] = {each.name: line[each.name] for each in fields(Evaluation)}
    finite = {name: value for name, value in values.items() if value is not None}
    return Evaluation(**dict.fromkeys(values, math.nan) | finite)
