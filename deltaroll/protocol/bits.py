"""Bit strings, most significant bit first: the base of the codec."""

from deltaroll.protocol.fault import Fault, TransitionFault

DECIMAL_EXPONENT_BITS = 4
"""Powers of ten up to 10^15."""
MAX_EXPONENT = 15


class BitReader:
    """Reads fields of up to 256 bits from a byte string."""

    __slots__ = ("_bits", "_data", "position")

    def __init__(self, data: bytes) -> None:
        self._data = int.from_bytes(data, "big")
        self._bits = len(data) * 8
        self.position = 0

    @property
    def remaining(self) -> int:
        """Bits not read yet."""
        return self._bits - self.position


def decode_bits(reader: BitReader, width: int) -> int:
    """Read `width` bits as an unsigned integer.

    Raises
    ------
    TransitionFault
        TRUNCATED when fewer bits are left.
    """
    end = reader.position + width
    if end > reader._bits:
        raise TransitionFault(Fault.TRUNCATED)
    reader.position = end
    return (reader._data >> (reader._bits - end)) & ((1 << width) - 1)


def decode_number(reader: BitReader, width: int) -> int:
    """Read a number below 2^width: its bit length, then its bits without the leading one.

    The length field is as wide as `width` needs. Zero has length zero. One form per value.

    Raises
    ------
    TransitionFault
        TRUNCATED; NON_CANONICAL when the length exceeds `width`.
    """
    length = decode_bits(reader, width.bit_length())
    if length > width:
        raise TransitionFault(Fault.NON_CANONICAL)
    if length == 0:
        return 0
    return (1 << (length - 1)) | decode_bits(reader, length - 1)


def decode_decimal(reader: BitReader, width: int) -> int:
    """Read mantissa * 10^exponent below 2^width; the mantissa carries no factor ten it could shed.

    Raises
    ------
    TransitionFault
        TRUNCATED; NON_CANONICAL for a reducible mantissa or zero with an exponent;
        OUT_OF_RANGE when the product needs more than `width` bits.
    """
    exponent = decode_bits(reader, DECIMAL_EXPONENT_BITS)
    mantissa = decode_number(reader, width)
    if mantissa == 0:
        if exponent != 0:
            raise TransitionFault(Fault.NON_CANONICAL)
        return 0
    if mantissa % 10 == 0 and exponent < MAX_EXPONENT:
        raise TransitionFault(Fault.NON_CANONICAL)
    value: int = mantissa * 10**exponent
    if value >> width != 0:
        raise TransitionFault(Fault.OUT_OF_RANGE)
    return value


class BitWriter:
    """Collects fields; the mirror of BitReader."""

    __slots__ = ("_length", "_value")

    def __init__(self) -> None:
        self._value = 0
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def to_bytes(self) -> bytes:
        """Return the bytes, the last one padded with zero bits."""
        size = (self._length + 7) // 8
        return (self._value << (size * 8 - self._length)).to_bytes(size, "big")


def encode_bits(writer: BitWriter, value: int, width: int) -> None:
    """Append `value` in `width` bits; ValueError when it does not fit."""
    if value < 0 or value >> width != 0:
        raise ValueError(f"{value} does not fit {width} bits")
    writer._value = (writer._value << width) | value
    writer._length += width


def encode_number(writer: BitWriter, value: int, width: int) -> None:
    """Append what `decode_number` reads; ValueError when it does not fit."""
    length = value.bit_length()
    if value < 0 or length > width:
        raise ValueError(f"{value} does not fit {width} bits")
    encode_bits(writer, length, width.bit_length())
    if length > 1:
        encode_bits(writer, value - (1 << (length - 1)), length - 1)


def encode_decimal(writer: BitWriter, value: int, width: int) -> None:
    """Append what `decode_decimal` reads; ValueError when it does not fit."""
    if value < 0 or value >> width != 0:
        raise ValueError(f"{value} does not fit {width} bits")
    exponent = 0
    while value and value % 10 == 0 and exponent < MAX_EXPONENT:
        value //= 10
        exponent += 1
    encode_bits(writer, exponent, DECIMAL_EXPONENT_BITS)
    encode_number(writer, value, width)
