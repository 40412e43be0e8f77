// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {
    BitReader,
    decodeBits,
    decodeDecimal,
    decodeNumber,
    readerOf
} from "../../protocol/Bits.sol";
import {Decoder, MAX_TABLE, decodeHeader, decodeTransaction} from "../../protocol/Codec.sol";
import {Fault} from "../../protocol/Fault.sol";
import {Fill, Kind, Transaction} from "../../protocol/Types.sol";

/// @title Opens the codec to tests.
contract CodecHarness {
    /// @notice Fields of a fill apart from its orders, and those that are posted with it.
    struct PlainFill {
        uint256[7] fields;
        bytes makerOrder;
        bytes takerOrder;
    }

    /// @notice What can be read of a chunk before its fault, each transaction behind its kind.
    function decode(bytes memory data)
        external
        pure
        returns (Fault fault, uint256 clock, bytes[] memory transactions)
    {
        Decoder memory decoder;
        (decoder, fault) = decodeHeader(data, MAX_TABLE, MAX_TABLE);
        if (fault != Fault.NONE) return (fault, 0, transactions);
        clock = decoder.clock;
        // A transaction has four bits at least.
        transactions = new bytes[](2 * data.length);
        uint256 count = 0;
        Kind kind;
        while (true) {
            (kind, fault) = decodeTransaction(decoder);
            if (fault != Fault.NONE || kind == Kind.END) break;
            transactions[count++] = encode(decoder.transaction);
        }
        assembly ("memory-safe") {
            mstore(transactions, count)
        }
    }

    /// @notice Bits, a number or a decimal, after `skip` bits.
    function read(bytes memory data, uint256 skip, uint256 form, uint256 width)
        external
        pure
        returns (Fault, uint256 value, uint256 read_)
    {
        BitReader memory reader = readerOf(data);
        decodeBits(reader, skip);
        uint256 start = reader.position;
        if (form == 0) value = decodeBits(reader, width);
        else if (form == 1) value = decodeNumber(reader, width);
        else value = decodeDecimal(reader, width);
        return (reader.fault, value, reader.position - start);
    }

    function encode(Transaction memory transaction) internal pure returns (bytes memory) {
        Kind kind = transaction.kind;
        if (kind == Kind.FILL) {
            Fill memory fill = transaction.fill;
            PlainFill memory plain;
            plain.fields = [
                fill.market,
                fill.maker,
                fill.taker,
                fill.makerSlot,
                fill.takerSlot,
                fill.makerIsBuy ? 1 : 0,
                fill.lots
            ];
            if (fill.hasMakerOrder) plain.makerOrder = abi.encode(fill.makerOrder);
            if (fill.hasTakerOrder) plain.takerOrder = abi.encode(fill.takerOrder);
            return abi.encode(kind, plain);
        }
        if (kind == Kind.TRANSFER) return abi.encode(kind, transaction.transfer);
        if (kind == Kind.WITHDRAW) return abi.encode(kind, transaction.withdraw);
        if (kind == Kind.SET_TRADING_KEY) return abi.encode(kind, transaction.setTradingKey);
        if (kind == Kind.OBSERVE) return abi.encode(kind, transaction.observe);
        if (kind == Kind.MARK) return abi.encode(kind, transaction.mark);
        if (kind == Kind.SURFACE) return abi.encode(kind, transaction.surface);
        if (kind == Kind.LIST) return abi.encode(kind, transaction.list);
        if (kind == Kind.FUND) return abi.encode(kind, transaction.fund);
        if (kind == Kind.SWEEP) return abi.encode(kind, transaction.sweep);
        if (kind == Kind.DISTRESS) return abi.encode(kind, transaction.distress);
        if (kind == Kind.LIQUIDATE) return abi.encode(kind, transaction.liquidate);
        if (kind == Kind.SOCIALISE) return abi.encode(kind, transaction.socialise);
        if (kind == Kind.DATA_FEE) return abi.encode(kind, transaction.dataFee);
        return abi.encode(kind);
    }
}
