package main

import (
	"bytes"
	"fmt"
)

// side is which of our two servers answers a case.
type side int

const (
	twin  side = iota // infra/conformance; the server that we are compared with answers the same requests
	own               // infra/local with shared/app
	three             // infra/bench/three, for what neither has
)

// benchCase is one row of the table.
type benchCase struct {
	name        string
	side        side
	concurrency int // 0: that of the flag
	load        load
	theirs      *load   // what the other server is sent instead, where it has nothing of the kind
	bar         float64 // requests a second, 0 without one
	barMS       float64 // median in milliseconds, 0 without one
	payload     string
}

const conversation = `{"messages":"hello","memory":{"thread":"bench-%d","resource":"bench"}}`

// generate is the load that fills threads and traces.
var generate = load{requests: each(post("/api/agents/echo-agent/generate", conversation)), check: contains(`"text":"Echo: hello"`)}

var twoSteps = load{requests: each(post("/api/workflows/sequential-workflow/start-async", `{"inputData":{"name":"ann"}}`)), check: contains(`"greeting":"Hello, ANN!"`)}

// cases are the loads that need nothing but a running server. The order is that of the table.
func cases() []benchCase {
	return []benchCase{
		{name: "generate", load: generate, payload: "echo-agent: last messages, recall by meaning, working memory, traces; a thread per connection"},
		{name: "stream", load: load{requests: each(post("/api/agents/echo-agent/stream", conversation)), check: ends(`"type":"finish"`, "data: [DONE]\n\n")},
			payload: "the same as SSE, read to [DONE]"},
		{name: "workflow start-async", load: twoSteps, payload: "sequential-workflow, two steps"},
		{name: "agents list", load: load{requests: each(get("/api/agents")), check: contains(`"network-agent"`)}, bar: 40000, payload: "GET /api/agents"},
		{name: "tool execute", load: load{requests: each(post("/api/tools/calculator/execute", `{"data":{"op":"add","a":2,"b":3}}`)), check: contains(`"result":5`)},
			payload: "calculator"},
		{name: "messages list", load: load{requests: each(get("/api/memory/threads/bench-0/messages?agentId=echo-agent&perPage=20")), check: contains("Echo: hello")},
			payload: "20 of thread bench-0"},
		{name: "traces list", load: load{requests: each(get("/api/observability/traces?perPage=10")), check: contains(`"spans":[{`)},
			payload: "10 of all that is stored"},
		{name: "own agents list", side: own, load: load{requests: each(get("/api/agents")), check: contains(`"myAgent"`)}, bar: 40000, payload: "GET /api/agents of shared/app"},
		{name: "myAgent answers", side: own, load: load{requests: each(post("/api/agents/myAgent/generate", conversation)), check: contains(`"text":"`)}, bar: 4000,
			payload: "offline/demo, one model call, last messages and traces, a thread per connection"},
		{name: "myAgent streams", side: own, load: load{requests: each(post("/api/agents/myAgent/stream", conversation)), check: ends(`"type":"finish"`, "data: [DONE]\n\n")},
			bar: 3000, payload: "the same as SSE, read to [DONE]"},
		{name: "myAgent's first words", side: own, concurrency: 1, load: load{requests: each(post("/api/agents/myAgent/stream", conversation)),
			check: ends(`"type":"finish"`, "data: [DONE]\n\n"), mark: `"type":"text-delta"`}, barMS: 2, payload: "from the request to the first text-delta of a stream"},
		{name: "myAgent calculates", side: own, load: load{requests: each(post("/api/agents/myAgent/generate",
			`{"messages":"What is 2+2?","memory":{"thread":"bench-%d","resource":"bench"}}`)), check: contains(`"toolName":"calculator"`, `"result":4`)},
			payload: "offline/demo, two model calls and the calculator, memory and traces on"},
		{name: "three steps start-async", side: three, load: load{requests: each(post("/api/workflows/three/start-async", `{"inputData":{"name":" ann "}}`)),
			check: contains(`"greeting":"Hello, ANN!"`)}, theirs: &twoSteps, bar: 3000, payload: "durable, a checkpoint a step; there two steps"},
		{name: "myWorkflow execute", side: own, load: load{requests: each(post("/api/workflows/myWorkflow/execute",
			`{"triggerData":{"userId":"123","action":"process"}}`)), check: contains("Hello user 123")}, payload: "four steps, two of them in parallel"},
	}
}

// each is a load's requests where every connection sends one again and again.
func each(make func(worker int) []byte) func(int) [][]byte {
	return func(worker int) [][]byte { return [][]byte{make(worker)} }
}

// post is a request with a JSON body; a %d in it is the number of the connection.
func post(path, body string) func(int) []byte {
	return func(worker int) []byte {
		b := body
		if bytes.Contains([]byte(b), []byte("%d")) {
			b = fmt.Sprintf(b, worker)
		}
		return request("POST", path, b)
	}
}

func get(path string) func(int) []byte {
	return func(int) []byte { return request("GET", path, "") }
}

// contains expects an answer to hold all of the texts.
func contains(texts ...string) func([]byte) error {
	want := make([][]byte, len(texts))
	for i, t := range texts {
		want[i] = []byte(t)
	}
	return func(body []byte) error {
		for _, w := range want {
			if !bytes.Contains(body, w) {
				return fmt.Errorf("%s is not in the answer %.500s", w, body)
			}
		}
		return nil
	}
}

// ends expects an answer to hold a text and to end with another one.
func ends(text, end string) func([]byte) error {
	holds := contains(text)
	return func(body []byte) error {
		if !bytes.HasSuffix(body, []byte(end)) {
			return fmt.Errorf("the answer does not end with %q: %.500s", end, body)
		}
		return holds(body)
	}
}
