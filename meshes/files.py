"""Files that are whole or not there."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from pathlib import Path


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Each file whole or not at all: written under a temporary name, synced, renamed; the last one
    after all others."""
    mark = f".{uuid.uuid4().hex[:12]}.tmp"
    hidden = {name: folder / f".{name}{mark}" for name in files}
    try:
        for name, content in files.items():
            with hidden[name].open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        for name in files:
            hidden[name].replace(folder / name)
    finally:
        for path in hidden.values():
            path.unlink(missing_ok=True)


def replace_file(path: Path, content: bytes) -> None:
    """One file, as `write_files`."""
    write_files(path.parent, {path.name: content})
