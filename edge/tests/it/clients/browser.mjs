// A page that calls another origin by `@connectrpc/connect-web` and by the official gRPC-Web client.
// It reports each case by a request, and the end by one more.
import { createConnectTransport, createGrpcWebTransport } from "@connectrpc/connect-web";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import grpcWeb from "grpc-web";
import { byGet, equal, message, one, run, service } from "./cases.mjs";

const api = new URLSearchParams(location.search).get("api");
let reported = 0;

async function report(name, why) {
  reported += 1;
  const query = new URLSearchParams({ name, why });
  await fetch(`/echo/report?${query}`);
}

function descriptor(name, request, response, type) {
  const [asked, answered] = [message(request), message(response)];
  return new grpcWeb.MethodDescriptor(
    `/${service.typeName}/${name}`,
    type,
    Object,
    Object,
    (value) => toBinary(asked, value),
    (bytes) => fromBinary(answered, bytes),
  );
}

const { UNARY, SERVER_STREAMING } = grpcWeb.MethodType;
const ECHO = descriptor("Echo", "EchoRequest", "EchoResponse", UNARY);
const FAIL = descriptor("Fail", "FailRequest", "FileRequest", UNARY);
const COUNT = descriptor("Count", "CountRequest", "CountResponse", SERVER_STREAMING);
const url = (method) => `${api}/${service.typeName}/${method}`;

async function official(format) {
  const client = new grpcWeb.GrpcWebClientBase({ format });
  const ask = (method, name, asked, metadata) =>
    client.unaryCall(url(method), create(message(name), asked), metadata, { Echo: ECHO, Fail: FAIL }[method]);
  const unary = async () => {
    const answer = await ask("Echo", "EchoRequest", { text: "hallo" }, { "x-asked": "please" });
    equal(answer.said.text, "hallo", "text");
    equal(answer.metadata["x-asked"], "please", "metadata");
  };
  const failure = async () => {
    const asked = { code: 5, message: "no such thing", reason: "GONE", domain: "test" };
    const error = await ask("Fail", "FailRequest", asked, {}).then(
      () => undefined,
      (error) => error,
    );
    equal(error.code, grpcWeb.StatusCode.NOT_FOUND, "code");
    equal(error.message, "no such thing", "message");
    const details = atob(error.metadata["grpc-status-details-bin"]);
    equal(details.includes("GONE"), true, "the reason among the details");
  };
  const refused = async () => {
    const error = await ask("Echo", "EchoRequest", {}, { "x-private": "1" }).then(
      () => undefined,
      (error) => error,
    );
    equal(error.code, grpcWeb.StatusCode.UNAUTHENTICATED, "code");
  };
  const late = async () => {
    const deadline = { deadline: `${Date.now() + 300}` };
    const hang = { pause: { seconds: 60n } };
    const error = await ask("Echo", "EchoRequest", hang, deadline).then(
      () => undefined,
      (error) => error,
    );
    equal(error.code, grpcWeb.StatusCode.DEADLINE_EXCEEDED, "code");
  };
  const stream = () =>
    new Promise((resolve, reject) => {
      const numbers = [];
      const asked = create(message("CountRequest"), { from: 1n, to: 5n });
      const answers = client.serverStreaming(url("Count"), asked, {}, COUNT);
      answers.on("data", (answer) => numbers.push(answer.number));
      answers.on("error", reject);
      answers.on("end", () => resolve(numbers));
    }).then((numbers) => equal(numbers, [1n, 2n, 3n, 4n, 5n], "numbers"));
  const cases = { unary, failure, refused, late };
  if (format === "text") {
    // The only format in which the library streams.
    cases.stream = stream;
  }
  for (const [what, check] of Object.entries(cases)) {
    await one(`grpc-web.js ${format} ${what}`, check, report);
  }
}

const none = { uploads: false, conversations: false };
for (const useBinaryFormat of [false, true]) {
  const name = `connect-web ${useBinaryFormat ? "proto" : "json"}`;
  const options = { baseUrl: api, useBinaryFormat };
  await run(name, createConnectTransport(options), none, report);
  await byGet(name, createConnectTransport({ ...options, useHttpGet: true }), report);
}
await run("grpc-web", createGrpcWebTransport({ baseUrl: api }), none, report);
await official("text");
await official("binary");
await fetch(`/echo/reported?${reported}`);
