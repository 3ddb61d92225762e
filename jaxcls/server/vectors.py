"""Arrays -> what clients can be sent: lists, base64, or bytes that headers describe."""

import base64
import json
import sys
from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np
from starlette.responses import Response

from jaxcls.server.errors import bad_request

_TYPES: dict[str, Any] = {
    "float32": np.float32,
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
    "fp8_e4m3": ml_dtypes.float8_e4m3fn,
    "fp8_e5m2": ml_dtypes.float8_e5m2,
}


def check_encoding(encoding: str, dtype: str, endianness: str) -> None:
    """Raises ApiError where a choice would change nothing."""
    if encoding == "float" and dtype != "float32":
        raise bad_request(f"embed_dtype {dtype!r} is for numbers as bytes: give encoding_format 'base64' or 'bytes'")
    if encoding == "float" and endianness != "native":
        raise bad_request("endianness is for numbers as bytes: give encoding_format 'base64' or 'bytes'")


def raw_bytes(values: np.ndarray, dtype: str, endianness: str) -> bytes:
    """The numbers one after the other. Raises ApiError if one is beyond the type."""
    with np.errstate(over="ignore"):
        converted = values.astype(_TYPES[dtype])
    if not np.isfinite(converted.astype(np.float32)).all():
        raise bad_request(
            f"embed_dtype {dtype!r} does not reach to {np.abs(values).max():g}: take another", "embed_dtype"
        )
    swapped = endianness not in ("native", sys.byteorder)
    return (converted.byteswap() if swapped else converted).tobytes()


def encoded(values: np.ndarray, encoding: str, dtype: str, endianness: str) -> Any:
    """What JSON holds of an array."""
    if encoding == "float":
        return values.tolist()
    return base64.b64encode(raw_bytes(values, dtype, endianness)).decode()


def bytes_response(arrays: Sequence[np.ndarray], head: dict[str, Any], usage: dict[str, Any], body: Any) -> Response:
    """All arrays as a body; the header `metadata` says where each is, unless the encoding is bytes_only."""
    parts, data, at = [], [], 0
    for index, values in enumerate(arrays):
        part = raw_bytes(values, body.embed_dtype, body.endianness)
        place = {"start": at, "end": at + len(part), "shape": list(values.shape)}
        data.append({"index": index, "embed_dtype": body.embed_dtype, "endianness": body.endianness, **place})
        parts.append(part)
        at += len(part)
    headers = {}
    if body.encoding_format == "bytes":
        counted = {name: usage[name] for name in ("prompt_tokens", "total_tokens")}
        kept = {name: head[name] for name in ("id", "created", "model")}
        headers["metadata"] = json.dumps({**kept, "data": data, "usage": counted})
    return Response(b"".join(parts), 200, headers, "application/octet-stream")
