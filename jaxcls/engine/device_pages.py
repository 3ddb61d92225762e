"""The pool of pages on the device, and the order of the steps that use it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp

from jaxcls.engine.paging import PoolShape
from jaxcls.errors import JaxclsError
from jaxcls.pooling.pooler import PoolerOutput


class DevicePages:
    """Made when it is first needed; each step takes the pool and leaves it changed.

    Attributes:
        spec: its shape, its dtype, and where it matters its layout.
        thread: where the steps that use it run, one after another.
        generation: how many times its contents were lost. A step that was planned before is an error.
    """

    def __init__(self, pool: PoolShape):
        self.spec = pool.spec(jax.sharding.SingleDeviceSharding(jax.devices()[0]))
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="jaxcls-pages")
        self.generation = 0
        self._array: jax.Array | None = None

    def run(self, step: Callable[[jax.Array], tuple[PoolerOutput, jax.Array]], generation: int) -> PoolerOutput:
        """Runs a step over the pool and waits for it, so that it is known to have failed before the next one reads.

        Raises:
            JaxclsError: what the step was to find in the pool is lost.
        """
        if generation != self.generation:
            raise JaxclsError("a step failed that was to leave in the pool what this one needs: try again")
        array = self._empty() if self._array is None else self._array
        self._array = None
        try:
            output, self._array = step(array)
            return jax.block_until_ready(output)
        except BaseException:
            self.lose()
            raise

    def _empty(self) -> jax.Array:
        layout = None if self.spec.format.layout is None else self.spec.format
        return jax.jit(lambda: jnp.zeros(self.spec.shape, self.spec.dtype), out_shardings=layout)()

    def lose(self) -> None:
        """Counts a loss."""
        self._array = None
        self.generation += 1
