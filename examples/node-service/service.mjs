// A web service that compresses networks for its own users, from the published protos alone.
//
//     npm install && node service.mjs --server localhost:50051 --port 8081
//
//     curl -N "localhost:8081/compress?network=conv-7&dataset=fashion-mnist&max_params=50000"
//     curl -o small.onnx "localhost:8081/models/ID"
//
// `/compress` answers with server-sent events: each event of the job as JSON, the last one being
// `completed`. A stream that breaks is resumed where it broke, by the number of its last event.

import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { credentials, loadPackageDefinition, Metadata, status } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

const { values: options } = parseArgs({
  options: {
    server: { type: "string", default: "localhost:50051" },
    port: { type: "string", default: "8081" },
    protos: { type: "string", default: here("../../proto") },
  },
});

const definition = loadSync(
  ["compression_service.proto", "artifact_service.proto"].map(
    (file) => `archpress_proto/v1/${file}`,
  ),
  { includeDirs: [options.protos, here("protos")], longs: Number, enums: String, oneofs: true },
);
const { v1 } = loadPackageDefinition(definition).archpress;
const compression = new v1.CompressionService(options.server, credentials.createInsecure());
const artifacts = new v1.ArtifactService(options.server, credentials.createInsecure());

const ATTEMPTS = 20;
const AGAIN = new Set([status.UNAVAILABLE, status.CANCELLED]);

const server = createServer(async (request, response) => {
  const url = new URL(request.url, "http://localhost");
  try {
    if (url.pathname === "/compress") return await compress(url.searchParams, response);
    const [, model] = url.pathname.match(/^\/models\/([\w.-]+)$/) ?? [];
    if (model) return await download(model, response);
    answer(response, 404, { error: `there is no ${url.pathname}` });
  } catch (error) {
    const refused = error.code === status.INVALID_ARGUMENT || error.code === status.NOT_FOUND;
    if (response.headersSent) return response.end(`data: ${JSON.stringify({ error: error.details })}\n\n`);
    answer(response, refused ? 400 : 502, { error: error.details ?? String(error) });
  }
});

server.listen(Number(options.port), "127.0.0.1", () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}`);
});

/** Make a job and send its events as they come. */
async function compress(query, response) {
  const budget = { maxParams: Number(query.get("max_params")) };
  const network = query.get("network") ?? "";
  const model = network.startsWith("artifacts/") ? { artifact: network } : { network };
  const spec = { ...model, dataset: query.get("dataset"), budget };
  // Repeated with the same id, a request makes no second job.
  const job = await unary(compression, "CreateJob", { spec, requestId: randomUUID() });
  response.writeHead(200, { "Content-Type": "text/event-stream" });
  for await (const event of watch(job.name)) {
    response.write(`data: ${JSON.stringify(shown(event))}\n\n`);
  }
  response.end();
}

/** Yield a job's events, over as many streams as it takes. */
async function* watch(name) {
  let seq = 0;
  for (let failures = 0; ; ) {
    try {
      for await (const event of compression.WatchJob({ name, afterSeq: seq })) {
        failures = 0;
        // Heartbeats have no number.
        seq = Math.max(seq, event.seq);
        yield event;
        if (event.completed) return;
      }
    } catch (error) {
      failures += 1;
      if (!AGAIN.has(error.code) || failures === ATTEMPTS) throw error;
      await new Promise((resolve) => setTimeout(resolve, 200 * failures));
    }
  }
}

/** Send the network of a finished job. */
async function download(id, response) {
  const job = await unary(compression, "GetJob", { name: `jobs/${id}` });
  if (!job.result) return answer(response, 409, { error: `${job.name} is ${job.state}` });
  response.writeHead(200, { "Content-Type": "application/octet-stream" });
  for await (const { data } of artifacts.DownloadArtifact({ name: job.result.artifact })) {
    if (data) response.write(data);
  }
  response.end();
}

/** What this service tells of an event. */
function shown({ job, seq, progress, candidate, completed, log }) {
  if (progress) return { job, seq, phase: progress.phase, step: progress.step };
  if (candidate) return { job, seq, candidate: candidate.rank, params: candidate.costs.params };
  if (log) return { job, seq, log: log.text };
  if (!completed) return { job, seq };
  const { state, result, error } = completed;
  const delivered = result && {
    params: result.costsAfter.params,
    accuracy: result.certificate.accuracy,
    sha256: result.certificate.sha256,
  };
  return { job, seq, completed: state, error: error?.message, ...delivered };
}

function unary(client, method, request) {
  const deadline = { deadline: Date.now() + 30_000 };
  return new Promise((resolve, reject) => {
    const done = (error, reply) => (error ? reject(error) : resolve(reply));
    client[method](request, new Metadata(), deadline, done);
  });
}

function answer(response, code, body) {
  response.writeHead(code, { "Content-Type": "application/json" });
  response.end(JSON.stringify(body));
}

function here(path) {
  return fileURLToPath(new URL(path, import.meta.url));
}
