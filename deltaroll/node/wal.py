"""What SQLite's write-ahead log holds, good or not: commits that SQLite cannot read whole are
dropped when it opens the file, without a word. This is how to tell that there were any.

The format is SQLite's (https://www.sqlite.org/fileformat2.html, section 4): a header, then frames,
each a page behind a header of its own. Frames of one generation carry the salts of its header, and
the last of each commit says so.
"""

import struct
from collections.abc import Iterator
from pathlib import Path

HEADER = struct.Struct(">8I")
"""Magic, format, page size, checkpoint number, two salts, two checksums."""
FRAME = struct.Struct(">6I")
"""Page, pages of the file after a commit or else 0, two salts, two checksums."""
MAGIC = 0x377F0682
"""The lowest bit says in which byte order checksums are computed."""
PAGE_BYTES = 4_096
"""Where the header does not say."""
MODULUS = 1 << 32


def read_commits(path: Path) -> list[bool]:
    """Return of each frame of a write-ahead log's generation whether it ends a commit; nothing
    where there is no such file."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    if len(data) < HEADER.size + FRAME.size:
        return []
    page_bytes, salts = PAGE_BYTES, FRAME.unpack_from(data, HEADER.size)[2:4]
    if is_header(data[: HEADER.size]):
        _, _, page_bytes, _, *known, _, _ = HEADER.unpack_from(data)
        salts = tuple(known)
    return [after != 0 for after, found in _iterate_frames(data, page_bytes) if found == salts]


def is_header(head: bytes) -> bool:
    """Return whether a header is what was written."""
    magic = int.from_bytes(head[:4], "big")
    words = struct.unpack(">6I" if magic & 1 else "<6I", head[:24])
    first = second = 0
    for place in range(0, 6, 2):
        first = (first + words[place] + second) % MODULUS
        second = (second + words[place + 1] + first) % MODULUS
    return magic | 1 == MAGIC | 1 and struct.unpack_from(">2I", head, 24) == (first, second)


def _iterate_frames(data: bytes, page_bytes: int) -> Iterator[tuple[int, tuple[int, int]]]:
    for place in range(HEADER.size, len(data) - FRAME.size + 1, FRAME.size + page_bytes):
        _, after, first, second, _, _ = FRAME.unpack_from(data, place)
        yield after, (first, second)
