// The official client's Agent and Tool classes: approvals, suspended runs, observing, chat, client tools, structured output.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { MastraClient } from "@mastra/client-js";
import { serve } from "./server.mjs";

let server, client, agent;

before(async () => {
  server = await serve();
  client = new MastraClient({ baseUrl: server.url, retries: 0 });
  agent = client.getAgent("myAgent");
});

after(() => server.stop());

async function chunks(response) {
  const all = [];
  await response.processDataStream({ onChunk: async (c) => void all.push(c) });
  return all;
}
const types = (all) => all.map((c) => c.type);

test("asks for approval, lists who waits, and goes on", async () => {
  const first = await chunks(await agent.stream("What is 2+2?", { requireToolApproval: true, runId: "approve-1" }));
  assert.equal(first.at(-1).type, "tool-call-approval");
  const { toolCallId, toolName, args } = first.at(-1).payload;
  assert.equal(toolName, "calculator");
  const waiting = await agent.listSuspendedRuns();
  assert.deepEqual(waiting.runs.map((r) => [r.runId, r.toolCalls[0].toolCallId, r.toolCalls[0].args]), [["approve-1", toolCallId, args]]);
  const rest = await chunks(await agent.approveToolCall({ runId: "approve-1", toolCallId }));
  assert.equal(rest[0].type, "tool-result");
  assert.equal(rest.at(-1).type, "finish");
  await assert.rejects(agent.approveToolCallGenerate({ runId: "approve-1", toolCallId }), (e) => e.status === 409);
  const observed = await chunks(await agent.observe({ runId: "approve-1" }));
  assert.deepEqual(types(observed), [...types(first), ...types(rest)]);
  assert.deepEqual(types(await chunks(await agent.observe({ runId: "approve-1", offset: 3 }))), types(observed).slice(3));
});

test("declines, with a reason", async () => {
  const first = await agent.generate("What is 2+2?", { requireToolApproval: true, runId: "decline-1" });
  assert.equal(first.finishReason, "suspended");
  const answer = await agent.declineToolCallGenerate({ runId: "decline-1", toolCallId: first.suspendPayload.toolCallId, reason: "do it yourself" });
  assert.equal(answer.finishReason, "stop");
  assert.match(JSON.stringify(answer.steps[0].content), /do it yourself/);
});

test("runs a client's tool in the client", async () => {
  let seen;
  const response = await agent.stream("What is 2+2?", {
    activeTools: ["adder"],
    clientTools: {
      adder: {
        id: "adder", description: "Evaluates an arithmetic expression",
        inputSchema: { type: "object", properties: { expression: { type: "string" } } },
        execute: async (input) => ((seen = input), { result: 4 }),
      },
    },
  });
  const all = await chunks(response);
  assert.ok(all.length > 0);
  if (types(all).includes("tool-call")) assert.ok(seen, "the tool ran");
});

test("answers JSON", async () => {
  const answer = await agent.generate("Give me a city", {
    structuredOutput: { schema: { type: "object", properties: { city: { type: "string" } }, required: ["city"] }, errorStrategy: "fallback", fallbackValue: { city: "none" } },
  });
  assert.equal(typeof answer.object.city, "string");
});

