"""Quantities as people write them: `7 days`, `1 ether`, `20 %`, a day. No floats."""

import re
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from eth_utils.address import is_checksum_address, is_hex_address, to_checksum_address

from deltaroll.protocol.constants import PPM

ZERO = "0x" + bytes(20).hex()

QUANTITY = re.compile(r"(-?[0-9][0-9_]*(?:\.[0-9]+)?)\s*([a-zA-Z%]*)")

SECONDS = {
    "s": 1,
    "second": 1,
    "seconds": 1,
    "m": 60,
    "minute": 60,
    "minutes": 60,
    "h": 3_600,
    "hour": 3_600,
    "hours": 3_600,
    "d": 86_400,
    "day": 86_400,
    "days": 86_400,
}
WEI = {"wei": 1, "gwei": 10**9, "ether": 10**18}
PARTS = {"ppm": 1, "%": PPM // 100}


class Seconds(int):
    """A span of time; written with its unit: `12 hours`."""


class Wei(int):
    """An amount of ether; written with its unit: `0.5 ether`."""


class Parts(int):
    """Parts per million; written as `20 %` or `200000 ppm`."""


class Units(int):
    """Collateral in its own smallest unit; written in whole tokens of six decimals: `1000000`."""


class Moment(int):
    """Seconds since 1970; written as a day, of which it is the first second in UTC."""


class L1Address(str):
    """A checksummed L1 address."""

    __slots__ = ()


class Quantity(int):
    """An integer of the protocol, plain or with any of the units above."""


def parse_quantity(text: str, units: dict[str, int]) -> int:
    """Return a number with its unit as an integer of the smallest one.

    Raises
    ------
    ValueError
        When it is no number, its unit is not one of these, or it is no whole smallest unit.
    """
    match = QUANTITY.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a quantity")
    number, unit = match.groups()
    scale = units.get(unit)
    if scale is None:
        allowed = ", ".join(name or "(none)" for name in units)
        raise ValueError(f"{text!r} has no unit of: {allowed}")
    value = Decimal(number.replace("_", "")) * scale
    if value != value.to_integral_value():
        raise ValueError(f"{text!r} is not a whole number of the smallest unit")
    return int(value)


def parse_day(text: str) -> int:
    """Return a day's first second in UTC.

    Raises
    ------
    ValueError
        When it is no day.
    """
    day = date.fromisoformat(text.strip())
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())


def parse_address(text: str) -> L1Address:
    """Return an address, checksummed.

    Raises
    ------
    ValueError
        When it is none, its checksum is wrong, or it is zero.
    """
    plain = is_hex_address(text) and text.startswith("0x") and text == text.lower()
    if not plain and not is_checksum_address(text):
        raise ValueError(f"{text} is not an address")
    if text == ZERO:
        raise ValueError("the zero address")
    return L1Address(to_checksum_address(text))


def decode_unit(kind: type, value: Any) -> Any:
    """Turn a scalar of a file into one of the types above: msgspec's `dec_hook`.

    Raises
    ------
    ValueError
        When it is not written like one.
    NotImplementedError
        For any other type.
    """
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a quantity")
    if kind is Seconds:
        return Seconds(parse_quantity(value, SECONDS))
    if kind is Wei:
        return Wei(parse_quantity(value, WEI))
    if kind is Parts:
        return Parts(parse_quantity(value, PARTS))
    if kind is Units:
        return Units(parse_quantity(value, {"": 10**6}))
    if kind is Moment:
        return Moment(parse_day(value))
    if kind is Quantity:
        return Quantity(parse_quantity(value, {"": 1} | SECONDS | WEI | PARTS))
    if kind is L1Address:
        return parse_address(value)
    raise NotImplementedError(kind)
