"""What all trials of a study must share for their values to be comparable, by content: paths do not count."""

from collections.abc import Iterator, Mapping
from typing import Any

from search import sources
from search.settings.settings import Settings
from search.trial import Prepared

# What a trial's numbers depend on, with all that these import.
_CODE = ("search.training.child", "search.study.pruners", "space.search_space")


def fingerprint(settings: Settings, prepared: Prepared) -> dict[str, Any]:
    """Flat, in JSON's types: a name and a value for each thing that can differ."""
    training = settings.training
    values = {
        "data": prepared.data_fingerprint,
        "training clips": prepared.train_clips,
        "eval clips": prepared.eval_clips,
        "base": prepared.base_fingerprint,
        "conditioning_seconds": list(settings.conditioning_seconds),
        "space": settings.search_space().to_dict(),
        "seed": settings.study.seed,
        "batch_size": training.batch_size,
        "accumulation": training.accumulation,
        "horizon": settings.trial_horizon(prepared.train_clips),
        "full_horizon": settings.full_horizon(prepared.train_clips),
        "evaluations": training.evaluations,
        "precision": training.precision,
        # Only where on: what was searched before these settings existed had them off, and can still be exported.
        **{name: True for name in ("fused_adamw", "pin_memory") if getattr(training, name)},
        "repeats": settings.study.repeats,
        "pruning": settings.pruning.model_dump(),
        "code": code_digest(),
        "versions": {k: v for k, v in prepared.versions.items() if k != "python"},
    }
    return dict(_flat(values))


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """A line for each thing in which the study, there, and this machine, here, differ."""
    return [
        f"{name}: {_shown(there, name)} there, {_shown(here, name)} here{_HINTS.get(name, '')}"
        for name in {**there, **here}
        if there.get(name) != here.get(name)
    ]


def differing_settings(made: Mapping[str, Any], settings: Settings, *aside: str) -> list[str]:
    """`differences` between the study with attributes `made` and one of these settings, but for what is `aside`."""
    try:
        prepared = Prepared(**made["prepared"])
    except TypeError as error:
        return [f"it was made by another release of xtts-study ({error})"]
    pair = ({**of, **dict.fromkeys(aside)} for of in (made["fingerprint"], fingerprint(settings, prepared)))
    return differences(*pair)


def differing_space(there: Mapping[str, Any], settings: Settings) -> list[str]:
    """`differences` of the search space alone."""
    here = _flat({"space": settings.search_space().to_dict()})
    return differences({name: value for name, value in there.items() if name.startswith("space.")}, dict(here))


_HINTS = {
    "data": " (digests of texts, speakers and audio, in the tables' order)",
    "base": " (digests of the base model's files)",
    "code": " (digests of what the code of a run computes; check out the same commit)",
}


def _shown(values: Mapping[str, Any], name: str) -> str:
    return str(values[name]) if name in values else "nothing"


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def code_digest() -> str:
    """Of what a trial's numbers depend on."""
    return sources.digest(*_CODE)
