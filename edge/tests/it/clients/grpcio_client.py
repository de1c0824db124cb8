"""gRPC as its C core speaks it, over TLS and HTTP/2. Arguments: port, the authority's file, the
descriptors, a bearer token. Prints a JSON list of [name, why it failed]."""

import json
import sys
import traceback

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.rpc import error_details_pb2
from grpc_status import rpc_status

SERVICE = "palisade.echo.v1.EchoService"
PATIENCE_S = 30


def service(port, authority):
    with open(authority, "rb") as file:
        credentials = grpc.ssl_channel_credentials(file.read())
    options = [("grpc.ssl_target_name_override", "localhost"), ("grpc.enable_retries", 0)]
    return grpc.secure_channel(f"ipv4:127.0.0.1:{port}", credentials, options)


class Calls:
    """Callables for each method, from the descriptors alone."""

    def __init__(self, channel, descriptors):
        pool = descriptor_pool.DescriptorPool()
        with open(descriptors, "rb") as file:
            files = descriptor_pb2.FileDescriptorSet.FromString(file.read())
        for file in files.file:
            pool.Add(file)
        self.pool = pool
        found = pool.FindServiceByName(SERVICE)
        for method in found.methods:
            kind = ("stream" if method.client_streaming else "unary") + (
                "_stream" if method.server_streaming else "_unary"
            )
            answer = message_factory.GetMessageClass(method.output_type)
            call = getattr(channel, kind)(
                f"/{SERVICE}/{method.name}",
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=answer.FromString,
            )
            setattr(self, method.name, call)

    def message(self, name, **fields):
        kind = self.pool.FindMessageTypeByName(name)
        return message_factory.GetMessageClass(kind)(**fields)

    def of(self, name, **fields):
        return self.message(f"palisade.echo.v1.{name}", **fields)

    def empty(self):
        return self.message("google.protobuf.Empty")


def failed(call):
    try:
        call()
    except grpc.RpcError as error:
        return error
    raise AssertionError("the call did not fail")


def detail(error, kind):
    status = rpc_status.from_call(error)
    for packed in status.details:
        found = kind()
        if packed.Unpack(found):
            return found
    raise AssertionError(f"no {kind.DESCRIPTOR.full_name} in {status}")


def equal(actual, expected):
    assert actual == expected, f"{actual!r}, expected {expected!r}"


def unary(calls, _token):
    answer = calls.Echo(calls.of("EchoRequest", text="grüße", number=-7), timeout=PATIENCE_S)
    equal((answer.said.text, answer.said.number), ("grüße", -7))


def metadata(calls, _token):
    asked = calls.of("EchoRequest", answer_metadata={"x-told": "yes", "x-told-bin": "AAEC"})
    sent = [("x-asked", "please"), ("x-asked-bin", b"\x00\xff")]
    answer, call = calls.Echo.with_call(asked, metadata=sent, timeout=PATIENCE_S)
    equal(answer.metadata["x-asked"], "please")
    equal(answer.metadata["x-asked-bin"], "AP8")
    told = dict(call.initial_metadata())
    equal((told["x-told"], told["x-told-bin"]), ("yes", b"\x00\x01\x02"))


def compressed(calls, _token):
    asked = calls.of("EchoRequest", text="." * 100_000)
    failure = failed(
        lambda: calls.Echo(asked, compression=grpc.Compression.Gzip, timeout=PATIENCE_S)
    )
    # Tonic's server was not told to take gzip, and says so: the edge passes both on untouched.
    equal(failure.code(), grpc.StatusCode.UNIMPLEMENTED)


def server_stream(calls, _token):
    answers = calls.Count(calls.of("CountRequest", **{"from": 1, "to": 1_000}), timeout=PATIENCE_S)
    equal([answer.number for answer in answers], list(range(1, 1_001)))


def client_stream(calls, _token):
    numbers = (calls.of("SumRequest", number=number) for number in range(1, 101))
    answer = calls.Sum(numbers, timeout=PATIENCE_S)
    equal((answer.sum, answer.messages), (5_050, 100))


