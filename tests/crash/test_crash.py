"""A few kills; `make crash` has two hundred."""

from tests.crash.run import Campaign

KILLS = 4


def test_sequencer__killed_under_load__keeps_its_word(tmp_path):
    tally = Campaign(tmp_path, seed=2).run(KILLS)
    assert tally.kills == KILLS
    assert tally.acknowledged > 100
    assert tally.found + tally.lost > 0, "some had no answer"
    assert tally.logged["snapshot_loaded"] >= KILLS - 1
    wrong = {"snapshot_skipped", "snapshot_does_not_fit", "log_end_cut", "sequencer_failed"}
    assert not wrong & set(tally.logged)
