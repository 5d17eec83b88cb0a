"""Files that lie elsewhere: any address that fsspec knows (s3://, gs://, https://) becomes a local file first."""

import os
import shutil
from pathlib import Path
from urllib.parse import urlsplit

from reft.errors import DataFormatError, explain


def local_copy(address: str, folder: Path) -> Path:
    """The path itself where it is a local one, else a copy in the folder, fetched piece by piece.

    Raises:
        DataFormatError: nothing is there, or the file system's own package is missing.
    """
    if "://" not in address:
        return Path(address)
    import fsspec  # many commands need no remote file

    folder.mkdir(parents=True, exist_ok=True)
    name = urlsplit(address).path.rstrip("/").rsplit("/", 1)[-1] or "input"
    here, partial = folder / name[-100:], folder / "fetching.part"
    try:
        with fsspec.open(address, "rb") as remote, partial.open("wb") as local:
            shutil.copyfileobj(remote, local, 1 << 20)
    except ImportError as error:
        remedy = "install the package that the message names (pip install s3fs for s3://, gcsfs for gs://)"
        raise DataFormatError(explain(str(error), address, remedy)) from error
    except Exception as error:  # every file system brings its own kinds of errors
        remedy = "check the address and this machine's right to read it"
        raise DataFormatError(explain(f"could not be fetched: {error!r}", address, remedy)) from error
    os.replace(partial, here)
    return here
