"""A learning rate of its own for the vocabulary rows that training starts from new, at the optimizer."""

import math
from collections.abc import Sequence
from typing import Any

import torch

# Of coqui's `GPT`: the first dimension of each is the vocabulary.
TENSORS = ("text_embedding.weight", "text_head.weight", "text_head.bias")


class NewRows:
    """Hooks into `optimizer.step()` of an AdamW: the new rows of `gpt` are trained at `factor` times the rate.

    AdamW computes its update from gradients alone, and the weight enters only by the decay. So the rows are 0 during
    the step, which leaves in them the bare update, and get it and their decay afterwards, both times `factor`. That is
    the update of a parameter group with `factor` times the learning rate, whatever schedule, clip and accumulation do
    to it. (Scaling the difference of the weights instead would scale its rounding, too.)

    Where nothing is to be scaled there must be no NewRows: a factor of 1 is the same update, rounded otherwise.
    """

    def __init__(
        self, gpt: torch.nn.Module, rows: Sequence[int], factor: float, optimizer: torch.optim.Optimizer
    ) -> None:
        """`rows` are token ids. Hooks that may refuse a step have to be registered before."""
        parameters = dict(gpt.named_parameters())
        self._parameters = [parameters[name] for name in TENSORS]
        self._rows = torch.tensor(rows, device=self._parameters[0].device)
        self._factor = factor
        self._before: dict[torch.nn.Parameter, torch.Tensor] = {}
        self._applied, self._own = (torch.zeros((), dtype=torch.float64, device=self._rows.device) for _ in range(2))
        self._with_gradient = torch.zeros(len(rows), dtype=torch.bool, device=self._rows.device)
        optimizer.register_step_pre_hook(self._take_out)
        optimizer.register_step_post_hook(self._put_back)

    @property
    def count(self) -> int:
        return len(self._with_gradient)

    @property
    def had_gradient(self) -> bool:
        """Whether in any step any of the rows had a gradient other than 0."""
        return bool(self._with_gradient.any())

    @property
    def update_ratio(self) -> float | None:
        """Length of the updates as read back from the weights / of the optimizer's own; None before the first."""
        return math.sqrt(float(self._applied / self._own)) if self._own else None

    def state_dict(self) -> dict[str, Any]:
        """What was measured so far, in plain types."""
        return {
            "applied": self._applied.item(),
            "own": self._own.item(),
            "with_gradient": self._with_gradient.tolist(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._applied.fill_(state["applied"])
        self._own.fill_(state["own"])
        self._with_gradient.copy_(torch.tensor(state["with_gradient"]))

    @torch.no_grad()
    def _take_out(self, *_: Any) -> None:
        for parameter in self._parameters:
            assert parameter.grad is not None  # the text is in every loss
            self._before[parameter] = parameter[self._rows]
            self._with_gradient |= (parameter.grad[self._rows] != 0).reshape(self.count, -1).any(1)
            parameter[self._rows] = 0

    @torch.no_grad()
    def _put_back(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        decays = {p: g["lr"] * g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
        for parameter, before in self._before.items():
            own = parameter[self._rows] - decays[parameter] * before
            parameter[self._rows] = before + self._factor * own
            self._own += own.double().square().sum()
            self._applied += (parameter[self._rows] - before).double().square().sum()
        self._before.clear()
