"""A step plan -> arrays of the bucket's shape, on the host: the program that takes them puts them on the device."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from jaxcls.engine.buckets import Bucket
from jaxcls.engine.prefix import Chunk
from jaxcls.engine.scheduler import StepPlan
from jaxcls.layers.packed import NOT_WRITTEN, PackedBatch, PageTables


def build_batch(plan: StepPlan, page_size: int = 0) -> PackedBatch:
    """One step's batch; chunk i of `plan.chunks` is segment i.

    Args:
        plan: the step.
        page_size: that of the pool, if the step has pages.
    """
    arrays = _empty(plan.bucket)
    if any(request.tokens.num_unseen for request in plan.requests):
        arrays["attended"] = np.ones(plan.bucket.num_tokens, bool)
    segment = 0
    for row_index, row in enumerate(plan.rows):
        start = row_index * plan.bucket.row_len
        for chunk in row:
            request, length = chunk.request, chunk.num_tokens
            part = slice(start, start + length)
            arrays["input_ids"][part] = request.tokens.token_ids[chunk.start : chunk.stop]
            if request.tokens.token_type_ids is not None:
                arrays["token_type_ids"][part] = request.tokens.token_type_ids[chunk.start : chunk.stop]
            if request.tokens.num_unseen:
                arrays["attended"][start + length - request.tokens.num_unseen : start + length] = False
            arrays["positions"][part] = np.arange(chunk.start, chunk.stop)
            arrays["segment_ids"][part] = segment
            arrays["starts"][segment], arrays["lengths"][segment] = start, length
            arrays["use_activation"][segment] = request.use_activation
            start += length
            segment += 1
    tables = _tables(plan.bucket, plan.chunks, page_size) if plan.paged else None
    return PackedBatch(**arrays, row_groups=((plan.bucket.rows, plan.bucket.row_len),), tables=tables)


def empty_batch(bucket: Bucket) -> PackedBatch:
    """A batch of padding only, which warm-up runs."""
    tables = _tables(bucket, (), 1) if bucket.pages_per_seq else None
    return PackedBatch(**_empty(bucket), row_groups=((bucket.rows, bucket.row_len),), tables=tables)


def _tables(bucket: Bucket, chunks: Sequence[Chunk], page_size: int) -> PageTables:
    """Where the tokens of a step, which lie end to end, go, and where those before them are."""
    slots = np.full(bucket.num_tokens, NOT_WRITTEN, np.int32)
    pages = np.zeros((bucket.num_seqs, bucket.pages_per_seq), np.int32)
    kv_lens = np.zeros(bucket.num_seqs, np.int32)
    ends = np.zeros(bucket.num_seqs + 1, np.int32)
    at = 0
    for segment, chunk in enumerate(chunks):
        own = np.asarray(chunk.pages, np.int32)
        position = np.arange(chunk.start, chunk.stop)
        slots[at : at + chunk.num_tokens] = own[position // page_size] * page_size + position % page_size
        pages[segment, : len(own)], kv_lens[segment] = own, chunk.stop
        at += chunk.num_tokens
        ends[segment + 1 :] = at
    arrays: dict[str, Any] = {"slots": slots, "pages": pages, "kv_lens": kv_lens, "cu_q_lens": ends}
    return PageTables(**arrays, num_seqs=cast(Any, np.array([len(chunks)], np.int32)))


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
