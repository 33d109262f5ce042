// The official client against a real process: what a front end made for Mastra does first.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { MastraClient } from "@mastra/client-js";
import { serve } from "./server.mjs";

let server, client;

before(async () => {
  server = await serve();
  client = new MastraClient({ baseUrl: server.url });
});

after(() => server.stop());

test("lists agents", async () => {
  const agents = await client.listAgents();
  assert.deepEqual(Object.keys(agents), ["myAgent", "docsAgent"]);
  assert.equal((await client.getAgent("myAgent").details()).name, "My Agent");
});

test("generates, and reads the trace of it", async () => {
  const answer = await client.getAgent("myAgent").generate([{ role: "user", content: "What is 2+2?" }]);
  assert.match(answer.text, /4/);
  assert.equal(answer.toolCalls[0].payload.toolName, "calculator");
  const trace = await client.getTrace(answer.traceId);
  const types = trace.spans.map((s) => s.spanType);
  for (const type of ["agent_run", "model_generation", "tool_call"]) assert.ok(types.includes(type), `${type} in ${types}`);
});

test("streams", async () => {
  const response = await client.getAgent("myAgent").stream("Tell me a story");
  const types = new Set();
  let text = "";
  await response.processDataStream({
    onChunk: async (chunk) => {
      types.add(chunk.type);
      if (chunk.type === "text-delta") text += chunk.payload.text;
    },
  });
  for (const type of ["start", "step-start", "text-delta", "step-finish", "finish"]) assert.ok(types.has(type), type);
  assert.ok(text.length > 100, text);
});

test("remembers a thread", async () => {
  const memory = { thread: "thread-1", resource: "ann" };
  const agent = client.getAgent("myAgent");
  await agent.generate("My name is Ann", { memory });
  await agent.generate("What did I say?", { memory });
  const { messages } = await client.getMemoryThread({ threadId: "thread-1", agentId: "myAgent" }).listMessages();
  assert.deepEqual(messages.map((m) => m.role), ["user", "assistant", "user", "assistant"]);
});

test("manages threads", async () => {
  const agentId = "docsAgent";
  const made = await client.createMemoryThread({ agentId, resourceId: "bea", threadId: "thread-2", title: "Parcels", metadata: { order: 7 } });
  assert.equal(made.id, "thread-2");
  const thread = client.getMemoryThread({ threadId: "thread-2", agentId });
  const at = (n) => new Date(Date.UTC(2026, 0, 1, 0, 0, n));
  const said = ["Where is my parcel?", "On its way", "Thank you"].map((text, n) => ({
    id: `m-${n}`, role: n === 1 ? "assistant" : "user", threadId: "thread-2", resourceId: "bea", createdAt: at(n), type: "v2",
    content: { format: 2, parts: [{ type: "text", text }], content: text },
  }));
  assert.equal((await client.saveMessageToMemory({ agentId, messages: said })).messages.length, 3);
  assert.deepEqual((await thread.listMessages()).messages.map((m) => m.id), ["m-0", "m-1", "m-2"]);
  assert.equal((await client.listMemoryThreads({ resourceId: "bea", agentId })).threads.length, 1);
  assert.equal((await client.listMemoryThreads({ metadata: { order: 7 }, agentId })).total, 1);
  assert.equal((await thread.update({ title: "Lost parcels", metadata: { order: 7 }, resourceId: "bea" })).title, "Lost parcels");
  assert.equal((await thread.get()).title, "Lost parcels");

  const found = await client.searchMemory({ agentId, resourceId: "bea", searchQuery: "parcel" });
  assert.equal(found.results[0].id, "m-0");
  assert.equal(found.results[0].context.after[0].id, "m-1");

  const copy = await thread.clone({ newThreadId: "thread-3", options: { messageLimit: 2 } });
  assert.equal(copy.clonedMessages.length, 2);
  assert.equal((await client.getMemoryThread({ threadId: "thread-3", agentId }).transfer({ resourceId: "cem" })).resourceId, "cem");

  assert.ok((await thread.deleteMessages(["m-2"])).success);
  await thread.delete();
  await assert.rejects(thread.get(), (e) => e.status === 404);
  assert.ok((await client.getMemoryStatus(agentId)).result);
  assert.equal((await client.getMemoryConfig({ agentId })).config.lastMessages, 10);
  await assert.rejects(client.getObservationalMemory({ agentId, resourceId: "bea" }), (e) => e.status === 400);
});

test("keeps working memory", async () => {
  const of = { agentId: "docsAgent", threadId: "thread-4", resourceId: "bea" };
  await client.getAgent("docsAgent").generate("How long do refunds take?", { memory: { thread: "thread-4", resource: "bea" } });
  const empty = await client.getWorkingMemory(of);
  assert.equal(empty.workingMemory, null);
  assert.match(empty.workingMemoryTemplate.content, /^# Customer/);
  assert.ok((await client.updateWorkingMemory({ ...of, workingMemory: "# Customer\n- Name: Bea" })).success);
  assert.equal((await client.getWorkingMemory(of)).workingMemory, "# Customer\n- Name: Bea");
});

test("runs a workflow", async () => {
  const workflow = client.getWorkflow("myWorkflow");
  const run = await workflow.createRun();
  const result = await run.startAsync({ inputData: { userId: "123", action: "process" } });
  assert.equal(result.status, "success");
  assert.equal(result.result.status, "done");
});

test("suspends a workflow and resumes it", async () => {
  const workflow = client.getWorkflow("refundWorkflow");
  const run = await workflow.createRun();
  const waiting = await run.startAsync({ inputData: { orderId: "A-17", amount: 250 } });
  assert.equal(waiting.status, "suspended");
  const done = await run.resumeAsync({ step: "approve", resumeData: { approved: true } });
  assert.equal(done.status, "success");
});

test("says what is wrong", async () => {
  await assert.rejects(client.getAgent("nobody").generate("hi"), (e) => e.status === 404);
  await assert.rejects(client.getAgent("myAgent").generate(42), (e) => e.status === 400 && e.body.issues[0].field === "messages");
});

test("lists tools, logs and vectors", async () => {
  assert.ok((await client.listTools()).calculator);
  assert.ok(Array.isArray((await client.listLogs({ transportId: "file" })).logs));
  assert.ok((await client.listVectors()).vectors.length);
});