test("chats: messages to a thread, and who follows it", async () => {
  const at = { threadId: "chat-1", resourceId: "ann" };
  const subscription = await agent.subscribeToThread(at);
  const seen = [];
  const finished = new Promise((resolve) => {
    void subscription.processDataStream({
      onChunk: async (c) => {
        seen.push(c.type);
        if (c.type === "finish") resolve();
      },
    }).catch(() => {});
  });
  const sent = await agent.sendMessage({ message: "Hello there", ...at });
  assert.ok(sent.accepted && sent.runId && sent.signal.id);
  await finished;
  assert.equal(seen[0], "start");
  assert.equal(seen[1], "data-user-message");
  await agent.queueMessage({ message: "And one more", ...at });
  await agent.sendSignal({ signal: { type: "system-reminder", contents: "be brief" }, ...at });
  assert.equal((await agent.abortThread({ threadId: "none", resourceId: "ann" })).aborted, false);
  let messages = [];
  for (let i = 0; i < 50 && messages.length < 5; i++) {
    await new Promise((r) => setTimeout(r, 100));
    ({ messages } = await client.getMemoryThread({ threadId: "chat-1", agentId: "myAgent" }).listMessages());
  }
  assert.ok(messages.filter((m) => m.role === "signal").length >= 2, JSON.stringify(messages.map((m) => m.role)));
  await assert.rejects(agent.sendMessage({ message: "x", runId: "none" }), (e) => e.status === 404);
});

test("changes models, and tells what it cannot do", async () => {
  assert.ok((await client.listAgentsModelProviders()).providers.some((p) => p.id === "openai"));
  assert.match((await agent.resetModel()).message, /reset/);
  await assert.rejects(agent.reorderModelList({ reorderedModelIds: ["a"] }), (e) => e.status === 400);
  await assert.rejects(agent.enhanceInstructions("a", "b"), (e) => e.status === 400);
  await assert.rejects(agent.clone({ newId: "x" }), (e) => e.status === 400);
  await assert.rejects(agent.recover({ runId: "none" }), (e) => e.status === 404);
});

test("describes and runs tools", async () => {
  assert.ok((await client.listTools()).calculator);
  const tool = client.getTool("calculator");
  assert.equal((await tool.details()).id, "calculator");
  assert.equal((await tool.execute({ data: { expression: "6*7" } })).result, 42);
  assert.equal((await agent.getTool("calculator")).id, "calculator");
  assert.equal((await agent.executeTool("calculator", { data: { expression: "6*7" } })).result, 42);
});

test("tells of an agent, and what former servers had", async () => {
  const info = await agent.details();
  assert.equal(info.id, "myAgent");
  assert.deepEqual([info.inputProcessors, info.outputProcessors], [[], []]);
  assert.deepEqual(await client.listProcessors(), {});
  await assert.rejects(client.getProcessor("none").details(), (e) => e.status === 404);
  await assert.rejects(agent.readPlan("plan.md"), (e) => e.status === 404);
  assert.equal((await agent.browserSession("t")).hasSession, false);
  await assert.rejects(agent.closeBrowser("t"), (e) => e.status === 404);
  const messages = [{ role: "user", content: "hi" }];
  await assert.rejects(agent.generateLegacy({ messages }), (e) => e.status === 400);
  await assert.rejects(async () => chunks(await agent.streamLegacy({ messages })), /400|legacy/i);
  assert.equal(client.getTool("none") instanceof Object, true);
  await assert.rejects(client.getTool("none").details(), (e) => e.status === 404);
  await assert.rejects(agent.getTool("none"), (e) => e.status === 404);
});

test("has no versions of an agent of code", async () => {
  assert.deepEqual(await agent.listVersions(), { versions: [], total: 0, page: 0, perPage: 20, hasMore: false });
  assert.equal((await agent.listVersions({ page: 2, perPage: 3 })).perPage, 3);
  for (const missing of [
    () => agent.createVersion({ changeMessage: "x" }), () => agent.getVersion("v1"), () => agent.activateVersion("v1"), () => agent.restoreVersion("v1"),
    () => agent.deleteVersion("v1"), () => agent.compareVersions("v1", "v2"), () => client.getAgent("none").listVersions(),
  ]) {
    await assert.rejects(missing(), (e) => e.status === 404 && /not found/.test(e.body.error));
  }
  assert.equal((await client.getAgent("myAgent", { status: "draft" }).details()).id, "myAgent");
});

