"""Arrays inside msgpack as openpi writes them: maps with the byte keys `__ndarray__`, data,
dtype, shape.

Compatible with `openpi_client.msgpack_numpy` in both directions. What arrives from a network is
checked before it becomes an array: plain numeric types only, as many bytes as the shape says, and
no array larger than the message that carried it.
"""

from typing import Any

import msgpack
import numpy as np
from tandem.runtime.errors import WireError

_KINDS = frozenset("biuf")
_MAX_DIMENSIONS = 8
_MAX_ITEMS = 100_000  # of one map or list; arrays come as bytes


def pack(value: Any) -> bytes:
    """Dicts, lists, text, numbers and numeric arrays to msgpack.

    Raises:
        WireError: something in it has no place in a message, such as an array of objects.
    """
    try:
        data: bytes = msgpack.packb(value, default=_to_plain)
    except (TypeError, ValueError, OverflowError) as error:
        raise WireError(f"this observation cannot be sent: {error}") from error
    return data


def unpack(data: bytes, max_bytes: int) -> Any:
    """The value that was packed; arrays are copies of their own.

    Raises:
        WireError: too large, not msgpack, or arrays that are not what they say.
    """
    if len(data) > max_bytes:
        raise WireError(f"a message of {len(data)} bytes, at most {max_bytes} are accepted")
    try:
        return msgpack.unpackb(
            data,
            object_hook=_from_plain,
            strict_map_key=False,
            max_str_len=max_bytes,
            max_bin_len=max_bytes,
            max_array_len=_MAX_ITEMS,
            max_map_len=_MAX_ITEMS,
            max_ext_len=0,
        )
    except WireError:
        raise
    except Exception as error:  # msgpack raises a dozen unrelated classes on bytes that are not its
        raise WireError(
            f"a message that is not msgpack ({type(error).__name__}: {error})"
        ) from error


def _to_plain(value: Any) -> Any:
    if not isinstance(value, np.ndarray | np.generic):
        raise TypeError(f"a {type(value).__name__} has no place in a message")
    if value.dtype.kind not in _KINDS:
        raise TypeError(f"arrays of dtype {value.dtype} have no place in a message")
    if isinstance(value, np.generic):
        return {b"__npgeneric__": True, b"data": value.item(), b"dtype": value.dtype.str}
    return {
        b"__ndarray__": True,
        b"data": np.ascontiguousarray(value).tobytes(),
        b"dtype": value.dtype.str,
        b"shape": value.shape,
    }


def _from_plain(value: dict[Any, Any]) -> Any:
    if b"__ndarray__" in value:
        return _array(value)
    if b"__npgeneric__" in value:
        return _dtype(value.get(b"dtype")).type(value.get(b"data"))
    return value


def _array(value: dict[Any, Any]) -> np.ndarray:
    dtype, shape, data = _dtype(value.get(b"dtype")), value.get(b"shape"), value.get(b"data")
    good = isinstance(shape, list | tuple) and len(shape) <= _MAX_DIMENSIONS
    if not good or any(type(n) is not int or n < 0 for n in shape):
        raise WireError(f"an array of shape {shape!r}")
    if not isinstance(data, bytes) or len(data) != dtype.itemsize * int(
        np.prod(shape, dtype=object)
    ):
        raise WireError(f"an array whose bytes do not fill its shape {tuple(shape)}")
    return np.frombuffer(data, dtype).reshape(shape).copy()


def _dtype(name: Any) -> np.dtype[Any]:
    """Only numbers: an object dtype would be pointers out of someone else's process."""
    try:
        dtype = np.dtype(name if isinstance(name, str) else name.decode())
    except Exception as error:
        raise WireError(f"an array of dtype {name!r}") from error
    if dtype.kind not in _KINDS or dtype.hasobject or dtype.shape:
        raise WireError(f"an array of dtype {dtype}, only plain numbers are accepted")
    return dtype
