package agentloop

import (
	"mastralambda/shared/mastra"
)

func usage(sum, raw mastra.Usage) mastra.RunUsage { return mastra.RunUsage{Usage: sum, Raw: &raw} }

func (x *run) totalUsage() mastra.RunUsage {
	var sum, last mastra.Usage
	for i := range x.Steps {
		last = x.Steps[i].Usage
		sum = sum.Plus(last)
	}
	return usage(sum, last)
}

func appendUsage(b []byte, u mastra.Usage) []byte {
	own := usage(u, u)
	return own.AppendJSON(b)
}

func (x *run) answered(s *step) mastra.ModelAnswer {
	return mastra.ModelAnswer{ID: s.ResponseID, Timestamp: s.Timestamp, ModelID: s.ModelID, Model: x.info}
}

// response is step n's answer of the model, with the messages of the run up to step upTo.
func (x *run) response(n, upTo int, stored bool) *mastra.AgentResponse {
	r := &mastra.AgentResponse{ModelAnswer: x.answered(&x.Steps[n])}
	r.Messages = append(appendList(append(make([]byte, 0, 512), '['), x.appendResponse(nil, upTo, nil)), ']')
	r.UIMessages = x.appendUI(make([]byte, 0, 512), upTo)
	if stored {
		r.DBMessages = x.appendDB(make([]byte, 0, 512))
	}
	return r
}

func (x *run) chunk(kind string, payload any) mastra.Chunk {
	return mastra.Chunk{Type: kind, RunID: x.RunID, From: mastra.FromAgent, Payload: payload}
}

// makeResult is the answer of a generate.
func (x *run) makeResult() *mastra.AgentResult {
	if x.Tripwire != nil {
		return x.trippedResult()
	}
	total := x.totalUsage()
	r := &mastra.AgentResult{Usage: total, TotalUsage: total, TraceID: x.TraceID, SpanID: x.SpanID, RunID: x.RunID, Remembered: x.remembered}
	r.Steps = make([]mastra.AgentStep, len(x.Steps))
	for n := range x.Steps {
		s, out := &x.Steps[n], &r.Steps[n]
		out.StepType, out.Text, out.ReasoningText, out.FinishReason = "initial", s.text(), s.reasoning(), s.Finish
		if n > 0 {
			out.StepType = "tool-result"
		}
		out.Usage = usage(s.Usage, s.Usage)
		out.Content = s.appendContent(make([]byte, 0, 256), false)
		for i := range s.Pieces {
			p := &s.Pieces[i]
			switch {
			case p.Kind == reasoning:
				out.Reasoning = append(out.Reasoning, x.chunk(string(mastra.PartReasoning), mastra.TextDelta{ID: p.ID, Text: p.Text}))
			case p.Call != nil:
				out.ToolCalls = append(out.ToolCalls, x.chunk(mastra.ChunkToolCall, x.called(p.Call)))
				if p.Call.Result != nil {
					out.ToolResults = append(out.ToolResults, x.chunk(mastra.ChunkToolResult, p.Call.answered()))
				}
			}
		}
		out.Response = *x.response(n, n, true)
		if s.Refused != nil {
			out.Tripwire = &s.Refused.Tripwire
		}
		r.Text += out.Text
		r.ReasoningText += out.ReasoningText
		r.Reasoning = append(r.Reasoning, out.Reasoning...)
		r.ToolCalls = append(r.ToolCalls, out.ToolCalls...)
		r.ToolResults = append(r.ToolResults, out.ToolResults...)
		r.FinishReason, r.Response = out.FinishReason, out.Response
	}
	if x.structured != nil {
		r.Object, r.UsedFallbackValue = x.structured.object, x.structured.fellBack
	}
	r.Messages = make([]mastra.Message, 0, len(x.remembered)+len(x.context.stored)+len(x.in.stored)+1)
	r.Messages = append(append(append(r.Messages, x.remembered...), x.context.stored...), x.in.stored...)
	if x.answer.ID != "" {
		r.Messages = append(r.Messages, x.answer)
	}
	return r
}
