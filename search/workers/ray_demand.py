"""What a search would use beyond the nodes that there are, for a Ray cluster that adds nodes by itself."""

from typing import Any


class Demand:
    """Placement groups of one slot each, which wait: Ray's autoscaler adds nodes for what waits.

    They hold nothing. One that gets a place gives it back, since an actor takes the node as a whole. And they end with
    this process, however it ends; what `ray.autoscaler.sdk.request_resources` asks for would stay.
    """

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self._groups: list[Any] = []

    def ask(self, count: int, bundle: dict[str, float] | None = None) -> None:
        """For so many in all, each of `bundle`. A node that does not suit is asked for once, until `ask(0)`."""
        from ray.util import placement_group, placement_group_table, remove_placement_group  # an extra

        if self._groups:
            placed = {key for key, group in placement_group_table().items() if group["state"] == "CREATED"}
            for index, group in enumerate(self._groups):
                if index >= count or group.id.hex() in placed:
                    remove_placement_group(group)
        added = [placement_group([bundle]) for _ in range(count - len(self._groups))]
        self._groups = [*self._groups[:count], *added]
