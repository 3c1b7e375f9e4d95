"""Calls a method over gRPC, as the library that most other languages share does it.

    foreign.py ADDRESS PATH MESSAGE TIMES

MESSAGE is in hexadecimal. Prints a line a call: its code, the answer in hexadecimal or the error's words,
and what came of `cache-status` and `x-call`.
"""

import sys

import grpc

address, path, message, times = sys.argv[1:]


def same(data):
    return data


def field(metadata, name):
    return dict(metadata or ()).get(name, "-")


with grpc.insecure_channel(address) as channel:
    method = channel.unary_unary(path, request_serializer=same, response_deserializer=same)
    for _ in range(int(times)):
        try:
            answer, call = method.with_call(bytes.fromhex(message), timeout=30)
            code, said = "OK", answer.hex()
        except grpc.RpcError as error:
            call = error
            code, said = error.code().name, error.details()
        said_by_cache = field(call.initial_metadata(), "cache-status")
        print(code, said, said_by_cache, field(call.trailing_metadata(), "x-call"), sep="|")
