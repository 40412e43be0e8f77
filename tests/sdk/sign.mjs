// Signs EIP-712 documents with ethers, as a browser wallet would.
// Standard input: {"key": hex, "documents": [...]}; standard output: a list of digests and signatures.
import { readFileSync } from "node:fs";
import { TypedDataEncoder, Wallet } from "ethers";

const { key, documents } = JSON.parse(readFileSync(0, "utf8"));
const wallet = new Wallet(key);
const signed = [];
for (const { domain, types, message, primaryType } of documents) {
  const { EIP712Domain, ...own } = types;
  if (TypedDataEncoder.from(own).primaryType !== primaryType) throw new Error(primaryType);
  signed.push({
    address: wallet.address,
    digest: TypedDataEncoder.hash(domain, own, message),
    signature: await wallet.signTypedData(domain, own, message),
  });
}
process.stdout.write(JSON.stringify(signed));
