"""Static files are collected once, and again when their sources have changed."""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Callable
from pathlib import Path

from seeds.sandbox.processes import PROJECT

COLLECT = ("collectstatic", "--no-input", "--clear")


def collect_static_files(data_dir: Path, collect: Callable[[], None]) -> None:
    """Call `collect`, which fills `data_dir/static`, unless it holds what it should already."""
    data_dir.mkdir(exist_ok=True)
    with open(data_dir / "static.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        collected_from = data_dir / "static-collected-from"
        sources = _fingerprint_of_sources()
        is_current = collected_from.exists() and collected_from.read_text() == sources
        if not is_current or not (data_dir / "static").exists():
            collect()
            collected_from.write_text(sources)


def _fingerprint_of_sources() -> str:
    """Our own files, and the list of the packages that bring others."""
    digest = hashlib.sha256((PROJECT / "requirements.txt").read_bytes())
    for path in sorted((PROJECT / "storefront").glob("**/static/**/*")):
        if path.is_file():
            stat = path.stat()
            digest.update(f"{path}:{stat.st_size}:{stat.st_mtime_ns}".encode())
    return digest.hexdigest()
