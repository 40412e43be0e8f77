"""A few kills; `make crash` has two hundred."""

from tests.crash.run import Campaign

KILLS = 3
FULL = 700_000
"""Bytes: some hundred orders after the start."""


def test_sequencer__killed_under_load__keeps_its_word(tmp_path):
    tally = Campaign(tmp_path, seed=2).run(KILLS)
    assert tally.kills == KILLS
    assert tally.acknowledged > 100
    assert tally.found + tally.lost > 0, "some had no answer"
    assert tally.logged["snapshot_loaded"] >= KILLS - 1
    wrong = {"snapshot_skipped", "snapshot_does_not_fit", "log_end_cut", "sequencer_failed"}
    assert not wrong & set(tally.logged)


def test_sequencer__disk_is_full__stops_and_has_acknowledged_nothing_that_is_not_there(tmp_path):
    tally = Campaign(tmp_path, seed=3).fill_disk(FULL)
    assert tally.acknowledged > 50
    assert tally.logged["sequencer_failed"] == 1
