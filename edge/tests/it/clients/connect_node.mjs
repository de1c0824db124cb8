// `@connectrpc/connect-node`: Connect, gRPC-Web and gRPC over HTTP/1.1 and HTTP/2.
// Arguments: the edge's URL and the file of the authority. Prints a JSON list of [name, why it failed].
import { readFileSync } from "node:fs";
import {
  compressionBrotli,
  compressionGzip,
  createConnectTransport,
  createGrpcTransport,
  createGrpcWebTransport,
} from "@connectrpc/connect-node";
import { byGet, run } from "./cases.mjs";

const [baseUrl, authority] = process.argv.slice(2);
const nodeOptions = { ca: readFileSync(authority) };
const results = [];
const report = (name, why) => results.push([name, why]);

// Everything is compressed, however short it is.
const compressed = {
  sendCompression: compressionGzip,
  acceptCompression: [compressionGzip, compressionBrotli],
  compressMinBytes: 0,
};

for (const httpVersion of ["1.1", "2"]) {
  const options = { baseUrl, httpVersion, nodeOptions };
  const can = { uploads: true, conversations: httpVersion === "2" };
  for (const useBinaryFormat of [false, true]) {
    const name = `connect ${useBinaryFormat ? "proto" : "json"} http/${httpVersion}`;
    const format = { ...options, useBinaryFormat };
    await run(name, createConnectTransport(format), can, report);
    await run(`${name} gzip`, createConnectTransport({ ...format, ...compressed }), can, report);
    await byGet(name, createConnectTransport({ ...format, useHttpGet: true }), report);
  }
  const web = { uploads: false, conversations: false };
  await run(`grpc-web http/${httpVersion}`, createGrpcWebTransport(options), web, report);
}
const can = { uploads: true, conversations: true };
const grpc = createGrpcTransport({ baseUrl, httpVersion: "2", nodeOptions });
await run("grpc http/2", grpc, can, report);
// Kept connections would hold the process.
process.stdout.write(JSON.stringify(results), () => process.exit(0));
