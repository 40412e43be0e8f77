// What both examples share: the venue's REST and WebSocket API, whichever library signs.
// Needs nothing but Node's own fetch and WebSocket. docs/trade/api.md describes every message.
import { readFileSync } from "node:fs";

const environment = (name) => {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: see examples/README.md`);
  return value;
};

/** Addresses of the deployment, and where its node and its L1 are. */
export function readSettings() {
  const registry = JSON.parse(readFileSync(environment("REGISTRY"), "utf8"));
  const address = (name) => registry.contracts[name].address;
  return {
    key: environment("KEY"),
    l1: environment("L1"),
    api: environment("API"),
    token: registry.token,
    bridge: address("Bridge"),
    // Everything that is signed is signed for this rollup and no other.
    domain: { name: "Deltaroll", version: "1", chainId: registry.chain_id, verifyingContract: address("RollupInbox") },
  };
}

/** EIP-712 types of what a trader signs. */
const fields = (text) => text.split(",").map((field) => ({ type: field.split(" ")[0], name: field.split(" ")[1] }));
export const TYPES = {
  Order: fields(
    "uint32 account,uint16 slot,uint32 nonce,uint32 epoch,uint16 market,bool isBuy,uint64 price,uint32 size," +
      "uint40 expiry,uint8 timeInForce,bool postOnly,bool reduceOnly",
  ),
  Withdraw: fields("uint32 account,address recipient,uint128 amount,uint64 nonce"),
  Session: fields("uint32 account,address key,uint40 expiry,uint64 nonce"),
  Receipt: fields(
    "bytes32 subject,uint32 account,uint64 sequence,uint40 clock,uint8 outcome,uint32 filled,uint16 reason",
  ),
  Receipts: fields("bytes32 root"),
};
export const TIMES_IN_FORCE = { gtc: 0, ioc: 1, fok: 2 };

export const TOKEN_ABI = [
  "function approve(address spender, uint256 amount) returns (bool)",
  "function balanceOf(address account) view returns (uint256)",
];
export const BRIDGE_ABI = [
  "function deposit(address owner, uint32 account, uint256 amount)",
  "function claimExit((uint64 index, bytes32 previous, bytes32 postRoot, bytes32 chunksRoot, uint32 chunkCount, " +
    "uint64 queueStart, uint64 queueEnd, bytes32 queueHash, uint64 l1Block, uint64 l1Time, uint64 l1BaseFee, " +
    "uint64 l1BlobFee, address proposer, uint8 dataMode, bytes32 parameterHash) header, bytes globals, " +
    "(uint32 index, uint16 asset, address recipient, uint128 amount) exit, uint32 siblingMap, bytes32[] siblings)",
];
export const HEADER = [
  "index", "previous", "postRoot", "chunksRoot", "chunkCount", "queueStart", "queueEnd", "queueHash",
  "l1Block", "l1Time", "l1BaseFee", "l1BlobFee", "proposer", "dataMode", "parameterHash",
];

const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

/** Ask again and again until there is something. L1 is slow; nobody calls back. */
export async function until(ask, milliseconds = 250) {
  for (;;) {
    const found = await ask();
    if (found) return found;
    await pause(milliseconds);
  }
}

/** GET /v1/...; a refusal is an Error with the venue's code, field and rule. */
export async function get(api, path) {
  const answer = await fetch(`${api}/v1/${path}`);
  const body = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(body.error.rule), body.error);
  return body;
}

/** A WebSocket: `ask` sends a request and resolves with its result, `follow` hears a channel. */
export async function connect(api) {
  const socket = new WebSocket(`${api.replace(/^http/, "ws")}/v1/ws`, "deltaroll.v1.json");
  const asked = new Map();
  const listeners = new Map();
  let last = 0;
  socket.addEventListener("message", ({ data }) => {
    const message = JSON.parse(data);
    if (message.channel) return listeners.get(message.channel)?.(message);
    const { resolve, reject } = asked.get(message.id);
    asked.delete(message.id);
    if (message.error) reject(Object.assign(new Error(message.error.rule), message.error));
    else resolve(message.result);
  });
  socket.addEventListener("close", () => {
    for (const { reject } of asked.values()) reject(new Error("the connection is lost"));
  });
  await new Promise((resolve, reject) => {
    socket.addEventListener("open", resolve);
    socket.addEventListener("error", () => reject(new Error(`${api} does not answer`)));
  });
  const ask = (op, content = {}) =>
    new Promise((resolve, reject) => {
      asked.set(++last, { resolve, reject });
      socket.send(JSON.stringify({ op, id: last, ...content }));
    });
  const follow = (channel, listener) => {
    listeners.set(channel, listener);
    return ask("subscribe", { channel });
  };
  return { ask, follow, close: () => socket.close() };
}
