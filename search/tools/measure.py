"""Has the checkpoints of runs opened and measured, in a process of its own."""

from collections.abc import Callable

from search.errors import UserError
from search.preparation.cache import cache_directory
from search.settings.settings import Settings
from search.tools.run_data import find_material
from search.tools.run_folder import Inspection
from search.trial import Evaluation
from search.workers.launcher import Failed, Launcher
from search.workers.session import told

TARGET = "search.tools.bench:run"


def measure(found: Inspection, settings: Settings, progress: Callable[[str], None]) -> None:
    """Fills in what the files hold and, where data and base are found, what they are measured to be.

    `found.unmeasured` says why there is nothing.
    """
    files = found.checkpoints
    if not files:
        return
    material = None
    try:
        material = find_material(found, settings)
        found.unsure = material.unsure
    except UserError as error:
        found.unmeasured = str(error)
    progress("loading torch and TTS")
    request = {"files": [c.path.absolute() for c in files], "material": material, "cache": cache_directory()}
    try:
        answer = Launcher().call(TARGET, request, told(progress))
    except Failed as error:
        found.unmeasured = f"measuring failed: {error}"
        return
    for name, value in answer["found"].items():
        setattr(found, name, Evaluation(**value) if name == "base" and value else value)
    for checkpoint, said in zip(files, answer["files"], strict=True):
        if "evaluation" in said:
            said["evaluation"] = Evaluation(**said["evaluation"])
        if "same_as" in said:
            said["same_as"] = files[said["same_as"]].name
        for name, value in said.items():
            if value is not None:
                setattr(checkpoint, name, value)
