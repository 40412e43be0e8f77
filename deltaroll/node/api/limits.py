"""How much one client may ask for: token buckets, and the sizes of everything that could grow."""

from dataclasses import dataclass
from time import monotonic

from deltaroll.config import LimitSettings


@dataclass(frozen=True, slots=True)
class Rate:
    """A bucket's size and what flows in."""

    burst: float
    """Tokens of a full bucket."""
    per_second: float


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of the API. Costs are in tokens: an order takes one."""

    account: Rate = Rate(2_000, 200)
    """Of what an account signs; charged when the signature is good."""
    address: Rate = Rate(4_000, 1_000)
    """Of what comes from an address, before anything is looked at."""
    cancel_cost: float = 0.1
    """Taking risk off is cheap."""
    refused_cost: float = 5.0
    """What a bad signature costs an address beyond the request."""
    query_cost: float = 5.0
    heavy_cost: float = 50.0
    """Of a question that looks at every account."""
    fill_refund: float = 2.0
    """Tokens that each fill gives back to both accounts, up to a full bucket."""
    connections: int = 1_000
    connections_per_address: int = 100
    subscriptions: int = 500
    """Of one connection."""
    in_flight: int = 1_000
    """Requests of one connection that are not answered yet."""
    message_bytes: int = 65_536
    """Of one frame or body from a client."""
    queue_messages: int = 10_000
    """That wait for one client before it is dropped; likewise bytes."""
    queue_bytes: int = 8_388_608
    send_buffer: int = 262_144
    """Bytes that the system keeps for a client beyond these."""
    ring: int = 2_048
    """Messages of each channel that a client may catch up on."""
    ping_interval: float = 20.0
    """Seconds."""
    ping_timeout: float = 20.0
    """A client that does not answer a ping within this is disconnected."""
    ticker_seconds: float = 0.25
    """Tickers are sent at most this often; margins at most every second."""
    margin_seconds: float = 1.0


def make_limits(settings: LimitSettings) -> Limits:
    """Return the limits that a configuration asks for."""
    return Limits(
        account=Rate(settings.account_burst, settings.account_rate),
        address=Rate(settings.address_burst, settings.address_rate),
        connections=settings.connections,
        connections_per_address=settings.connections_per_address,
        subscriptions=settings.subscriptions,
        in_flight=settings.in_flight,
    )


class Buckets:
    """A bucket per key. Where there are too many, those that were begun first are forgotten: they
    are full again by then, or soon would be."""

    def __init__(self, rate: Rate, capacity: int = 100_000) -> None:
        self._burst = rate.burst
        self._per_second = rate.per_second
        self._capacity = capacity
        self._levels: dict[object, list[float]] = {}
        """Key -> tokens, as of when."""

    def take(self, key: object, cost: float, now: float | None = None) -> float:
        """Take tokens; return 0, or the seconds until as many are there (and take none)."""
        bucket = self._fill(key, monotonic() if now is None else now)
        # A request dearer than the bucket is due when the bucket is full.
        missing = min(cost, self._burst) - bucket[0]
        if missing > 0:
            return missing / self._per_second
        bucket[0] -= cost
        return 0.0

    def give(self, key: object, tokens: float) -> None:
        """Put tokens back."""
        bucket = self._levels.get(key)
        if bucket is not None:
            bucket[0] = min(self._burst, bucket[0] + tokens)

    def charge(self, key: object, cost: float) -> None:
        """Take tokens, there or not: the key pays for it later."""
        self._fill(key, monotonic())[0] -= cost

    def _fill(self, key: object, now: float) -> list[float]:
        """Return a key's bucket with what has flowed in."""
        bucket = self._levels.get(key)
        if bucket is None:
            bucket = self._levels[key] = [self._burst, now]
            if len(self._levels) > self._capacity:
                del self._levels[next(iter(self._levels))]
            return bucket
        bucket[0] = min(self._burst, bucket[0] + (now - bucket[1]) * self._per_second)
        bucket[1] = now
        return bucket
