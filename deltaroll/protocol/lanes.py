"""Sums of risk vectors, packed: entry i in bits 128·i and up, signed. Multiplying by a size and
adding works on all of them at once; entries fit as long as all sizes added up are below 2^64.
"""

from deltaroll.protocol.constants import (
    LANE_BITS,
    MAX_SCENARIOS,
)

LANE_SIGN = 1 << (LANE_BITS - 1)
LANE_MASK = (1 << LANE_BITS) - 1
LANE_BIAS = sum(LANE_SIGN << LANE_BITS * lane for lane in range(MAX_SCENARIOS + 1))
"""Added to a sum of signed lanes, it makes every lane non-negative: no borrow between
neighbours.
"""


def compute_lanes(lanes: int) -> list[int]:
    """Return the MAX_SCENARIOS entries of packed lanes."""
    biased = lanes + LANE_BIAS
    return [(biased >> LANE_BITS * i & LANE_MASK) - LANE_SIGN for i in range(MAX_SCENARIOS)]


def compute_worst(lanes: int) -> int:
    """Return the largest loss over the scenarios of packed lanes, as a non-negative number."""
    biased = lanes + LANE_BIAS
    worst = 0
    for _ in range(MAX_SCENARIOS):
        entry = (biased & LANE_MASK) - LANE_SIGN
        if entry < worst:
            worst = entry
        biased >>= LANE_BITS
    return -worst
