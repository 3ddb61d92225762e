"""A step plan -> arrays of the bucket's shape, on the host: the program that takes them puts them on the device."""

from typing import Any

import numpy as np

from jaxcls.engine.buckets import Bucket
from jaxcls.engine.scheduler import StepPlan
from jaxcls.layers.packed import PackedBatch


def build_batch(plan: StepPlan) -> PackedBatch:
    """One step's batch; request i of `plan.requests` is segment i."""
    arrays = _empty(plan.bucket)
    if any(request.tokens.num_unseen for request in plan.requests):
        arrays["attended"] = np.ones(plan.bucket.num_tokens, bool)
    segment = 0
    for row_index, row in enumerate(plan.rows):
        start = row_index * plan.bucket.row_len
        for request in row:
            length = request.num_tokens
            part = slice(start, start + length)
            arrays["input_ids"][part] = request.tokens.token_ids
            if request.tokens.token_type_ids is not None:
                arrays["token_type_ids"][part] = request.tokens.token_type_ids
            if request.tokens.num_unseen:
                arrays["attended"][start + length - request.tokens.num_unseen : start + length] = False
            arrays["positions"][part] = np.arange(length)
            arrays["segment_ids"][part] = segment
            arrays["starts"][segment], arrays["lengths"][segment] = start, length
            arrays["use_activation"][segment] = request.use_activation
            start += length
            segment += 1
    return PackedBatch(**arrays, row_groups=((plan.bucket.rows, plan.bucket.row_len),))


def empty_batch(bucket: Bucket) -> PackedBatch:
    """A batch of padding only, which warm-up runs."""
    return PackedBatch(**_empty(bucket), row_groups=((bucket.rows, bucket.row_len),))


def _empty(bucket: Bucket) -> dict[str, Any]:
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
