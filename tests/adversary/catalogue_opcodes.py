"""Which instructions a contract has."""

from collections.abc import Iterator

PUSH_1, PUSH_32 = 0x60, 0x7F
JUMPDEST = 0x5B
ENDS = {0x00: "STOP", 0x56: "JUMP", 0xF3: "RETURN", 0xFD: "REVERT", 0xFE: "INVALID"}
"""What nothing follows but a place that is jumped to."""


def iterate_opcodes(code: bytes) -> Iterator[int]:
    """Yield the opcodes of deployed code: not what PUSH brings along, nor constants behind the
    code, nor the compiler's metadata.
    """
    end = len(code) - 2 - int.from_bytes(code[-2:], "big")
    # The metadata are CBOR that begins with a map.
    if not (0 < end < len(code) and code[end] >> 4 == 0xA):
        end = len(code)
    place = 0
    while 0 <= place < end:
        opcode = code[place]
        yield opcode
        place += 1 + (opcode - PUSH_1 + 1 if PUSH_1 <= opcode <= PUSH_32 else 0)
        if opcode in ENDS:
            place = code.find(JUMPDEST, place, end)
