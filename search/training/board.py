"""What TensorBoard shows of a run: its curves, and its hyperparameters beside their results."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.summary_pb2 import DATA_CLASS_SCALAR, Summary, SummaryMetadata
from tensorboard.plugins.hparams import api_pb2, metadata
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo
from torch.utils.tensorboard import SummaryWriter

from search.training.record import Step
from search.trial import Evaluation, StopReason, TrialSpec

# The tag and the description of each measured value. The part before the slash is the group on the page.
STEP = {
    "loss": ("train/loss (nats)", "What is minimised: audio and text loss, weighted; mean of the micro-batches."),
    "mel_ce": ("train/audio loss (nats)", "Cross-entropy in nats per audio token, with dropout."),
    "text_ce": ("train/text loss (nats)", "Cross-entropy in nats per text token, with dropout, without its weight."),
    "lr": ("train/learning rate", "As this update applied it."),
    "decay": ("train/weight decay", "By how much this update shrank a decayed weight: learning rate x weight decay."),
    "norm_before": ("gradient/norm before clip", "L2 norm of the whole gradient."),
    "norm_after": ("gradient/norm after clip", "L2 norm of the whole gradient as the optimizer saw it."),
}
EVALUATION = {
    "mel_ce": ("evaluation/eval (nats)", "The objective: nats per audio token of the eval set, dropout off."),
    "text_ce": ("evaluation/text (nats)", "Nats per text token of the eval set, dropout off."),
    "gap": ("evaluation/gap", "eval / train probe: 1 is no gap, it grows as a run overfits."),
    "probe_mel_ce": ("evaluation/train probe (nats)", "As eval, over a fixed set of training clips."),
    "probe_text_ce": ("evaluation/train probe, text (nats)", "As text, over a fixed set of training clips."),
    "train_loss": ("evaluation/training loss (nats)", "Mean of the training loss since the evaluation before."),
}
BEST = {
    "mel_ce": ("evaluation, best so far/eval (nats)", "The lowest evaluation, per audio token: the trial's value."),
    "gap": ("evaluation, best so far/gap", "eval / train probe at the lowest evaluation."),
    "text_ce": ("evaluation, best so far/text (nats)", "Nats per text token at the lowest evaluation."),
    "step": ("evaluation, best so far/at step", "Optimizer step of the lowest evaluation."),
}

# The name of each hyperparameter on the page, its description, its type, and whether a search varies it.
NUMBER, TEXT = api_pb2.DATA_TYPE_FLOAT64, api_pb2.DATA_TYPE_STRING
HYPERPARAMETERS = {
    "lr": ("learning rate", "Before any milestone.", NUMBER, True),
    "weight_decay": ("weight decay", "AdamW's, decoupled.", NUMBER, True),
    "milestones": ("milestones", "Shares of the run after which the learning rate is multiplied by gamma.", TEXT, True),
    "gamma": ("gamma", "Empty without milestones.", NUMBER, True),
    "clip_norm": ("clip norm", "Longest gradient, L2. Empty: no clip.", NUMBER, True),
    "new_rows_lr_factor": ("new rows' factor", "Of the learning rate of new vocabulary rows.", NUMBER, False),
    "frozen_layers": ("frozen layers", "Of the GPT, from its input.", NUMBER, False),
    "label": ("what", "A baseline, a repeat or a run of the race; empty: a sampled trial.", TEXT, False),
    "seed": ("seed", "Of the run.", NUMBER, False),
    "horizon": ("length", "Optimizer steps of the run.", NUMBER, False),
}
STATUS = dict.fromkeys((StopReason.FINISHED, StopReason.TWO_INCREASES, StopReason.GAP), api_pb2.STATUS_SUCCESS)
STATUS |= {StopReason.DIVERGED: api_pb2.STATUS_FAILURE}


class Board:
    """The event file of a process in a run's folder `tensorboard`; a run that goes on has several."""

    def __init__(self, folder: Path, spec: TrialSpec, evaluations: Sequence[Evaluation]) -> None:
        """A run that goes on has made `evaluations`; what came after the last of them is forgotten."""
        self._described: set[str] = set()
        self._writer = SummaryWriter(str(folder), purge_step=evaluations[-1].step + 1 if evaluations else 0)
        if not evaluations:
            self._add(experiment(), 0)
            self._add(started(spec), 0)
            self._writer.flush()

    def step(self, number: int, step: Step) -> None:
        self._add(self._scalars(STEP, step), number)

    def evaluation(self, evaluation: Evaluation, best: Evaluation | None) -> None:
        """With the best one so far. On the disk when it returns."""
        self._add(self._scalars(EVALUATION, evaluation), evaluation.step)
        if best:
            self._add(self._scalars(BEST, best), evaluation.step)
        self._writer.flush()

    def end(self, reason: StopReason, step: int) -> None:
        """A stopped run gets no end here: it may resume, or only its supervisor knows the reason."""
        if reason in STATUS:
            info = SessionEndInfo(status=STATUS[reason], end_time_secs=time.time())
            self._add(_hparams(metadata.SESSION_END_INFO_TAG, HParamsPluginData(session_end_info=info)), step)

    def close(self) -> None:
        self._writer.close()

    def _scalars(self, shown: Mapping[str, tuple[str, str]], measured: Any) -> Summary:
        """Descriptions go with the first value of a tag only: TensorBoard looks at no other."""
        values = Summary()
        for name, (tag, description) in shown.items():
            if (value := getattr(measured, name)) is None:
                continue
            added = values.value.add(tag=tag, simple_value=value)
            if tag not in self._described:
                self._described.add(tag)
                plugin = SummaryMetadata.PluginData(plugin_name="scalars")
                added.metadata.CopyFrom(
                    SummaryMetadata(summary_description=description, plugin_data=plugin, data_class=DATA_CLASS_SCALAR)
                )
        return values

    def _add(self, values: Summary, step: int) -> None:
        self._writer._get_file_writer().add_summary(values, step)


def started(spec: TrialSpec) -> Summary:
    """The run's line in TensorBoard's table, with those of HYPERPARAMETERS that it has."""
    info, point = SessionStartInfo(start_time_secs=time.time()), spec.hyperparameters
    milestones = " ".join(f"{m:.0%}" for m in point.milestones) or "none"
    for name in HYPERPARAMETERS:
        value = milestones if name == "milestones" else getattr(point if hasattr(point, name) else spec, name)
        if value is not None:
            setattr(info.hparams[name], "string_value" if isinstance(value, str) else "number_value", value)
    return _hparams(metadata.SESSION_START_INFO_TAG, HParamsPluginData(session_start_info=info))


def experiment() -> Summary:
    """The columns of TensorBoard's table of runs. It takes them from any one run, so that all say the same."""
    columns = [
        api_pb2.HParamInfo(name=name, display_name=title, description=text, type=kind, differs=turned)
        for name, (title, text, kind, turned) in HYPERPARAMETERS.items()
    ]
    results = [
        api_pb2.MetricInfo(name=api_pb2.MetricName(tag=tag), display_name=title, description=text)
        for title, (tag, text) in zip(("best eval", "gap", "text", "at step"), BEST.values(), strict=True)
    ]
    found = api_pb2.Experiment(hparam_infos=columns, metric_infos=results)
    return _hparams(metadata.EXPERIMENT_TAG, HParamsPluginData(experiment=found))


def _hparams(tag: str, content: HParamsPluginData) -> Summary:
    """As TensorBoard's own API makes it, which wants TensorFlow."""
    described = metadata.create_summary_metadata(content)
    return Summary(value=[Summary.Value(tag=tag, metadata=described, tensor=metadata.NULL_TENSOR)])
