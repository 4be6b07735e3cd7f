"""Device memory through the CUDA driver library alone: TensorRT needs buffers, not a framework."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import numpy.typing as npt

from temport.exporter.compilers.tensorrt import compute_capability
from temport.exporter.errors import UserError


class Driver:
    """The first CUDA device's primary context, current in this thread until `close`."""

    def __init__(self, library: str = "libcuda.so.1") -> None:
        try:
            self._cuda = ctypes.CDLL(library)
        except OSError as error:
            raise UserError(f"no CUDA driver: {library} cannot be loaded") from error
        self._call("cuInit", 0)
        self._device = ctypes.c_int()
        self._call("cuDeviceGet", ctypes.byref(self._device), 0)
        context = ctypes.c_void_p()
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), self._device)
        self._call("cuCtxSetCurrent", context)

    @property
    def device(self) -> str:
        """The device's name."""
        text = ctypes.create_string_buffer(256)
        self._call("cuDeviceGetName", text, 256, self._device)
        return text.value.decode()

    @property
    def compute_capability(self) -> str:
        """Major and minor number together, such as 89."""
        return compute_capability(self._cuda)

    def upload(self, array: npt.NDArray[Any]) -> DeviceBuffer:
        """A copy of `array` on the device."""
        contiguous = np.ascontiguousarray(array)
        buffer = self.empty(contiguous.nbytes)
        self._call(
            "cuMemcpyHtoD_v2", buffer.address, contiguous.ctypes.data_as(ctypes.c_void_p), _size(buffer)
        )
        return buffer

    def empty(self, nbytes: int) -> DeviceBuffer:
        """Uninitialised device memory; never of size 0, which the driver refuses."""
        address = ctypes.c_uint64()
        self._call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(max(nbytes, 1)))
        return DeviceBuffer(self, address, nbytes)

    def download(
        self, buffer: DeviceBuffer, shape: tuple[int, ...], dtype: npt.DTypeLike
    ) -> npt.NDArray[Any]:
        """The contents of `buffer` after everything launched so far has finished."""
        array = np.empty(shape, dtype)
        if array.nbytes > buffer.nbytes:
            raise ValueError(f"{array.nbytes} bytes asked of a buffer of {buffer.nbytes}")
        self._call("cuCtxSynchronize")
        self._call(
            "cuMemcpyDtoH_v2",
            array.ctypes.data_as(ctypes.c_void_p),
            buffer.address,
            ctypes.c_size_t(array.nbytes),
        )
        return array

    def free(self, buffer: DeviceBuffer) -> None:
        self._call("cuMemFree_v2", buffer.address)

    def close(self) -> None:
        self._call("cuDevicePrimaryCtxRelease_v2", self._device)

    def _call(self, name: str, *arguments: Any) -> None:
        code = getattr(self._cuda, name)(*arguments)
        if code != 0:
            raise UserError(f"CUDA refused {name} with error {code}")


class DeviceBuffer:
    """`nbytes` bytes at `address` on the device; freed with the object."""

    def __init__(self, driver: Driver, address: ctypes.c_uint64, nbytes: int) -> None:
        self._driver, self.address, self.nbytes = driver, address, nbytes

    def __enter__(self) -> DeviceBuffer:
        return self

    def __exit__(self, *_: object) -> None:
        self._driver.free(self)


def _size(buffer: DeviceBuffer) -> ctypes.c_size_t:
    return ctypes.c_size_t(buffer.nbytes)
