// A chat in the terminal, over the WebSocket of Node.js 22, or of the package `ws` before that.
//
//     npm install                       # only before Node.js 22
//     node chat.js alice bob [ws://127.0.0.1:7700/v1/ws]
//
// Each line that you type goes to the other user. Ctrl-D ends the chat.
const { randomUUID } = require("node:crypto");
const { createInterface } = require("node:readline");
const WebSocket = globalThis.WebSocket ?? require("ws");

const [user, peer, url = "ws://127.0.0.1:7700/v1/ws"] = process.argv.slice(2);
const socket = new WebSocket(url);
const send = (command) => socket.send(JSON.stringify(command));

socket.onopen = () => {
  send({ id: 1, connect: { user, device: "javascript" } });
  const lines = createInterface({ input: process.stdin });
  // The key makes it safe to send the same message again after a lost connection.
  lines.on("line", (text) => send({ id: 2, send: { user: peer, key: randomUUID(), text } }));
  lines.on("close", () => socket.close(1000));
};

socket.onmessage = ({ data }) => {
  const { connect, error, push } = JSON.parse(data);
  if (connect) console.log(data);
  if (error) console.log("refused:", error.message);
  if (push?.message) {
    const { conversation, seq, from, text } = push.message;
    console.log(`${from}: ${text}`);
    send({ ack: { conversation, read: seq } });
  }
};

socket.onerror = ({ message }) => {
  console.error("the connection failed:", message);
  process.exitCode = 1;
};
