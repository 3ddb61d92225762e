"""Whether a model's steps may have pages, and how many pages there are."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental.layout import Format, Layout
from jax.typing import DTypeLike

from jaxcls.config.engine import EngineConfig
from jaxcls.engine.buckets import Ladder, with_pages
from jaxcls.engine.checkpoint import Checkpoint
from jaxcls.engine.pages import PageAllocator
from jaxcls.engine.prefix import PrefixPlanner
from jaxcls.errors import ConfigError
from jaxcls.pooling.pooler import Pooler
from kernels_pallas.blocks import LANES
from kernels_pallas.platform import traced_for

# Without a size given, the pool holds the tokens of so many full steps.
DEFAULT_STEPS = 4


@dataclasses.dataclass(frozen=True)
class PoolShape:
    """The pool on the device: [L * P, B, 2K, H]."""

    num_layers: int
    num_pages: int
    page_size: int
    kv_heads: int
    head_dim: int
    dtype: DTypeLike

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """One array for all layers: as parts of a scan over layers it would be copied in every step."""
        return self.num_layers * self.num_pages, self.page_size, 2 * self.kv_heads, self.head_dim

    def spec(self, sharding: jax.sharding.Sharding) -> jax.ShapeDtypeStruct:
        """The array, without its contents, as it lies in memory.

        A TPU would lay narrow heads across its lanes by another axis, and copy the pool before each kernel, which wants
        it row by row.
        """
        if traced_for() != "tpu" or self.head_dim % LANES == 0:
            return jax.ShapeDtypeStruct(self.shape, self.dtype)
        return jax.ShapeDtypeStruct(self.shape, self.dtype, sharding=Format(Layout((0, 1, 2, 3)), sharding))


@dataclasses.dataclass(frozen=True)
class Paging:
    """All about pages that a model's engines share."""

    planner: PrefixPlanner
    shape: PoolShape


def open_paging(checkpoint: Checkpoint, options: EngineConfig, dtype: DTypeLike, ladder: Ladder) -> Paging | None:
    """The pool of a model; None: it has none, or none is wanted.

    Raises:
        ConfigError: pages are asked for where there are none to be had, or sizes that contradict each other.
    """
    reuses, chunks = options.enable_prefix_caching, options.enable_chunked_prefill
    reason = _why_not(checkpoint)
    if reason is not None:
        for name, wanted in (("enable_prefix_caching", reuses), ("enable_chunked_prefill", chunks)):
            if wanted:
                raise ConfigError(f"{name}=True: {checkpoint.name} {reason}. Leave it out")
        return None
    # The pooler of whole texts says whether there is anything to reuse.
    reuses = reuses is not False and any(checkpoint.pooler(task).reuses_prefix for task in checkpoint.tasks)
    needs_chunks = chunks is True or (chunks is None and checkpoint.max_len > ladder.max_tokens)
    if not reuses and not needs_chunks:
        return None
    config: Any = checkpoint.config
    per_token = config.num_layers * 2 * config.kv_heads_per_layer * config.head_dim * jnp.dtype(dtype).itemsize
    num_pages = _num_pages(checkpoint, options, ladder, per_token)
    shape = PoolShape(
        config.num_layers, num_pages, options.block_size, config.kv_heads_per_layer, config.head_dim, dtype
    )
    planner = PrefixPlanner(
        PageAllocator(num_pages, options.block_size),
        reuses=reuses,
        chunk_len=None if chunks is False else ladder.max_tokens,
    )
    return Paging(planner, shape)


def paged_ladder(ladder: Ladder, paging: Paging | None, options: EngineConfig, max_len: int) -> Ladder:
    """The ladder, with shapes for steps with pages where there are any."""
    if paging is None:
        return ladder
    pages_per_seq = min(paging.shape.num_pages, -(-max_len // options.block_size))
    return with_pages(ladder, pages_per_seq=pages_per_seq, page_size=options.block_size, max_seqs=options.max_num_seqs)


def _why_not(checkpoint: Checkpoint) -> str | None:
    if checkpoint.config.kv_heads_per_layer is None:
        return "has to see a text whole: its tokens depend on later ones, or on the text's length"
    poolers: list[Pooler] = [checkpoint.pooler(task) for task in checkpoint.tasks]
    if not any(pooler.chunkable for pooler in poolers):
        return f"scores {poolers[0].pooling_type} of a text's tokens, all of which have to be in one step"
    return None


def _num_pages(checkpoint: Checkpoint, options: EngineConfig, ladder: Ladder, per_token: int) -> int:
    size, tokens, memory = options.block_size, options.kv_cache_tokens, options.kv_cache_memory_bytes
    if tokens is not None and memory is not None:
        raise ConfigError("kv_cache_tokens and kv_cache_memory_bytes both say how large the pool is: give one")
    given = tokens if tokens is not None else None if memory is None else memory // per_token
    longest = checkpoint.max_len if options.enable_chunked_prefill else 1
    if given is None:
        given = max(DEFAULT_STEPS * ladder.max_tokens, longest)
        return -(-given // size)
    if given < max(longest, size):
        raise ConfigError(
            f"the pool of pages holds {given} tokens ({per_token} bytes each), but "
            + (f"a page has {size}" if given < size else f"with enable_chunked_prefill prompts of {longest} must fit")
            + ". Raise kv_cache_tokens or kv_cache_memory_bytes"
            + ("" if given < size else ", or lower max_model_len")
        )
    return max(given // size, -(-longest // size))
