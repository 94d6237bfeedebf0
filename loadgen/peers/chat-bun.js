// A chat in memory on Bun: messages go to the session of their recipient, and are acknowledged. Nothing
// is stored. Usage: bun chat-bun.js PORT (0 is any free one, which it prints). A user is ?u=NAME.
const users = new Map();
let seq = 0;
const server = Bun.serve({
  port: Number(process.argv[2] ?? 9003),
  hostname: "127.0.0.1",
  fetch(request, server) {
    const user = new URL(request.url).searchParams.get("u");
    if (user && server.upgrade(request, { data: { user } })) return;
    return new Response("a WebSocket to /?u=NAME\n", { status: 400 });
  },
  websocket: {
    sendPings: false,
    idleTimeout: 960,
    open(socket) {
      users.set(socket.data.user, socket);
    },
    close(socket) {
      if (users.get(socket.data.user) === socket) users.delete(socket.data.user);
    },
    message(socket, text) {
      const { id, send } = JSON.parse(text);
      seq += 1;
      const message = { from: socket.data.user, seq, text: send.text };
      users.get(send.user)?.send(JSON.stringify({ push: { message } }));
      socket.send(JSON.stringify({ id, send: { seq } }));
    },
  },
});
console.log(`listening on ${server.port}`);
