// From L1 to a trade and back, with ethers: deposit, session, orders, stream, withdrawal, claim.
// examples/README.md says how to run it.
import { Contract, JsonRpcProvider, Signature, TypedDataEncoder, Wallet, keccak256, concat, recoverAddress } from "ethers";
import { BRIDGE_ABI, TIMES_IN_FORCE, TOKEN_ABI, TYPES, connect, get, readSettings, until } from "./venue.mjs";

const { key, l1, api, token: tokenAddress, bridge: bridgeAddress, domain } = readSettings();
// Left alone ethers remembers the nonce for a quarter of a second, longer than a local chain takes.
const provider = new JsonRpcProvider(l1, undefined, { pollingInterval: 100, cacheTimeout: -1 });
const wallet = new Wallet(key, provider);
const token = new Contract(tokenAddress, TOKEN_ABI, wallet);
const bridge = new Contract(bridgeAddress, BRIDGE_ABI, wallet);
const say = (what) => console.log(what);

// A signature as the rollup takes it: 64 bytes, EIP-2098.
const sign = async (name, message) =>
  Signature.from(await wallet.signTypedData(domain, { [name]: TYPES[name] }, message)).compactSerialized;

// Deposit on L1, and wait until the venue has taken it in.
await (await token.approve(bridgeAddress, 10_000_000_000n)).wait();
await (await bridge.deposit(wallet.address, 0, 10_000_000_000n)).wait();
const account = await until(async () => (await get(api, `owners/${wallet.address}/accounts`)).accounts[0]);
say(`account ${account}`);

// One signature opens the session that cancels and private data need.
const status = await get(api, "status");
const venue = await connect(api);
const session = { account, key: wallet.address, expiry: status.clock + 86_400, nonce: Date.now() };
await venue.ask("auth", { ...session, signature: await sign("Session", session) });

// Stream: the account's own fills, and a book.
const fills = [];
let noticed;
await venue.follow(`account.${account}`, ({ data }) => {
  for (const event of data.events ?? []) if (event.type === "fill") fills.push(event);
  noticed?.();
});
const [series] = (await get(api, "tickers")).filter(({ kind }) => kind === "perpetual");
const book = await until(async () => {
  const { bids, asks } = await get(api, `markets/${series.market}/book`);
  return bids.length && asks.length ? { bid: bids[0][0], ask: asks[0][0] } : undefined;
});

// A receipt is the sequencer's signature under what it answers. Nobody has to be asked.
function checkReceipt(receipt, subject) {
  const { branch, signature, ...leaf } = receipt;
  let node = TypedDataEncoder.hashStruct("Receipt", { Receipt: TYPES.Receipt }, leaf);
  for (const sibling of branch) node = keccak256(concat([node, sibling].sort()));
  const digest = TypedDataEncoder.hash(domain, { Receipts: TYPES.Receipts }, { root: node });
  const signer = recoverAddress(digest, signature);
  if (receipt.subject !== subject || signer.toLowerCase() !== status.receipt_key) throw new Error("bad receipt");
}

// Orders: buy what is offered, sell it again. A slot's nonce rises with every order in it.
let nonce = 0;
async function trade(isBuy, price) {
  const order = {
    account, slot: 0, nonce: ++nonce, epoch: 0, market: series.market, isBuy, price, size: 2,
    expiry: status.clock + 86_400, timeInForce: TIMES_IN_FORCE.ioc, postOnly: false, reduceOnly: false,
  };
  const accepted = await venue.ask("order", {
    account, slot: 0, nonce, market: series.market, is_buy: isBuy, price, size: 2, expiry: order.expiry,
    time_in_force: "ioc", client_id: `ethers-${nonce}`, signature: await sign("Order", order),
  });
  checkReceipt(accepted.receipt, TypedDataEncoder.hashStruct("Order", { Order: TYPES.Order }, order));
  say(`${isBuy ? "bought" : "sold"} ${accepted.filled} of ${series.market} at ${price} or better: ${accepted.status}`);
}
await trade(true, book.ask);
await trade(false, book.bid);
while (fills.reduce((sum, { lots }) => sum + lots, 0) < 4) await new Promise((wake) => (noticed = wake));
say(`streamed ${fills.length} fills`);

// Exit: sign a withdrawal; L1 pays once the batch has settled. Anybody may send the claim.
const withdrawal = { account, recipient: wallet.address, amount: 9_000_000_000n, nonce: 1 };
await venue.ask("submit", {
  request: { type: "withdraw", ...withdrawal, amount: 9_000_000_000, signature: await sign("Withdraw", withdrawal) },
});
venue.close();
say("withdrawal signed");
const exit = await until(async () => (await get(api, `exits/${wallet.address}`)).find(({ proof }) => proof));
const { header, globals, sibling_map: map, siblings } = exit.proof;
const before = await token.balanceOf(wallet.address);
await (await bridge.claimExit(header, globals, [exit.index, 0, exit.recipient, exit.amount], map, siblings)).wait();
say(`claimed ${(await token.balanceOf(wallet.address)) - before}`);
provider.destroy();
