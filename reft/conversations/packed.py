"""Compressed files: decompressed as they are read, watched for what expands without end, and told when damaged."""

import io
from pathlib import Path
from typing import IO, Any, Literal

import pyarrow as pa

from reft.conversations.limits import Meter
from reft.errors import DataFormatError, explain

Compression = Literal["gzip", "zstd"]
BLOCK = 1 << 20
# What zlib and zstandard say where a file goes on with something else after its data.
NO_MEMBER = ("incorrect header check", "unknown compression method", "Unknown frame descriptor")
CUT = "Truncated compressed stream"


def opened(file: Path, compression: Compression | None, meter: Meter) -> IO[bytes]:
    """The file's bytes, decompressed as they are read, and watched for what expands beyond the limits."""
    if compression is None:
        return file.open("rb")
    stream = pa.CompressedInputStream(pa.OSFile(str(file), "rb"), compression)
    meter.packed += file.stat().st_size
    return io.BufferedReader(_Watched(stream, file, meter, compression=compression), BLOCK)


class _Watched(io.RawIOBase):
    """A decompressing stream that refuses to grow without end."""

    def __init__(self, stream: Any, file: Path, meter: Meter, *, compression: Compression) -> None:
        self._stream, self._file, self._meter, self._compression = stream, file, meter, compression

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            block = self._stream.read(len(buffer))
        except (pa.ArrowException, OSError) as error:
            raise _damaged(str(error), self._file, self._compression) from error
        self._meter.count(len(block), self._file)
        buffer[: len(block)] = block
        return len(block)


def _damaged(fault: str, file: Path, compression: Compression) -> DataFormatError:
    """What the libraries' words stand for; a packed file may go on after its end, with another member of its kind."""
    if any(words in fault for words in NO_MEMBER):
        what = f"bytes that are no {compression} stand after the end of the {compression} data"
        return DataFormatError(
            explain(what, str(file), f"take them off: {compression} -dc < FILE > rows leaves them out")
        )
    if CUT in fault:
        what = "cut off, or a few bytes stand after the end of the data"
        remedy = f"compress or fetch it again; see with: {compression} -t < FILE"
        return DataFormatError(explain(f"damaged: {what} ({fault})", str(file), remedy))
    return DataFormatError(explain(f"damaged: {fault}", str(file), "compress or fetch it again"))
