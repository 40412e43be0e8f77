from tests.faults.rig import Rig


def test_first(rig: Rig):
    rig.node.trade()
    rig.check()
    assert rig.count_batches() == 1
