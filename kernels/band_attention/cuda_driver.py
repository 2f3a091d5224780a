"""The few functions of the CUDA driver that start a kernel from a cubin.

They work in the current context, which is torch's own once torch has used the device: memory and
streams are the same. Names and numbers are those of the CUDA driver API's documentation.
"""

from __future__ import annotations

import ctypes
import functools

from minireranker.errors import ConfigurationError

__all__ = ["Kernel", "find_driver"]

_MOST_SHARED = 8
"""CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES: above 48 KB a kernel has to ask."""
_CARVEOUT = 9
"""CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT: per cent of what L1 and it divide."""


@functools.lru_cache(maxsize=1)
def find_driver() -> ctypes.CDLL | None:
    """libcuda, if there is one."""
    try:
        return ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None


class Kernel:
    """One function of a cubin, in the context that was current when it was loaded."""

    def __init__(self, cubin: bytes, name: str, *, threads: int, shared: int) -> None:
        """``threads``, ``shared`` bytes: of a block.

        Raises ConfigurationError with the driver's own words where it refuses.
        """
        self._threads, self._shared = threads, shared
        # It is unloaded with its context: there are few of them, and they are used to the end.
        module, self._function = ctypes.c_void_p(), ctypes.c_void_p()
        _call("cuModuleLoadData", ctypes.byref(module), cubin)
        _call("cuModuleGetFunction", ctypes.byref(self._function), module, name.encode())
        for attribute, value in ((_MOST_SHARED, shared), (_CARVEOUT, 100)):
            _call("cuFuncSetAttribute", self._function, attribute, value)

    def launch(self, grid: tuple[int, int], stream: int, argument: ctypes.Structure) -> None:
        """Start ``grid`` blocks on ``stream`` with a copy of ``argument``.

        Raises ConfigurationError with the driver's own words where it refuses.
        """
        arguments = (ctypes.c_void_p * 1)(ctypes.addressof(argument))
        sizes = *grid, 1, self._threads, 1, 1, self._shared
        _call(
            "cuLaunchKernel",
            self._function,
            *(ctypes.c_uint(size) for size in sizes),
            ctypes.c_void_p(stream),
            arguments,
            None,
        )


def _call(name: str, *arguments: object) -> None:
    driver = find_driver()
    if driver is None:
        raise ConfigurationError(f"there is no libcuda.so.1 to call {name} of; install a driver")
    status = getattr(driver, name)(*arguments)
    if status:
        words = ctypes.c_char_p()
        driver.cuGetErrorString(status, ctypes.byref(words))
        said = words.value.decode() if words.value else f"error {status}"
        raise ConfigurationError(
            f"the CUDA driver refused {name} for band_attention's backend 'cuda': {said}; update "
            "the driver or take backend='auto'"
        )
