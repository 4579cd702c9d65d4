// Sends the message on standard input: node send.mjs PORT implicit|starttls USER PASSWORD CA FROM TO...
import { readFileSync } from "node:fs";
import nodemailer from "nodemailer";

const [port, tls, user, pass, ca, from, ...to] = process.argv.slice(2);
const transport = nodemailer.createTransport({
  host: "127.0.0.1",
  port: Number(port),
  secure: tls === "implicit",
  requireTLS: true,
  auth: { user, pass },
  tls: { ca: readFileSync(ca), checkServerIdentity: () => undefined },
});
const sent = await transport.sendMail({
  from,
  to: to[0],
  bcc: to.slice(1),
  subject: "from nodemailer",
  text: readFileSync(0, "utf-8"),
  dsn: { id: "e1", return: "headers", notify: ["failure", "delay"], recipient: from },
});
console.log(JSON.stringify(sent.accepted), sent.response);
transport.close();
