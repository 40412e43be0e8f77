// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Decoder, MAX_TABLE, decodeHeader, decodeTransaction} from "./Codec.sol";
import {MAX_SIGNERS} from "./Constants.sol";
import {
    computeDigest,
    hashLiquidate,
    hashObservation,
    hashOrder,
    hashSetTradingKey,
    hashSurface,
    hashTransfer,
    hashWithdraw
} from "./Eip712.sol";
import {Fault, isFault} from "./Fault.sol";
import {SIGNATURE_BYTES, recoverSigner} from "./Recovery.sol";
import {
    AccountEntry,
    State,
    getCommittee,
    getExpiry,
    getUnderlying,
    touchAccount
} from "./State.sol";
import {
    Account,
    Committee,
    Expiry,
    Fill,
    Kind,
    Observation,
    Observe,
    Surface,
    Transaction,
    Underlying
} from "./Types.sol";

// Signatures: which ones a chunk must carry, in which order, and by whom.
//
// A chunk's signatures stand in their own section, 64 bytes each, in the order in which the transactions
// require them. The state before the chunk decides whose key is right: a change of key takes effect with the
// next chunk. A transition takes them as good; a bad one has its own proof.

/// @dev The chunk requires no signature of this position.
error Signatures_UnknownPosition(uint256 position, uint256 count);

/// @dev Who may sign.
enum Role {
    OWNER, // The account's owner.
    TRADER, // The account's owner, or its trading key while that lives.
    ORACLE, // A member of the underlying's committee.
    SURFACE // A member of the committee of the expiry's underlying.
}

/// @dev One signature that a transaction requires.
struct SignatureRequest {
    Role role;
    uint256 subject; // Account id; the underlying's market id for ORACLE, the expiry's for SURFACE.
    uint256 signer; // Index in the committee for ORACLE and SURFACE, else 0.
    bytes32 structHash;
}

/// @dev Return the signatures that a transaction requires: maker before taker, oracle members ascending.
function computeRequests(Transaction memory transaction)
    pure
    returns (SignatureRequest[] memory requests)
{
    requests = new SignatureRequest[](_countRequests(transaction));
    if (requests.length == 0) return requests;
    Kind kind = transaction.kind;
    unchecked {
        if (kind == Kind.FILL) {
            Fill memory fill = transaction.fill;
            if (fill.hasMakerOrder) {
                bytes32 structHash = hashOrder(fill.maker, fill.makerSlot, fill.makerOrder);
                _setRequest(requests[0], Role.TRADER, fill.maker, structHash);
            }
            if (fill.hasTakerOrder) {
                bytes32 structHash = hashOrder(fill.taker, fill.takerSlot, fill.takerOrder);
                _setRequest(requests[requests.length - 1], Role.TRADER, fill.taker, structHash);
            }
        } else if (kind == Kind.OBSERVE) {
            Observe memory observe = transaction.observe;
            for (uint256 i; i < requests.length; ++i) {
                Observation memory entry = observe.observations[i];
                bytes32 structHash = hashObservation(observe.market, entry);
                _setRequest(requests[i], Role.ORACLE, observe.market, structHash);
                requests[i].signer = entry.signer;
            }
        } else if (kind == Kind.SURFACE) {
            Surface memory surface = transaction.surface;
            bytes32 structHash = hashSurface(surface);
            uint256 count = 0;
            for (uint256 signer; signer < MAX_SIGNERS; ++signer) {
                if ((surface.signers >> signer) & 1 == 0) continue;
                _setRequest(requests[count], Role.SURFACE, surface.market, structHash);
                requests[count++].signer = signer;
            }
        } else if (kind == Kind.LIQUIDATE) {
            bytes32 structHash = hashLiquidate(transaction.liquidate);
            _setRequest(requests[0], Role.TRADER, transaction.liquidate.account, structHash);
        } else {
            uint256 account = transaction.setTradingKey.account;
            bytes32 structHash;
            if (kind == Kind.TRANSFER) {
                account = transaction.transfer.sender;
                structHash = hashTransfer(transaction.transfer);
            } else if (kind == Kind.WITHDRAW) {
                account = transaction.withdraw.account;
                structHash = hashWithdraw(transaction.withdraw);
            } else {
                structHash = hashSetTradingKey(transaction.setTradingKey);
            }
            _setRequest(requests[0], Role.OWNER, account, structHash);
        }
    }
}

/// @dev Check that `signer` may sign for an account in `role`. BAD_SIGNATURE.
function validateAccountSigner(Account memory account, Role role, address signer, uint256 clock)
    pure
    returns (Fault)
{
    if (signer == account.owner) return Fault.NONE;
    if (role == Role.TRADER && signer == account.tradingKey && clock <= account.keyExpiry) {
        return Fault.NONE;
    }
    return Fault.BAD_SIGNATURE;
}

/// @dev Check that `signer` is the committee's member at `index`. BAD_SIGNATURE.
function validateOracleSigner(Committee memory committee, uint256 index, address signer)
    pure
    returns (Fault)
{
    if (index >= committee.signers.length || committee.signers[index] != signer) {
        return Fault.BAD_SIGNATURE;
    }
    return Fault.NONE;
}

