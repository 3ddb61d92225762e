"""A step plan -> arrays of the bucket's shape."""

import jax
import numpy as np

from jaxcls.engine.buckets import Bucket
from jaxcls.engine.scheduler import StepPlan
from jaxcls.layers.packed import PackedBatch


def build_batch(plan: StepPlan) -> PackedBatch:
    """One step's batch, put on the device; request i of `plan.requests` is segment i."""
    arrays = _empty(plan.bucket)
    segment = 0
    for row_index, row in enumerate(plan.rows):
        start = row_index * plan.bucket.row_len
        for request in row:
            length = request.num_tokens
            part = slice(start, start + length)
            arrays["input_ids"][part] = request.tokens.token_ids
            if request.tokens.token_type_ids is not None:
                arrays["token_type_ids"][part] = request.tokens.token_type_ids
            arrays["positions"][part] = np.arange(length)
            arrays["segment_ids"][part] = segment
            arrays["starts"][segment], arrays["lengths"][segment] = start, length
            arrays["use_activation"][segment] = request.use_activation
            start += length
            segment += 1
    return _on_device(arrays, plan.bucket)


def empty_batch(bucket: Bucket) -> PackedBatch:
    """A batch of padding only, which warm-up runs."""
    return _on_device(_empty(bucket), bucket)


def _empty(bucket: Bucket) -> dict[str, np.ndarray]:
    tokens, seqs = bucket.num_tokens, bucket.num_seqs
    return {
        "input_ids": np.zeros(tokens, np.int32),
        "token_type_ids": np.zeros(tokens, np.int32),
        "positions": np.zeros(tokens, np.int32),
        "segment_ids": np.full(tokens, -1, np.int32),
        "starts": np.zeros(seqs, np.int32),
        "lengths": np.zeros(seqs, np.int32),
        "use_activation": np.ones(seqs, bool),
    }


def _on_device(arrays: dict[str, np.ndarray], bucket: Bucket) -> PackedBatch:
    return PackedBatch(**jax.device_put(arrays), row_groups=((bucket.rows, bucket.row_len),))
