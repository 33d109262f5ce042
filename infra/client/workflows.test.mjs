// The official client's Workflow and Run classes against a real process: every method of theirs.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { MastraClient } from "@mastra/client-js";
import { serve } from "./server.mjs";

let server, client, workflow;

before(async () => {
  server = await serve();
  client = new MastraClient({ baseUrl: server.url });
  workflow = client.getWorkflow("refundWorkflow");
  note(workflow);
  note(await workflow.createRun());
});

after(() => server.stop());

// What a class of the client can do, and which of it was called.
const methods = new Set();
const called = new Set();
function note(object) {
  const prototype = Object.getPrototypeOf(object);
  for (const name of Object.getOwnPropertyNames(prototype)) {
    const method = prototype[name];
    if (name === "constructor") continue;
    methods.add(`${prototype.constructor.name}.${name}`);
    prototype[name] = function (...args) {
      called.add(`${prototype.constructor.name}.${name}`);
      return method.apply(this, args);
    };
  }
}

const large = { orderId: "A-17", amount: 250 };
const answer = { step: "approve", resumeData: { approved: true } };

async function types(stream) {
  const list = [];
  for await (const chunk of stream) list.push(chunk.type);
  return list;
}

async function status(runId, want) {
  for (let i = 0; i < 200; i++) {
    const run = await workflow.runById(runId);
    if (run.status === want) return run;
    await new Promise((r) => setTimeout(r, 20));
  }
  assert.fail(`the run ${runId} does not become ${want}`);
}

test("describes itself", async () => {
  const details = await workflow.details();
  assert.equal(details.name, "refundWorkflow");
  assert.ok(details.steps.approve.resumeSchema);
  const schema = await workflow.getSchema();
  assert.equal(schema.inputSchema.properties.orderId.type, "string");
});

test("starts and resumes without waiting", async () => {
  const run = await workflow.createRun();
  assert.deepEqual(await run.start({ inputData: large }), { message: "Workflow run started" });
  await status(run.runId, "suspended");
  assert.deepEqual(await run.resume(answer), { message: "Workflow run resumed" });
  await status(run.runId, "success");
});

test("resumes without waiting, by the run's id", async () => {
  const run = await workflow.createRun({ runId: "no-wait" });
  assert.equal((await run.startAsync({ inputData: large })).status, "suspended");
  assert.deepEqual(await run.resumeNoWait(answer), { runId: "no-wait" });
  await status("no-wait", "success");
});

test("streams, resumes as a stream, and is observed after it", async () => {
  const run = await workflow.createRun({ runId: "streamed" });
  const first = await types(await run.stream({ inputData: large }));
  assert.equal(first[0], "workflow-start");
  assert.ok(first.includes("workflow-step-suspended"), first);
  assert.equal(first.at(-1), "workflow-finish");
  const second = await types(await run.resumeStream(answer));
  assert.equal(second.at(-1), "workflow-finish");
  const all = await types(await run.observe());
  assert.deepEqual(all, [...first, ...second]);
  assert.deepEqual(await types(await run.observe({ offset: first.length })), second);
  assert.deepEqual(await types(await run.observeStream()), all);
});

test("travels in time, and restarts what has ended", async () => {
  const run = await workflow.createRun({ runId: "travelled" });
  await run.startAsync({ inputData: large });
  await run.resumeAsync(answer);
  const again = await run.timeTravelAsync({ step: "approve" });
  assert.equal(again.status, "suspended");
  const refused = await run.resumeAsync({ step: "approve", resumeData: { approved: false } });
  assert.equal(refused.status, "success");
  assert.equal((await run.restartAsync()).status, "success");
  assert.deepEqual(await run.restart({}), { message: "Workflow run restarted" });
  assert.equal((await types(await run.timeTravelStream({ step: "approve" }))).at(-1), "workflow-finish");
  assert.deepEqual(await run.timeTravel({ step: "approve" }), { message: "Workflow run time travel started" });
  await status("travelled", "suspended");
});

test("goes step by step", async () => {
  const run = await workflow.createRun({ runId: "stepwise" });
  const one = await run.startAsync({ inputData: { orderId: "A-17", amount: 5 }, perStep: true });
  assert.equal(one.status, "paused");
  assert.deepEqual(Object.keys(one.steps), ["input", "approve"]);
  assert.equal((await run.timeTravelAsync({ step: "pay" })).status, "success");
});

test("cancels and deletes", async () => {
  const run = await workflow.createRun({ runId: "unwanted" });
  await run.startAsync({ inputData: large });
  assert.deepEqual(await run.cancel(), { message: "Workflow run cancelled" });
  assert.equal((await workflow.runById("unwanted")).status, "canceled");
  await assert.rejects(run.cancelRun(), (e) => e.status === 409);
  assert.deepEqual(await workflow.deleteRunById("unwanted"), { message: "Workflow run deleted" });
  await assert.rejects(workflow.runById("unwanted"), (e) => e.status === 404);
});

test("lists its runs", async () => {
  const { runs, total } = await workflow.runs({ perPage: 2 });
  assert.equal(runs.length, 2);
  assert.ok(total > 4, total);
  const { runs: waiting } = await workflow.runs({ status: "suspended" });
  assert.ok(waiting.every((r) => r.snapshot.status === "suspended"));
});

test("counts what goes on, and lists what there is", async () => {
  const counts = await client.listWorkflowRunCounts();
  assert.ok(counts.refundWorkflow.suspended > 0, JSON.stringify(counts));
  assert.ok((await client.listWorkflows()).refundWorkflow.steps.approve);
});

test("every method was called", () => {
  assert.deepEqual([...methods].filter((m) => !called.has(m)), []);
  assert.ok(methods.size > 20, [...methods].join(" "));
});
