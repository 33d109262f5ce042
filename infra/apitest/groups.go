package apitest

import "testing"

// Groups are the routes that the document does not name: the reference server's own paths, in this order, over a fresh storage.
func Groups(t *testing.T, call Call, skip Skip) {
	check(t, call, skip, []Case{
		{"generate, deprecated path", "POST", "/agents/myAgent/generate/vnext", `{"messages": "Tell me a story"}`, 200, `"text":"Once upon`},
		{"stream, deprecated path", "POST", "/agents/myAgent/stream/vnext", `{"messages": "hi"}`, 200, "\x1e$"},
		{"what is not served is refused", "POST", "/agents/myAgent/generate", `{"messages": "hi", "clientTools": {"x": {}}, "toolsets": {"a": {}}}`, 400, `"field":"clientTools".*"field":"toolsets"`},
		{"every issue", "POST", "/agents/myAgent/generate", `{"messages": [{"role": "wizard"}], "maxSteps": 0, "memory": {}}`, 400, `"field":"messages.0.*"field":"memory.thread".*"field":"maxSteps"`},
		{"instructions in many forms", "POST", "/agents/myAgent/generate", `{"messages": ["hi"], "instructions": ["a", "b"], "system": {"role": "system", "content": "c"}, "toolChoice": "none"}`, 200, `"finishReason":"stop"`},

		{"a tool runs", "POST", "/tools/calculator/execute", `{"data": {"expression": "6*7"}}`, 200, `^\{"result":42\}$`},
		{"a tool without data", "POST", "/tools/calculator/execute", `{}`, 400, `"field":"data","message":"Required"`},
		{"a tool refuses its input", "POST", "/tools/calculator/execute", `{"data": {"expression": 5}}`, 200, `^\{"error":true,"message":"Tool input validation failed for calculator.*Provided arguments: \{\\n  \\"expression\\": 5\\n\}.*"fields":\{"expression":\{"errors":\["Invalid input: expected string, received number"\]`},
		{"a tool fails", "POST", "/tools/calculator/execute", `{"data": {"expression": "1/0"}}`, 422, `"error":"the result of`},
		{"no tool", "POST", "/tools/nothing/execute", `{"data": {}}`, 404, `^\{"error":"Tool not found"\}$`},
		{"a tool of an agent", "GET", "/agents/myAgent/tools/calculator", "", 200, `"id":"calculator"`},
		{"no tool of the agent", "GET", "/agents/myAgent/tools/searchDocs", "", 404, `Tool not found`},
		{"a tool of an agent runs", "POST", "/agents/docsAgent/tools/searchDocs/execute", `{"data": {"query": "How long do refunds take?"}}`, 200, `"passages":\[\{"text":"Refunds`},

		{"no thread", "GET", "/memory/threads/t", "", 404, `^\{"error":"Thread not found"\}$`},
		{"a thread needs an agent and an owner", "POST", "/memory/threads", `{}`, 400, `"field"`},
		{"a thread", "POST", "/memory/threads?agentId=myAgent", `{"threadId": "t", "resourceId": "ann", "title": "T", "metadata": {"k": "v"}}`, 200, `"id":"t","resourceId":"ann","title":"T","metadata":\{"k":"v"\}`},
		{"a thread keeps its owner", "POST", "/memory/threads?agentId=myAgent", `{"threadId": "t", "resourceId": "bob"}`, 403, `Access denied`},
		{"another's thread", "GET", "/memory/threads/t?resourceId=bob", "", 403, `Access denied`},
		{"an unknown agent", "GET", "/memory/threads?agentId=nobody", "", 404, `Agent not found`},
		{"rename", "PATCH", "/memory/threads/t?agentId=myAgent", `{"title": "Renamed"}`, 200, `"title":"Renamed","metadata":\{"k":"v"\}`},
		{"threads", "GET", "/memory/threads?resourceId=ann&orderBy[field]=createdAt&orderBy[direction]=ASC", "", 200, `"threads":\[\{"id":"t".*"total":1,"page":0,"perPage":100,"hasMore":false`},
		{"threads in no order", "GET", "/memory/threads?orderBy[field]=evil", "", 400, `"field":"orderBy.field"`},
		{"threads by metadata", "GET", "/memory/threads?metadata={}", "", 400, `"field":"metadata","message":"Not supported`},
		{"save", "POST", "/memory/save-messages?agentId=myAgent", `{"messages": [{"id": "m1", "role": "user", "threadId": "t", "resourceId": "ann", "content": {"format": 2, "parts": [{"type": "text", "text": "a"}], "extra": 1}}, {"role": "assistant", "threadId": "t", "resourceId": "ann", "content": "b"}]}`, 200, `"extra":1.*"content":"b"`},
		{"save without a thread", "POST", "/memory/save-messages", `{"messages": [{"role": "user", "content": "x"}]}`, 400, `Found 1 invalid message`},
		{"save in another's thread", "POST", "/memory/save-messages", `{"messages": [{"role": "user", "content": "x", "threadId": "t", "resourceId": "bob"}]}`, 403, `Access denied`},
		{"messages", "GET", "/memory/threads/t/messages?perPage=1", "", 200, `"content":"b".*"total":2,"page":0,"perPage":1,"hasMore":true`},
		{"messages from the first on", "GET", "/memory/threads/t/messages?perPage=1&orderBy[direction]=ASC", "", 200, `"id":"m1"`},
		{"messages of no page", "GET", "/memory/threads/t/messages?page=-1&perPage=x", "", 400, `"field":"page".*"field":"perPage","message":"Invalid input: expected number, received NaN"`},
		{"delete another's", "DELETE", "/memory/threads/t?resourceId=bob", "", 403, `Access denied`},
		{"delete", "DELETE", "/memory/threads/t", "", 200, `Thread deleted`},
		{"status", "GET", "/memory/status?agentId=myAgent", "", 200, `^\{"result":true,"memoryType":"local"\}$`},
		{"status of nobody", "GET", "/memory/status", "", 400, `"field":"agentId","message":"Required"`},
		{"config", "GET", "/memory/config?agentId=myAgent", "", 200, `"lastMessages":10`},

		{"no voice speaks", "POST", "/agents/myAgent/voice/speak", `{"text": "hi"}`, 400, `does not have voice`},
		{"no voice listens", "POST", "/agents/myAgent/voice/listen", `{"audio": "aGk="}`, 400, `does not have voice`},
		{"speakers", "GET", "/agents/myAgent/speakers", "", 200, `^\[\]$`},
		{"listener", "GET", "/agents/myAgent/voice/listener", "", 200, `^\{"enabled":false\}$`},

		{"traces of an agent", "GET", "/observability/traces?entityType=agent&perPage=1", "", 200, `"entityType":"agent"`},
		{"traces from a day on", "GET", `/observability/traces?startedAt={"start":"2020-01-01"}`, "", 200, `"spanType"`},
		{"traces of no kind", "GET", "/observability/traces?entityType=bogus&page=x", "", 400, `"field":"entityType".*"field":"page"`},
		{"feedback", "GET", "/observability/feedback", "", 200, `"total":0`},
		{"transports", "GET", "/logs/transports", "", 200, `^\{"transports":\["\w+"\]\}$`},
		{"logs of a run", "GET", "/logs/some-run", "", 200, `"logs":\[\]`},
		{"capabilities", "GET", "/auth/capabilities", "", 200, `^\{"enabled":(true|false),"login":null\}$`},
		{"packages", "GET", "/system/packages", "", 200, `"observabilityEnabled":true`},
	})
}
