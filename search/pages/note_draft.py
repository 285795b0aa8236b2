"""What is about to be written to a study's attributes, made by optuna-dashboard's own functions.

These write to a storage attribute by attribute, and a note or a figure takes several. Here they write to memory, so
that all of it can be stored in one transaction: a page that reads meanwhile never gets half of a figure.
"""

from typing import Any

from optuna_dashboard import save_note, save_plotly_graph_object
from plotly.graph_objects import Figure

OURS = "xtts-study:notes"  # system attribute of a study: [refreshes so far, version of its note that we wrote last]
METRIC_NAMES = "study:metric_names"  # as Study.set_metric_names writes it, which warns that it is experimental
VERSION = "note_ver"  # how Optuna's attribute for the version of a note ends


class Draft:
    """In the place of a study, a trial and their storage, of which Optuna's functions ask no more than this.

    Args:
        attributes: The system attributes that the study has.
    """

    def __init__(self, study_id: int, attributes: dict[str, Any]) -> None:
        self._study_id = study_id
        self._trial_id: int | None = None  # None: its note is the study's
        self._storage = self.storage = self.study = self
        self._before, self._attributes = attributes, dict(attributes)
        self._refreshes, self._own_version = attributes.get(OURS, [0, 0])

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        return self._attributes

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        self._attributes[key] = value

    def has_trial_note(self, trial_id: int) -> bool:
        return f"dashboard:{trial_id}:{VERSION}" in self._attributes

    def set_trial_note(self, trial_id: int, text: str) -> None:
        self._trial_id = trial_id
        save_note(self, text)
        self._trial_id = None

    def set_study_note(self, text: str) -> None:
        """Does nothing where somebody has saved another note in the page: that one stays."""
        version = f"dashboard:{VERSION}"
        if self._attributes.get(version, 0) != self._own_version:
            return
        before = self.changed
        save_note(self, text)
        self._own_version = self._attributes[version]
        if self.changed.keys() - before.keys() == {version}:  # the text is the same
            self._attributes[version] = self._own_version = self._before[version]

    def set_metric_name(self, name: str) -> None:
        self._attributes.setdefault(METRIC_NAMES, [name])

    def set_figure(self, name: str, figure: Figure) -> None:
        save_plotly_graph_object(self, figure, graph_object_id=name)

    @property
    def changed(self) -> dict[str, Any]:
        """The attributes to write."""
        return {key: value for key, value in self._attributes.items() if self._before.get(key) != value}

    def stamped(self) -> dict[str, Any]:
        """`changed` with the count of refreshes."""
        return {**self.changed, OURS: [self._refreshes + 1, self._own_version]}

    @property
    def known(self) -> dict[str, Any]:
        """What must still be as it was when the attributes were read: the count, and versions of notes to write."""
        versions = {key: self._before.get(key) for key in self.changed if key.endswith(VERSION)}
        return {OURS: self._before.get(OURS), **versions}
