// Owns what stands behind real proxies and in front of them: a server of HTTP/2 without TLS, one of gRPC, one that
// speaks first, and a client of gRPC. Must not know weft.
//
//   web.ts serve NAME          on ports 8080 (HTTP/2), 8081 (gRPC), 8082 (says NAME and echoes)
//   web.ts call HOST:PORT [VERSION]   one call, answered in three messages: JSON of them, or of the error

import { createServer as createHttp2Server } from "node:http2";
import { createServer } from "node:net";
import { Client, credentials, Metadata, Server, ServerCredentials } from "@grpc/grpc-js";

const METHOD = "/shop.Web/Tell";
const bytes = (text: string) => Buffer.from(text);
const text = (message: Buffer) => message.toString();

function serve(name: string): void {
  const http = createHttp2Server((request, response) => {
    const { "x-destination": destination, "x-source": source } = request.headers;
    response.end(`${name} for ${destination} from ${source}`);
  });
  http.listen(8080, "::");
  createServer((socket) => {
    socket.on("error", () => socket.destroy()).write(`${name} is here\n`);
    socket.pipe(socket);
  }).listen(8082, "::");
  serveGrpc(name);
}

function serveGrpc(name: string): void {
  const server = new Server();
  const tell = {
    path: METHOD,
    requestStream: false,
    responseStream: true,
    requestSerialize: bytes,
    requestDeserialize: text,
    responseSerialize: bytes,
    responseDeserialize: text,
  };
  server.addService(
    { tell },
    {
      tell: (call: { metadata: Metadata; request: string; write(message: string): void; end(): void }) => {
        const [destination] = call.metadata.get("x-destination");
        for (const part of [name, call.request, `for ${destination}`]) call.write(part);
        call.end();
      },
    },
  );
  server.bindAsync("[::]:8081", ServerCredentials.createInsecure(), (error) => {
    if (error !== null) throw error;
  });
}

function call(target: string, version = "v1"): void {
  const client = new Client(target, credentials.createInsecure());
  const metadata = new Metadata();
  metadata.set("x-version", version);
  const answers: string[] = [];
  const stream = client.makeServerStreamRequest(METHOD, bytes, text, "question", metadata);
  const finish = (result: unknown) => {
    console.log(JSON.stringify(result));
    client.close();
  };
  stream.on("data", (message: string) => answers.push(message));
  stream.on("error", (error) => finish(error.message));
  stream.on("end", () => {
    if (answers.length > 0) finish(answers);
  });
}

const [command, first = "", second] = process.argv.slice(2);
if (command === "serve") serve(first);
else call(first, second);
