"""What ops with a compiled kernel for CPUs beside their XLA program have in common."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax

Implementation = Literal["xla", "cpu"]


def dispatch(
    implementation: Implementation | None,
    reason: str | None,
    *operands: Any,
    cpu: Callable[..., Any],
    xla: Callable[..., Any],
) -> Any:
    """The op by the implementation that is asked for, or by the kernel on CPUs wherever it can.

    Args:
        implementation: what the caller asks for; None: no matter.
        reason: why the kernel cannot compute this; None if it can.
        operands: arrays, or None.
        cpu: the kernel.
        xla: the program for every backend.

    Raises:
        ValueError: the kernel is asked for and cannot.
    """
    if implementation == "xla" or (implementation is None and reason is not None):
        return xla(*operands)
    if implementation is None:
        return jax.lax.platform_dependent(*operands, cpu=cpu, default=xla)
    if reason is not None:
        raise ValueError(f"implementation='cpu': {reason}; use 'xla'")
    return cpu(*operands)


def with_gradient_of(xla: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Gives a kernel, a function of arrays and keywords, the gradient of the XLA program with the same arguments."""

    def decorate(kernel: Callable[..., Any]) -> Callable[..., Any]:
        def op(*operands: Any, **options: Any) -> Any:
            run = jax.custom_vjp(partial(kernel, **options))
            run.defvjp(
                lambda *saved: (kernel(*saved, **options), saved),
                lambda saved, gradient: jax.vjp(partial(xla, **options), *saved)[1](gradient),
            )
            return run(*operands)

        return op

    return decorate
