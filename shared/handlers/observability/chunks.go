package observability

import (
	"strconv"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// spanModelChunk is the type of the spans of what a model wrote in one call. They are not stored: what they show is in the span of
// the call.
const spanModelChunk = "model_chunk"

// withChunks puts behind each call of a model the spans of what it wrote: its text, and the calls of tools.
func withChunks(spans []mastra.Span) []mastra.Span {
	out := make([]mastra.Span, 0, 2*len(spans))
	for i := range spans {
		out = append(out, spans[i])
		if spans[i].Type == mastra.SpanModelInference {
			out = append(out, chunks(&spans[i])...)
		}
	}
	return out
}

func chunks(s *mastra.Span) (out []mastra.Span) {
	var wrote struct {
		Text  string `json:"text"`
		Calls []struct {
			ID    string      `json:"toolCallId"`
			Name  string      `json:"toolName"`
			Input mastra.JSON `json:"args"`
		} `json:"toolCalls"`
	}
	var times struct {
		First string `json:"completionStartTime"`
	}
	if s.Output.Kind() != '{' || schema.Unmarshal(s.Output, &wrote) != nil {
		return nil
	}
	_ = schema.Unmarshal(s.Attributes, &times) // without it the call's own beginning is shown
	began := s.StartedAt
	if t, err := mastra.ParseTime(times.First); err == nil && t >= began {
		began = t
	}
	add := func(kind string, output any) {
		n := len(out)
		c := *s
		c.ParentID, c.Name, c.Type, c.StartedAt, c.Input, c.Error, c.Model = s.SpanID, "chunk: '"+kind+"'", spanModelChunk, began, nil, nil, nil
		c.SpanID = mastra.SpanIDFrom(s.SpanID, strconv.Itoa(n))
		c.Attributes = mastra.JSON(`{"chunkType":"` + kind + `","sequenceNumber":` + strconv.Itoa(n) + `}`)
		c.Output, _ = schema.Marshal(output) // texts and JSON always encode
		out = append(out, c)
	}
	if wrote.Text != "" {
		add("text", struct {
			Text string `json:"text"`
		}{wrote.Text})
	}
	for _, call := range wrote.Calls {
		add("tool-call", struct {
			ID    string      `json:"toolCallId"`
			Name  string      `json:"toolName"`
			Input mastra.JSON `json:"toolInput,omitzero"`
		}{call.ID, call.Name, call.Input})
	}
	return out
}
