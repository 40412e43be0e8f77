"""Plans and situations in plain words."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal

from deltaroll.amounts import to_money
from deltaroll.leave.moves import Action, Route
from deltaroll.leave.plan import Ask, Blocked, Plan, Step, is_wait
from deltaroll.leave.situation import Asked, Owned, Situation
from deltaroll.protocol.fault import Fault
from deltaroll.protocol.types import MessageKind

TITLES = {
    Route.NORMAL: "normal: a withdrawal that you sign and the sequencer takes",
    Route.FORCED: "forced: a request through L1, which every batch must serve",
    Route.ESCAPE: "escape: the rollup ends, and you take your equity out by proof",
}
REFUSALS = {
    Fault.MARGIN: "its equity is margin of its positions: close them first (--close)",
    Fault.HALTED: "what it holds has no price: a request would be passed over until the oracle "
    "committee prices it again; anyone who has signed prices can force them through L1 "
    "(ape run force). If nobody prices it for the oracle delay, anyone may freeze the rollup",
    Fault.STALE_MARK: "what it holds has to be priced again first",
    Fault.INSURANCE: "the insurance fund cannot take its positions over",
    Fault.UNKNOWN_ACCOUNT: "L2 knew no such account",
    Fault.BAD_SIGNATURE: "the account belongs to somebody else",
    Fault.OVERWEIGHT: "it was too heavy for any chunk: ask for it in smaller pieces",
    Fault.POSITION_LIMIT: "the insurance fund holds as many series as an account may",
}
WAYS_ON = {
    MessageKind.FORCE_EXIT: "ask again",
    MessageKind.FORCE_CLOSE: "close a smaller part, trade it away, or wait",
    MessageKind.CANCEL_ALL: "ask again",
}


def describe_time(time: int) -> str:
    """Return a second as a date."""
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M UTC")


def describe_span(seconds: int) -> str:
    """Return a length of time in its two largest units."""
    days, rest = divmod(max(seconds, 0), 86_400)
    hours, rest = divmod(rest, 3_600)
    minutes = rest // 60
    if days:
        return f"{days} d {hours} h" if hours else f"{days} d"
    if hours:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{minutes} min"


def describe_ether(wei: int) -> str:
    """Return wei as ether, to a millionth."""
    return f"{Decimal(wei) / 10**18:.6f} ether"


def describe_refusal(fault: Fault) -> str:
    """Return why a request is passed over."""
    return REFUSALS.get(fault, f"the protocol refuses it: {fault.name}")


def describe_holdings(situation: Situation) -> Iterator[str]:
    """Yield what the owner has, and where it is."""
    if situation.has_fraud:
        yield "the newest batch on L1 breaks a rule: anybody can remove it with ape run challenge"
    for owned in situation.accounts:
        yield from _describe_account(owned, situation)
    for found in situation.exits:
        if situation.now >= found.settles_at:
            state = "can be claimed"
        else:
            state = f"can be claimed from {describe_time(found.settles_at)} on"
        yield f"exit {found.index}: {to_money(found.amount)}, made by batch {found.batch}, {state}"
    for delayed in situation.delayed:
        yield (
            f"exit {delayed.index}: {to_money(delayed.amount)}, claimed, held back by the vault "
            f"until {describe_time(delayed.due_at)}"
        )
    for asked in situation.asked:
        yield describe_asked(asked, situation)


def _describe_account(owned: Owned, situation: Situation) -> Iterator[str]:
    text = f"account {owned.account}: equity {to_money(owned.equity)}, "
    text += f"free to leave {to_money(owned.free)}"
    if owned.holdings:
        text += f", {len(owned.holdings)} positions"
    if owned.claim:
        text += f"; registered with the escape hatch for {to_money(owned.claim)}"
    elif owned.is_registered:
        text += "; paid by the escape hatch"
    yield text
    if situation.hatch.is_frozen:
        return
    if owned.free == 0 and owned.equity > 0:
        yield f"  now: {describe_refusal(owned.refusal)}"
    for holding in owned.holdings:
        if holding.refusal == Fault.NONE:
            yield (
                f"  position in {holding.market}, {holding.size} lots: closing it by force costs "
                f"{to_money(holding.cost)}"
            )
        else:
            yield (
                f"  position in {holding.market}, {holding.size} lots: cannot be closed by force "
                f"now: {describe_refusal(holding.refusal)}"
            )


def describe_asked(asked: Asked, situation: Situation) -> str:
    """Return what became of a message."""
    what = asked.kind.name.lower().replace("_", " ")
    subject = f"message {asked.index}: {what}"
    if asked.account:
        subject += f" of account {asked.account}"
    if not asked.is_served:
        if situation.hatch.is_frozen:
            return f"{subject}: never served, and never will be"
        due = describe_time(asked.time + situation.terms.forced_delay)
        return f"{subject}: waits; no batch can leave it out after {due}"
    if asked.outcome == Fault.NONE:
        return f"{subject}: honoured"
    way = WAYS_ON.get(asked.kind, "ask again")
    return f"{subject}: passed over: {describe_refusal(asked.outcome)}. Next: {way}"


def describe_plan(plan: Plan, situation: Situation) -> Iterator[str]:
    """Yield a plan step by step, with its cost and times."""
    yield describe_summary(plan, situation)
    for place, step in enumerate(plan.steps, 1):
        yield f"  {place:2d}. {_describe_when(step, situation):27s} {describe_step(step)}" + (
            f"  [{step.gas:,} gas, {describe_ether(step.gas * situation.base_fee)}]"
            if step.gas
            else ""
        )
    for blocked in plan.blocked:
        yield f"  not possible now: {_describe_blocked(blocked)}"


def describe_summary(plan: Plan, situation: Situation) -> str:
    """Return a plan in one line."""
    cost = describe_ether(plan.gas * situation.base_fee)
    return (
        f"{TITLES[plan.route]}. About {to_money(plan.amount)}, paid "
        f"{describe_time(plan.paid_at)} (in {describe_span(plan.paid_at - situation.now)}), "
        f"{plan.transactions} transactions, {cost} at the base fee of now"
    )


def _describe_when(step: Step, situation: Situation) -> str:
    if step.at <= situation.now:
        return "now"
    if is_wait(step.action):
        return f"until {describe_time(step.at)}"
    return f"from {describe_time(step.at)}"


def describe_step(step: Step) -> str:
    """Return a step in words."""
    item = step.item
    match step.action:
        case Action.CANCEL_ALL:
            return f"kill all open orders of account {item.account}"
        case Action.FORCE_CLOSE:
            return f"close the position in {item.market} of account {item.account}"
        case Action.FORCE_EXIT:
            amount = f"up to {to_money(item.asks)}" if item.asks else "all that is free"
            return f"ask L1 for a forced exit of {amount} from account {item.account}"
        case Action.SIGN:
            return (
                f"sign a withdrawal of {to_money(item.asks)} from account {item.account} and "
                "hand it to the sequencer"
            )
        case Action.CLAIM:
            return "claim the exit" if item.account else f"claim exit {item.index}"
        case Action.PAY_DELAYED:
            return f"have exit {item.index} paid, which the vault held back"
        case Action.ESCAPE:
            return f"prove account {item.account} to the escape hatch"
        case Action.TAKE:
            return f"take what account {item.account} is owed"
        case Action.REFUND:
            return f"have deposit {item.index} paid back"
        case Action.FREEZE:
            return (
                "freeze the rollup: nobody can trade or deposit any more, for ever, and everybody "
                "has to leave by proof"
            )
        case _:
            return str(step.action.value)


def _describe_blocked(blocked: Blocked) -> str:
    return (
        f"account {blocked.account}, equity {to_money(blocked.amount)}: "
        f"{describe_refusal(blocked.reason)}"
    )


def describe_others(
    situation: Situation, others: Sequence[Plan], has_channel: bool
) -> Iterator[str]:
    """Yield the other ways, and what each would take."""
    for plan in others:
        yield describe_summary(plan, situation)
    if situation.hatch.is_frozen:
        return
    terms = situation.terms
    if not has_channel and situation.is_alive:
        yield (
            f"{TITLES[Route.NORMAL]}: give --connect PORT or --requests FILE. One transaction, "
            f"paid about {describe_span(situation.interval + terms.challenge_window)} from now"
        )
    if not situation.is_alive:
        yield (
            "propose yourself: ape run propose serves the queue in a batch of your own, now. It "
            f"takes a bond of {describe_ether(terms.bond)}, which comes back after "
            f"{describe_span(terms.challenge_window)} unless the batch is proven wrong"
        )
    if not situation.hatch.can_freeze:
        yield (
            f"{TITLES[Route.ESCAPE]}: possible once a message has waited, without a batch, for "
            f"{describe_span(terms.freeze_delay)}"
        )


def describe_asks(asks: Sequence[Ask]) -> str:
    """Return what is wanted in one line."""
    parts = []
    for ask in asks:
        amount = "everything free" if ask.amount is None else to_money(ask.amount)
        closing = ", positions closed first" if ask.closes else ""
        parts.append(f"{amount} from account {ask.account}{closing}")
    return "; ".join(parts) or "nothing but what is on its way"
