package workflows

import (
	"bytes"
	"net/url"
	"strconv"
	"strings"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// Result is how a run ended, or where it waits. Steps holds the input under "input", then each step.
type Result struct {
	Status         mastra.RunStatus           `json:"status"`
	Steps          mastra.Object[any]         `json:"steps"`
	Input          mastra.JSON                `json:"input,omitzero"`
	Path           []string                   `json:"stepExecutionPath"`
	Result         mastra.JSON                `json:"result,omitzero"`
	Suspended      [][]string                 `json:"suspended,omitempty"`
	SuspendPayload mastra.Object[mastra.JSON] `json:"suspendPayload,omitempty"`
	Error          *mastra.RunError           `json:"error,omitempty"`
	RunID          string                     `json:"runId"`
	ResumeLabels   *mastra.Object[Label]      `json:"resumeLabels,omitzero"` // of a run that had ended before it was asked for
	State          mastra.JSON                `json:"state,omitzero"`        // likewise
	Next           string                     `json:"next,omitempty"`        // of a run that goes on: where to ask for it
	TraceID        string                     `json:"traceId,omitempty"`
	SpanID         string                     `json:"spanId,omitempty"`
}

func resultOf(run *mastra.Run) (Result, error) {
	r := Result{Status: run.Status, Input: run.Input, Path: run.Path, Result: run.Result, Suspended: run.Suspended, Error: run.Error,
		RunID: run.ID, TraceID: run.TraceID, SpanID: run.SpanID, Steps: make(mastra.Object[any], 0, len(run.Steps)+1)}
	if run.Input != nil {
		r.Steps = append(r.Steps, mastra.Member[any]{Key: "input", Value: run.Input})
	}
	repeats := repeated(run)
	for _, s := range run.Steps {
		if mastra.IsNested(s.Key) {
			continue
		}
		step := withTurns(run, s.Key, s.Value).Shown()
		if repeats[s.Key] {
			step.Payload = nil
		}
		r.Steps = append(r.Steps, mastra.Member[any]{Key: s.Key, Value: step})
		if step.Status == mastra.StatusSuspended && run.Status == mastra.StatusSuspended {
			payload := strip(step.SuspendPayload)
			if payload == nil {
				payload = mastra.JSON("{}")
			}
			r.SuspendPayload = append(r.SuspendPayload, mastra.Member[mastra.JSON]{Key: s.Key, Value: payload})
		}
	}
	if !run.Status.Rests() {
		r.Next = "/workflows/" + url.PathEscape(run.WorkflowID) + "/runs/" + url.PathEscape(run.ID)
	}
	return r, nil
}

// recordOf is a run that has ended, as it is stored.
func recordOf(run *mastra.Run) Result {
	r := Result{Status: run.Status, Input: run.Input, Path: run.Path, Result: run.Result, Error: run.Error, RunID: run.ID}
	if run.Input != nil {
		r.Steps = append(r.Steps, mastra.Member[any]{Key: "input", Value: run.Input})
	}
	for _, s := range shown(run, false) {
		r.Steps = append(r.Steps, mastra.Member[any]{Key: s.Key, Value: s.Value})
	}
	labels := labelsOf(run, "")
	r.ResumeLabels = &labels
	if len(run.State) > 0 && string(run.State) != "{}" {
		r.State = run.State
	}
	return r
}

// Label is where a suspended step is that is resumed by a label.
type Label struct {
	StepID       string `json:"stepId"`
	ForEachIndex *int   `json:"foreachIndex,omitzero"`
}

// labelsOf are the labels of the steps that wait, of those below the step at key where that is not "".
func labelsOf(run *mastra.Run, key string) mastra.Object[Label] {
	labels := mastra.Object[Label]{}
	for _, s := range run.Steps {
		if s.Value.Status != mastra.StatusSuspended || key != "" && !strings.HasPrefix(s.Key, mastra.StepKey(key, "")) {
			continue
		}
		for _, name := range s.Value.Labels {
			l := Label{StepID: mastra.StepPath(s.Key)[0]}
			if turn := mastra.Turn(s.Key); turn >= 0 {
				l.ForEachIndex = &turn
			}
			labels.Set(name, l)
		}
	}
	return labels
}

// withTurns adds to a foreach that is suspended how its turns stand.
func withTurns(run *mastra.Run, key string, rec mastra.StepResult) mastra.StepResult {
	if rec.Status != mastra.StatusSuspended {
		return rec
	}
	turns := []*mastra.StepResult{}
	first := -1
	for _, s := range run.Steps {
		if !mastra.IsTurn(s.Key) || mastra.Around(s.Key) != mastra.Around(key) || !strings.HasPrefix(s.Key, mastra.StepKey(key, "[")) {
			continue
		}
		i, err := strconv.Atoi(strings.TrimSuffix(s.Key[len(mastra.StepKey(key, "[")):], "]"))
		if err != nil || i > len(run.Steps) {
			continue
		}
		for len(turns) <= i {
			turns = append(turns, nil)
		}
		shown := s.Value.Shown()
		turns[i] = &shown
		if shown.Status == mastra.StatusSuspended && (first < 0 || i < first) {
			first = i
		}
	}
	if first < 0 {
		return rec
	}
	var payload mastra.Object[mastra.JSON]
	if rec.SuspendPayload != nil && schema.Unmarshal(rec.SuspendPayload, &payload) != nil {
		return rec
	}
	meta, err := schema.Marshal(struct {
		Index  int                  `json:"foreachIndex"`
		Turns  []*mastra.StepResult `json:"foreachOutput"`
		Labels mastra.Object[Label] `json:"resumeLabels"`
	}{first, turns, labelsOf(run, key)})
	if err != nil {
		return rec
	}
	payload.Set(mastra.SuspendedAtKey, meta)
	if data, err := schema.Marshal(payload); err == nil {
		rec.SuspendPayload = data
	}
	return rec
}

// repeated are the steps of the path whose payload an answer leaves out: it is what the step before put out.
func repeated(run *mastra.Run) map[string]bool {
	leave := make(map[string]bool, len(run.Path))
	previous := run.Input
	for _, id := range run.Path {
		step, ok := run.Steps.Get(id)
		if !ok {
			continue
		}
		leave[id] = previous != nil && equal(step.Payload, previous)
		if step.Status == mastra.StatusSuccess {
			previous = step.Output
		}
	}
	return leave
}

func equal(a, b mastra.JSON) bool {
	if bytes.Equal(a, b) {
		return true
	}
	a, b = a.Clone(), b.Clone()
	return a.Canonicalize() == nil && b.Canonicalize() == nil && bytes.Equal(a, b)
}
