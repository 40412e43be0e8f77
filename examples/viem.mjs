// From L1 to a trade and back, with viem: deposit, session, orders, stream, withdrawal, claim.
// examples/README.md says how to run it.
import {
  createPublicClient, createWalletClient, defineChain, http, parseAbi, parseSignature, serializeCompactSignature,
  signatureToCompactSignature,
} from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { BRIDGE_ABI, HEADER, TIMES_IN_FORCE, TOKEN_ABI, TYPES, connect, get, readSettings, until } from "./venue.mjs";

const { key, l1, api, token, bridge, domain } = readSettings();
const owner = privateKeyToAccount(key);
const currency = { name: "Ether", symbol: "ETH", decimals: 18 };
const chain = defineChain({
  id: domain.chainId, name: "L1", nativeCurrency: currency, rpcUrls: { default: { http: [l1] } },
});
const reader = createPublicClient({ chain, transport: http(), pollingInterval: 100 });
const writer = createWalletClient({ chain, transport: http(), account: owner });
const say = (what) => console.log(what);

const send = async (address, abi, functionName, args) => {
  const hash = await writer.writeContract({ address, abi: parseAbi(abi), functionName, args });
  const { status } = await reader.waitForTransactionReceipt({ hash });
  if (status !== "success") throw new Error(`${functionName} has failed`);
};
const getBalance = () =>
  reader.readContract({ address: token, abi: parseAbi(TOKEN_ABI), functionName: "balanceOf", args: [owner.address] });

// A signature as the rollup takes it: 64 bytes, EIP-2098.
const sign = async (primaryType, message) => {
  const signature = await owner.signTypedData({ domain, types: { [primaryType]: TYPES[primaryType] }, primaryType, message });
  return serializeCompactSignature(signatureToCompactSignature(parseSignature(signature)));
};

// Deposit on L1, and wait until the venue has taken it in.
await send(token, TOKEN_ABI, "approve", [bridge, 10_000_000_000n]);
await send(bridge, BRIDGE_ABI, "deposit", [owner.address, 0, 10_000_000_000n]);
const account = await until(async () => (await get(api, `owners/${owner.address}/accounts`)).accounts[0]);
say(`account ${account}`);

// One signature opens the session that cancels and private data need.
const { clock } = await get(api, "status");
const venue = await connect(api);
const session = { account, key: owner.address, expiry: clock + 86_400, nonce: Date.now() };
await venue.ask("auth", { ...session, signature: await sign("Session", { ...session, nonce: BigInt(session.nonce) }) });

// Stream: the account's own fills, and a book's levels, kept from snapshot and deltas.
const fills = [];
let noticed = () => {};
await venue.follow(`account.${account}`, ({ data }) => {
  for (const event of data.events ?? []) if (event.type === "fill") fills.push(event);
  noticed();
});
const [series] = (await get(api, "tickers")).filter(({ kind }) => kind === "perpetual");
const book = { bids: new Map(), asks: new Map() };
await venue.follow(`book.${series.market}`, ({ kind, data }) => {
  for (const side of ["bids", "asks"]) {
    if (kind !== "delta") book[side].clear();
    for (const [price, lots] of data[side]) lots ? book[side].set(price, lots) : book[side].delete(price);
  }
  noticed();
});
const next = () => new Promise((wake) => (noticed = wake));
while (!book.bids.size || !book.asks.size) await next();

// Orders: rest a bid and take it back; then buy what is offered and sell it again.
let nonce = 0;
async function place(isBuy, price, size, timeInForce) {
  const order = {
    account, slot: 0, nonce: ++nonce, epoch: 0, market: series.market, isBuy, price: BigInt(price), size,
    expiry: clock + 86_400, timeInForce: TIMES_IN_FORCE[timeInForce], postOnly: false, reduceOnly: false,
  };
  const accepted = await venue.ask("order", {
    account, slot: 0, nonce, market: series.market, is_buy: isBuy, price, size, expiry: order.expiry,
    time_in_force: timeInForce, client_id: `viem-${nonce}`, signature: await sign("Order", order),
  });
  say(`${isBuy ? "buy" : "sell"} ${size} of ${series.market} at ${price}: ${accepted.status}, ${accepted.filled} filled`);
  return accepted;
}
await place(true, Math.min(...book.bids.keys()), 1, "gtc");
say(`cancel: ${(await venue.ask("cancel", { account, client_id: `viem-${nonce}` })).status}`);
await place(true, Math.min(...book.asks.keys()), 2, "ioc");
await place(false, Math.max(...book.bids.keys()), 2, "ioc");
while (fills.reduce((sum, { lots }) => sum + lots, 0) < 4) await next();
say(`streamed ${fills.length} fills`);

// Exit: sign a withdrawal; L1 pays once the batch has settled. Anybody may send the claim.
const withdrawal = { account, recipient: owner.address, amount: 9_000_000_000n, nonce: 1n };
const request = { type: "withdraw", account, recipient: owner.address, amount: 9_000_000_000, nonce: 1 };
await venue.ask("submit", { request: { ...request, signature: await sign("Withdraw", withdrawal) } });
venue.close();
say("withdrawal signed");
const exit = await until(async () => (await get(api, `exits/${owner.address}`)).find(({ proof }) => proof));
const header = Object.fromEntries(HEADER.map((name, place) => [name, exit.proof.header[place]]));
const leaf = { index: exit.index, asset: 0, recipient: exit.recipient, amount: BigInt(exit.amount) };
const before = await getBalance();
await send(bridge, BRIDGE_ABI, "claimExit", [header, exit.proof.globals, leaf, exit.proof.sibling_map, exit.proof.siblings]);
say(`claimed ${(await getBalance()) - before}`);