/// @dev Check one signature (r, then s with the parity of y in its top bit) against the keys in `state`.
/// BAD_SIGNATURE, also when account, expiry, underlying or committee do not exist; OVERWEIGHT.
function validateSignature(
    State memory state,
    SignatureRequest memory request,
    bytes32 r,
    bytes32 sAndParity,
    bytes32 domain,
    uint256 clock
) pure returns (Fault) {
    address signer = recoverSigner(computeDigest(domain, request.structHash), r, sAndParity);
    if (signer == address(0)) return Fault.BAD_SIGNATURE;
    if (request.role == Role.ORACLE || request.role == Role.SURFACE) {
        uint256 subject = request.subject;
        if (request.role == Role.SURFACE) {
            (Expiry memory expiry, Fault noExpiry) = getExpiry(state, subject);
            if (noExpiry == Fault.UNKNOWN_MARKET) return Fault.BAD_SIGNATURE;
            if (isFault(noExpiry)) return noExpiry;
            subject = expiry.underlying;
        }
        (Underlying memory underlying, Fault noUnderlying) = getUnderlying(state, subject);
        if (noUnderlying == Fault.UNKNOWN_MARKET) return Fault.BAD_SIGNATURE;
        if (isFault(noUnderlying)) return noUnderlying;
        (Committee memory committee, Fault noCommittee) =
            getCommittee(state, underlying.params.committee);
        if (noCommittee == Fault.UNKNOWN_MARKET) return Fault.BAD_SIGNATURE;
        if (isFault(noCommittee)) return noCommittee;
        return validateOracleSigner(committee, request.signer, signer);
    }
    (AccountEntry memory entry, Fault fault) = touchAccount(state, request.subject);
    if (isFault(fault)) return fault;
    if (!entry.exists) return Fault.BAD_SIGNATURE;
    return validateAccountSigner(entry.account, request.role, signer, clock);
}

/// @dev Return the clock of a chunk, how many signatures it requires, and the one at `position` when there is
/// one. Any of the decoder's faults.
function computeChunkRequests(bytes memory data, uint256 position)
    pure
    returns (uint256 clock, uint256 count, SignatureRequest memory request, Fault fault)
{
    Decoder memory decoder;
    (decoder, fault) = decodeHeader(data, MAX_TABLE, MAX_TABLE);
    clock = decoder.clock;
    while (!isFault(fault)) {
        Kind kind;
        (kind, fault) = decodeTransaction(decoder);
        if (kind == Kind.END || isFault(fault)) break;
        uint256 more = _countRequests(decoder.transaction);
        // One at most: hashing all of them would cost more than a proof may.
        if (position >= count && position - count < more) {
            request = computeRequests(decoder.transaction)[position - count];
        }
        count += more;
    }
}

/// @dev Check the signature at `position` in a chunk's signature section against the state before the chunk.
/// Any of the decoder's; SIGNATURE_COUNT, whatever the position, then BAD_SIGNATURE.
///
/// One at a time: a proof needs no more than one that is bad.
function validateSignatures(
    State memory state,
    bytes memory data,
    bytes calldata signatures,
    bytes32 domain,
    uint256 position
) pure returns (Fault) {
    (uint256 clock, uint256 count, SignatureRequest memory request, Fault fault) =
        computeChunkRequests(data, position);
    if (isFault(fault)) return fault;
    if (signatures.length != SIGNATURE_BYTES * count) return Fault.SIGNATURE_COUNT;
    if (position >= count) revert Signatures_UnknownPosition(position, count);
    bytes calldata encoded = signatures[position * SIGNATURE_BYTES:];
    return validateSignature(
        state, request, bytes32(encoded[:32]), bytes32(encoded[32:64]), domain, clock
    );
}

/// @dev Return how many signatures a transaction requires.
function _countRequests(Transaction memory transaction) pure returns (uint256) {
    Kind kind = transaction.kind;
    if (kind == Kind.FILL) {
        return (transaction.fill.hasMakerOrder ? 1 : 0) + (transaction.fill.hasTakerOrder ? 1 : 0);
    }
    if (kind == Kind.OBSERVE) return transaction.observe.observations.length;
    if (kind == Kind.SURFACE) return _countBits(transaction.surface.signers);
    bool isSigned = kind == Kind.TRANSFER || kind == Kind.WITHDRAW || kind == Kind.SET_TRADING_KEY
        || kind == Kind.LIQUIDATE;
    return isSigned ? 1 : 0;
}

function _countBits(uint256 bitmap) pure returns (uint256 count) {
    unchecked {
        for (; bitmap != 0; bitmap &= bitmap - 1) {
            ++count;
        }
    }
}

function _setRequest(
    SignatureRequest memory request,
    Role role,
    uint256 subject,
    bytes32 structHash
) pure {
    request.role = role;
    request.subject = subject;
    request.structHash = structHash;
}
