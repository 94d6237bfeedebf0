// A chat in memory on Node.js with the package ws. Nothing is stored. A user is the cookie sid, and the
// sub-protocol is chat.v1. The server asks every second whether its clients are there, and ends those
// that do not answer. Usage: node chat-ws.js PORT (0 is any free one, which it prints).
const { WebSocketServer } = require("ws");

const users = new Map();
const server = new WebSocketServer({
  port: Number(process.argv[2] ?? 9004),
  host: "127.0.0.1",
  path: "/chat",
  handleProtocols: (offered) => (offered.has("chat.v1") ? "chat.v1" : false),
});
const say = (socket, what) => socket.send(JSON.stringify(what));

server.on("connection", (socket, request) => {
  const user = /(?:^|; )sid=([^;]+)/.exec(request.headers.cookie ?? "")?.[1];
  if (!user || socket.protocol !== "chat.v1") {
    socket.close(4001, "no cookie sid, or not chat.v1");
    return;
  }
  socket.answered = true;
  socket.on("close", () => users.get(user) === socket && users.delete(user));
  socket.on("message", (data) => {
    const said = JSON.parse(data);
    if (said.pong) {
      socket.answered = true;
    } else if (said.connect) {
      users.set(user, socket);
      say(socket, { id: said.id, connect: { user } });
    } else if (said.send) {
      const to = users.get(said.send.user);
      if (to) say(to, { push: [{ from: user, text: said.send.text }] });
      say(socket, to ? { id: said.id, send: {} } : { id: said.id, error: "nobody is there" });
    }
  });
});
setInterval(() => {
  for (const socket of users.values()) {
    if (!socket.answered) {
      socket.close(4002, "no pong");
      continue;
    }
    socket.answered = false;
    say(socket, { ping: 1 });
  }
}, 1_000);
server.on("listening", () => console.log(`listening on ${server.address().port}`));
