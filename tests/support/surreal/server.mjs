// A stand-in for `surreal start`: ws://127.0.0.1:PORT/rpc over the engine that @surrealdb/node embeds.
//
//   node server.mjs rocksdb:///folder [PORT]      prints "ready PORT" once it listens; PORT 0 or none: any free port
//
// The engine (storage, transactions, query language, CBOR) is the real one. What this file adds is the transport: it
// hands frames through as they are, adds the connection's session to each request, and puts the request's id in front
// of each answer. Frames are patched as bytes and not decoded, so that the engine sees what the client sent.
// Not real: the user is not checked, there is no TLS, and live notifications go to every connection.

import { randomUUID } from "node:crypto";
import http from "node:http";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { WebSocketServer } from "ws";

const require = createRequire(import.meta.url);
const libc = process.report.getReport().header.glibcVersionRuntime ? "gnu" : "musl";
const platform = process.platform === "linux" ? `linux-${process.arch}-${libc}` : `${process.platform}-${process.arch}`;
const engineFile = new URL(`./surrealdb-node.${platform}.node`, import.meta.resolve("@surrealdb/node"));
const { SurrealNodeEngine } = require(fileURLToPath(engineFile));

const [endpoint = "mem://", port = "0"] = process.argv.slice(2);
const engine = await SurrealNodeEngine.connect(endpoint, { capabilities: { live_query_notifications: true } });

// -- the little CBOR (RFC 8949) that is needed: maps with fewer than 23 keys, short texts, a UUID (tag 37)
const MAP = 0xa0, TEXT = 0x60, ARRAY = 0x80, NULL = Buffer.from([0xf6]);
const text = (value) => {
  const bytes = Buffer.from(value);
  const head = bytes.length < 24 ? [TEXT + bytes.length] : [0x79, bytes.length >> 8, bytes.length & 0xff];
  return Buffer.concat([Buffer.from(head), bytes]);
};
const map = (...pairs) => Buffer.concat([Buffer.from([MAP + pairs.length / 2]), ...pairs]);
const array = (...items) => Buffer.concat([Buffer.from([ARRAY + items.length]), ...items]);
const uuid = (value) => Buffer.concat([Buffer.from([0xd8, 37, 0x50]), Buffer.from(value.replaceAll("-", ""), "hex")]);
const request = (method, params, ...more) => map(text("id"), text("0"), text("method"), text(method), text("params"), params, ...more);

// Clients put "id" first, as a number or a short text: its value follows the key at once.
const idOf = (frame) => {
  if (!frame.subarray(1, 4).equals(text("id"))) return NULL;
  const head = frame[4];
  if (head <= 0x1b) return frame.subarray(4, 5 + (head < 0x18 ? 0 : 1 << (head - 0x18)));
  if (head >= TEXT && head < TEXT + 24) return frame.subarray(4, 5 + head - TEXT);
  if (head === 0x78) return frame.subarray(4, 6 + frame[5]);
  return NULL;
};
const withSession = (frame, session) =>
  Buffer.concat([Buffer.from([frame[0] + 1]), frame.subarray(1), text("session"), uuid(session)]);
const ERROR = Buffer.concat([Buffer.from([MAP + 1]), text("error")]);
const answer = (id, result) =>
  result.subarray(0, ERROR.length).equals(ERROR)
    ? map(text("id"), id, result.subarray(1, ERROR.length), result.subarray(ERROR.length))
    : map(text("id"), id, text("result"), result);

await engine.execute(
  request("query", array(text("DEFINE USER IF NOT EXISTS root ON ROOT PASSWORD 'root' ROLES OWNER"), map())));

const clients = new Set();
// GET /export and POST /import, as `surreal export` and `surreal import` use them.
const exchange = async (asked, response) => {
  const [namespace, database] = [asked.headers["surreal-ns"], asked.headers["surreal-db"]];
  if (!namespace || !database || !["/export", "/import"].includes(asked.url)) return response.writeHead(404).end();
  const body = [];
  for await (const chunk of asked) body.push(chunk);
  try {
    await engine.execute(request("use", array(text(namespace), text(database))));
    if (asked.url === "/export") return response.end(await engine.export(map()));
    await engine.import(Buffer.concat(body).toString());
    response.end("[]");
  } catch (error) {
    response.writeHead(400).end(String(error));
  }
};
const server = http.createServer(exchange);
const sockets = new WebSocketServer({
  server, path: "/rpc", maxPayload: 256 << 20, handleProtocols: (offered) => offered.has("cbor") ? "cbor" : false,
});
sockets.on("connection", (socket) => {
  const session = randomUUID();
  const attached = engine.execute(request("attach", array(), text("session"), uuid(session)));
  clients.add(socket);
  socket.on("message", async (message) => {
    try {
      await attached;
      const frame = Buffer.from(message);
      const result = Buffer.from(await engine.execute(withSession(frame, session)));
      if (socket.readyState === socket.OPEN) socket.send(answer(idOf(frame), result));
    } catch (error) {
      console.error(String(error));
      socket.close(1011);
    }
  });
  socket.on("close", () => {
    clients.delete(socket);
    engine.execute(request("detach", array(), text("session"), uuid(session))).catch((error) => console.error(String(error)));
  });
});

server.listen(Number(port), "127.0.0.1", () => console.log("ready", server.address().port));
const notifications = await engine.notifications();
for (let notice = await notifications.recv(); notice !== null; notice = await notifications.recv()) {
  for (const socket of clients) socket.send(map(text("result"), Buffer.from(notice)));
}
