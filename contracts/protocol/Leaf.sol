// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

uint256 constant ACCOUNT_TAG = 0x41;
uint256 constant COMMITTEE_TAG = 0x43;
uint256 constant EXIT_TAG = 0x45;
uint256 constant GLOBALS_TAG = 0x47;
uint256 constant SERIES_TAG = 0x4D;
uint256 constant GRID_TAG = 0x52;
uint256 constant SLOT_TAG = 0x53;
uint256 constant UNDERLYING_TAG = 0x55;
uint256 constant GLOBALS_VERSION = 1;

uint256 constant ACCOUNT_HEAD_BYTES = 112;
uint256 constant POSITION_BYTES = 26;
uint256 constant SLOT_BYTES = 33;
uint256 constant SCENARIO_BYTES = 9;
uint256 constant GRID_HEAD_BYTES = 2;
uint256 constant COMMITTEE_HEAD_BYTES = 3;
uint256 constant UNDERLYING_BYTES = 95;
uint256 constant SERIES_HEAD_BYTES = 61;
uint256 constant RISK_BYTES = 8;
uint256 constant EXIT_BYTES = 39;
uint256 constant GLOBALS_BYTES = 207;
