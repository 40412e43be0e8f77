"""Which way out, in which steps, at which cost, until when. Pure: the same situation and the same
wishes give the same plan.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from deltaroll.leave.moves import ENDS, GAS_PER_POSITION, SHARED, TABLE, Action, Place, Route
from deltaroll.leave.situation import NEVER, Asked, Owned, Situation
from deltaroll.protocol.fault import Fault
from deltaroll.protocol.types import AccountId, MarketId, MessageKind, Timestamp

NO_ACCOUNT, NO_MARKET = AccountId(0), MarketId(0)
SECOND = 1
"""Windows are over in the second after them."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What is wanted from one account."""

    account: AccountId
    amount: int | None
    """Collateral units; None: all that is free."""
    closes: bool = False
    """Close all positions first."""
    nonce: int = 0
    """Of the signed withdrawal; 0: none was signed."""
    is_handed: bool = False
    """The sequencer has taken it."""


@dataclass(frozen=True, slots=True)
class Item:
    """Money that leaves together."""

    place: Place
    account: AccountId = NO_ACCOUNT
    index: int = 0
    """Of the exit, the message or the delayed payment."""
    market: MarketId = NO_MARKET
    amount: int = 0
    """Collateral units, as far as it can be known."""
    asks: int = 0
    """Most that a forced exit asks for; 0: all there is."""
    since: Timestamp = NEVER
    """Of the message, or when what is waited for is over, once that is known."""
    positions: int = 0
    is_deposit: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do or to wait for."""

    action: Action
    item: Item
    at: Timestamp
    """A wait is over then at the latest; anything else can be done from then on."""
    gas: int

    def is_same(self, other: "Step") -> bool:
        """Return whether both do the same about the same, whatever has become of amounts."""
        mine, its = self.item, other.item
        return (self.action, mine.account, mine.index, mine.market) == (
            other.action,
            its.account,
            its.index,
            its.market,
        )


@dataclass(frozen=True, slots=True)
class Blocked:
    """An account from which nothing can be taken now."""

    account: AccountId
    reason: Fault
    amount: int
    """Its equity."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A way out of everything that is wanted, and of everything that is on its way."""

    route: Route
    steps: tuple[Step, ...]
    amount: int
    """Collateral units that it pays, as far as they can be known."""
    paid_at: Timestamp
    """When the last step can be done, if others do what they must."""
    blocked: tuple[Blocked, ...] = ()

    @property
    def gas(self) -> int:
        """Gas of all transactions."""
        return sum(step.gas for step in self.steps)

    @property
    def transactions(self) -> int:
        """How many transactions it takes."""
        return sum(step.gas != 0 for step in self.steps)

    def find_ready(self, now: Timestamp) -> Step | None:
        """Return the first step that can be done now; None when there is nothing but waiting."""
        for step in self.steps:
            if step.at <= now and not is_wait(step.action):
                return step
        return None

    def find_next(self) -> Timestamp | None:
        """Return when it can be gone on with; None when nothing is left."""
        waits = [step.at for step in self.steps if is_wait(step.action)]
        return min(waits, default=None)


def is_wait(action: Action) -> bool:
    """Return whether a step is none that the owner takes."""
    return action.name.startswith("AWAIT_")


def make_plan(situation: Situation, asks: Iterable[Ask], route: Route) -> Plan:
    """Return the plan of a route."""
    blocked: list[Blocked] = []
    items = list(_iterate_items(situation, tuple(asks), route, blocked))
    steps: list[Step] = []
    seen: set[Action] = set()
    paid_at = situation.now
    for item in items:
        at = situation.now
        for step in _walk(situation, item):
            at = step.at
            if step.action in SHARED:
                if step.action in seen:
                    continue
                seen.add(step.action)
            steps.append(step)
        paid_at = max(paid_at, at)
    # Everything that can be done at once comes first, in its own order.
    steps.sort(key=lambda step: step.at)
    amount = sum(item.amount for item in items)
    return Plan(route, tuple(steps), amount, Timestamp(paid_at), tuple(blocked))


def list_routes(situation: Situation, has_channel: bool) -> list[Route]:
    """Return the routes that are open, the fastest first.

    Parameters
    ----------
    has_channel
        The sequencer can be reached with a signed withdrawal.
    """
    if situation.hatch.is_frozen or situation.hatch.can_freeze:
        return [Route.ESCAPE]
    if not situation.is_alive:
        # A forced exit is what waits: it starts the clock of proposing and of freezing.
        return [Route.FORCED, Route.ESCAPE]
    if not has_channel:
        return [Route.FORCED]
    is_slow = situation.interval > situation.terms.forced_delay
    return [Route.FORCED, Route.NORMAL] if is_slow else [Route.NORMAL, Route.FORCED]


def _walk(situation: Situation, item: Item) -> Iterator[Step]:
    """Yield the steps that bring an item from its place to its owner."""
    at = situation.now
    place = item.place
    while place not in ENDS:
        if place == Place.OPEN and item.is_deposit:
            place = Place.UNPROCESSED
        move = TABLE[place]
        if is_wait(move.action):
            at = max(at, _compute_end(situation, move.action, item, at))
        gas = move.gas
        if move.action == Action.ESCAPE:
            gas += item.positions * GAS_PER_POSITION
        yield Step(move.action, item, at, gas)
        # What it has been waiting for so far does not count for what comes next.
        item = replace(item, since=NEVER)
        place = move.then
        if move.action == Action.CLAIM and item.amount > situation.outflow_room:
            place = Place.DELAYED


