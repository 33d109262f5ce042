package observability

import (
	"bytes"
	"slices"
	"strconv"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// spanModelChunk is the type of the spans of what a model wrote in one call, and of what came of it. They are not stored: what they
// show is in the spans of the calls, of the tools and of the run.
const spanModelChunk = "model_chunk"

// wrote is what the span of a call says that the model wrote.
type wrote struct {
	Reasoning string      `json:"reasoning"`
	Text      string      `json:"text"`
	Calls     []wroteCall `json:"toolCalls"`
	Object    mastra.JSON `json:"object"`
}

type wroteCall struct {
	ID    string      `json:"toolCallId"`
	Name  string      `json:"toolName"`
	Input mastra.JSON `json:"args"`
}

// withChunks puts behind each call of a model the spans of its chunks: what it wrote, the calls of tools that a person is asked about,
// and those that have a result. Where no model was called, since the calls are of an earlier part of the run, they stand below the step.
func withChunks(spans []mastra.Span) []mastra.Span {
	var all []*chunksOf
	steps := map[string]*chunksOf{}    // by the id of the step
	below := map[string][]*chunksOf{}  // the steps of a generation, in their order
	generations := map[string]string{} // by the id of the run
	for i := range spans {
		switch s := &spans[i]; s.Type {
		case mastra.SpanModelStep:
			c := &chunksOf{above: s, behind: i}
			all, steps[s.SpanID], below[s.ParentID] = append(all, c), c, append(below[s.ParentID], c)
		case mastra.SpanModelGeneration:
			generations[s.ParentID] = s.SpanID
		}
	}
	for i := range spans {
		if s := &spans[i]; s.Type == mastra.SpanModelInference {
			c := steps[s.ParentID]
			if c == nil || c.above.Type == mastra.SpanModelInference { // a second call in a step is another model's
				c = &chunksOf{}
				all = append(all, c)
			}
			c.above, c.behind = s, i
			c.written()
		}
	}
	for i := range spans {
		s := &spans[i]
		switch s.Type {
		case mastra.SpanToolCall:
			c := steps[s.ParentID]
			if within := below[s.ParentID]; c == nil && len(within) > 0 { // a part of a run goes on with it
				c = within[0]
			}
			if c != nil {
				c.tools = append(c.tools, s)
			}
		case mastra.SpanClientTool:
			if within := below[generations[s.ParentID]]; len(within) > 0 {
				last := within[len(within)-1]
				last.clients = append(last.clients, s.EntityName)
			}
		case mastra.SpanAgentRun:
			if within := below[generations[s.SpanID]]; len(within) > 0 {
				within[len(within)-1].run = s
			}
		}
	}
	at := make(map[int]*chunksOf, len(all))
	for _, c := range all {
		c.asked()
		c.results()
		at[c.behind] = c
	}
	out := make([]mastra.Span, 0, 2*len(spans))
	for i := range spans {
		out = append(out, spans[i])
		if c := at[i]; c != nil {
			out = append(out, c.out...)
		}
	}
	return out
}

// chunksOf are the chunks of a call of a model, or of a step without one.
type chunksOf struct {
	above   *mastra.Span // the call or the step
	behind  int          // its place in the trace
	wrote   wrote
	tools   []*mastra.Span // those of the step
	clients []string       // the tools that the caller carries out, of the last step of a run
	run     *mastra.Span   // that it is the last step of; nil: it is not
	out     []mastra.Span
}

func (c *chunksOf) add(kind, id string, began, ended mastra.Time, output any) *mastra.Span {
	n := strconv.Itoa(len(c.out))
	if id == "" {
		id = n
	}
	s := *c.above
	s.ParentID, s.Name, s.Type, s.StartedAt, s.EndedAt = s.SpanID, "chunk: '"+kind+"'", spanModelChunk, began, ended
	s.Input, s.Output, s.Error, s.Model, s.Context = nil, nil, nil, nil, nil
	s.SpanID = mastra.SpanIDFrom(s.SpanID, id)
	s.Attributes = mastra.JSON(`{"chunkType":"` + kind + `","sequenceNumber":` + n + `}`)
	if output != nil {
		s.Output, _ = schema.Marshal(output) // texts and JSON always encode
	}
	c.out = append(c.out, s)
	return &c.out[len(c.out)-1]
}

// written adds what the model wrote.
func (c *chunksOf) written() {
	if c.above.Output.Kind() != '{' || schema.Unmarshal(c.above.Output, &c.wrote) != nil {
		return
	}
	var times struct {
		First string `json:"completionStartTime"`
	}
	_ = schema.Unmarshal(c.above.Attributes, &times) // without it the call's own beginning is shown
	began, ended := c.above.StartedAt, c.above.EndedAt
	if t, err := mastra.ParseTime(times.First); err == nil && t >= began {
		began = t
	}
	type text struct {
		Text string `json:"text"`
	}
	if c.wrote.Reasoning != "" {
		c.add("reasoning", "reasoning", began, ended, text{c.wrote.Reasoning})
	}
	if c.wrote.Text != "" {
		c.add("text", "", began, ended, text{c.wrote.Text})
	}
	if len(c.wrote.Object) > 0 {
		c.add("object", "object", began, ended, c.wrote.Object)
	}
	for _, call := range c.wrote.Calls {
		c.add("tool-call", "", began, ended, struct {
			ID    string      `json:"toolCallId"`
			Name  string      `json:"toolName"`
			Input mastra.JSON `json:"toolInput,omitzero"`
		}{call.ID, call.Name, call.Input})
	}
}

// asked adds the calls that a person is asked to approve: that which the run says it waits for, and those that nothing came of.
func (c *chunksOf) asked() {
	var waits struct {
		Status string `json:"status"`
		Reason string `json:"reason"`
		ID     string `json:"toolCallId"`
		Name   string `json:"toolName"`
	}
	if c.run == nil || schema.Unmarshal(c.run.Output, &waits) != nil || waits.Status != "suspended" {
		return
	}
	for _, call := range c.wrote.Calls {
		name, args := call.Name, call.Input
		switch {
		case call.ID == waits.ID && waits.Reason == "tool-call-approval":
			if waits.Name != name { // it is what an agent that was called asks for
				name, args = waits.Name, nil
			}
		case slices.Contains(c.clients, name) || slices.ContainsFunc(c.tools, func(t *mastra.Span) bool { return callOf(t) == call.ID }):
			continue
		}
		c.add("tool-call-approval", "approval "+call.ID, c.above.EndedAt, c.above.EndedAt, struct {
			ID   string      `json:"toolCallId"`
			Name string      `json:"toolName"`
			Args mastra.JSON `json:"args,omitzero"`
		}{call.ID, name, args}).IsEvent = true
	}
}

// results adds the calls of tools that came to a result, which is in the tool's span.
func (c *chunksOf) results() {
	for _, t := range c.tools {
		if len(t.Error) > 0 || !bytes.Contains(t.Attributes, []byte(`"success":`)) {
			continue
		}
		s := c.add("tool-result", "result "+t.SpanID, t.EndedAt, t.EndedAt, nil)
		s.IsEvent = true
		var about mastra.Object[mastra.JSON]
		if len(s.Metadata) > 0 && schema.Unmarshal(s.Metadata, &about) != nil {
			continue
		}
		for _, m := range []struct{ key, text string }{{"toolCallId", callOf(t)}, {"toolName", t.EntityName}} {
			if data, err := schema.Marshal(m.text); err == nil {
				about.Set(m.key, data)
			}
		}
		if data, err := schema.Marshal(about); err == nil {
			s.Metadata = data
		}
	}
}

// callOf is the id of the call that a tool's span is of.
func callOf(t *mastra.Span) string {
	var named struct {
		ID string `json:"toolCallId"`
	}
	_ = schema.Unmarshal(t.Attributes, &named) // one without it is of no call
	return named.ID
}
