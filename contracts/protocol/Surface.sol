// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {ONE} from "./Constants.sol";
import {copyExpiry} from "./Copy.sol";
import {Fault, isFault} from "./Fault.sol";
import {computeSqrt} from "./Fixed.sol";
import {State, chargeModule, getCommittee, getExpiry, getUnderlying, setMarket} from "./State.sol";
import {Committee, Expiry, Surface, Underlying} from "./Types.sol";

// Surface: forward, rate and volatility of an expiry, as a quorum of the committee has signed them.
//
// Volatility is raw SVI: at log-moneyness k = ln(strike / forward), the total variance is
// a + b (rho (k - m) + sqrt((k - m)^2 + sigma^2)). A surface with negative variance anywhere is refused, and one
// whose wings are steeper than any price can be (Lee's bound).
//
// Fields of a leaf have 64 bits with their sign, log-moneyness fewer: no product of three of them and a square
// root overflows.

uint256 constant MIN_RATIO = ONE / 4;
uint256 constant MAX_RATIO = 4 * ONE;
uint256 constant MAX_RATE = ONE;
/// @dev Total variance beyond it counts as this.
int256 constant MAX_VARIANCE = 144 * int256(ONE);
/// @dev Of a and sigma, either way.
uint256 constant MAX_LEVEL = 36 * ONE;
/// @dev Of m, either way.
uint256 constant MAX_CENTER = 16 * ONE;
/// @dev Of the wings' slopes b (1 - rho) and b (1 + rho).
uint256 constant MAX_WING = 2 * ONE;

/// @dev Check that a surface gives every strike a variance and no wing an arbitrage. SURFACE.
///
/// Of perpetuals only the ratio means anything; all else is 0.
function validateSurface(Expiry memory expiry, Surface memory surface) pure returns (Fault) {
    if (surface.ratio < MIN_RATIO || surface.ratio > MAX_RATIO) return Fault.SURFACE;
    (int256 a, int256 b, int256 rho, int256 m, int256 sigma) =
        (surface.a, surface.b, surface.rho, surface.m, surface.sigma);
    if (expiry.time == 0) {
        return surface.rate | a | b | rho | m | sigma == 0 ? Fault.NONE : Fault.SURFACE;
    }
    int256 one = int256(ONE);
    unchecked {
        if (
            _abs(surface.rate) > MAX_RATE || _abs(a) > MAX_LEVEL || _abs(rho) >= ONE
                || _abs(m) > MAX_CENTER || sigma <= 0 || _abs(sigma) > MAX_LEVEL || b < 0
                || uint256(b) * (ONE + _abs(rho)) > MAX_WING * ONE
        ) return Fault.SURFACE;
        // The least variance, at k = m - rho sigma / sqrt(1 - rho^2), is a + b sigma sqrt(1 - rho^2).
        int256 height = int256(computeSqrt(uint256(one * one - rho * rho)));
        return a * one * one + b * sigma * height < 0 ? Fault.SURFACE : Fault.NONE;
    }
}

/// @dev Return total variance from `surfacedAt` to expiry at a log-moneyness, both Q48, rounded down; between 0 and
/// MAX_VARIANCE.
function computeVariance(Expiry memory expiry, int256 moneyness) pure returns (uint256) {
    unchecked {
        int256 distance = moneyness - expiry.m;
        int256 sigma = expiry.sigma;
        int256 root = int256(computeSqrt(uint256(distance * distance + sigma * sigma)));
        int256 variance = expiry.a + (expiry.b * (expiry.rho * distance + root * int256(ONE)) >> 96);
        if (variance < 0) return 0;
        return uint256(variance < MAX_VARIANCE ? variance : MAX_VARIANCE);
    }
}

/// @dev Check that enough members have signed, in time. UNKNOWN_SIGNER; QUORUM when there are too few of them, or
/// the surface is not newer than the one there is, is from the future, too old, or not from before the expiry.
function validateQuorum(
    Expiry memory expiry,
    Underlying memory underlying,
    Committee memory committee,
    Surface memory surface,
    uint256 clock
) pure returns (Fault) {
    uint256 signers = surface.signers;
    if (signers >> committee.signers.length != 0) return Fault.UNKNOWN_SIGNER;
    uint256 count;
    uint256 time = surface.time;
    // At most MAX_SIGNERS bits; times have 40, ages 32.
    unchecked {
        for (; signers != 0; signers &= signers - 1) {
            ++count;
        }
        if (
            count < committee.threshold || time <= expiry.surfacedAt || time > clock
                || clock > time + underlying.params.maxObservationAge
                || (expiry.time != 0 && time >= expiry.time)
        ) return Fault.QUORUM;
    }
    return Fault.NONE;
}

/// @dev Set what an expiry's options are priced from, or the premium of a perpetual. OVERWEIGHT, UNKNOWN_MARKET;
/// INACTIVE when the expiry is settled; UNKNOWN_SIGNER, QUORUM, SURFACE.
function processSurface(State memory state, Surface memory surface) pure returns (Fault fault) {
    fault = chargeModule(state, 0);
    if (isFault(fault)) return fault;
    (Expiry memory expiry, Fault noExpiry) = getExpiry(state, surface.market);
    if (isFault(noExpiry)) return noExpiry;
    if (expiry.settlement != 0) return Fault.INACTIVE;
    (Underlying memory underlying, Fault noUnderlying) = getUnderlying(state, expiry.underlying);
    if (isFault(noUnderlying)) return noUnderlying;
    (Committee memory committee, Fault noCommittee) =
        getCommittee(state, underlying.params.committee);
    if (isFault(noCommittee)) return noCommittee;
    fault = validateQuorum(expiry, underlying, committee, surface, state.globals.clock);
    if (isFault(fault)) return fault;
    fault = validateSurface(expiry, surface);
    if (isFault(fault)) return fault;
    Expiry memory expiryAfter = copyExpiry(expiry);
    expiryAfter.ratio = surface.ratio;
    expiryAfter.rate = surface.rate;
    expiryAfter.a = surface.a;
    expiryAfter.b = surface.b;
    expiryAfter.rho = surface.rho;
    expiryAfter.m = surface.m;
    expiryAfter.sigma = surface.sigma;
    expiryAfter.surfacedAt = surface.time;
    setMarket(state, surface.market, expiryAfter);
}

function _abs(int256 value) pure returns (uint256) {
    unchecked {
        return uint256(value < 0 ? -value : value);
    }
}
