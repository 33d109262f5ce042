package apitest

import (
	"testing"
	"time"
)

// Journeys are what clients do over several requests, over the document's application, in this order.
func Journeys(t *testing.T, call Call, skip Skip) {
	const trigger = `{"inputData": {"userId": "123", "action": "process"}}`
	const large = `{"inputData": {"orderId": "A-17", "amount": 250}}`
	const yes = `{"step": "approve", "resumeData": {"approved": true}}`
	const made = `"runId":"([^"]+)"`
	today := time.Now().UTC()
	kept := []string{"$from", today.Add(-time.Hour).Format(time.RFC3339), "$to", today.Add(time.Hour).Format(time.RFC3339)}
	walk(t, call, skip, kept, []step{
		{Case{"make a run", "POST", "/workflows/myWorkflow/create-run", `{}`, 200, made}, "run"},
		{Case{"begin it", "POST", "/workflows/myWorkflow/start?runId=$run", trigger, 200, ``}, ""},
		{Case{"runs", "GET", "/workflows/myWorkflow/runs", "", 200, `"runs":\[\{.*"total":\d`}, ""},
		{Case{"run and wait", "POST", "/workflows/myWorkflow/start-async", trigger, 200, `"status":"success"`}, ""},
		{Case{"a run to stream", "POST", "/workflows/myWorkflow/create-run", `{}`, 200, made}, "streamed"},
		{Case{"stream it", "POST", "/workflows/myWorkflow/stream?runId=$streamed", trigger, 200, "workflow-start.*workflow-finish.*\x1e$"}, ""},
		{Case{"observe what has ended", "POST", "/workflows/myWorkflow/observe?runId=$streamed", `{}`, 200, `workflow-finish`}, ""},
		{Case{"a run that waits", "POST", "/workflows/refundWorkflow/start-async", large, 200, made}, "waiting"},
		{Case{"say yes", "POST", "/workflows/refundWorkflow/resume-async?runId=$waiting", yes, 200, `"250.00 euros paid back"`}, ""},
		{Case{"another", "POST", "/workflows/refundWorkflow/execute", large, 200, made}, "waiting"},
		{Case{"say yes and do not wait", "POST", "/workflows/refundWorkflow/resume?runId=$waiting", yes, 200, ``}, ""},
		{Case{"a third", "POST", "/workflows/refundWorkflow/execute", large, 200, made}, "waiting"},
		{Case{"say yes and watch", "POST", "/workflows/refundWorkflow/resume-stream?runId=$waiting", yes, 200, `workflow-finish`}, ""},
		{Case{"a fourth", "POST", "/workflows/refundWorkflow/execute", large, 200, made}, "waiting"},
		{Case{"not after all", "POST", "/workflows/refundWorkflow/runs/$waiting/cancel", `{}`, 200, ``}, ""},
		{Case{"forget it", "DELETE", "/workflows/refundWorkflow/runs/$waiting", "", 200, ``}, ""},
		{Case{"it is forgotten", "GET", "/workflows/refundWorkflow/runs/$waiting", "", 404, ``}, ""},

		{Case{"stores", "GET", "/vectors", "", 200, `"vectors":\[\{"id":"[^"]+","name":"([^"]+)"`}, "store"},
		{Case{"an index", "POST", "/vector/$store/create-index", `{"indexName": "colors", "dimension": 2, "metric": "cosine"}`, 200, ``}, ""},
		{Case{"entries", "POST", "/vector/$store/upsert", `{"indexName": "colors", "vectors": [[1,0],[0,1]], "ids": ["red","blue"], "metadata": [{"n":1},{"n":2}]}`, 200, `\["red","blue"\]`}, ""},
		{Case{"the nearest", "POST", "/vector/$store/query", `{"indexName": "colors", "queryVector": [1,0.1], "topK": 1}`, 200, `"id":"red"`}, ""},
		{Case{"indexes", "GET", "/vector/$store/indexes", "", 200, `"colors"`}, ""},
		{Case{"build it", "POST", "/vector/$store/indexes/colors/build", `{}`, 200, ``}, ""},
		{Case{"the index", "GET", "/vector/$store/indexes/colors", "", 200, `"dimension":2.*"count":2`}, ""},
		{Case{"drop it", "DELETE", "/vector/$store/indexes/colors", "", 200, ``}, ""},
		{Case{"it is gone", "GET", "/vector/$store/indexes/colors", "", 404, ``}, ""},

		{Case{"a trace", "POST", "/agents/myAgent/generate", `{"messages": "What is 2+2?", "memory": {"thread": "journey", "resource": "ann"}}`, 200, `"traceId":"([0-9a-f]{32})"`}, "trace"},
		{Case{"its thread", "GET", "/memory/threads/journey?agentId=myAgent", "", 200, `"id":"journey"`}, ""},
		{Case{"at its other path", "GET", "/memory/network/threads/journey?agentId=myAgent", "", 200, `"id":"journey"`}, ""},
		{Case{"its messages at that path", "GET", "/memory/network/threads/journey/messages?agentId=myAgent", "", 200, `"messages":\[\{`}, ""},
		{Case{"a thread at that path", "POST", "/memory/network/threads?agentId=myAgent", `{"threadId": "n1", "resourceId": "ann", "title": "T", "metadata": {}}`, 200, `"id":"n1"`}, ""},
		{Case{"renamed", "PATCH", "/memory/network/threads/n1?agentId=myAgent", `{"title": "R"}`, 200, `"title":"R"`}, ""},
		{Case{"deleted", "DELETE", "/memory/network/threads/n1?agentId=myAgent", "", 200, ``}, ""},
		{Case{"status at that path", "GET", "/memory/network/status?agentId=myAgent", "", 200, `"result":true`}, ""},
		{Case{"without its payloads", "GET", "/observability/traces/$trace/light", "", 200, `"spanId":"([0-9a-f]{16})"`}, "span"},
		{Case{"one span", "GET", "/observability/traces/$trace/spans/$span", "", 200, `"spanId":"$span"`}, ""},
		{Case{"what is below it", "GET", "/observability/traces/$trace/branches/$span", "", 200, `"spanId":"$span"`}, ""},
		{Case{"traces by query", "POST", "/observability/traces/query", `{"timeRange": {"from": "$from", "to": "$to"}}`, 200, `"traceId"`}, ""},
		{Case{"score it", "POST", "/scores", `{"score": {"traceId": "$trace", "scorerId": "s", "score": 1, "runId": "r", "entityId": "myAgent", "entityType": "AGENT", "source": "TEST", "scorer": {"id": "s"}, "entity": {"id": "myAgent"}, "output": "x"}}`, 200, ``}, ""},

		{Case{"pick up what is left", "POST", "/workflows/myWorkflow/restart-all-active-workflow-runs", `{}`, 200, ``}, ""},
		{Case{"and wait", "POST", "/workflows/myWorkflow/restart-all-active-workflow-runs-async", `{}`, 200, ``}, ""},
		{Case{"stream at another path", "POST", "/agents/myAgent/streamVNext", `{"messages": "hi"}`, 200, ``}, ""},
		{Case{"stream until idle", "POST", "/agents/myAgent/stream-until-idle", `{"messages": "hi"}`, 200, ``}, ""},
		{Case{"what waits", "GET", "/agents/myAgent/suspended-runs", "", 200, ``}, ""},
		{Case{"speakers", "GET", "/agents/myAgent/voice/speakers", "", 200, `\[`}, ""},
	})
}
