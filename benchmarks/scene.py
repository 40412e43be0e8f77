"""A venue on a chain whose every block time is fixed, so that gas repeats to the unit."""

from dataclasses import dataclass
from pathlib import Path

from ape import accounts
from ape.api import ProviderAPI, ReceiptAPI

from deltaroll.cli import load_project
from deltaroll.demo.actors import Trader, make_key, observe
from deltaroll.demo.venue import (
    INDEX,
    PARAMS,
    Venue,
    create_venue,
    make_dice,
)
from deltaroll.node.batcher import Batcher, compute_submission, select_chunks
from deltaroll.protocol.configure import encode_configure_params, encode_configure_series
from deltaroll.protocol.leaf import encode_params
from deltaroll.protocol.types import (
    AccountId,
    MarketId,
    SeriesKind,
    SeriesStatus,
    SlotId,
)

GENESIS = 1_900_000_000
PAIRS = 16
POSITIONS = 4
PRICE = 20_000_000
SECOND_INDEX = MarketId(8)
SERIES = tuple(MarketId(16 + place) for place in range(8))
"""Numbered together, four to each underlying."""
FUNDING = 10_000 * 10**6


@dataclass(slots=True)
class Scene:
    """A venue with 32 accounts that hold four perpetuals each, everything posted."""

    venue: Venue
    traders: list[Trader]

    def trade(self, maker: Trader, taker: Trader, series: MarketId, slot: int, lots: int) -> None:
        """Fill one new order of each side."""
        sequencer = self.venue.sequencer
        filled = 0
        for trader, is_buy in ((maker, False), (taker, True)):
            order = trader.sign(SlotId(slot), series, is_buy, PRICE, lots, sequencer.clock)
            receipt = sequencer.submit_order(
                order.account, order.slot, order.order, order.signature
            )
            assert receipt.execution is not None
            filled = receipt.execution.filled
        if filled != lots:
            raise AssertionError(f"{filled} of {lots} lots filled")

    def mark(self) -> None:
        """Let time pass, observe both underlyings and mark all series."""
        venue = self.venue
        venue.advance(12)
        venue.sync()
        for market in (INDEX, SECOND_INDEX):
            venue.sequencer.observe(
                market,
                *observe(
                    venue.committee,
                    venue.sequencer.domain,
                    market,
                    PRICE,
                    venue.sequencer.clock,
                    make_dice(market),
                ),
            )

    def seal(self) -> None:
        """Close the open chunk durably."""
        self.venue.sequencer.seal()
        self.venue.sequencer.flush()

    def post(self) -> None:
        """Seal and post everything."""
        self.seal()
        while self.venue.batcher.post() is not None:
            pass

    def post_wrong(self, flip_signature: bool) -> ReceiptAPI:
        """Post what is sealed with its last root, or its first signature, wrong by one bit."""
        batcher: Batcher = self.venue.batcher
        self.seal()
        chunks = select_chunks(batcher.store, batcher.find_next_chunk())
        posted = list(batcher.compute_posted(chunks))
        last = posted[-1]
        if flip_signature:
            signatures = bytes((last.signatures[0] ^ 1,)) + last.signatures[1:]
            posted[-1] = type(last)(last.data, signatures, last.post_root)
        else:
            root = bytes((last.post_root[0] ^ 1,)) + last.post_root[1:]
            posted[-1] = type(last)(last.data, last.signatures, root)
        arguments = compute_submission(
            batcher.follower.chain[-1].submitted.header,
            batcher.follower,
            chunks[-1].queue_end,
            self.venue.sequencer.clock + 3_600,
            posted,
        )
        inbox = self.venue.gateway.contracts.inbox
        receipt: ReceiptAPI = inbox.submitBatch(arguments, sender=self.venue.operator)
        return receipt


def create_scene(provider: ProviderAPI, folder: Path) -> Scene:
    """Deploy, list eight perpetuals on two underlyings, fund 32 accounts, give each four
    positions.
    """
    provider.make_request("evm_setNextBlockTimestamp", [GENESIS])
    provider.make_request("evm_mine", [])
    provider.make_request("anvil_setBlockTimestampInterval", [1])
    test_accounts = [accounts.test_accounts[index] for index in range(12)]
    venue = create_venue(load_project(), provider, test_accounts, str(folder / "gas.sqlite"))
    contracts = venue.gateway.contracts
    bodies = [encode_configure_params(SECOND_INDEX, encode_params(PARAMS))]
    bodies += [
        encode_configure_series(
            series,
            SeriesKind.PERPETUAL,
            SeriesStatus.ACTIVE,
            INDEX if place < len(SERIES) // 2 else SECOND_INDEX,
        )
        for place, series in enumerate(SERIES)
    ]
    for body in bodies:
        contracts.bridge.configure(body, sender=venue.deployer)
    payer = venue.owners[0]
    contracts.token.mint(payer, 100 * FUNDING, sender=venue.deployer)
    contracts.token.approve(contracts.bridge, 100 * FUNDING, sender=payer)
    traders = []
    for place in range(2 * PAIRS):
        key = make_key(f"gas {place}")
        contracts.bridge.deposit("0x" + key.address.hex(), 0, FUNDING, sender=payer)
        traders.append(Trader(f"gas {place}", AccountId(place + 1), key, venue.gateway.domain))
    scene = Scene(venue, traders)
    scene.mark()
    for pair in range(PAIRS):
        for offset in range(POSITIONS):
            series = SERIES[(pair + offset) % len(SERIES)]
            scene.trade(traders[2 * pair], traders[2 * pair + 1], series, offset, 3)
    scene.post()
    return scene
