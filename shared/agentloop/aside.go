package agentloop

import (
	"context"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// aside is a call of a model that is about a run and no step of it: one that finds a title, or that observes. Its spans are those of
// a run of its agent with a single step.
type aside struct{ *run }

// ask asks a model aside.
func (x *run) askAside(ctx context.Context, model mastra.LanguageModel, agent *mastra.Agent, instructions, what string) (aside, error) {
	y := &run{r: x.r, ctx: ctx, m: x.m, agent: agent, model: model, info: model.Info(), resourceID: x.resourceID, untraced: x.untraced,
		prompt: []mastra.PromptMessage{mastra.PromptText("system", instructions), mastra.PromptText("user", what)}}
	y.asked = len(y.prompt)
	y.call = mastra.AgentCall{Messages: mastra.UserMessage(what), Instructions: instructions, ThreadID: x.call.ThreadID, Tracing: x.call.Tracing}
	y.call.Tracing.RootSpanName, y.call.Tracing.Tags = "", nil
	y.RunID, y.TraceID, y.SpanID, y.MessageID, y.StartedAt = x.RunID, x.TraceID, mastra.NewSpanID(), mastra.NewID(), x.now()
	y.Steps = []step{{StartedAt: int64(y.StartedAt)}}
	y.trace.metadata = x.trace.metadata
	at := y.begin(0, int64(y.StartedAt))
	err := y.ask(&y.Steps[0])
	y.inferenceTraced(0, at, err)
	y.stepTraced(0, at, y.prompt, false, err)
	return aside{y}, err
}

// calls are the spans of the model's call, below the span parent.
func (y aside) calls(parent string, err error) []mastra.Span {
	if y.untraced {
		return nil
	}
	hideInput, hideOutput := y.call.Tracing.HideInput, y.call.Tracing.HideOutput
	first := y.generationSpan(hideInput, hideOutput, ending{failure: errorJSON(y.failure(err))})
	first.ParentID = parent
	return append([]mastra.Span{first}, y.trace.spans[above:]...)
}

// observed are the spans of an operation of memory, below the span of the run x, and of the agent's run that it was.
func (y aside) observed(x *run, operation, name string, tokens int, err error) []mastra.Span {
	if y.untraced {
		return nil
	}
	hideInput, hideOutput := y.call.Tracing.HideInput, y.call.Tracing.HideOutput
	s := x.newSpan(mastra.SpanMemory, "memory: "+operation, span{mastra.NewSpanID(), y.StartedAt}, x.SpanID)
	s.EntityType, s.EntityID, s.EntityName = "memory", "observational-memory", name
	b := appendInt(appendMember(nil, `{"operationType":`, operation), `,"inputTokens":`, int64(tokens))
	s.Attributes = append(appendMember(b, `,"selectedModel":`, y.info.Provider+"/"+y.info.ID), '}')
	s.Metadata, s.Error = x.ofRoot(s.Metadata), errorJSON(y.failure(err))
	root := y.rootSpan(hideInput, hideOutput, ending{failure: s.Error})
	root.ParentID = s.SpanID
	return append([]mastra.Span{s, root}, y.calls(root.SpanID, err)...)
}

// ofRoot is metadata that says whose root its span is below: metrics go by it, where a span is committed without it.
func (x *run) ofRoot(metadata mastra.JSON) mastra.JSON {
	var all mastra.Object[mastra.JSON]
	if schema.Unmarshal(metadata, &all) != nil {
		return metadata
	}
	for _, m := range []struct{ key, value string }{{"rootEntityType", "agent"}, {"rootEntityId", x.agent.ID}, {"rootEntityName", x.agent.Name}} {
		all.Set(m.key, schema.AppendString(nil, m.value))
	}
	data, err := schema.Marshal(all)
	if err != nil {
		return metadata
	}
	return data
}

// failure is what may be seen of why it failed, nil where it did not.
func (y aside) failure(err error) error {
	if err == nil {
		return nil
	}
	return failure(y.ctx, err)
}

// keepAside stores the spans of what was asked aside, with whatever else came of it. Where its thread is gone meanwhile nothing is.
func (x *run) keepAside(ctx context.Context, spans []mastra.Span, made func(*mastra.Thread, *mastra.Batch)) error {
	t, err := x.m.Storage.Thread(ctx, x.threadID)
	if mastra.CodeOf(err) == mastra.CodeNotFound {
		return nil
	}
	if err != nil {
		return err
	}
	b := &mastra.Batch{Spans: x.m.Record(ctx, spans)}
	if made != nil {
		made(t, b)
	}
	if len(b.Spans) == 0 && len(b.Threads) == 0 {
		return nil
	}
	return x.m.Storage.Commit(ctx, b)
}
