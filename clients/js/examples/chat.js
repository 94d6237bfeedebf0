// A chat in the terminal that survives restarts of the gateway.
//
//     node chat.js alice bob [ws://127.0.0.1:7700/v1/ws]
//
// Each line that you type goes to the other user. Ctrl-D ends the chat. Before Node.js 22: npm install ws.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { Trunkline } from "../client.js";

const [user, peer, url = "ws://127.0.0.1:7700/v1/ws"] = process.argv.slice(2);
const WebSocket = globalThis.WebSocket ?? createRequire(import.meta.url)("ws");
const trunkline = new Trunkline(url, { user, device: "terminal", WebSocket });

trunkline.on("message", ({ conversation, seq, from, text }) => {
  console.log(`${from}: ${text}`);
  trunkline.ack(conversation, { read: seq });
});
trunkline.on("edit", ({ from, text }) => console.log(`${from}, edited: ${text}`));
trunkline.on("connected", (session) => console.log(JSON.stringify(session)));
trunkline.on("disconnected", ({ retryMs }) => console.error(`no connection, again in ${retryMs} ms`));
trunkline.on("closed", ({ kind, message }) => kind === "closed" || console.error(message));

const lines = createInterface({ input: process.stdin });
const sending = [];
lines.on("line", (text) => {
  sending.push(trunkline.send({ user: peer, text }).catch(({ message }) => console.error("refused:", message)));
});
lines.on("close", async () => {
  await Promise.all(sending);
  trunkline.close();
});
