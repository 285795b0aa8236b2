"""The knobs that coqui's config has no field for: where they are refused, and that nothing drops them on the way."""

import json
from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from search.commands import export
from search.confirmation.rounds import knobs
from search.errors import UserError
from search.full_run import order as orders
from search.full_run.display import FullRunView
from search.settings.knobs import refuse_space
from search.settings.settings import Settings, load
from search.trial import Prepared
from search.workers import session
from search.workers.events import View
from space.hyperparameters import Hyperparameters
from tests import stub
from tests.full_runs import write_config
from tests.studies import three_trials
from tests.test_export import STOCK, built

SPACE = "version = 1\n[lr]\nlow = 1e-5\nhigh = 1e-3\n[weight_decay]\nvalue = 0\n"
FACTOR = "[new_rows_lr_factor]\nlow = 0.1\nhigh = 10\nlog = true\n"
LAYERS = "[frozen_layers]\nlow = 0\nhigh = 3\n"
V0 = '[[baselines]]\nname = "V0"\nlr = 1e-4\nweight_decay = 0.0\n'
BOTH = Hyperparameters(1e-3, 0.01, new_rows_lr_factor=0.25, frozen_layers=1)
NO_ROWS = ", but the base has no new vocabulary rows on which it could act: leave it out, or train a language"
THREE_LAYERS = replace(
    stub.PREPARED, coqui_config={"model_args": {"gpt_layers": 3, "xtts_checkpoint": "base/model.pth"}}
)


def with_space(folder: Path, text: str) -> Settings:
    (folder / "space.toml").write_text(SPACE + text, encoding="utf-8")
    return load(None, {"space.file": str(folder / "space.toml"), "study.directory": str(folder / "runs")})


# What cannot act


@pytest.mark.parametrize(
    ("text", "layers", "rows", "refused"),
    [
        ("", 2, [], None),
        (FACTOR, 2, [], f"the space has [new_rows_lr_factor]{NO_ROWS}"),
        (FACTOR, 2, [60, 61], None),
        (LAYERS, 2, [], "the space's frozen_layers.high is 3, but the base's GPT has 2 layers; lower it to 2 or less"),
        (LAYERS, 3, [], None),
        # A confirmation runs the stock recipe as it stands.
        (V0 + "new_rows_lr_factor = 0.5\n", 2, [], f"new_rows_lr_factor is 0.5{NO_ROWS}"),
        (V0 + "frozen_layers = 4\n", 3, [], "frozen_layers is 4, but the base's GPT has 3 layers"),
        (V0 + "frozen_layers = 3\n", 3, [], None),
    ],
)
def test_a_dimension_that_cannot_act_on_the_base_is_refused(
    tmp_path: Path, text: str, layers: int, rows: list[int], refused: str | None
) -> None:
    settings = with_space(tmp_path, text)
    prepared = replace(stub.PREPARED, coqui_config={"model_args": {"gpt_layers": layers}}, new_rows=rows)
    if refused is None:
        refuse_space(settings, prepared)
        return
    with pytest.raises(UserError) as info:
        refuse_space(settings, prepared)
    assert str(info.value).startswith(refused)
    assert "\n" not in str(info.value)


def test_it_is_refused_before_anything_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = with_space(tmp_path, LAYERS.replace("3", "4"))
    monkeypatch.setattr(session, "prepare", lambda *_: THREE_LAYERS)
    with pytest.raises(UserError, match=r"frozen_layers\.high is 4"):
        session.search(settings, View())
    assert not (tmp_path / "runs").exists()


# The way of a point to a run


def test_a_confirmation_shows_the_knobs_that_act() -> None:
    assert knobs(BOTH) == {"lr": 1e-3, "weight_decay": 0.01, "new_rows_lr_factor": 0.25, "frozen_layers": 1}
    assert knobs(STOCK) == {"lr": 1e-3, "weight_decay": 0.01}


# Export


