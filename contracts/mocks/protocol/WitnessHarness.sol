// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Fault} from "../../protocol/Fault.sol";
import {
    COMMITTEE_TAG,
    EXPIRY_TAG,
    GRID_TAG,
    SERIES_TAG,
    decodeAccount,
    decodeCommittee,
    decodeExpiry,
    decodeGrid,
    decodeSeries,
    decodeSlot,
    decodeUnderlying
} from "../../protocol/Leaf.sol";
import {
    AccountEntry,
    Checkpoint,
    MarketEntry,
    Meter,
    SlotEntry,
    State,
    begin,
    commit,
    getAccount,
    getCommittee,
    getExpiry,
    getGrid,
    getMessage,
    getSeries,
    getSlot,
    getUnderlying,
    limitMessage,
    processExit,
    resetMeter,
    rollback,
    setAccount,
    setMarket,
    setSlot,
    touchAccount,
    touchMarket,
    validateAccount
} from "../../protocol/State.sol";
import {Account, Exit} from "../../protocol/Types.sol";
import {
    IMessageQueue,
    computeStateRoot,
    decodeWitness,
    validateMessages,
    validateWitness
} from "../../protocol/Witness.sol";

/// @title Opens witnesses, and the state that they hold, to tests.
contract WitnessHarness is IMessageQueue {
    enum Act {
        TOUCH_ACCOUNT,
        GET_ACCOUNT,
        SET_ACCOUNT,
        GET_SLOT,
        SET_SLOT,
        TOUCH_MARKET,
        GET_MARKET,
        SET_MARKET,
        GET_MESSAGE,
        PROCESS_EXIT,
        BEGIN,
        COMMIT,
        ROLLBACK
    }

    /// @notice A call on the state; a leaf comes encoded.
    struct Operation {
        Act act;
        uint256 id;
        uint256 slot;
        bytes leaf;
    }

    /// @notice A leaf that a witness opens, by its tree (account id for order slots) and its place.
    struct Opened {
        uint256 tree;
        uint256 place;
        bytes32 leafHash;
    }

    mapping(uint64 index => bytes32) public override queueHash;

    function setQueueHash(uint64 index, bytes32 value) external {
        queueHash[index] = value;
    }

    /// @notice Everything that a witness proves of a state.
    function open(bytes calldata witness, bytes32 root) external pure returns (Opened[] memory) {
        State memory state = decodeWitness(witness);
        validateWitness(state, root);
        uint256 count = state.accounts.length + state.markets.length + state.exits.length;
        for (uint256 i; i < state.accounts.length; ++i) {
            count += state.accounts[i].slots.length;
        }
        Opened[] memory opened = new Opened[](count);
        count = 0;
        for (uint256 i; i < state.accounts.length; ++i) {
            AccountEntry memory account = state.accounts[i];
            opened[count++] = Opened(0, account.id, account.leafHash);
            for (uint256 j; j < account.slots.length; ++j) {
                SlotEntry memory slot = account.slots[j];
                opened[count++] = Opened(3 + account.id, slot.id, slot.leafHash);
            }
        }
        for (uint256 i; i < state.markets.length; ++i) {
            MarketEntry memory market = state.markets[i];
            opened[count++] = Opened(1, market.id, market.leafHash);
        }
        for (uint256 i; i < state.exits.length; ++i) {
            opened[count++] = Opened(2, state.firstExit + i, 0);
        }
        return opened;
    }

    /// @notice Reverts unless a witness' messages are those of the queue.
    function checkMessages(bytes calldata witness) external view {
        validateMessages(decodeWitness(witness), this);
    }

    /// @notice Whether a chunk of some weight has room for a message, and the weight with its limits.
    function limit(uint256 gasUnits, uint256 size)
        external
        pure
        returns (bool hasRoom, Meter memory)
    {
        State memory state;
        resetMeter(state);
        state.meter.gas = gasUnits;
        state.meter.witness = size;
        hasRoom = limitMessage(state);
        return (hasRoom, state.meter);
    }

    /// @notice What each operation comes to, then the new state root and the weight.
    function run(bytes calldata witness, bytes32 root, Operation[] memory operations)
        external
        pure
        returns (Fault[] memory faults, Fault fault, bytes32 after_, Meter memory)
    {
        State memory state = decodeWitness(witness);
        Checkpoint[] memory checkpoints = new Checkpoint[](operations.length);
        uint256 depth = 0;
        faults = new Fault[](operations.length);
        resetMeter(state);
        for (uint256 i; i < operations.length; ++i) {
            Operation memory operation = operations[i];
            if (operation.act == Act.BEGIN) {
                checkpoints[depth++] = begin(state);
            } else if (operation.act == Act.COMMIT) {
                --depth;
                commit(state);
            } else if (operation.act == Act.ROLLBACK) {
                rollback(state, checkpoints[--depth]);
            } else {
                faults[i] = operate(state, operation);
            }
        }
        (after_, fault) = computeStateRoot(state, root);
        return (faults, fault, after_, state.meter);
    }

    function operate(State memory state, Operation memory operation)
        internal
        pure
        returns (Fault fault)
    {
        uint256 id = operation.id;
        bytes memory leaf = operation.leaf;
        Act act = operation.act;
        if (act == Act.TOUCH_ACCOUNT) {
            (, fault) = touchAccount(state, id);
        } else if (act == Act.GET_ACCOUNT) {
            (, fault) = getAccount(state, id);
        } else if (act == Act.SET_ACCOUNT) {
            (Account memory account,) = decodeAccount(leaf);
            // Slot numbers stand in for money that fits no leaf.
            account.cash += int256(operation.slot);
            fault = validateAccount(account);
            if (fault == Fault.NONE) setAccount(state, id, account);
        } else if (act == Act.GET_SLOT) {
            (,, fault) = getSlot(state, id, operation.slot);
        } else if (act == Act.SET_SLOT) {
            setSlot(state, id, operation.slot, decodeSlot(leaf));
        } else if (act == Act.GET_MESSAGE) {
            (, fault) = getMessage(state, id);
        } else if (act == Act.PROCESS_EXIT) {
            fault = processExit(state, Exit(operation.slot, address(uint160(id)), id));
        } else {
            fault = operateMarket(state, operation);
        }
    }

    function operateMarket(State memory state, Operation memory operation)
        internal
        pure
        returns (Fault fault)
    {
        uint256 id = operation.id;
        bytes memory leaf = operation.leaf;
        uint256 tag = uint8(leaf[0]);
        if (operation.act == Act.TOUCH_MARKET) {
            (, fault) = touchMarket(state, id);
        } else if (operation.act == Act.GET_MARKET) {
            if (tag == SERIES_TAG) (, fault) = getSeries(state, id);
            else if (tag == GRID_TAG) (, fault) = getGrid(state, id);
            else if (tag == COMMITTEE_TAG) (, fault) = getCommittee(state, id);
            else if (tag == EXPIRY_TAG) (, fault) = getExpiry(state, id);
            else (, fault) = getUnderlying(state, id);
        } else {
            if (tag == SERIES_TAG) setMarket(state, id, decodeSeries(leaf));
            else if (tag == GRID_TAG) setMarket(state, id, decodeGrid(leaf));
            else if (tag == COMMITTEE_TAG) setMarket(state, id, decodeCommittee(leaf));
            else if (tag == EXPIRY_TAG) setMarket(state, id, decodeExpiry(leaf));
            else setMarket(state, id, decodeUnderlying(leaf));
        }
    }
}
