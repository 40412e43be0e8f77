"""Price levels and queues by themselves."""

from deltaroll.engine.book import BookSide
from deltaroll.engine.orders import PriceLevel, RestingOrder
from deltaroll.protocol.types import AccountId, Order, SlotId, TimeInForce
from tests.engine.support import BTC, FOREVER, make_address


def make_resting(number: int, price: int, lots: int, is_buy: bool = True) -> RestingOrder:
    order = Order(BTC, is_buy, price, lots, 1, 0, FOREVER, TimeInForce.GTC, False, False)
    owner = make_address(1)
    return RestingOrder(AccountId(number), SlotId(0), owner, owner, order, b"", lots, False, number)


def test_walk__bids__highest_price_then_oldest() -> None:
    side = BookSide(is_bid=True)
    for number, price in ((1, 90), (2, 100), (3, 95), (4, 100)):
        side.add(make_resting(number, price, 1))
    assert [resting.account for resting in side.walk(95)] == [2, 4, 3]
    assert side.get_best() == 100


def test_walk__asks__lowest_price_then_oldest() -> None:
    side = BookSide(is_bid=False)
    for number, price in ((1, 90), (2, 100), (3, 95), (4, 90)):
        side.add(make_resting(number, price, 1, is_buy=False))
    assert [resting.account for resting in side.walk(95)] == [1, 4, 3]
    assert side.get_best() == 90


def test_remove__last_of_its_price__level_gone() -> None:
    side = BookSide(is_bid=True)
    first, second = make_resting(1, 90, 3), make_resting(2, 100, 4)
    side.add(first)
    side.add(second)
    side.remove(second)
    assert side.get_best() == 90
    side.remove(first)
    assert side.get_best() is None
    assert side.get_levels(5) == ()


def test_reduce__partial_fill__keeps_its_place() -> None:
    side = BookSide(is_bid=True)
    first, second = make_resting(1, 90, 3), make_resting(2, 90, 4)
    side.add(first)
    side.add(second)
    side.reduce(first, 2)
    assert list(side.walk(90)) == [first, second]
    assert side.get_levels(5) == (PriceLevel(90, 5, 2),)


def test_get_levels__fewer_wanted__best_ones() -> None:
    side = BookSide(is_bid=False)
    for number, price in ((1, 90), (2, 100), (3, 95), (4, 90)):
        side.add(make_resting(number, price, number, is_buy=False))
    assert side.get_levels(2) == (PriceLevel(90, 5, 2), PriceLevel(95, 3, 1))


def test_has_lots__counts_only_what_the_limit_crosses() -> None:
    side = BookSide(is_bid=False)
    side.add(make_resting(1, 90, 3, is_buy=False))
    side.add(make_resting(2, 91, 3, is_buy=False))
    assert side.has_lots(90, 3)
    assert not side.has_lots(90, 4)
    assert side.has_lots(91, 6)
    assert not side.has_lots(91, 7)
