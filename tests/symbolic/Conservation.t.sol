// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {processTransfer, processWithdraw} from "../../contracts/protocol/Actions.sol";
import {computeEquityOf} from "../../contracts/protocol/Books.sol";
import {Fault} from "../../contracts/protocol/Fault.sol";
import {computeAccountAfter, computeLongChange} from "../../contracts/protocol/Fill.sol";
import {
    Move,
    Payment,
    Takeover,
    _move,
    computeAccountMerged
} from "../../contracts/protocol/Liquidation.sol";
import {addInsurance} from "../../contracts/protocol/Realise.sol";
import {
    AccountEntry,
    MarketEntry,
    MarketType,
    State,
    resetMeter
} from "../../contracts/protocol/State.sol";
import {
    Account,
    Exit,
    Liquidate,
    Position,
    Series,
    SeriesKind,
    SeriesStatus,
    Transfer,
    Withdraw
} from "../../contracts/protocol/Types.sol";
import {VM} from "./Prover.sol";

/// @dev Money is neither made nor lost: what one gets another pays, to the unit.
///
/// An account is worth its cash and, for each position, what the margin check counts for it.
contract ConservationTheorems {
    uint256 private constant MARKET = 2;
    uint256 private constant UNDERLYING = 1;

    /// The whole of a Transfer that is no fault, to an account or to the insurance fund (0). Domain: accounts
    /// without positions; every cash, nonce, amount and insurance.
    function check_transfer(
        int128 cashA,
        int128 cashB,
        uint128 insurance,
        uint64 nonce,
        uint96 amount,
        uint64 newNonce,
        bool toFund
    ) external pure {
        State memory state = _newState(cashA, cashB, nonce);
        state.globals.insurance = int256(uint256(insurance));
        Fault fault = processTransfer(state, Transfer(1, toFund ? 0 : 2, amount, newNonce));
        VM.assume(fault == Fault.NONE);
        unchecked {
            int256 sum = state.accounts[1].account.cash + state.accounts[2].account.cash
                + state.globals.insurance;
            assert(sum == int256(cashA) + cashB + int256(uint256(insurance)));
            assert(state.accounts[1].account.cash == int256(cashA) - int256(uint256(amount)));
            assert(state.accounts[1].account.cash >= 0);
            assert(state.accounts[1].account.nonce == newNonce && newNonce > nonce);
        }
    }

    /// The whole of a Withdraw that is no fault: one exit, of what the account pays, counted as withdrawn. Domain as
    /// above.
    function check_withdraw(
        int128 cash,
        uint64 nonce,
        uint128 withdrawn,
        address recipient,
        uint96 amount,
        uint64 newNonce
    ) external pure {
        State memory state = _newState(cash, 0, nonce);
        state.globals.withdrawn = withdrawn;
        Fault fault = processWithdraw(state, Withdraw(1, recipient, amount, newNonce));
        VM.assume(fault == Fault.NONE);
        Exit memory exit = state.exits[0];
        unchecked {
            assert(state.accounts[1].account.cash == int256(cash) - int256(uint256(amount)));
            assert(state.accounts[1].account.cash >= 0);
            assert(state.globals.withdrawn == uint256(withdrawn) + amount);
            assert(state.globals.exitCount == 1);
            assert(exit.recipient == recipient && exit.amount == amount && exit.asset == 0);
            assert(state.accounts[1].account.nonce == newNonce && newNonce > nonce);
        }
    }

    /// Planted: a Transfer makes nobody poorer.
    function check_refuted_transfer(
        int128 cashA,
        int128 cashB,
        uint64 nonce,
        uint96 amount,
        uint64 newNonce
    ) external pure {
        State memory state = _newState(cashA, cashB, nonce);
        VM.assume(processTransfer(state, Transfer(1, 2, amount, newNonce)) == Fault.NONE);
        assert(state.accounts[1].account.cash >= cashA);
    }

    /// Fill: both accounts' worth and the fees add up to what they were, and so do the lots. The two account changes
    /// and the fee are as `_settle` puts them together; the margin checks after them change nothing. Domain: sizes
    /// before of -3, 0 or 3 lots, 3 or 6 lots traded (opens, adds, closes, flips); every price, mark, carry, snapshot,
    /// cash and fee. Powers of two would be shifts to the prover, which it does not see through.
    function check_fill(
        uint8[3] calldata sizes,
        int64 mark,
        int128[4] calldata carries,
        int128[2] calldata cash,
        int128[2] calldata fees,
        uint64 price,
        bool makerIsBuy
    ) external pure {
        Series memory series = _newSeries(mark, carries[0], carries[1]);
        int256 lots = 3 * (int256(_split(sizes[2], 2)) + 1);
        Account memory maker = _newAccount(cash[0], 0);
        Account memory taker = _newAccount(cash[1], 0);
        maker.positions = _newPositions(3 * (int256(_split(sizes[0], 3)) - 1), carries[2]);
        taker.positions = _newPositions(3 * (int256(_split(sizes[1], 3)) - 1), carries[3]);
        unchecked {
            int256 worth = _worth(maker, series) + _worth(taker, series);
            int256 held = _held(maker) + _held(taker);
            int256 bought = makerIsBuy ? lots : -lots;
            int256 paid = int256(uint256(price)) * bought;
            (Account memory makerAfter, Fault one) =
                computeAccountAfter(maker, MARKET, bought, -paid - fees[0], series, false);
            (Account memory takerAfter, Fault other) =
                computeAccountAfter(taker, MARKET, -bought, paid - fees[1], series, false);
            VM.assume(one == Fault.NONE && other == Fault.NONE);
            assert(
                _worth(makerAfter, series) + _worth(takerAfter, series) + fees[0] + fees[1] == worth
            );
            assert(_held(makerAfter) + _held(takerAfter) == held);
        }
    }

    /// Open interest counts what longs gain as what shorts gain: a trade between two changes it by one number.
    /// Domain: all sizes and changes within 2^63.
    function check_open_interest(int64 a, int64 b, int64 change) external pure {
        unchecked {
            int256 longs = computeLongChange(a, change) + computeLongChange(b, -int256(change));
            int256 shorts = computeLongChange(-int256(a), -int256(change))
                + computeLongChange(-int256(b), change);
            assert(longs == shorts);
        }
    }

    /// Liquidate of an account: whatever is paid for the lots, worths and the insurance fund add up to what they
    /// were, and so do the lots; the fund is not below 0. The target's change as in `_pay`, then all of `_move`; the
    /// margin checks after it change nothing. Domain: one position of 6 or -6 lots of the target, all or half taken
    /// over, -3, 0 or 3 held by the liquidator; every mark, carry, cash, insurance and payment.
    function check_liquidate(
        uint8[3] calldata sizes,
        int64 mark,
        int128[4] calldata carries,
        int128[2] calldata cash,
        uint128 insurance,
        int128[3] calldata payment
    ) external pure {
        Series memory series = _newSeries(mark, carries[0], carries[1]);
        State memory state = _newMarkets(series);
        state.globals.insurance = int256(uint256(insurance));
        state.globals.insurancePeak = int256(uint256(insurance));
        Takeover memory takeover;
        takeover.account = _newAccount(cash[0], 0);
        takeover.target = _newAccount(cash[1], 0);
        int256 size = _split(sizes[0], 2) == 0 ? int256(6) : int256(-6);
        takeover.target.positions = _newPositions(size, carries[2]);
        takeover.account.positions =
            _newPositions(3 * (int256(_split(sizes[1], 3)) - 1), carries[3]);
        takeover.moves = new Move[](1);
        takeover.moves[0] = Move(MARKET, series, _split(sizes[2], 2) == 0 ? size : size / 2);
        takeover.payment = Payment(payment[0], payment[1], payment[2]);
        unchecked {
            takeover.value = takeover.moves[0].lots * mark;
            Fault fault;
            (takeover.targetAfter, takeover.gone, fault) = computeAccountMerged(
                takeover.target, takeover.moves, -1, takeover.value - takeover.payment.own
            );
            VM.assume(fault == Fault.NONE);
            VM.assume(_move(state, Liquidate(2, 1, 1, 0, 1), takeover) == Fault.NONE);
            int256 worth = _worth(takeover.account, series) + _worth(takeover.target, series);
            assert(
                _worth(takeover.accountAfter, series) + _worth(takeover.targetAfter, series)
                        + state.globals.insurance == worth + int256(uint256(insurance))
            );
            assert(state.globals.insurance >= 0);
            assert(
                _held(takeover.accountAfter) + _held(takeover.targetAfter)
                    == _held(takeover.account) + size
            );
        }
    }

    /// The insurance fund is never below 0, gains what it is given, and its peak is no less than it.
    function check_insurance(uint128 insurance, uint128 peak, int128 gained, int128 swapped)
        external
        pure
    {
        State memory state;
        state.globals.insurance = int256(uint256(insurance));
        state.globals.insurancePeak = int256(uint256(peak));
        VM.assume(addInsurance(state, gained, swapped) == Fault.NONE);
        unchecked {
            assert(state.globals.insurance == int256(uint256(insurance)) + gained + swapped);
            assert(state.globals.insurance >= 0);
            assert(state.globals.insurancePeak >= state.globals.insurance);
        }
    }

    /// Planted: a trade leaves both accounts with what they had, whatever the fees.
    function check_refuted_fill(
        int64 mark,
        int128[2] calldata cash,
        int128[2] calldata fees,
        uint64 price
    ) external pure {
        Series memory series = _newSeries(mark, 0, 0);
        Account memory maker = _newAccount(cash[0], 0);
        Account memory taker = _newAccount(cash[1], 0);
        unchecked {
            int256 paid = int256(uint256(price));
            (Account memory makerAfter, Fault one) =
                computeAccountAfter(maker, MARKET, 1, -paid - fees[0], series, false);
            (Account memory takerAfter, Fault other) =
                computeAccountAfter(taker, MARKET, -1, paid - fees[1], series, false);
            VM.assume(one == Fault.NONE && other == Fault.NONE);
            assert(
                _worth(makerAfter, series) + _worth(takerAfter, series) == int256(cash[0]) + cash[1]
            );
        }
    }

    function _worth(Account memory account, Series memory series)
        private
        pure
        returns (int256 worth)
    {
        unchecked {
            worth = account.cash;
            for (uint256 i = 0; i < account.positions.length; ++i) {
                Position memory position = account.positions[i];
                worth += computeEquityOf(position.size, position.snapshot, series);
            }
        }
    }

    function _held(Account memory account) private pure returns (int256) {
        return account.positions.length == 0 ? int256(0) : account.positions[0].size;
    }

    function _newAccount(int256 cash, uint256 nonce) private pure returns (Account memory) {
        return Account(address(1), address(0), 0, nonce, cash, 0, 0, new Position[](0));
    }

    function _newPositions(int256 size, int256 snapshot)
        private
        pure
        returns (Position[] memory positions)
    {
        positions = new Position[](size == 0 ? 0 : 1);
        if (size != 0) positions[0] = Position(MARKET, size, snapshot);
    }

    function _newSeries(int256 mark, int256 carryLong, int256 carryShort)
        private
        pure
        returns (Series memory series)
    {
        series.kind = SeriesKind.PERPETUAL;
        series.status = SeriesStatus.ACTIVE;
        series.underlying = UNDERLYING;
        // Marks are below 2^63 here, which is all that prices of orders can be.
        VM.assume(mark > 0);
        series.mark = uint256(mark);
        (series.carryLong, series.carryShort) = (carryLong, carryShort);
        series.openInterest = 2 ** 32;
    }

    function _newState(int256 cashA, int256 cashB, uint256 nonce)
        private
        pure
        returns (State memory state)
    {
        resetMeter(state);
        state.accounts = new AccountEntry[](3);
        for (uint256 i = 0; i < 3; ++i) {
            AccountEntry memory entry = state.accounts[i];
            (entry.id, entry.exists) = (i, true);
            entry.account = _newAccount(i == 1 ? cashA : i == 2 ? cashB : int256(0), nonce);
        }
        state.exits = new Exit[](1);
    }

    function _newMarkets(Series memory series) private pure returns (State memory state) {
        resetMeter(state);
        state.markets = new MarketEntry[](1);
        MarketEntry memory entry = state.markets[0];
        (entry.id, entry.marketType) = (MARKET, MarketType.SERIES);
        uint256 leaf;
        assembly ("memory-safe") {
            leaf := series
        }
        entry.leaf = leaf;
    }

    /// @dev One case for each value below `bound`; nothing else.
    function _split(uint256 value, uint256 bound) private pure returns (uint256 fixedValue) {
        for (; fixedValue < bound; ++fixedValue) {
            if (value == fixedValue) return fixedValue;
        }
        VM.assume(false);
    }
}
