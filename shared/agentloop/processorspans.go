package agentloop

import (
	"cmp"
	"errors"
	"slices"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// look is what the span of a processor shows. Where nothing is traced neither is called.
type look struct {
	input   func() mastra.JSON                         // what it is given
	changed func() (after mastra.JSON, did []mutation) // what it made of that, nil where it is the same; a nil func: it can't
}

// mutation is what a processor did to a list of messages, as the reference server says it.
type mutation struct {
	Type    string        `json:"type"` // "add", "addSystem", "removeByIds"
	Source  string        `json:"source,omitempty"`
	Count   int           `json:"count,omitzero"`
	IDs     []string      `json:"ids,omitempty"`
	Message *shownMessage `json:"message,omitempty"`
}

// shownMessage is a message as the spans of processors show it.
type shownMessage struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// looked says in a processor's span what it was given and what it changed; given is nil where it is hidden.
func (x *run) looked(s *mastra.Span, seen look, given mastra.JSON, failed error) {
	if s.Input = given; failed != nil {
		return
	}
	s.Output = mastra.JSON("{}")
	if seen.changed == nil || given == nil || x.call.Tracing.HideOutput {
		return
	}
	after, did := seen.changed()
	if after != nil {
		s.Output = after
	}
	if len(did) > 0 {
		if data, err := schema.Marshal(did); err == nil {
			s.Attributes = append(appendJSON(s.Attributes[:len(s.Attributes)-1], `,"messageListMutations":`, data), '}')
		}
	}
}

func shownMessages(prompt []mastra.PromptMessage) []shownMessage {
	list := make([]shownMessage, len(prompt))
	for i := range prompt {
		list[i] = shownMessage{prompt[i].Role, brief(&prompt[i])}
	}
	return list
}

// mutations are what was done to the messages before, whose ids these are, so that they are now others.
func mutations(before, now []shownMessage, ids []string) (did []mutation) {
	left := make(map[shownMessage]int, len(now))
	for _, m := range now {
		left[m]++
	}
	removed, added := mutation{Type: "removeByIds"}, mutation{Type: "add", Source: "input"}
	for i, m := range before {
		if left[m] > 0 {
			left[m]--
			continue
		}
		if removed.Count++; i < len(ids) && ids[i] != "" {
			removed.IDs = append(removed.IDs, ids[i])
		}
	}
	var system []mutation
	for _, m := range now {
		if left[m] == 0 {
			continue
		}
		if left[m]--; m.Role == "system" {
			system = append(system, mutation{Type: "addSystem", Message: &m})
		} else {
			added.Count++
		}
	}
	for _, m := range []mutation{removed, added} {
		if m.Count > 0 {
			did = append(did, m)
		}
	}
	return append(did, system...)
}

// lookAtMessages is what a processor sees of what comes in.
func lookAtMessages(messages *mastra.Messages) look {
	var before []shownMessage
	var ids []string
	shown := func() (list []shownMessage) {
		for _, m := range *messages {
			p := mastra.PromptMessage{Role: m.Role, Parts: m.All()}
			list = append(list, shownMessage{m.Role, brief(&p)})
		}
		return list
	}
	encode := func() mastra.JSON { return append(appendGiven([]byte(`{"messages":`), *messages), '}') }
	return look{func() mastra.JSON {
		before = shown()
		for _, m := range *messages {
			ids = append(ids, m.ID)
		}
		return encode()
	}, func() (mastra.JSON, []mutation) {
		now := shown()
		if slices.Equal(before, now) {
			return nil, nil
		}
		return encode(), mutations(before, now, ids)
	}}
}

// lookAtRequest is what a processor sees of what the model is about to be asked.
func (x *run) lookAtRequest(r *mastra.ModelRequest) look {
	var before []shownMessage
	tools, choice := r.Tools, r.ToolChoice
	return look{func() mastra.JSON {
		before, tools = shownMessages(r.Messages), slices.Clone(r.Tools)
		return append(appendBrief(append(appendInt(nil, `{"stepNumber":`, int64(len(x.Steps)-1)), `,"messages":`...), r.Messages), '}')
	}, func() (mastra.JSON, []mutation) {
		b := []byte{'{'}
		var did []mutation
		if now := shownMessages(r.Messages); !slices.Equal(before, now) {
			b = append(appendBrief(append(b, `"messages":`...), r.Messages), ',')
			did = mutations(before, now, nil)
		}
		if !slices.Equal(r.Tools, tools) {
			b = append(b, `"tools":[`...)
			for _, t := range r.Tools {
				b = append(appendMember(appendMember(comma(b), `{"name":`, t.Name()), `,"description":`, t.Description), '}')
			}
			b = append(b, "],"...)
		}
		if r.ToolChoice != choice {
			b = append(appendMember(b, `"toolChoice":`, cmp.Or(r.ToolChoice.Tool, r.ToolChoice.Mode)), ',')
		}
		if len(b) == 1 {
			return nil, nil
		}
		b[len(b)-1] = '}'
		return b, did
	}}
}

// indexOf is the place of processor i among those that are on the side of the model that a phase is on.
func (x *run) indexOf(i int, phase string) int {
	side := (*mastra.Processor).OnOutput
	if phase == mastra.PhaseInput || phase == mastra.PhaseInputStep {
		side = (*mastra.Processor).OnInput
	}
	n := 0
	for _, p := range x.agent.Processors[:i] {
		if side(p) {
			n++
		}
	}
	return n
}

// How the spans of the phases are named, and whose they are.
var phaseSpans = map[string]struct{ name, entity string }{
	mastra.PhaseInput:        {"input processor: ", "input_processor"},
	mastra.PhaseInputStep:    {"input step processor: ", "input_step_processor"},
	mastra.PhaseOutputStream: {"output stream processor: ", "output_processor"},
	mastra.PhaseOutputResult: {"output processor: ", "output_processor"},
	mastra.PhaseOutputStep:   {"output step processor: ", "output_step_processor"},
	mastra.PhaseToolResult:   {"tool result processor: ", "tool_result_processor"},
}

// processorTraced adds the span of a processor: below the step that it looks at, else below the run. It is nil where nothing is traced.
func (x *run) processorTraced(i int, phase string, began span, failed error) *mastra.Span {
	if !x.m.Traces(x.TraceID) {
		return nil
	}
	parent := x.SpanID
	switch phase {
	case mastra.PhaseInputStep, mastra.PhaseOutputStep, mastra.PhaseToolResult:
		parent = x.trace.step
	}
	p, shown := x.agent.Processors[i], phaseSpans[phase]
	s := x.newSpan(mastra.SpanProcessorRun, shown.name+p.ID, began, parent)
	s.EntityType, s.EntityID, s.EntityName = shown.entity, p.ID, p.Shown()
	b := appendMember(nil, `{"processorPhase":`, phase)
	b = appendInt(b, `,"processorIndex":`, int64(x.indexOf(i, phase)))
	b = appendTripwire(b, failed)
	s.Attributes, s.Error = append(b, '}'), errorJSON(failed)
	return x.trace.add(s)
}

// appendTripwire appends what a run was stopped with, as spans show it.
func appendTripwire(b []byte, failed error) []byte {
	var t *mastra.Tripwire
	if errors.As(failed, &t) {
		if data, err := schema.Marshal(t); err == nil {
			b = append(append(b, `,"tripwireAbort":`...), data...)
		}
	}
	return b
}
