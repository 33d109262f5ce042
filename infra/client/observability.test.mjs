// Every call of the official client that observes: traces, queries, scores, feedback, metrics, discovery, logs.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { MastraClient } from "@mastra/client-js";
import { serve } from "./server.mjs";

const called = new Set();
const about = /trace|score|feedback|metric|branch|span|log|entity|servicename|environments|tags/i;
const elsewhere = /stored|observationalmemory|getlogger/i; // of other groups
let server, client, traceId, runId;

before(async () => {
  server = await serve();
  const plain = new MastraClient({ baseUrl: server.url, retries: 0 });
  client = new Proxy(plain, {
    get(target, name) {
      called.add(name);
      return target[name].bind(target);
    },
  });
  const memory = { thread: "observed", resource: "ann" };
  ({ traceId, runId } = await plain.getAgent("myAgent").generate("What is 2+2?", { memory, tracingOptions: { tags: ["observed"], metadata: { plan: "gold" } } }));
  assert.ok(runId);
});

after(() => server.stop());

const timeRange = { from: new Date(Date.now() - 3600_000).toISOString(), to: new Date(Date.now() + 3600_000).toISOString() };

test("traces", async () => {
  const { spans } = await client.getTrace(traceId);
  assert.equal(spans[0].spanType, "agent_run");
  assert.equal(spans[0].metadata.plan, "gold");
  assert.equal((await client.getTraceLight(traceId)).spans.length, spans.length);
  assert.ok((await client.getTraceTrajectory(traceId)).steps.length);
  const tool = spans.find((s) => s.spanType === "tool_call");
  assert.equal((await client.getSpan(traceId, tool.spanId)).span.entityName, "calculator");
  assert.equal((await client.listTraces({ filters: { tags: ["observed"] } })).spans[0].traceId, traceId);
  assert.equal((await client.listTracesLight({ filters: { threadId: "observed" } })).spans[0].traceId, traceId);
  assert.equal((await client.getTraces({ pagination: { page: 0, perPage: 1 }, filters: { entityType: "agent", entityId: "myAgent" } })).spans[0].traceId, traceId);
  const { branches } = await client.listBranches({ filters: { spanType: "tool_call" } });
  assert.equal(branches[0].entityName, "calculator");
  assert.equal((await client.getBranch({ traceId, spanId: tool.spanId })).spans[0].spanId, tool.spanId);
});

test("queries", async () => {
  const where = { spans: { some: { op: "eq", left: { path: "entityName" }, right: { literal: "calculator" } } } };
  assert.equal((await client.queryTraces({ timeRange, where })).traces[0].traceId, traceId);
  assert.equal((await client.queryTraces({ timeRange, pagination: { page: 0, perPage: 5 } })).pagination.total, 1);
  assert.ok((await client.queryTraces({ mode: "delta", timeRange })).deltaCursor);
  assert.ok((await client.getTraceQueryFields({ timeRange, predicateScope: "trace" })).observedFields.some((f) => f.path === "metadata.plan"));
  assert.equal((await client.getTraceQueryValues({ timeRange, predicateScope: "trace", path: "metadata.plan" })).values[0].value, "gold");
  assert.deepEqual((await client.queryTraceThreads({ traces: { timeRange } })).threads, [{ threadId: "observed" }]);
});

test("scores", async () => {
  const spanId = (await client.getTrace(traceId)).spans[0].spanId;
  await client.createScore({ score: { scoreId: "s1", traceId, spanId, scorerId: "quality", score: 0.5 } });
  assert.equal((await client.listScores({ filters: { scorerId: "quality" } })).scores[0].score, 0.5);
  assert.ok((await client.listScoresBySpan({ traceId, spanId })).pagination);
  assert.equal((await client.getScoreAggregate({ scorerId: "quality", aggregation: "avg" })).value, 0.5);
  assert.equal((await client.getScoreBreakdown({ scorerId: "quality", aggregation: "avg", groupBy: ["scorerId"] })).groups[0].value, 0.5);
  assert.equal((await client.getScoreTimeSeries({ scorerId: "quality", aggregation: "count", interval: "1h" })).series[0].points[0].value, 1);
  assert.equal((await client.getScorePercentiles({ scorerId: "quality", percentiles: [0.5], interval: "1h" })).series[0].points[0].value, 0.5);
  await client.deleteScores({ scoreIds: ["s1"] });
  assert.equal((await client.listScores({ filters: { scorerId: "quality" } })).pagination.total, 0);

  const saved = { scorerId: "own", entityId: "myAgent", entityType: "AGENT", runId, output: "4", score: 1, scorer: { id: "own" }, source: "TEST", entity: { id: "myAgent" }, traceId };
  assert.equal((await client.saveScore({ score: saved })).score.score, 1);
  assert.equal((await client.listScoresByRunId({ runId })).scores.length, 1);
  assert.equal((await client.listScoresByScorerId({ scorerId: "own" })).scores.length, 1);
  assert.equal((await client.listScoresByEntityId({ entityId: "myAgent", entityType: "AGENT" })).scores.length, 1);
  assert.deepEqual(await client.listScorers(), {});
  assert.equal(await client.getScorer("none"), null);
  await assert.rejects(client.score({ scorerName: "none", targets: [{ traceId }] }), (e) => e.status === 404);
});

