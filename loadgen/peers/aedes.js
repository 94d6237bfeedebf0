// The broker aedes over WebSocket, in memory. Usage: node aedes.js PORT (0 is any free one, which it
// prints). It takes the packages aedes and ws.
const { createWebSocketStream, WebSocketServer } = require("ws");

async function start() {
  const { Aedes } = await import(require.resolve("aedes"));
  const broker = await Aedes.createBroker();
  const server = new WebSocketServer({
    port: Number(process.argv[2] ?? 9006),
    host: "127.0.0.1",
    handleProtocols: () => "mqtt",
  });
  server.on("connection", (socket, request) => {
    broker.handle(createWebSocketStream(socket), request);
  });
  server.on("listening", () => console.log(`listening on ${server.address().port}`));
}
start();
