// Logs each request that Node.js reads: `node.mjs PORT LOG`.
import { appendFileSync } from "node:fs";
import { createServer } from "node:http";

const hex = (text) => Buffer.from(text ?? "", "latin1").toString("hex");
const [port, log] = process.argv.slice(2);

createServer((request, answer) => {
  const pieces = [];
  request.on("data", (piece) => pieces.push(piece));
  request.on("end", () => {
    const { method, url, headers } = request;
    // A target that is no path has no base to be resolved against.
    const path = url.split("?")[0];
    const query = url.slice(path.length + 1);
    const fields = [hex(method), hex(url), hex(path), hex(query), hex(headers.host), hex(headers["x-case"]), Buffer.concat(pieces).toString("hex")];
    appendFileSync(log, fields.join(" ") + "\n");
    answer.end("{}");
  });
}).listen(Number(port), "127.0.0.1");
