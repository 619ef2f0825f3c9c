// Reads JSON with Node.js.
import { createInterface } from "node:readline";

for await (const line of createInterface({ input: process.stdin })) {
  let out;
  try {
    out = "=" + JSON.stringify(JSON.parse(Buffer.from(line.split(" ")[1], "base64").toString("utf8")));
  } catch (error) {
    out = "!" + JSON.stringify(String(error.message));
  }
  process.stdout.write(out + "\n");
}
