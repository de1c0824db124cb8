// What every Connect client of JavaScript is asked, whatever its transport. Each case is a name and a
// function that throws where the answer is another than the service gives.
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createFileRegistry, fromBinary } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import descriptors from "echo.pb";

const bytes = Uint8Array.from(atob(descriptors), (character) => character.charCodeAt(0));
const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, bytes));
export const service = registry.getService("palisade.echo.v1.EchoService");
export const message = (name) => registry.getMessage(`palisade.echo.v1.${name}`);

export function equal(actual, expected, what) {
  const text = (value) => JSON.stringify(value, (_, v) => (typeof v === "bigint" ? `${v}n` : v));
  if (text(actual) !== text(expected)) {
    throw new Error(`${what}: ${text(actual)}, expected ${text(expected)}`);
  }
}

// The error that a call ends with.
export async function failed(call) {
  try {
    await call;
  } catch (error) {
    return ConnectError.from(error);
  }
  throw new Error("the call did not fail");
}

// A detail as text: its strings are in there as they are.
function detail(error, type) {
  const found = error.details.find((detail) => detail.type === type);
  if (!found) {
    throw new Error(`no ${type} among ${error.details.map((detail) => detail.type)}`);
  }
  return new TextDecoder().decode(found.value);
}

function holds(text, part) {
  if (!text.includes(part)) {
    throw new Error(`no "${part}" in "${text}"`);
  }
}

async function unary(client) {
  const answer = await client.echo({ text: "grüße", number: 9007199254740993n, tags: ["a", "b"] });
  equal(answer.said.text, "grüße", "text");
  equal(answer.said.number, 9007199254740993n, "number");
  equal(answer.said.tags, ["a", "b"], "tags");
}

async function metadata(client) {
  let head;
  const answer = await client.echo(
    { answerMetadata: { "x-told": "yes" } },
    { headers: { "x-asked": "please" }, onHeader: (headers) => (head = headers) },
  );
  equal(answer.metadata["x-asked"], "please", "metadata that came");
  equal(head.get("x-told"), "yes", "metadata that went");
}

async function large(client) {
  // As good as random: a body of one byte over and over would be taken for a bomb.
  const data = new Uint8Array(300_000).map((_, at) => Math.imul(at * at, 2654435761) >>> 24);
  const answer = await client.echo({ data, paddingBytes: 300_000 });
  equal(answer.said.data.length, data.length, "bytes there");
  equal(answer.padding.length, 300_000, "bytes back");
}

async function serverStream(client) {
  const numbers = [];
  for await (const answer of client.count({ from: 1n, to: 5n })) {
    numbers.push(answer.number);
  }
  equal(numbers, [1n, 2n, 3n, 4n, 5n], "numbers");
}

async function leave(client) {
  const leaving = new AbortController();
  let seen = 0;
  const error = await failed(
    (async () => {
      for await (const _ of client.count({ from: 1n }, { signal: leaving.signal })) {
        seen += 1;
        if (seen === 3) {
          leaving.abort();
        }
      }
    })(),
  );
  equal(error.code, Code.Canceled, "code");
}

const FAILURE = {
  code: 3,
  message: "not so: 100 %",
  violations: [{ field: "person.name", description: "is empty" }],
  retryAfter: { seconds: 3n },
  reason: "EMPTY_NAME",
  domain: "test",
};

function assertFailure(error) {
  equal(error.code, Code.InvalidArgument, "code");
  equal(error.rawMessage, "not so: 100 %", "message");
  holds(detail(error, "google.rpc.BadRequest"), "person.name");
  holds(detail(error, "google.rpc.ErrorInfo"), "EMPTY_NAME");
  detail(error, "google.rpc.RetryInfo");
}

async function errorWithDetails(client) {
  assertFailure(await failed(client.fail(FAILURE)));
}

async function streamThatFails(client) {
  const numbers = [];
  const error = await failed(
    (async () => {
      const asked = { from: 1n, to: 9n, failAfter: 2n, fail: FAILURE };
      for await (const answer of client.count(asked)) {
        numbers.push(answer.number);
      }
    })(),
  );
  equal(numbers, [1n, 2n], "numbers");
  assertFailure(error);
}

async function refusedByTheEdge(client) {
  const error = await failed(client.echo({}, { headers: { "x-private": "1" } }));
  equal(error.code, Code.Unauthenticated, "code");
  holds(detail(error, "google.rpc.ErrorInfo"), "token_missing");
}

async function ownDeadline(client) {
  const error = await failed(client.hang({}, { timeoutMs: 300 }));
  equal(error.code, Code.DeadlineExceeded, "code");
}

// The client does not know of it: the edge ends the call.
async function deadlineOfTheRoute(client) {
  const error = await failed(client.hang({}, { headers: { "x-hasty": "1" } }));
  equal(error.code, Code.DeadlineExceeded, "code");
}

async function clientStream(client) {
  async function* numbers() {
    for (let number = 1n; number <= 100n; number++) {
      yield { number };
    }
  }
  const answer = await client.sum(numbers());
  equal([answer.sum, answer.messages], [5050n, 100n], "sum");
}

// Each message goes out after the answer to the one before.
async function conversation(client) {
  let answered;
  const heard = [];
  async function* said() {
    for (const text of ["a", "b", "c"]) {
      const next = new Promise((resolve) => (answered = resolve));
      yield { room: "r", text };
      await next;
    }
  }
  for await (const answer of client.chat(said())) {
    heard.push(answer.text);
    answered();
  }
  equal(heard, ["a", "b", "c"], "texts");
}

const CALLS = {
  unary,
  metadata,
  large,
  serverStream,
  leave,
  errorWithDetails,
  streamThatFails,
  refusedByTheEdge,
  ownDeadline,
  deadlineOfTheRoute,
};
const UPLOADS = { clientStream };
const CONVERSATIONS = { conversation };

// Run all that the transport can; `report` is told of each.
export async function run(name, transport, { uploads, conversations }, report) {
  const client = createClient(service, transport);
  const cases = {
    ...CALLS,
    ...(uploads ? UPLOADS : {}),
    ...(conversations ? CONVERSATIONS : {}),
  };
  for (const [what, check] of Object.entries(cases)) {
    await one(`${name} ${what}`, () => check(client), report);
  }
}

export async function one(name, check, report) {
  let why = "";
  try {
    await check();
  } catch (error) {
    why = `${error?.stack ?? error}`.slice(0, 800);
  }
  await report(name, why);
}

// By GET, as the method has no side effects; what it is asked is in the URL.
export async function byGet(name, transport, report) {
  const client = createClient(service, transport);
  const look = async () => {
    const answer = await client.look({ text: "things/1", tags: ["é"] });
    equal(answer.said.text, "things/1", "text");
    equal(answer.said.tags, ["é"], "tags");
  };
  await one(`${name} get`, look, report);
}
