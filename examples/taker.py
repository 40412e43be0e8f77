"""Buys or sells so many lots at no worse than a price, whoever quotes them, and says how it went.

    python examples/taker.py --api http://127.0.0.1:8080 --registry data/deployments/1337.json \
        --key-file taker.key --market 4 --buy --size 5 --limit 6000.25
"""

import argparse
from decimal import Decimal
from pathlib import Path

from deltaroll.amounts import to_money
from deltaroll.node.events import OrderState
from deltaroll.sdk.client import Client, PlacedOrder
from deltaroll.sdk.rollup import Rollup
from deltaroll.sdk.units import Money


def take(client: Client, market: int, is_buy: bool, size: int, limit: Money) -> PlacedOrder:
    """Take what is there within the limit, at once; what is not there is cancelled."""
    side = client.buy if is_buy else client.sell
    order = side(market, limit, size, kind="market", time_in_force="ioc")
    order.done()
    return order


def main() -> None:
    """Read the command line and trade."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--api", required=True)
    parser.add_argument("--registry", type=Path, required=True)
    parser.add_argument("--key-file", type=Path, required=True)
    parser.add_argument("--market", type=int, required=True)
    parser.add_argument("--buy", action=argparse.BooleanOptionalAction, required=True)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--limit", type=Decimal, required=True)
    given = parser.parse_args()
    key = given.key_file.read_text().strip()
    with Client(given.api, Rollup.read(given.registry), key) as client:
        order = take(client, given.market, given.buy, given.size, given.limit)
        word = "bought" if given.buy else "sold"
        print(f"{word} {order.filled} of {order.terms.size} lots: {order.state} {order.reason}")
        for _, fill in order.order.fills:
            print(f"  {fill.lots} at {to_money(fill.price)}")
        if order.state is OrderState.REJECTED:
            raise SystemExit(1)


if __name__ == "__main__":
    main()
