"""The committee of a local venue: signs one index price every few seconds.

    python examples/oracle.py --api http://127.0.0.1:8080 \
        --registry data/deployments/1337.json --market 3 --price 6000.00

Its keys are those of Ape's test accounts 7, 8 and 9, which `deployments/local.yaml` names: known to
everybody, and good for nothing but a chain of your own.
"""

import argparse
import asyncio
from decimal import Decimal
from pathlib import Path

from eth_account import Account as EthAccount

from deltaroll.protocol.types import MarketId, Observation, Timestamp
from deltaroll.sdk.errors import RefusedError
from deltaroll.sdk.reader import Reader
from deltaroll.sdk.rollup import Rollup
from deltaroll.sdk.signing import Signer
from deltaroll.sdk.units import to_units

PHRASE = "test test test test test test test test test test test junk"
MEMBERS = (7, 8, 9)


def make_members() -> list[Signer]:
    """Return the committee in the order in which the rollup has it: by address."""
    EthAccount.enable_unaudited_hdwallet_features()
    paths = [f"m/44'/60'/0'/0/{place}" for place in MEMBERS]
    keys = [EthAccount.from_mnemonic(PHRASE, account_path=path).key for path in paths]
    return sorted((Signer(bytes(key)) for key in keys), key=lambda member: member.address)


async def observe(
    reader: Reader, members: list[Signer], market: int, price: int, time: Timestamp
) -> None:
    """Have all members sign a price as of a time, and hand it in."""
    prices = []
    for place, member in enumerate(members):
        seen = Observation(place, price, time)
        signature = member.sign_observation(reader.rollup.domain, MarketId(market), seen)
        fields = {"signer": place, "price": price, "time": time}
        prices.append(fields | {"signature": "0x" + signature.hex()})
    await reader.submit({"type": "observe", "market": market, "prices": prices})


async def main() -> None:
    """Read the command line and sign until stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--api", required=True)
    parser.add_argument("--registry", type=Path, required=True)
    parser.add_argument("--market", type=int, required=True)
    parser.add_argument("--price", type=Decimal, required=True)
    parser.add_argument("--interval", type=float, default=5.0)
    parser.add_argument("--once", action="store_true")
    given = parser.parse_args()
    price = to_units("price", given.price)
    members = make_members()
    async with Reader(given.api, Rollup.read(given.registry)) as reader:
        seen = 0
        while True:
            time = await reader.ping()
            try:
                # One that is no newer than the last is refused: L1's clock stands while nothing is
                # mined.
                if time > seen:
                    seen = time
                    await observe(reader, members, given.market, price, Timestamp(time))
            except RefusedError as refusal:
                if given.once:
                    raise
                print(refusal)
            if given.once:
                return
            await asyncio.sleep(given.interval)


if __name__ == "__main__":
    asyncio.run(main())