test("feedback", async () => {
  await client.createFeedback({ feedback: { feedbackId: "f1", traceId, feedbackType: "thumbs", value: 1 } });
  assert.equal((await client.listFeedback({ filters: { feedbackType: "thumbs" } })).feedback[0].value, 1);
  assert.equal((await client.updateFeedbackReviewStatus({ feedbackId: "f1", reviewStatus: "reviewed" })).reviewStatus, "reviewed");
  const asked = { feedbackType: "thumbs", feedbackSource: undefined };
  assert.equal((await client.getFeedbackAggregate({ ...asked, aggregation: "sum" })).value, 1);
  assert.equal((await client.getFeedbackBreakdown({ ...asked, aggregation: "sum", groupBy: ["feedbackType"] })).groups[0].value, 1);
  assert.equal((await client.getFeedbackTimeSeries({ ...asked, aggregation: "count", interval: "1h" })).series[0].points[0].value, 1);
  assert.equal((await client.getFeedbackPercentiles({ ...asked, percentiles: [0.5], interval: "1h" })).series[0].points[0].value, 1);
  await client.deleteFeedback({ feedbackIds: ["f1"] });
  assert.equal((await client.listFeedback({ filters: { feedbackType: "thumbs" } })).pagination.total, 0);
});

test("metrics and what there is to choose from", async () => {
  const name = ["mastra_agent_duration_ms"];
  assert.ok((await client.getMetricAggregate({ name: ["mastra_model_total_input_tokens"], aggregation: "sum" })).value > 0);
  assert.equal((await client.getMetricBreakdown({ name, aggregation: "count", groupBy: ["entityName"] })).groups[0].dimensions.entityName, "My Agent");
  assert.equal((await client.getMetricTimeSeries({ name, aggregation: "count", interval: "1h" })).series[0].points[0].value, 1);
  assert.ok((await client.getMetricPercentiles({ name: name[0], percentiles: [0.5], interval: "1h" })).series.length);
  assert.ok((await client.getMetricNames()).names.includes(name[0]));
  assert.deepEqual((await client.getMetricLabelKeys({ metricName: name[0] })).keys, ["status"]);
  assert.deepEqual((await client.getMetricLabelValues({ metricName: name[0], labelKey: "status" })).values, ["error", "ok"]);
  assert.ok((await client.getEntityTypes()).entityTypes.includes("agent"));
  assert.ok((await client.getEntityNames({ entityType: "agent" })).names.includes("My Agent"));
  assert.ok(Array.isArray((await client.getServiceNames()).serviceNames));
  assert.ok(Array.isArray((await client.getEnvironments()).environments));
  assert.ok((await client.getTags({ entityType: "agent" })).tags.includes("observed"));
});

test("logs", async () => {
  const [transportId] = (await client.listLogTransports()).transports;
  assert.ok(transportId);
  assert.ok(Array.isArray((await client.listLogs({ transportId })).logs));
  assert.ok(Array.isArray((await client.getLogForRun({ transportId, runId })).logs));
  assert.ok(Array.isArray((await client.listLogsVNext()).logs));
});

test("deletes a trace, last of all", async () => {
  await client.deleteTraces({ traceIds: [traceId] });
  await assert.rejects(client.getTrace(traceId), (e) => e.status === 404);
  const all = Object.getOwnPropertyNames(MastraClient.prototype).filter((m) => about.test(m) && !elsewhere.test(m));
  assert.deepEqual(all.filter((m) => !called.has(m)), [], "calls that no test makes");
});