test("does what a call asks for, or names what it cannot do", async () => {
  const answer = await agent.generate("What is 2+2?", { model: "offline/demo", savePerStep: true, returnScorerData: true, toolCallConcurrency: 1, maxProcessorRetries: 1 });
  assert.equal(answer.scoringData.input.inputMessages[0].role, "user");
  await assert.rejects(
    agent.generate("hi", { includeRawChunks: true, outputProcessors: [] }),
    (e) => e.status === 400 && assert.deepEqual(e.body.issues.map((i) => i.field).sort(), ["includeRawChunks", "outputProcessors"]) === undefined,
  );
  const memory = (filter) => ({ memory: { thread: "filtered", resource: "ann", options: { semanticRecall: { topK: 2, messageRange: 1, filter } } } });
  assert.equal((await client.getAgent("docsAgent").generate("How long do refunds take?", memory({ role: "user" }))).finishReason, "stop");
});

test("streams until it is idle, and routes through a network", async () => {
  const all = await chunks(await agent.streamUntilIdle("What is 2+2?"));
  assert.equal(all.at(-1).type, "finish");
  const routed = await chunks(await agent.network("What is 2+2?", { memory: { thread: "net", resource: "ann" }, maxSteps: 2 }));
  assert.equal(routed[0].type, "routing-agent-start");
  for (const answer of [() => agent.approveNetworkToolCall({ runId: "none" }), () => agent.declineNetworkToolCall({ runId: "none" })]) {
    await assert.rejects(async () => chunks(await answer()), /404|No run/);
  }
});

test("answers what waits in every way", async () => {
  const asks = async (runId, more = {}) => {
    const first = await chunks(await agent.stream("What is 2+2?", { requireToolApproval: true, runId, ...more }));
    assert.equal(first.at(-1).type, "tool-call-approval");
    return first.at(-1).payload.toolCallId;
  };
  let toolCallId = await asks("ways-1");
  assert.equal((await agent.approveToolCallGenerate({ runId: "ways-1", toolCallId })).finishReason, "stop");
  toolCallId = await asks("ways-2");
  const declined = await chunks(await agent.declineToolCall({ runId: "ways-2", toolCallId }));
  assert.equal(declined[0].type, "tool-output-denied");
  toolCallId = await asks("ways-3");
  const resumed = await chunks(await agent.resumeStream({ approved: true }, { runId: "ways-3", toolCallId }));
  assert.equal(resumed.at(-1).type, "finish");
  toolCallId = await asks("ways-4");
  const idle = await chunks(await agent.resumeStreamUntilIdle({ approved: true }, { runId: "ways-4", toolCallId }));
  assert.equal(idle.at(-1).type, "finish");
  assert.equal((await chunks(await agent.recover({ runId: "ways-4" }))).at(-1).type, "finish");
  const at = { threadId: "ways", resourceId: "ann" };
  toolCallId = await asks("ways-5", { memory: { thread: at.threadId, resource: at.resourceId } });
  assert.ok((await agent.sendToolApproval({ ...at, toolCallId, approved: true })).accepted);
  assert.equal((await chunks(await agent.observe({ runId: "ways-5" }))).at(-1).type, "finish");
});

test("changes an agent's model", async () => {
  assert.match((await agent.updateModel({ modelId: "demo", provider: "offline" })).message, /updated/i);
  assert.equal((await agent.generate("hi")).finishReason, "stop");
  await agent.resetModel();
  await assert.rejects(agent.updateModelInModelList({ modelConfigId: "none", enabled: false }), (e) => e.status >= 400 && e.status < 500);
});

test("has no voice, and says so", async () => {
  assert.deepEqual(await agent.voice.getSpeakers(), []);
  await agent.voice.getListener().then((l) => assert.equal(l.enabled, false), (e) => assert.equal(e.status, 400));
  await assert.rejects(agent.voice.speak("hi"), (e) => e.status === 400);
  await assert.rejects(agent.voice.listen(new Blob(["x"])), (e) => e.status === 400);
});
