// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {divUp} from "../../contracts/protocol/Arithmetic.sol";
import {FUNDING_PERIOD, PPM} from "../../contracts/protocol/Constants.sol";
import {Fault} from "../../contracts/protocol/Fault.sol";
import {computeFees} from "../../contracts/protocol/Fill.sol";
import {computeAccrued, computePremium} from "../../contracts/protocol/Funding.sol";
import {Payment, computePayment} from "../../contracts/protocol/Liquidation.sol";
import {Series, SeriesKind, Underlying} from "../../contracts/protocol/Types.sol";
import {VM, assumeDivision} from "./Prover.sol";

/// @dev Rounding is never against the pool.
contract RoundingTheorems {
    /// Fees of both sides together are not below 0: no rebate is paid out of the pool. Domain: every price below
    /// 2^63, lots below 2^31, rates of governance's widths, perpetuals and options.
    function check_fees(
        uint8 kind,
        uint64 index,
        uint64 price,
        uint32 lots,
        int32 makerRate,
        uint32 takerRate,
        uint32 cap
    ) external pure {
        VM.assume(kind < 2);
        Series memory series;
        series.kind = kind == 0 ? SeriesKind.PERPETUAL : SeriesKind.CALL;
        Underlying memory underlying;
        underlying.index = index;
        underlying.params.makerFee = makerRate;
        underlying.params.takerFee = takerRate;
        underlying.params.optionMakerFee = makerRate;
        underlying.params.optionTakerFee = takerRate;
        underlying.params.optionFeeCap = cap;
        (int256 maker, int256 taker) = computeFees(series, underlying, price, lots);
        unchecked {
            assert(maker >= -taker);
        }
    }

    /// Funding: longs pay what shorts get, and nothing is lost between two steps: the step and the remainder are what
    /// has accrued, to the part of a unit. Domain: every premium, time and carry of the leaf's widths.
    function check_funding(
        uint64 mark,
        uint64 index,
        uint32 cap,
        uint16 remainder,
        uint40 from,
        uint40 clock,
        int128[2] calldata carry
    ) external pure {
        VM.assume(from != 0 && clock > from && remainder < FUNDING_PERIOD);
        Series memory series;
        (series.mark, series.markIndex, series.accruedAt) = (mark, index, from);
        (series.fundingRemainder, series.carryLong, series.carryShort) =
        (remainder, carry[0], carry[1]);
        Underlying memory underlying;
        underlying.params.fundingCap = cap;
        unchecked {
            int256 total = int256(uint256(remainder)) + computePremium(series, underlying.params)
                * int256(uint256(clock - from));
            assumeDivision(total, int256(FUNDING_PERIOD));
            (Series memory accrued, Fault fault) = computeAccrued(series, underlying.params, clock);
            VM.assume(fault == Fault.NONE);
            int256 step = accrued.carryLong - carry[0];
            assert(accrued.carryShort - carry[1] == step);
            assert(step * int256(FUNDING_PERIOD) + int256(accrued.fundingRemainder) == total);
            assert(accrued.fundingRemainder < FUNDING_PERIOD);
        }
    }

    /// The reward of a liquidation is never more than the account's part and the insurance fund together, nor than
    /// what was asked for, nor below 0. Domain: equity within 2^200, any share, reward and insurance.
    function check_payment(
        int256 equity,
        uint32 share,
        uint128 reward,
        uint128 insurance,
        bool isAll
    ) external pure {
        VM.assume(equity > -2 ** 200 && equity < 2 ** 200);
        (Payment memory payment, Fault fault) = computePayment(
            equity, share, int256(uint256(reward)), int256(uint256(insurance)), isAll
        );
        VM.assume(fault == Fault.NONE);
        unchecked {
            assert(payment.paid >= 0);
            assert(payment.paid <= int256(uint256(reward)));
            assert(payment.own <= int256(uint256(reward)));
            assert(payment.paid - payment.own <= int256(uint256(insurance)));
        }
    }

    /// A loss spread over lots brings in no less than it is, and less than a unit a lot more. Domain: all words.
    function check_socialised(int256 loss, int256 lots) external pure {
        VM.assume(lots > 0);
        assumeDivision(loss, lots);
        unchecked {
            int256 excess = divUp(loss, lots) * lots - loss;
            assert(excess >= 0 && excess < lots);
        }
    }

    /// Planted: both sides together always pay something.
    function check_refuted_fees(uint64 price, uint32 lots, int32 makerRate, uint32 takerRate)
        external
        pure
    {
        Series memory series;
        Underlying memory underlying;
        underlying.params.makerFee = makerRate;
        underlying.params.takerFee = takerRate;
        (int256 maker, int256 taker) = computeFees(series, underlying, price, lots);
        assert(maker + taker > 0);
    }
}
