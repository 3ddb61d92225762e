"""A step plan -> arrays of the bucket's shape."""

import numpy as np

from jaxcls.engine.buckets import Bucket
from jaxcls.engine.scheduler import StepPlan
from jaxcls.layers.packed import PackedBatch


def build_batch(plan: StepPlan) -> PackedBatch:
    """Numpy arrays of one step; request i of `plan.requests` is segment i."""
    batch = empty_batch(plan.bucket)
    segment = 0
    for row_index, row in enumerate(plan.rows):
        start = row_index * plan.bucket.row_len
        for request in row:
            length = request.num_tokens
            part = slice(start, start + length)
            batch.input_ids[part] = request.tokens.token_ids
            if request.tokens.token_type_ids is not None:
                batch.token_type_ids[part] = request.tokens.token_type_ids
            batch.positions[part] = np.arange(length)
            batch.segment_ids[part] = segment
            batch.starts[segment], batch.lengths[segment] = start, length
            batch.use_activation[segment] = request.use_activation
            start += length
            segment += 1
    return batch


def empty_batch(bucket: Bucket) -> PackedBatch:
    """All padding; also what warm-up runs."""
    num_tokens, num_seqs = bucket.num_tokens, bucket.num_seqs
    return PackedBatch(
        input_ids=np.zeros(num_tokens, np.int32),
        token_type_ids=np.zeros(num_tokens, np.int32),
        positions=np.zeros(num_tokens, np.int32),
        segment_ids=np.full(num_tokens, -1, np.int32),
        starts=np.zeros(num_seqs, np.int32),
        lengths=np.zeros(num_seqs, np.int32),
        use_activation=np.ones(num_seqs, bool),
        row_groups=((bucket.rows, bucket.row_len),),
    )
