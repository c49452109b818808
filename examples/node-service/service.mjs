// A web service that compresses networks for its own users, from the published protos alone.
//
//     npm install && node service.mjs --server localhost:50051 --port 8081
//
//     curl -N "localhost:8081/compress?network=conv-7&dataset=fashion-mnist&max_params=50000"
//     curl -o small.onnx "localhost:8081/models/ID"
//
// `/compress` answers with server-sent events: each event of the job as JSON, the last one being
// `completed`. A stream that breaks or falls silent is resumed where it broke, by the number of its
// last event, and so is a download. ARCHPRESS_TOKEN holds the token, `--ca FILE` turns TLS on.

import { createHash, randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { credentials, loadPackageDefinition, Metadata, status } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import protobuf from "protobufjs";

const { values: options } = parseArgs({
  options: {
    server: { type: "string", default: "localhost:50051" },
    port: { type: "string", default: "8081" },
    protos: { type: "string", default: here("../../proto") },
    ca: { type: "string" },
  },
});

const definition = loadSync(
  ["compression_service.proto", "artifact_service.proto"].map(
    (file) => `archpress_proto/v1/${file}`,
  ),
  { includeDirs: [options.protos, here("protos")], longs: Number, enums: String, oneofs: true },
);
const { v1 } = loadPackageDefinition(definition).archpress;
const channel = options.ca
  ? credentials.createSsl(readFileSync(options.ca))
  : credentials.createInsecure();
const compression = new v1.CompressionService(options.server, channel);
const artifacts = new v1.ArtifactService(options.server, channel);

const rpc = protobuf.loadSync(
  ["status", "error_details"].map((file) => here(`protos/google/rpc/${file}.proto`)),
);
const [Status, ErrorInfo, RetryInfo] = ["Status", "ErrorInfo", "RetryInfo"].map((name) =>
  rpc.lookupType(`google.rpc.${name}`),
);

const ATTEMPTS = 20;
const HEARTBEAT_SECONDS = 15;
const STATUSES = new Map([
  // Of Node: the path of a request is none, such as `//`.
  ["ERR_INVALID_URL", 400],
  [status.INVALID_ARGUMENT, 400],
  [status.NOT_FOUND, 404],
  // Of callers with tokens: another's job, or none.
  [status.PERMISSION_DENIED, 404],
]);

const server = createServer(async (request, response) => {
  try {
    const url = new URL(request.url, "http://localhost");
    if (url.pathname === "/compress") return await compress(url.searchParams, response);
    const [, model] = url.pathname.match(/^\/models\/([\w.-]+)$/) ?? [];
    if (model) return await download(model, response);
    answer(response, 404, { error: `there is no ${url.pathname}` });
  } catch (error) {
    if (response.headersSent) return response.destroy();
    answer(response, STATUSES.get(error.code) ?? 502, { error: error.details ?? String(error) });
  }
});

server.listen(Number(options.port), "127.0.0.1", () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}`);
});

/** Make a job and send its events as they come. */
async function compress(query, response) {
  const most = query.get("max_params");
  const budget = most === null ? {} : { maxParams: Number(most) };
  const network = query.get("network") ?? "";
  const model = network.startsWith("artifacts/") ? { artifact: network } : { network };
  const spec = { ...model, dataset: query.get("dataset"), budget };
  // Repeated with the same id, a request makes no second job.
  const create = { spec, requestId: randomUUID() };
  const job = await again(() => unary(compression, "CreateJob", create));
  response.writeHead(200, { "Content-Type": "text/event-stream" });
  const caller = { gone: response.destroyed, stream: null };
  response.on("close", () => {
    caller.gone = true;
    caller.stream?.cancel();
  });
  for await (const event of watch(job.name, caller)) {
    response.write(`data: ${JSON.stringify(shown(event))}\n\n`);
  }
  response.end();
}

/** Yield a job's events, over as many streams as it takes, until its end or the caller's leave. */
async function* watch(name, caller) {
  let seq = 0;
  for (let failures = 0; !caller.gone; ) {
    const heartbeatInterval = { seconds: HEARTBEAT_SECONDS };
    const request = { name, afterSeq: seq, heartbeatInterval };
    try {
      caller.stream = compression.WatchJob(request, headers());
      for await (const event of lively(caller.stream)) {
        failures = 0;
        // Heartbeats have no number.
        seq = Math.max(seq, event.seq ?? 0);
        yield event;
        if (event.completed) return;
      }
      throw Object.assign(new Error("no last event"), { code: status.UNAVAILABLE });
    } catch (error) {
      failures += 1;
      await wait(error, failures);
    }
  }
}

/** Send the network of a finished job, over as many streams as it takes. */
async function download(id, response) {
  const job = await again(() => unary(compression, "GetJob", { name: `jobs/${id}` }));
  if (!job.result) return answer(response, 409, { error: `${job.name} is ${job.state}` });
  const { artifact, certificate } = job.result;
  const digest = createHash("sha256");
  let offset = 0;
  response.writeHead(200, { "Content-Type": "application/octet-stream" });
  for (let failures = 0; ; ) {
    const request = { name: artifact, readOffset: offset, ifSha256: certificate.sha256 };
    try {
      for await (const { data } of lively(artifacts.DownloadArtifact(request, headers()))) {
        if (!data) continue;
        failures = 0;
        offset += data.length;
        digest.update(data);
        response.write(data);
      }
      break;
    } catch (error) {
      failures += 1;
      await wait(error, failures);
    }
  }
  if (digest.digest("hex") !== certificate.sha256) throw new Error("the model came damaged");
  response.end();
}

/** Yield a stream's messages, and cancel it after three heartbeats of silence. */
async function* lively(stream) {
  const patience = setTimeout(() => stream.cancel(), 3000 * HEARTBEAT_SECONDS);
  try {
    for await (const message of stream) {
      patience.refresh();
      yield message;
    }
  } finally {
    clearTimeout(patience);
  }
}

/** Return what a request gives, repeated while faults lie on the way. */
async function again(request) {
  for (let failures = 1; ; failures += 1) {
    try {
      return await request();
    } catch (error) {
      await wait(error, failures);
    }
  }
}

/** Wait after a fault on the way, longer each time, or as the server says; throw all others. */
async function wait(error, failures) {
  const { reason, least } = detailsOf(error);
  if (failures >= ATTEMPTS || !(reason === "RATE_LIMITED" || isOnTheWay(error, reason))) {
    throw error;
  }
  await new Promise((resolve) => setTimeout(resolve, Math.max(200 * failures, least)));
}

/** Whether a call may go better: proxies and dying servers give no reason, archpress does. */
function isOnTheWay({ code }, reason) {
  if (code === status.UNAVAILABLE || code === status.CANCELLED) return true;
  return !reason && (code === status.INTERNAL || code === status.UNKNOWN);
}

/** The reason of an error, and the milliseconds that are the least to wait. */
function detailsOf({ metadata }) {
  const found = { reason: "", least: 0 };
  for (const trailer of metadata?.get("grpc-status-details-bin") ?? []) {
    for (const { type_url: type, value } of Status.decode(trailer).details) {
      if (type.endsWith("/google.rpc.ErrorInfo")) found.reason = ErrorInfo.decode(value).reason;
      if (type.endsWith("/google.rpc.RetryInfo")) {
        const { seconds, nanos } = RetryInfo.decode(value).retryDelay;
        found.least = 1000 * Number(seconds) + nanos / 1e6;
      }
    }
  }
  return found;
}

function headers() {
  const metadata = new Metadata();
  const token = process.env.ARCHPRESS_TOKEN;
  if (token) metadata.set("authorization", `Bearer ${token}`);
  return metadata;
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
    client[method](request, headers(), deadline, done);
  });
}

function answer(response, code, body) {
  response.writeHead(code, { "Content-Type": "application/json" });
  response.end(JSON.stringify(body));
}

function here(path) {
  return fileURLToPath(new URL(path, import.meta.url));
}
