"""Qwen2ForRewardModel and Qwen2ForProcessRewardModel: Qwen2 under a head of two layers."""

import dataclasses

from jaxcls.config.hf import HfView
from jaxcls.layers.head import HeadConfig
from jaxcls.models.architecture import Architecture
from jaxcls.models.decoder import DecoderClassifier
from jaxcls.models.decoder_config import DecoderConfig
from jaxcls.models.decoder_weights import decoder_weights
from jaxcls.models.qwen import config_qwen2
from weights.rules import RuleTable

_HEAD = HeadConfig("relu")


def _config(hf: HfView, num_labels: int) -> DecoderConfig:
    """Reads config.json as Qwen2's; the author's code fixes the number of outputs."""
    hf.set_num_labels(num_labels)
    return dataclasses.replace(config_qwen2(hf), head=_HEAD)


def config_reward(hf: HfView) -> DecoderConfig:
    """One score."""
    return _config(hf, 1)


def config_process_reward(hf: HfView) -> DecoderConfig:
    """Two labels: a step is wrong, a step is right."""
    return _config(hf, 2)


def weights(cfg: DecoderConfig) -> RuleTable:
    """Tensor names of the author's code: the head is a torch Sequential."""
    return decoder_weights(cfg, head={"score.0": "head.dense", "score.2": "head.score"})


REWARD = Architecture(
    names=("Qwen2ForRewardModel",),
    summary="Qwen2.5; reward models of whole answers",
    config=config_reward,
    build=DecoderClassifier,
    weights=weights,
    pooling="LAST",
    example="Qwen/Qwen2.5-Math-RM-72B",
    raw=True,
)

PROCESS_REWARD = Architecture(
    names=("Qwen2ForProcessRewardModel",),
    summary="Qwen2.5; reward models of steps, each of which ends in <extra_0> (151651)",
    config=config_process_reward,
    build=DecoderClassifier,
    weights=weights,
    pooling="STEP",
    example="Qwen/Qwen2.5-Math-PRM-7B",
    step_tag_id=151651,
)
