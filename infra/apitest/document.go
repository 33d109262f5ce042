package apitest

import (
	"regexp"
	"strings"
	"testing"
)

// Document is every route and example of the document that the project is built from.
func Document(t *testing.T, call Call, skip Skip) {
	status, generated := call(t, "POST", "/api/agents/myAgent/generate", `{"messages": [{"role": "user", "content": "What is 2+2?"}], "memory": {"thread": "t1", "resource": "ann"}}`)
	trace := regexp.MustCompile(`"traceId":"([0-9a-f]{32})"`).FindStringSubmatch(generated)
	if status != 200 || trace == nil {
		t.Fatalf("%d %s", status, generated)
	}
	traceID := trace[1]
	status, executed := call(t, "POST", "/api/workflows/myWorkflow/execute", `{"triggerData": {"userId": "123", "action": "process"}}`)
	run := regexp.MustCompile(`"runId":"([^"]+)"`).FindStringSubmatch(executed)
	if status != 200 || run == nil {
		t.Fatalf("%d %s", status, executed)
	}
	runID := run[1]

	check(t, call, skip, []Case{
		{"list agents", "GET", "/agents", "", 200, `"myAgent":\{"id":"myAgent","name":"My Agent","model":"offline/demo"`},
		{"agent", "GET", "/agents/myAgent", "", 200, `^\{"id":"myAgent","name":"My Agent","model":"offline/demo"`},
		{"no agent", "GET", "/agents/nobody", "", 404, `^\{"error":"Agent with id nobody not found"\}$`},
		{"generate", "POST", "/agents/myAgent/generate", `{"messages": [{"role": "user", "content": "What is 2+2?"}]}`, 200, `^\{"text":"[^"]*4`},
		{"generate without messages", "POST", "/agents/myAgent/generate", `{}`, 400, `^\{"error":"Invalid request body","issues":\[\{"field":"messages","message":"Required"\}\]\}$`},
		{"stream", "POST", "/agents/myAgent/stream", `{"messages": [{"role": "user", "content": "Tell me a story"}]}`, 200, `(?s)data: \{"type":"text-delta",.*"text":".*data: \[DONE\]\n\n$`},
		{"stream in records", "POST", "/agents/myAgent/stream?format=chunked", `{"messages": [{"role": "user", "content": "Tell me a story"}]}`, 200, `(?s)\{"type":"text-delta",[^\x1e]*\}\x1e.*\x1e$`},
		{"list workflows", "GET", "/workflows", "", 200, `"myWorkflow":\{`},
		{"workflow", "GET", "/workflows/myWorkflow", "", 200, `"name":"myWorkflow"`},
		{"no workflow", "GET", "/workflows/nothing", "", 404, `^\{"error":"Workflow not found"\}$`},
		{"execute", "POST", "/workflows/myWorkflow/execute", `{"triggerData": {"userId": "123", "action": "process"}}`, 200, `"status":"success".*"result":\{"status":"done"`},
		{"execute without its input", "POST", "/workflows/myWorkflow/execute", `{"triggerData": {}}`, 400, `"field":"[^"]*userId","message":"Required".*"field":"[^"]*action","message":"Required"`},
		{"run", "GET", "/workflows/myWorkflow/runs/" + runID, "", 200, `"status":"success"`},
		{"no run", "GET", "/workflows/myWorkflow/runs/nothing", "", 404, `^\{"error":"Workflow run not found"\}$`},
		{"list tools", "GET", "/tools", "", 200, `"calculator":\{"id":"calculator"`},
		{"tool", "GET", "/tools/calculator", "", 200, `"id":"calculator"`},
		{"no tool", "GET", "/tools/nothing", "", 404, `^\{"error":"Tool not found"\}$`},
		{"messages", "GET", "/memory/t1", "", 200, `"role":"user".*"role":"assistant".*"total":2`},
		{"save", "POST", "/memory/t2/save", `{"messages": [{"role": "user", "content": "Hello"}]}`, 200, `"threadId":"t2"`},
		{"messages saved", "GET", "/memory/t2", "", 200, `"Hello"`},
		{"save nothing known", "POST", "/memory/t2/save", `{"messages": [{"role": "wizard"}]}`, 400, `"field":"messages.0.role".*"field":"messages.0.content","message":"Required"`},
		{"delete", "DELETE", "/memory/t2", "", 200, `^\{"result":"Thread deleted"\}$`},
		{"delete again", "DELETE", "/memory/t2", "", 404, `^\{"error":"Thread not found"\}$`},
		{"list traces", "GET", "/observability/traces", "", 200, `"pagination":\{"total":\d+.*"spanType":"(agent|workflow)_run"`},
		{"trace", "GET", "/observability/traces/" + traceID, "", 200, `"spanType":"agent_run".*"spanType":"tool_call"|"spanType":"tool_call".*"spanType":"agent_run"`},
		{"no trace", "GET", "/observability/traces/" + strings.Repeat("0", 32), "", 404, `"error"`},
		{"score", "POST", "/observability/scores", `{"traceId": "` + traceID + `", "score": 0.9, "name": "helpful"}`, 200, `"success":true`},
		{"score, wrapped", "POST", "/observability/scores", `{"score": {"traceId": "` + traceID + `", "scorerId": "s", "score": 0.9}}`, 200, `"success":true`},
		{"score of no trace", "POST", "/observability/scores", `{"traceId": "x", "score": 0.9}`, 404, `"error"`},
		{"no score", "POST", "/observability/scores", `{}`, 400, `"field":"traceId","message":"Required".*"field":"score","message":"Required"`},
		{"scores", "GET", "/observability/scores?traceId=" + traceID, "", 200, `"total":2`},
		{"feedback", "POST", "/observability/feedback", `{"traceId": "` + traceID + `", "rating": 5, "comment": "good"}`, 200, `"success":true`},
		{"feedback, wrapped", "POST", "/observability/feedback", `{"feedback": {"feedbackType": "thumbs", "value": "up"}}`, 200, `"success":true`},
		{"no feedback", "POST", "/observability/feedback", `{}`, 400, `"field":"traceId","message":"Required"`},
		{"logs", "GET", "/logs?level=error&limit=10", "", 200, `"logs":\[`},
		{"logs of no level", "GET", "/logs?level=loud", "", 400, `"field":"level"`},
		{"upsert", "POST", "/vectors/upsert", `{"indexName": "docs2", "vectors": [[1,0],[0,1]], "ids": ["a","b"], "metadata": [{"n":1},{"n":2}]}`, 200, `^\{"ids":\["a","b"\]\}$`},
		{"query", "POST", "/vectors/query", `{"indexName": "docs2", "queryVector": [1,0], "topK": 2, "filter": {"n": {"$gt": 1}}}`, 200, `^\[\{"id":"b","score":0,"metadata":\{"n":2\}\}\]$`},
		{"query nothing", "POST", "/vectors/query", `{}`, 400, `"field":"indexName","message":"Required"`},
		{"query no index", "POST", "/vectors/query", `{"indexName": "nothing", "queryVector": [1]}`, 404, `"error"`},
		{"wrong method", "DELETE", "/agents", "", 405, `^\{"error":"Method Not Allowed"\}$`},
		{"the contract", "GET", "/openapi.json", "", 200, `"openapi":"3.1.0"`},
	})
	if status, body := call(t, "GET", "/health", ""); status != 200 || body != `{"success":true}` {
		t.Errorf("health: %d %s", status, body)
	}
	if status, body := call(t, "GET", "/swagger-ui", ""); status != 200 || !strings.Contains(body, "swagger") {
		t.Errorf("swagger-ui: %d", status)
	}
}
