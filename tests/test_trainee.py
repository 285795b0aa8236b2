"""What a run trains is the stock model's, part for part."""

import pytest
import torch
from TTS.tts.layers.xtts.trainer.gpt_trainer import GPTTrainerConfig

from search.training import base
from search.training.trainee import Trainee
from search.trial import Prepared


@pytest.fixture(scope="module")
def config(prepared: Prepared) -> GPTTrainerConfig:
    return base.config_from_dict(prepared.coqui_config)


@pytest.fixture(scope="module")
def stock(config: GPTTrainerConfig) -> base.StudyModel:
    return base.load_model(config)


def assert_same(mine: torch.nn.Module, theirs: torch.nn.Module) -> None:
    """The same modules in the same places, with the same weights and buffers, bit for bit."""
    assert str(mine) == str(theirs)
    wanted, found = theirs.state_dict(), mine.state_dict()
    assert list(found) == list(wanted)
    assert all(torch.equal(found[name], value) for name, value in wanted.items())


@torch.no_grad()
def losses(model: base.StudyModel) -> torch.Tensor:
    """Of two clips that were drawn at random: what does not show in the weights, as the number of heads, shows here."""
    draw = torch.Generator().manual_seed(1)
    model.eval()
    text, mel, _ = model(
        torch.randint(2, 50, (2, 12), generator=draw),
        torch.tensor([12, 9]),
        torch.randint(0, 250, (2, 20), generator=draw),
        torch.tensor([20, 15]) * 1024,
        torch.randn(2, 1, 80, 87, generator=draw),
        None,
        None,
    )
    return torch.stack([text, mel])


def test_it_is_the_stock_model_without_what_only_speech_needs(prepared: Prepared, stock: base.StudyModel) -> None:
    model = Trainee(base.config_from_dict(prepared.coqui_config))
    assert_same(model.xtts.gpt, stock.xtts.gpt)
    assert model.config.to_dict() == stock.config.to_dict()
    parts = {name.split(".")[1] for name, _ in model.named_parameters()}
    assert parts == {"gpt"}
    assert torch.equal(losses(model), losses(stock))
    sound = torch.randn(2, 1, 30_000, generator=torch.Generator().manual_seed(1))
    mels = (one.torch_mel_spectrogram_style_encoder(sound) for one in (model, stock))
    assert torch.equal(*mels)
    assert model.xtts.tokenizer.encode("ሰላም", "am") == stock.xtts.tokenizer.encode("ሰላም", "am")


def test_it_learns_to_speak_with_the_base_s_vocoder(config: GPTTrainerConfig, stock: base.StudyModel) -> None:
    model = Trainee(config)
    model.add_vocoder()
    assert_same(model.xtts.hifigan_decoder, stock.xtts.hifigan_decoder)
