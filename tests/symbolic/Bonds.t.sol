// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {RollupInbox} from "../../contracts/RollupInbox.sol";
import {IBridge} from "../../contracts/interfaces/IBridge.sol";
import {Bond, Header, Parameters, Reward} from "../../contracts/interfaces/IRollupInbox.sol";
import {Commitments} from "../../contracts/libraries/Commitments.sol";
import {SVM, VM} from "./Prover.sol";

/// @dev The inbox owns no less than it owes: bonds, and half a bond for each open reward.
///
/// One call of the real contract, from any storage in which every proposer is in order (`_isInOrder`), any bond,
/// any time. What is owed to those whom the call names, and to a stranger, stands for all: each theorem also says
/// that a stranger's bond and reward stay as they are. So it holds after any number of calls.
contract BondTheorems {
    /// An account without code, like every sender and challenger here.
    address private constant SENDER = address(0x5e4de4);
    address private constant CHALLENGER = address(0xc4a11e);
    uint256 private constant END_OF_TIME = 2 ** 40;
    bytes32 private constant BATCH_COUNT_SLOT = 0;
    uint256 private constant HEADER_HASHES_SLOT = 1;

    RollupInbox private _inbox;
    uint256 private _half;

    /// This contract is the bridge, as far as the inbox's constructor asks.
    function inbox() external view returns (address) {
        return msg.sender;
    }

    function vault() external view returns (address) {
        return address(this);
    }

    function queueCount() external pure returns (uint64) {
        return 0;
    }

    /// bond: what comes in is what is owed more.
    function check_bond(
        uint128 amount,
        uint256 value,
        uint256 balance,
        address stranger,
        uint256 time
    ) external {
        _deploy(amount, stranger, SENDER, time);
        uint256 owed = _owed(SENDER);
        uint256 strange = _owed(stranger);
        VM.assume(value < 2 ** 128 && balance < 2 ** 128);
        VM.deal(address(_inbox), balance);
        VM.deal(SENDER, value);
        VM.prank(SENDER);
        _inbox.bond{value: value}();
        assert(address(_inbox).balance - balance == _owed(SENDER) - owed);
        assert(_owed(stranger) == strange);
        assert(_isInOrder(SENDER));
    }

    /// withdrawBond: what goes out is what is owed less, and no bond comes back before its last batch is past its
    /// window.
    function check_withdraw(uint128 amount, uint256 balance, address stranger, uint256 time)
        external
    {
        _deploy(amount, stranger, SENDER, time);
        uint256 owed = _owed(SENDER);
        uint256 strange = _owed(stranger);
        Bond memory held = _inbox.bondOf(SENDER);
        VM.assume(balance < 2 ** 128);
        VM.deal(address(_inbox), balance);
        VM.prank(SENDER);
        _inbox.withdrawBond();
        assert(balance - address(_inbox).balance == owed - _owed(SENDER));
        assert(time > uint256(held.lastBatchTime) + _inbox.challengeWindow());
        assert(_owed(stranger) == strange);
        assert(_isInOrder(SENDER));
    }

    /// claimReward: likewise, and a second claim is refused.
    function check_claim(
        uint128 amount,
        uint256 balance,
        address stranger,
        address proposer,
        uint256 time
    ) external {
        _deploy(amount, stranger, proposer, time);
        uint256 owed = _owed(proposer);
        uint256 strange = _owed(stranger);
        VM.assume(_inbox.rewardOf(proposer).challenger == CHALLENGER);
        VM.assume(balance < 2 ** 128 && balance >= amount);
        VM.deal(address(_inbox), balance);
        _inbox.claimReward(proposer);
        assert(balance - address(_inbox).balance == owed - _owed(proposer));
        assert(_owed(stranger) == strange);
        assert(_isInOrder(proposer));
        (bool again,) = address(_inbox).call(abi.encodeCall(_inbox.claimReward, (proposer)));
        assert(!again);
    }

    /// remove: nothing goes out, and no more is owed than before.
    function check_remove(
        uint128 amount,
        address stranger,
        Header calldata header,
        uint64 batchCount,
        uint8 fault,
        uint256 time
    ) external {
        _deploy(amount, stranger, header.proposer, time);
        uint256 owed = _owed(header.proposer);
        uint256 strange = _owed(stranger);
        uint256 balance = address(_inbox).balance;
        _store(header, batchCount);
        _inbox.remove(header, fault, CHALLENGER);
        assert(address(_inbox).balance == balance);
        assert(_owed(header.proposer) <= owed);
        assert(_owed(stranger) == strange);
        assert(_isInOrder(header.proposer));
        // The same batch is not pending any more: it is slashed for once.
        (bool again,) =
            address(_inbox).call(abi.encodeCall(_inbox.remove, (header, fault, CHALLENGER)));
        assert(!again);
    }

    /// Nobody but the prover removes.
    function check_remove_by_others(
        uint128 amount,
        address sender,
        Header calldata header,
        uint64 batchCount,
        uint256 time
    ) external {
        _deploy(amount, sender, header.proposer, time);
        VM.assume(sender != address(this));
        _store(header, batchCount);
        VM.prank(sender);
        (bool accepted,) =
            address(_inbox).call(abi.encodeCall(_inbox.remove, (header, 0, CHALLENGER)));
        assert(!accepted);
    }

    /// Planted: a removal takes nothing from what is owed to the proposer.
    function check_refuted_remove(
        uint128 amount,
        address stranger,
        Header calldata header,
        uint64 batchCount,
        uint256 time
    ) external {
        _deploy(amount, stranger, header.proposer, time);
        uint256 owed = _owed(header.proposer);
        _store(header, batchCount);
        _inbox.remove(header, 0, CHALLENGER);
        assert(_owed(header.proposer) == owed);
    }

    function _deploy(uint128 amount, address stranger, address proposer, uint256 time) private {
        VM.assume(amount != 0 && stranger != proposer && time < END_OF_TIME);
        _inbox = new RollupInbox(
            Parameters(
                IBridge(address(this)),
                address(this),
                address(2),
                address(1),
                7 days,
                1 days,
                1 hours,
                amount,
                bytes32(uint256(1))
            )
        );
        _half = amount / 2;
        SVM.enableSymbolicStorage(address(_inbox));
        VM.warp(time);
        VM.assume(_isInOrder(proposer) && _isInOrder(stranger));
    }

    /// The batch is one of the chain's: the constructor has written these two words, so the prover knows them.
    function _store(Header calldata header, uint64 batchCount) private {
        VM.assume(header.index < batchCount);
        VM.store(address(_inbox), BATCH_COUNT_SLOT, bytes32(uint256(batchCount)));
        VM.store(
            address(_inbox),
            keccak256(abi.encode(uint256(header.index), HEADER_HASHES_SLOT)),
            Commitments.computeHeaderHash(header)
        );
        assert(_inbox.batchCount() == batchCount);
        assert(_inbox.headerHash(header.index) == Commitments.computeHeaderHash(header));
    }

    function _owed(address proposer) private view returns (uint256) {
        return
            _inbox.bondOf(proposer).amount
                + (_inbox.rewardOf(proposer).claimableAt == 0 ? 0 : _half);
    }

    /// A proposer has one bond or none, and none while a reward out of it is open.
    function _isInOrder(address proposer) private view returns (bool) {
        uint256 amount = _inbox.bondOf(proposer).amount;
        return amount == 0
            || (amount == _inbox.bondAmount() && _inbox.rewardOf(proposer).claimableAt == 0);
    }
}
