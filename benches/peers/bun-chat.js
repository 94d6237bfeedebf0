// The same chat on Bun (uWebSockets), in memory: nothing is stored, nobody is authenticated.
// bun bun-chat.js PORT; connect to ws://127.0.0.1:PORT/?u=<user>
const users = new Map();
let seq = 0;
Bun.serve({
  hostname: "127.0.0.1",
  port: Number(process.argv[2]),
  fetch(request, server) {
    const user = new URL(request.url).searchParams.get("u");
    if (server.upgrade(request, { data: { user } })) return;
    return new Response("WebSocket only", { status: 426 });
  },
  websocket: {
    idleTimeout: 960,
    sendPings: false,
    open(ws) {
      users.set(ws.data.user, ws);
    },
    close(ws) {
      users.delete(ws.data.user);
    },
    message(ws, text) {
      const { id, send } = JSON.parse(text);
      seq += 1;
      const push = { push: { message: { from: ws.data.user, seq, text: send.text } } };
      users.get(send.user)?.send(JSON.stringify(push));
      ws.send(JSON.stringify({ id, send: { seq } }));
    },
  },
});
