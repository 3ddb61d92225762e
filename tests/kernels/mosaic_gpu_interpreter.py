"""Runs Mosaic GPU kernels where there is no GPU, by jax's interpreter and what it lacks.

The interpreter is private to jax and new: it simulates threads, barriers and copies, and detects races, but knows
neither `run_state` nor loads with a layout nor products of registers. Those are added here, for the tests only.
"""

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from kernels_pallas.mosaic_gpu.target import missing_instructions

try:
    from jax._src import core as jax_core
    from jax._src.pallas.mosaic.interpret import thread_map
    from jax._src.pallas.mosaic_gpu import core as gpu_core
    from jax._src.pallas.mosaic_gpu import primitives as gpu_primitives
    from jax._src.pallas.mosaic_gpu.interpret import gpu_callbacks, interpret_pallas_call, jaxpr_interpret, params
    from jax._src.state import discharge, indexing
    from jax._src.state import types as state_types

    # What is added below fits this interpreter; later ones are others.
    MISSING = None if jax.__version_info__ < (0, 11) else "jax's interpreter is known up to jax 0.10"
except ImportError as error:
    MISSING = f"this jax has no interpreter for Mosaic GPU kernels: {error}"

# Where the kernels run as they are.
HOPPER = jax.default_backend() == "gpu" and missing_instructions() is None
if HOPPER:
    MISSING = None
elif MISSING is None and int(os.environ.get("NPROC", len(os.sched_getaffinity(0)))) < 2:
    # Its threads wait for each other, and XLA has as many as there are cores, or as NPROC says.
    MISSING = "jax's interpreter of Mosaic GPU kernels needs two cores"


def where_it_runs(implementation: str) -> contextlib.AbstractContextManager[None]:
    """What an implementation is called in: for "gpu" the interpreter, if there is no GPU."""
    return interpreted() if implementation == "gpu" and not HOPPER else contextlib.nullcontext()


@contextlib.contextmanager
def interpreted(*, detect_races: bool = False) -> Iterator[None]:
    """Kernels that are traced and run inside are interpreted, as on an H100.

    Raises:
        AssertionError: two threads accessed the same memory without an order between them.
    """
    cls = jaxpr_interpret.JaxprInterpreter
    plain, plain_run = cls.interpret, thread_map._run_jaxpr
    device = jax.sharding.AbstractDevice(device_kind="NVIDIA H100 80GB HBM3", num_cores=132, platform="gpu")
    mesh = jax.sharding.AbstractMesh((), (), abstract_device=device)

    def interpret(self: Any, jaxpr: Any, token: Any, *values: Any) -> Any:
        return _interpret(self, jaxpr, token, values, plain)

    cls.interpret, thread_map._run_jaxpr = interpret, _Programs().run
    options = params.InterpretGPUParams(detect_races=detect_races)
    try:
        with params.force_gpu_interpret_mode(options), jax.sharding.use_abstract_mesh(mesh):
            yield
        assert not (detect_races and interpret_pallas_call.get_races().races_found)
    finally:
        cls.interpret, thread_map._run_jaxpr = plain, plain_run
        interpret_pallas_call.reset_gpu_interpret_mode_state()


class _Programs:
    """Compiles the threads' program once, not once a thread and block."""

    def __init__(self) -> None:
        self.compiled: dict[int, tuple[Any, Any]] = {}
        self.lock = threading.Lock()

    def run(self, jaxpr: Any, consts: Any, *args: Any) -> None:
        """Runs a thread."""

        def call(consts: Any, *args: Any) -> None:
            jax_core.eval_jaxpr(jaxpr, consts, *args)

        with self.lock:
            if id(jaxpr) not in self.compiled:
                # With the jaxpr, so that its id stays its own.
                self.compiled[id(jaxpr)] = jaxpr, jax.jit(call).lower(consts, *args).compile()
        self.compiled[id(jaxpr)][1](consts, *args)


