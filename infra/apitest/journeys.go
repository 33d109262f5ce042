package apitest

import (
	"strings"
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
	for _, s := range []struct {
		name, method, path, body string
		status                   int
		want                     string
		keep                     string // names what the first group of want was: $name in later cases
	}{
		{"make a run", "POST", "/workflows/myWorkflow/create-run", `{}`, 200, made, "run"},
		{"begin it", "POST", "/workflows/myWorkflow/start?runId=$run", trigger, 200, ``, ""},
		{"runs", "GET", "/workflows/myWorkflow/runs", "", 200, `"runs":\[\{.*"total":\d`, ""},
		{"run and wait", "POST", "/workflows/myWorkflow/start-async", trigger, 200, `"status":"success"`, ""},
		{"a run to stream", "POST", "/workflows/myWorkflow/create-run", `{}`, 200, made, "streamed"},
		{"stream it", "POST", "/workflows/myWorkflow/stream?runId=$streamed", trigger, 200, "workflow-start.*workflow-finish.*\x1e$", ""},
		{"observe what has ended", "POST", "/workflows/myWorkflow/observe?runId=$streamed", `{}`, 200, `workflow-finish`, ""},
		{"a run that waits", "POST", "/workflows/refundWorkflow/start-async", large, 200, made, "waiting"},
		{"say yes", "POST", "/workflows/refundWorkflow/resume-async?runId=$waiting", yes, 200, `"250.00 euros paid back"`, ""},
		{"another", "POST", "/workflows/refundWorkflow/execute", large, 200, made, "waiting"},
		{"say yes and do not wait", "POST", "/workflows/refundWorkflow/resume?runId=$waiting", yes, 200, ``, ""},
		{"a third", "POST", "/workflows/refundWorkflow/execute", large, 200, made, "waiting"},
		{"say yes and watch", "POST", "/workflows/refundWorkflow/resume-stream?runId=$waiting", yes, 200, `workflow-finish`, ""},
		{"a fourth", "POST", "/workflows/refundWorkflow/execute", large, 200, made, "waiting"},
		{"not after all", "POST", "/workflows/refundWorkflow/runs/$waiting/cancel", `{}`, 200, ``, ""},
		{"forget it", "DELETE", "/workflows/refundWorkflow/runs/$waiting", "", 200, ``, ""},
		{"it is forgotten", "GET", "/workflows/refundWorkflow/runs/$waiting", "", 404, ``, ""},

		{"stores", "GET", "/vectors", "", 200, `"vectors":\[\{"id":"[^"]+","name":"([^"]+)"`, "store"},
		{"an index", "POST", "/vector/$store/create-index", `{"indexName": "colors", "dimension": 2, "metric": "cosine"}`, 200, ``, ""},
		{"entries", "POST", "/vector/$store/upsert", `{"indexName": "colors", "vectors": [[1,0],[0,1]], "ids": ["red","blue"], "metadata": [{"n":1},{"n":2}]}`, 200, `\["red","blue"\]`, ""},
		{"the nearest", "POST", "/vector/$store/query", `{"indexName": "colors", "queryVector": [1,0.1], "topK": 1}`, 200, `"id":"red"`, ""},
		{"indexes", "GET", "/vector/$store/indexes", "", 200, `"colors"`, ""},
		{"build it", "POST", "/vector/$store/indexes/colors/build", `{}`, 200, ``, ""},
		{"the index", "GET", "/vector/$store/indexes/colors", "", 200, `"dimension":2.*"count":2`, ""},
		{"drop it", "DELETE", "/vector/$store/indexes/colors", "", 200, ``, ""},
		{"it is gone", "GET", "/vector/$store/indexes/colors", "", 404, ``, ""},

		{"a trace", "POST", "/agents/myAgent/generate", `{"messages": "What is 2+2?", "memory": {"thread": "journey", "resource": "ann"}}`, 200, `"traceId":"([0-9a-f]{32})"`, "trace"},
		{"its thread", "GET", "/memory/threads/journey?agentId=myAgent", "", 200, `"id":"journey"`, ""},
		{"at its other path", "GET", "/memory/network/threads/journey?agentId=myAgent", "", 200, `"id":"journey"`, ""},
		{"its messages at that path", "GET", "/memory/network/threads/journey/messages?agentId=myAgent", "", 200, `"messages":\[\{`, ""},
		{"a thread at that path", "POST", "/memory/network/threads?agentId=myAgent", `{"threadId": "n1", "resourceId": "ann", "title": "T", "metadata": {}}`, 200, `"id":"n1"`, ""},
		{"renamed", "PATCH", "/memory/network/threads/n1?agentId=myAgent", `{"title": "R"}`, 200, `"title":"R"`, ""},
		{"deleted", "DELETE", "/memory/network/threads/n1?agentId=myAgent", "", 200, ``, ""},
		{"status at that path", "GET", "/memory/network/status?agentId=myAgent", "", 200, `"result":true`, ""},
		{"without its payloads", "GET", "/observability/traces/$trace/light", "", 200, `"spanId":"([0-9a-f]{16})"`, "span"},
		{"one span", "GET", "/observability/traces/$trace/spans/$span", "", 200, `"spanId":"$span"`, ""},
		{"what is below it", "GET", "/observability/traces/$trace/branches/$span", "", 200, `"spanId":"$span"`, ""},
		{"traces by query", "POST", "/observability/traces/query", `{"timeRange": {"from": "$from", "to": "$to"}}`, 200, `"traceId"`, ""},
		{"score it", "POST", "/scores", `{"score": {"traceId": "$trace", "scorerId": "s", "score": 1, "runId": "r", "entityId": "myAgent", "entityType": "AGENT", "source": "TEST", "scorer": {"id": "s"}, "entity": {"id": "myAgent"}, "output": "x"}}`, 200, ``, ""},

		{"pick up what is left", "POST", "/workflows/myWorkflow/restart-all-active-workflow-runs", `{}`, 200, ``, ""},
		{"and wait", "POST", "/workflows/myWorkflow/restart-all-active-workflow-runs-async", `{}`, 200, ``, ""},
		{"stream at another path", "POST", "/agents/myAgent/streamVNext", `{"messages": "hi"}`, 200, ``, ""},
		{"stream until idle", "POST", "/agents/myAgent/stream-until-idle", `{"messages": "hi"}`, 200, ``, ""},
		{"what waits", "GET", "/agents/myAgent/suspended-runs", "", 200, ``, ""},
		{"speakers", "GET", "/agents/myAgent/voice/speakers", "", 200, `\[`, ""},
	} {
		t.Run(s.name, func(t *testing.T) {
			fill := strings.NewReplacer(kept...)
			c := Case{s.name, s.method, fill.Replace(s.path), fill.Replace(s.body), s.status, fill.Replace(s.want)}
			if skip != nil && skip(c) {
				t.Skip("not served here")
			}
			if value := c.check(t, call); s.keep != "" && value != "" {
				kept = append([]string{"$" + s.keep, value}, kept...) // the latest wins
			}
		})
	}
}