def _compute_end(situation: Situation, action: Action, item: Item, start: Timestamp) -> Timestamp:
    """Return when a wait from `start` on is over at the latest, if others do what they must."""
    terms, hatch = situation.terms, situation.hatch
    match action:
        case Action.AWAIT_SERVICE if item.place in (Place.UNSIGNED, Place.SIGNED):
            # The sequencer owes nothing here: this is its usual pace.
            end = start + situation.interval
        case Action.AWAIT_SERVICE:
            end = (item.since or start) + terms.forced_delay
            if not situation.is_alive:
                # Then it is anybody's turn.
                end = max(end, situation.head_time + terms.proposer_delay, situation.now)
        case Action.AWAIT_SETTLEMENT:
            end = item.since or start + terms.challenge_window + SECOND
        case Action.AWAIT_PAYMENT:
            end = item.since or start + terms.outflow_delay
        case Action.AWAIT_FREEZE:
            end = hatch.freezable_at or start + terms.freeze_delay + SECOND
        case Action.AWAIT_FINAL:
            end = hatch.final_at + SECOND
        case _:
            assert action == Action.AWAIT_WINDOW
            end = (hatch.closes_at or start + terms.claim_window) + SECOND
    # What is still waited for is not over.
    return Timestamp(max(end, situation.now + SECOND))


def _iterate_items(
    situation: Situation, asks: tuple[Ask, ...], route: Route, blocked: list[Blocked]
) -> Iterator[Item]:
    for found in situation.exits:
        is_settled = situation.now >= found.settles_at
        place = Place.SETTLED if is_settled else Place.POSTED
        yield Item(place, index=found.index, amount=found.amount, since=found.settles_at)
    for delayed in situation.delayed:
        is_due = situation.now >= delayed.due_at
        place = Place.PAYABLE if is_due else Place.DELAYED
        yield Item(place, index=delayed.index, amount=delayed.amount, since=delayed.due_at)
    if route == Route.ESCAPE:
        yield from _iterate_escape(situation)
        return
    for ask in asks:
        owned = situation.find_account(ask.account)
        if owned is not None:
            yield from _iterate_account(situation, owned, ask, route, blocked)


def _iterate_account(
    situation: Situation, owned: Owned, ask: Ask, route: Route, blocked: list[Blocked]
) -> Iterator[Item]:
    """Yield what an ask is in now: nothing once it has been honoured."""
    about = [each for each in situation.asked if each.account == ask.account]
    exits = [each for each in about if each.kind == MessageKind.FORCE_EXIT]
    amount = owned.free if ask.amount is None else min(ask.amount, owned.free)
    waiting = [each for each in exits if not each.is_served]
    if waiting:
        # Nothing more is asked of an account for which a request waits.
        yield Item(
            Place.QUEUED,
            ask.account,
            waiting[0].index,
            amount=min(waiting[0].amount, owned.closed if ask.closes else owned.free),
            since=waiting[0].time,
        )
        return
    if any(each.outcome == Fault.NONE for each in exits):
        return
    if route == Route.NORMAL:
        if ask.nonce and owned.nonce >= ask.nonce:
            return
        if ask.is_handed:
            yield Item(Place.SIGNED, ask.account, amount=ask.amount or 0)
        elif amount:
            yield Item(Place.UNSIGNED, ask.account, amount=amount, asks=amount)
        elif owned.equity > 0:
            blocked.append(Blocked(ask.account, owned.refusal, owned.equity))
        return
    closing = list(_iterate_closes(owned, ask, about))
    yield from closing
    amount = owned.closed if ask.closes else owned.free
    if ask.amount is not None:
        amount = min(ask.amount, amount)
    if amount == 0:
        if owned.equity > 0 and not closing:
            blocked.append(Blocked(ask.account, owned.refusal, owned.equity))
        return
    yield Item(Place.UNASKED, ask.account, amount=amount, asks=ask.amount or 0)


def _iterate_closes(owned: Owned, ask: Ask, about: list[Asked]) -> Iterator[Item]:
    if not ask.closes:
        return
    waiting = {each.market for each in about if not each.is_served}
    kinds = {each.kind for each in about}
    holdings = [
        holding
        for holding in owned.holdings
        if holding.refusal == Fault.NONE and holding.market not in waiting
    ]
    if holdings and owned.has_orders and MessageKind.CANCEL_ALL not in kinds:
        yield Item(Place.LISTED, owned.account)
    for holding in holdings:
        yield Item(Place.HELD, owned.account, market=holding.market)


def _iterate_escape(situation: Situation) -> Iterator[Item]:
    hatch = situation.hatch
    for each in situation.asked:
        if each.kind == MessageKind.DEPOSIT and not each.is_served and not each.is_refunded:
            place = _find_place(situation)
            yield Item(place, index=each.index, amount=each.amount, is_deposit=True)
    for owned in situation.accounts:
        place = _find_place(situation)
        amount = owned.equity
        if hatch.is_open and owned.is_registered:
            if owned.claim == 0:
                continue
            place = Place.DUE if situation.now > hatch.closes_at else Place.REGISTERED
            amount = owned.payout
        if amount > 0:
            yield Item(place, owned.account, amount=amount, positions=len(owned.holdings))


def _find_place(situation: Situation) -> Place:
    """Return where the money of an account that is not registered is."""
    hatch = situation.hatch
    if hatch.is_open:
        return Place.OPEN
    if hatch.is_frozen:
        return Place.FINAL if situation.now > hatch.final_at else Place.FROZEN
    return Place.FREEZABLE if hatch.can_freeze else Place.STUCK