def conversation(calls, _token):
    texts = ["a", "b", "c"]
    said = (calls.of("ChatRequest", room="r", text=text) for text in texts)
    answers = calls.Chat(said, timeout=PATIENCE_S)
    equal([(answer.text, answer.seq) for answer in answers], list(zip(texts, range(1, 4))))


def error_with_details(calls, _token):
    violation = calls.of("FieldViolation", field="person.name", description="is empty")
    asked = calls.of(
        "FailRequest", code=3, message="not so: 100 %", violations=[violation], reason="EMPTY_NAME"
    )
    error = failed(lambda: calls.Fail(asked, timeout=PATIENCE_S))
    equal((error.code(), error.details()), (grpc.StatusCode.INVALID_ARGUMENT, "not so: 100 %"))
    bad = detail(error, error_details_pb2.BadRequest)
    equal(bad.field_violations[0].field, "person.name")
    equal(detail(error, error_details_pb2.ErrorInfo).reason, "EMPTY_NAME")


def stream_that_fails(calls, _token):
    failure = calls.of("FailRequest", code=10, message="lost")
    asked = calls.of("CountRequest", **{"from": 1}, fail_after=2, fail=failure)
    seen = []
    error = failed(lambda: seen.extend(calls.Count(asked, timeout=PATIENCE_S)))
    equal(error.code(), grpc.StatusCode.ABORTED)


def refused_by_the_edge(calls, token):
    asked = calls.of("EchoRequest")
    private = [("x-private", "1")]
    error = failed(lambda: calls.Echo(asked, metadata=private, timeout=PATIENCE_S))
    equal(error.code(), grpc.StatusCode.UNAUTHENTICATED)
    info = detail(error, error_details_pb2.ErrorInfo)
    equal((info.reason, info.domain), ("token_missing", "palisade"))
    allowed = private + [("authorization", f"Bearer {token}")]
    calls.Echo(asked, metadata=allowed, timeout=PATIENCE_S)


def limited_by_the_edge(calls, _token):
    limited = [("x-limited", "1")]
    asked = calls.of("EchoRequest")
    calls.Echo(asked, metadata=limited, timeout=PATIENCE_S)
    error = failed(lambda: calls.Echo(asked, metadata=limited, timeout=PATIENCE_S))
    equal(error.code(), grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert detail(error, error_details_pb2.RetryInfo).retry_delay.seconds > 0


def own_deadline(calls, _token):
    error = failed(lambda: calls.Hang(calls.empty(), timeout=0.3))
    equal(error.code(), grpc.StatusCode.DEADLINE_EXCEEDED)


def deadline_of_the_route(calls, _token):
    hasty = [("x-hasty", "1")]
    error = failed(lambda: calls.Hang(calls.empty(), metadata=hasty, timeout=PATIENCE_S))
    equal(error.code(), grpc.StatusCode.DEADLINE_EXCEEDED)


def stream_past_the_deadline_of_the_route(calls, _token):
    hasty = [("x-hasty", "1")]
    asked = calls.of("CountRequest", **{"from": 1})
    asked.pause.nanos = 20_000_000
    answers = calls.Count(asked, metadata=hasty, timeout=PATIENCE_S)
    error = failed(lambda: list(answers))
    equal(error.code(), grpc.StatusCode.DEADLINE_EXCEEDED)


CASES = [
    unary,
    metadata,
    compressed,
    server_stream,
    client_stream,
    conversation,
    error_with_details,
    stream_that_fails,
    refused_by_the_edge,
    limited_by_the_edge,
    own_deadline,
    deadline_of_the_route,
    stream_past_the_deadline_of_the_route,
]


def main():
    port, authority, descriptors, token = sys.argv[1:]
    results = []
    with service(port, authority) as channel:
        calls = Calls(channel, descriptors)
        for case in CASES:
            why = ""
            try:
                case(calls, token)
            except Exception:
                why = traceback.format_exc()
            results.append((f"grpcio {case.__name__}", why))
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main()
