"""What a training process spends inside the model and outside, measured alike for stock's trainer and for ours."""

import json
import resource
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import torch
from TTS.tts.layers.xtts.trainer.gpt_trainer import GPTTrainer

MODEL = ("forward", "backward", "optimizer")


class Meter:
    """CPU and wall seconds by part of a run, each without the parts within it, while this context is open.

    CPU seconds are the user and system time of this process, all threads, and of the children it has waited for, which
    a `DataLoader`'s workers are once their epoch is over. Parts are whole calls: the training `forward`, `backward`,
    the optimizer's update without its hooks, an evaluation, and the training loop around them.
    """

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.cpu: defaultdict[str, float] = defaultdict(float)
        self.wall: defaultdict[str, float] = defaultdict(float)
        self.first: dict[str, float] = {}  # when each part began, in seconds since the epoch
        self._inner: list[tuple[float, float]] = []
        self._restore = ExitStack()

    def __enter__(self) -> "Meter":
        """Before an optimizer is made: with the first one torch puts the hooks around its class's `step`."""
        self.wrap(GPTTrainer, "forward", "forward", torch.is_grad_enabled)  # an evaluation's is part of that
        self.wrap(torch.Tensor, "backward", "backward")
        self.wrap(torch.optim.AdamW, "step", "optimizer")
        return self

    def __exit__(self, *_: Any) -> None:
        self._restore.close()

    def wrap(self, owner: Any, method: str, part: str, when: Callable[[], bool] = lambda: True) -> None:
        """Counts each call of the method for `part`, if `when()`."""
        called = getattr(owner, method)

        @wraps(called)
        def counted(*arguments: Any, **keywords: Any) -> Any:
            if not when():
                return called(*arguments, **keywords)
            with self.part(part):
                return called(*arguments, **keywords)

        self._restore.callback(setattr, owner, method, called)
        setattr(owner, method, counted)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        self.calls[name] += 1
        self.first.setdefault(name, time.time())
        cpu, wall = _cpu_seconds(), time.monotonic()
        self._inner.append((0.0, 0.0))
        try:
            yield
        finally:
            cpu, wall = _cpu_seconds() - cpu, time.monotonic() - wall
            inner_cpu, inner_wall = self._inner.pop()
            self.cpu[name] += cpu - inner_cpu
            self.wall[name] += wall - inner_wall
            if self._inner:
                around_cpu, around_wall = self._inner[-1]
                self._inner[-1] = around_cpu + cpu, around_wall + wall

    def write(self, path: Path) -> None:
        """As JSON, for the benchmark."""
        found = {
            "steps": self.calls["optimizer"],
            "evaluations": self.calls["evaluation"],
            "first_step": self.first["forward"],
            "model_cpu": sum(self.cpu[name] for name in MODEL),
            "outside_cpu": self.cpu["loop"],
            "model_seconds": sum(self.wall[name] for name in MODEL),
            "outside_seconds": self.wall["loop"],
        }
        path.write_text(json.dumps(found), encoding="utf-8")


def _cpu_seconds() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)
