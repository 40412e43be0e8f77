"""The pages for traders say what the code does."""

from deltaroll.node.api.hub import MAX_LEVELS
from deltaroll.node.api.limits import Limits
from deltaroll.node.api.messages import MAX_BATCH
from deltaroll.node.client_ids import MAX_REMEMBERED
from deltaroll.node.desk import MAX_HELD, MAX_OPEN
from deltaroll.node.receipts import CANCEL_ALL_TYPE, CANCEL_TYPE, GROUP_TYPE, RECEIPT_TYPE
from tools.api_tables import PAGE, fill


def test_api_page__tables__are_those_of_the_code():
    page = PAGE.read_text(encoding="utf-8")
    assert fill(page) == page


def test_api_page__types_and_limits__are_those_of_the_code():
    page = PAGE.read_text(encoding="utf-8")
    limits = Limits()
    for text in (RECEIPT_TYPE, GROUP_TYPE, CANCEL_TYPE, CANCEL_ALL_TYPE):
        assert text in page
    numbers = (
        *(limits.connections, limits.connections_per_address, limits.subscriptions),
        *(limits.in_flight, limits.queue_messages, limits.ring),
        *(MAX_BATCH, MAX_HELD, MAX_OPEN, MAX_LEVELS, MAX_REMEMBERED),
    )
    for number in numbers:
        assert f"{number:,}" in page
