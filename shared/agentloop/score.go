package agentloop

import "mastralambda/shared/mastra"

// scorers judge the run: the call's, or the agent's.
func (x *run) scorers() []*mastra.Scorer {
	if x.call.Scorers == nil {
		return x.agent.Scorers
	}
	list := make([]*mastra.Scorer, 0, len(x.call.Scorers))
	for _, c := range x.call.Scorers {
		if s, err := x.m.Scorer(c.ID); err == nil { // another version may have none of the name any more
			list = append(list, s.Sampled(c.Rate))
		}
	}
	return list
}

// scorerRun is what scorers are shown of the run.
func (x *run) scorerRun() mastra.ScorerRun {
	b := x.appendStoredMessages([]byte(`{"inputMessages":[`), x.in.stored)
	b = x.appendStoredMessages(append(b, `],"rememberedMessages":[`...), x.remembered)
	b = append(b, `],"systemMessages":[`...)
	for i := range x.prompt[:x.asked] {
		if m := &x.prompt[i]; m.Role == "system" && len(m.Parts) > 0 {
			b = append(appendMember(comma(b), `{"role":"system","content":`, m.Parts[0].Text), '}')
		}
	}
	b = append(b, `],"taggedSystemMessages":{}}`...)
	out := []byte{'['}
	if x.answer.ID != "" {
		out = x.appendStoredMessages(out, []mastra.Message{x.answer})
	}
	return mastra.ScorerRun{Input: b, Output: append(out, ']'), EntityType: "agent", EntityID: x.agent.ID, EntityName: x.agent.Name, RunID: x.RunID, TraceID: x.TraceID,
		SpanID: x.SpanID, Metadata: x.trace.metadata, Tags: x.call.Tracing.Tags, ThreadID: x.call.ThreadID, ResourceID: x.resourceID, Context: mastra.RequestContextOf(x.ctx)}
}