@pytest.fixture
def three(tmp_path: Path) -> tuple[optuna.Study, Settings]:
    return three_trials(tmp_path)


def test_a_config_that_coqui_cannot_hold_is_refused_as_its_format(three: tuple[optuna.Study, Settings]) -> None:
    """The document says in a warning what its coqui_config lacks."""
    best = built(*three, point=BOTH)
    with pytest.raises(UserError) as info:
        export.save(best, "coqui", three[1], None)
    assert str(info.value) == (
        "coqui's own trainer cannot do new_rows_lr_factor 0.25 and frozen_layers 1, and would train something else;"
        " export with --format json, and train that with study.py train"
    )
    assert not (three[1].directory / "coqui_config.json").exists()
    for point in (replace(BOTH, frozen_layers=0), replace(BOTH, new_rows_lr_factor=1.0)):
        with pytest.raises(UserError, match="coqui's own trainer cannot do"):
            export.text(built(*three, point=point), "coqui")
    export.text(built(*three, point=STOCK), "coqui")
    assert [text for text in best.warnings if text.startswith("coqui_config")] == [
        "coqui_config does not hold new_rows_lr_factor 0.25, which only study.py train can do",
        "coqui_config does not hold frozen_layers 1, which only study.py train can do",
    ]


def test_fused_adamw_is_exported(three: tuple[optuna.Study, Settings]) -> None:
    study, settings = three
    assert "fused" not in built(*three).coqui_config["optimizer_params"]
    fused = settings.model_copy(update={"training": settings.training.model_copy(update={"fused_adamw": True})})
    best = built(study, fused)
    assert best.coqui_config["optimizer_params"]["fused"] is best.settings["training"]["fused_adamw"] is True


# The full run


@pytest.fixture
def config(prepared: Prepared, tmp_path: Path) -> Path:
    path = write_config(tmp_path / "best_config.json", prepared)
    content = json.loads(path.read_text(encoding="utf-8"))
    content["hyperparameters"] |= {"new_rows_lr_factor": 0.25, "frozen_layers": 1}
    content["schedule"] |= {"batch_size": 3, "accumulation": 5}  # a user may edit them
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_a_full_run_trains_with_the_knobs_and_settings_of_its_config(config: Path, tmp_path: Path) -> None:
    """It goes on with other transfer, but with no other knobs."""
    given = {"training.fused_adamw": True, "training.pin_memory": True}
    order = orders.make_order(config, tmp_path / "out", None, given)
    spec = order.spec("p", None)
    assert (spec.hyperparameters.new_rows_lr_factor, spec.hyperparameters.frozen_layers) == (0.25, 1)
    assert (spec.fused_adamw, spec.pin_memory, spec.batch_size, spec.accumulation) == (True, True, 3, 5)
    order.directory.mkdir()
    (order.directory / "spec.json").write_text(spec.to_json(), encoding="utf-8")
    (order.directory / "best_config.json").write_text(config.read_text(encoding="utf-8"), encoding="utf-8")
    orders.refuse_other(orders.make_order(config, tmp_path / "out", None, {"training.fused_adamw": True}))
    content = json.loads(config.read_text(encoding="utf-8"))
    content["hyperparameters"]["frozen_layers"] = 2
    config.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(UserError, match="holds another run") as info:
        orders.refuse_other(orders.make_order(config, tmp_path / "out", None, {}))
    assert info.value.details == ("frozen_layers: 1 there, 2 here", "fused_adamw: True there, False here")


def test_a_full_run_whose_knob_cannot_act_is_refused(config: Path, prepared: Prepared, tmp_path: Path) -> None:
    order = orders.make_order(config, tmp_path / "out", None, {})
    orders.verify(order, replace(prepared, new_rows=[60]), FullRunView())
    with pytest.raises(UserError, match=r"^new_rows_lr_factor is 0\.25, but the base has no new vocabulary rows"):
        orders.verify(order, replace(prepared, new_rows=[]), FullRunView())
