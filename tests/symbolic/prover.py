"""Runs halmos in its own environment, with two things added that it lacks.

To the prover a product of two unknown words is a function of which it knows nothing, not even that
the order does not matter; the compiler writes the same product in either order. The function always
gets its arguments in one order here, which is the same number.

It does not know BLOBBASEFEE either, which becomes the unknown that BASEFEE is. Contracts
only record the two.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from halmos import sevm
from halmos.__main__ import main

BASE_FEE = 0x48
BLOB_BASE_FEE = 0x4A

Function = Callable[[Any, Any], Any]


def sort_arguments(function: Function) -> Function:
    """Make a function of two terms blind to their order."""

    def call(left: Any, right: Any) -> Any:
        first, second = sorted((left, right), key=lambda term: term.get_id())
        return function(first, second)

    return call


class BaseFees:
    """Equals the opcode of either base fee."""

    def __eq__(self, other: object) -> bool:
        return other in (BASE_FEE, BLOB_BASE_FEE)

    __hash__ = None  # type: ignore[assignment]


if __name__ == "__main__":
    sevm.OP_BASEFEE = BaseFees()
    for size, function in sevm.f_mul.items():
        sevm.f_mul[size] = sort_arguments(function)
    sys.exit(main())
