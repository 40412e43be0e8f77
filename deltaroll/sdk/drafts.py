"""What a trader asks for, before it has a slot, a nonce and a signature."""

from dataclasses import dataclass

from deltaroll.engine.matching import SelfTradePolicy
from deltaroll.node.api.messages import (
    OrderKind,
    TimeInForceName,
    TriggerKind,
    TriggerSource,
    TriggerTerms,
)
from deltaroll.sdk.units import Money, to_units

__all__ = [
    "Draft",
    "OrderKind",
    "SelfTradePolicy",
    "TimeInForceName",
    "TriggerKind",
    "TriggerSource",
    "TriggerTerms",
]

DAY = 86_400


@dataclass(frozen=True, slots=True)
class Draft:
    """An order to be. docs/trade/orders.md says what each wish means."""

    market: int
    is_buy: bool
    price: Money
    """Limit, per lot: an int in collateral units, text or Decimal in collateral."""
    size: int
    """Lots."""
    time_in_force: str = TimeInForceName.GTC
    """`gtc`, `gtd`, `ioc` or `fok`."""
    post_only: bool = False
    reduce_only: bool = False
    expiry: int | None = None
    """Last second (L1 time) in which it may trade; None: `life` from now. An option's order must
    not outlive the option."""
    life: int = DAY
    """Seconds, where no `expiry` is given."""
    kind: str = OrderKind.LIMIT
    """`market`: immediate, `price` is the cap; with `ioc` or `fok`."""
    client_id: str | None = None
    """None: one is made."""
    self_trade: SelfTradePolicy | None = None
    is_quote: bool = False
    trigger: TriggerTerms | None = None

    def __post_init__(self) -> None:
        """Check what the venue would not take.

        Raises
        ------
        TypeError, ValueError
            Naming the field.
        """
        if to_units("price", self.price) <= 0:
            raise ValueError(f"price: {self.price} is not above 0")
        if isinstance(self.size, bool) or not isinstance(self.size, int):
            raise TypeError(f"size: {self.size!r} is no whole number of lots")
        if self.size <= 0:
            raise ValueError(f"size: {self.size} is not above 0")
        if self.time_in_force not in set(TimeInForceName):
            known = ", ".join(TimeInForceName)
            raise ValueError(f"time_in_force: {self.time_in_force} is none of {known}")
        if self.kind not in set(OrderKind):
            raise ValueError(f"kind: {self.kind} is none of {', '.join(OrderKind)}")