def _interpret(self: Any, jaxpr: Any, token: Any, values: tuple[Any, ...], plain: Any) -> Any:
    """One equation after the other: ours here, all others by jax's interpreter."""
    known = dict(zip([*jaxpr.constvars, *jaxpr.invars], values, strict=True))

    def read(x: Any) -> Any:
        return x.val if isinstance(x, jax_core.Literal) else known[x]

    for eqn in jaxpr.eqns:
        operands = [read(x) for x in eqn.invars]
        if eqn.primitive is gpu_core.layout_cast_p:
            outs = operands
        elif eqn.primitive is gpu_primitives.load_p:
            transforms = jax.tree.unflatten(eqn.params["tree"], operands[1:])
            token, out = _get(self, token, operands[0], transforms, eqn.outvars[0].aval)
            outs = [out]
        elif eqn.primitive is discharge.run_state_p:
            token, outs = _run_state(self, eqn, token, operands)
        elif eqn.primitive is gpu_primitives.wgmma_ref_p:
            token, outs = _multiply(self, eqn, token, operands), []
        else:
            own = list(dict.fromkeys(x for x in eqn.invars if not isinstance(x, jax_core.Literal)))
            names = jaxpr.debug_info.with_unknown_names()
            single = jaxpr.replace(constvars=[], invars=own, outvars=eqn.outvars, eqns=[eqn], debug_info=names)
            token, outs = plain(self, single, token, *(known[x] for x in own))
        known.update(zip(eqn.outvars, outs, strict=True))
    return token, [read(x) for x in jaxpr.outvars]


def _place(self: Any) -> dict[str, Any]:
    device = jnp.int32(self.device_info.device_id)
    return {"device_id": device, "grid_point_coords": self.grid_point_coords, "thread_id": self.thread_id}


def _get(self: Any, token: Any, key: Any, transforms: Any, like: Any) -> tuple[Any, Any]:
    return gpu_callbacks.call_get(
        token=token,
        result_shape_and_dtype=jax.ShapeDtypeStruct(like.shape, like.dtype),
        allocation_key_as_array=key,
        transforms=transforms,
        source_info=None,
        **_place(self),
    )


def _run_state(self: Any, eqn: Any, token: Any, operands: list[Any]) -> tuple[Any, list[Any]]:
    """Arrays become registers, and are read back."""
    keys = []
    for var, value in zip(eqn.invars, operands, strict=True):
        if isinstance(var.aval, state_types.AbstractRef):
            keys.append(value)
            continue
        token, request = gpu_callbacks.call_make_allocation_request_array(
            token=token,
            device_id=jnp.int32(self.device_info.device_id),
            memory_space_id=gpu_callbacks.get_memory_space_idx(gpu_core.MemorySpace.REGS),
            thread_id=jnp.int32(self.thread_id),
            initial_ref_count=1,
        )
        token, key = gpu_callbacks.call_allocate_buffer(
            token=token, allocation_request_as_array=request, value=value, source_info=eqn.source_info, **_place(self)
        )
        keys.append(key)
    token, _ = self.interpret(eqn.params["jaxpr"], token, *keys)
    outs = []
    for var, source, key in zip(eqn.outvars, eqn.invars, keys, strict=True):
        if isinstance(source.aval, state_types.AbstractRef):
            outs.append(key)
            continue
        token, out = _get(self, token, key, (), var.aval)
        token = gpu_callbacks.call_deallocate_buffer(
            token=token, allocation_key_as_array=key, source_info=eqn.source_info, **_place(self)
        )
        outs.append(out)
    return token, outs


def _multiply(self: Any, eqn: Any, token: Any, operands: list[Any]) -> Any:
    """Adds a product to an accumulator; the factors are in shared memory, or the left one in registers."""
    accumulator, left, right, *leaves = operands
    names = ("acc_transforms_tree", "a_transforms_tree", "b_transforms_tree")
    trees = [eqn.params[name] or jax.tree.structure([]) for name in names]
    of_accumulator, *of_factors = jax.tree.unflatten(jax.tree_util.treedef_tuple(trees), leaves)
    assert not of_accumulator, "parts of accumulators are not interpreted"
    factors = []
    for var, value, transforms in zip(eqn.invars[1:3], (left, right), of_factors, strict=True):
        if not isinstance(var.aval, state_types.AbstractRef):
            factors.append(value)
            continue
        turned = [t for t in transforms if hasattr(t, "permutation")]
        straight = tuple(t for t in transforms if not hasattr(t, "permutation"))
        like = state_types.TransformedRef(var.aval, straight).type
        indexers = tuple(t for t in straight if isinstance(t, indexing.NDIndexer))
        token, factor = _get(self, token, value, indexers, like)
        for transform in turned:
            factor = factor.transpose(transform.permutation)
        factors.append(factor)
    product = jnp.matmul(*factors, preferred_element_type=jnp.float32, precision="highest")
    aval = eqn.invars[0].aval.inner_aval
    token, before = _get(self, token, accumulator, (), aval)
    token, _ = gpu_callbacks.call_swap(
        token=token,
        result_shape_and_dtype=aval,
        allocation_key_as_array=accumulator,
        transforms=(),
        val=before + product,
        mask=None,
        source_info=eqn.source_info,
        **_place(self),
    )
    return token
