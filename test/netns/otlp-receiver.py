"""An OTLP receiver for tests: OpenTelemetry's own protobuf code, on HTTP/protobuf and on gRPC.

Prints {"http": PORT, "grpc": PORT} first, then one JSON object for each request: its signal, the protocol, its headers in
lower case, and the message as protobuf's JSON form has it. Takes what it is sent, or, after a line `refuse` on standard
input and until a line `take`, answers 503 or UNAVAILABLE.
"""

import gzip
import json
import sys
import threading
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2_grpc as logs_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as metrics_grpc

REQUESTS = {"/v1/metrics": metrics.ExportMetricsServiceRequest, "/v1/logs": logs.ExportLogsServiceRequest}
ANSWERS = {"/v1/metrics": metrics.ExportMetricsServiceResponse, "/v1/logs": logs.ExportLogsServiceResponse}

printing = threading.Lock()
refusing = threading.Event()


def tell(signal, protocol, headers, message):
    said = {"signal": signal, "protocol": protocol, "headers": headers, "message": MessageToDict(message)}
    with printing:
        print(json.dumps(said), flush=True)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.read_body()
        if refusing.is_set():
            self.answer(503, b"")
            return
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        message = REQUESTS[self.path].FromString(body)
        headers = {name.lower(): value for name, value in self.headers.items()}
        tell(self.path.rpartition("/")[2], "http", headers, message)
        self.answer(200, ANSWERS[self.path]().SerializeToString())

    def read_body(self):
        if self.headers.get("transfer-encoding") != "chunked":
            return self.rfile.read(int(self.headers["content-length"]))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def take(signal, request, context, answer):
    if refusing.is_set():
        context.abort(grpc.StatusCode.UNAVAILABLE, "refused by the test")
    headers = {name: value for name, value in context.invocation_metadata() if isinstance(value, str)}
    tell(signal, "grpc", headers, request)
    return answer


class Metrics(metrics_grpc.MetricsServiceServicer):
    def Export(self, request, context):
        return take("metrics", request, context, metrics.ExportMetricsServiceResponse())


class Logs(logs_grpc.LogsServiceServicer):
    def Export(self, request, context):
        return take("logs", request, context, logs.ExportLogsServiceResponse())


http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=http.serve_forever, daemon=True).start()
server = grpc.server(futures.ThreadPoolExecutor(4))
metrics_grpc.add_MetricsServiceServicer_to_server(Metrics(), server)
logs_grpc.add_LogsServiceServicer_to_server(Logs(), server)
port = server.add_insecure_port("127.0.0.1:0")
server.start()
print(json.dumps({"http": http.server_port, "grpc": port}), flush=True)
for line in sys.stdin:
    refusing.set() if line.strip() == "refuse" else refusing.clear()
server.stop(None)
