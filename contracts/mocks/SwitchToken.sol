// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {MockToken} from "./MockToken.sol";

/// @title Every way in which a transfer can go wrong, chosen by a switch.
contract SwitchToken is MockToken {
    enum Mode {
        Normal,
        Paused,
        RevertSilently,
        ReturnFalse,
        ReturnNothing,
        PretendTransfer
    }

    error SwitchToken_Paused();

    Mode public mode;

    function setMode(Mode mode_) external {
        mode = mode_;
    }

    function transfer(address to, uint256 amount) public override returns (bool) {
        _transfer(_msgSender(), to, _before(amount));
        return _after();
    }

    function transferFrom(address from, address to, uint256 amount) public override returns (bool) {
        _spendAllowance(from, _msgSender(), amount);
        _transfer(from, to, _before(amount));
        return _after();
    }

    function _before(uint256 amount) private view returns (uint256) {
        if (mode == Mode.Paused) revert SwitchToken_Paused();
        // solhint-disable-next-line reason-string, gas-custom-errors
        if (mode == Mode.RevertSilently) revert();
        return mode == Mode.Normal || mode == Mode.ReturnNothing ? amount : 0;
    }

    function _after() private view returns (bool) {
        if (mode == Mode.ReturnNothing) {
            // solhint-disable-next-line no-inline-assembly
            assembly {
                return(0, 0)
            }
        }
        return mode != Mode.ReturnFalse;
    }
}
