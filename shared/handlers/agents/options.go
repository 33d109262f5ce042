package agents

import (
	"cmp"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// Unserved are options of the reference server that are functions and objects of its own language there, or that this server
// does not have. They change what a run does, so a request that gives one is refused rather than half followed.
type Unserved struct {
	StopWhen          mastra.JSON `json:"stopWhen,omitempty"`
	PrepareStep       mastra.JSON `json:"prepareStep,omitempty"`
	InputProcessors   mastra.JSON `json:"inputProcessors,omitempty"`
	OutputProcessors  mastra.JSON `json:"outputProcessors,omitempty"`
	ErrorProcessors   mastra.JSON `json:"errorProcessors,omitempty"`
	IsTaskComplete    mastra.JSON `json:"isTaskComplete,omitempty"`
	Completion        mastra.JSON `json:"completion,omitempty"` // of a network
	Delegation        mastra.JSON `json:"delegation,omitempty"`
	Goal              mastra.JSON `json:"goal,omitempty"`
	Hooks             mastra.JSON `json:"hooks,omitempty"`
	Transform         mastra.JSON `json:"transform,omitempty"`
	HideSignals       mastra.JSON `json:"hideSignals,omitempty"`
	IncludeRawChunks  mastra.JSON `json:"includeRawChunks,omitempty"`
	AutoResume        mastra.JSON `json:"autoResumeSuspendedTools,omitempty"`
	OnStepFinish      mastra.JSON `json:"onStepFinish,omitempty"`
	OnFinish          mastra.JSON `json:"onFinish,omitempty"`
	OnChunk           mastra.JSON `json:"onChunk,omitempty"`
	OnError           mastra.JSON `json:"onError,omitempty"`
	OnAbort           mastra.JSON `json:"onAbort,omitempty"`
	IterationComplete mastra.JSON `json:"onIterationComplete,omitempty"`
}

func (u *Unserved) unserved() (issues []mastra.Issue) {
	for _, o := range []struct {
		name  string
		value mastra.JSON
	}{{"stopWhen", u.StopWhen}, {"prepareStep", u.PrepareStep}, {"inputProcessors", u.InputProcessors}, {"outputProcessors", u.OutputProcessors},
		{"errorProcessors", u.ErrorProcessors}, {"isTaskComplete", u.IsTaskComplete}, {"completion", u.Completion}, {"delegation", u.Delegation}, {"goal", u.Goal},
		{"hooks", u.Hooks}, {"transform", u.Transform}, {"hideSignals", u.HideSignals}, {"includeRawChunks", u.IncludeRawChunks}, {"autoResumeSuspendedTools", u.AutoResume},
		{"onStepFinish", u.OnStepFinish}, {"onFinish", u.OnFinish}, {"onChunk", u.OnChunk}, {"onError", u.OnError}, {"onAbort", u.OnAbort},
		{"onIterationComplete", u.IterationComplete}} {
		if asked(o.value) {
			issues = append(issues, mastra.Issue{Field: o.name, Message: notServed})
		}
	}
	return issues
}

const notServed = "Not supported by this server"

// asked says that an option asks for something: an empty list of processors does, too, since it takes away the agent's.
func asked(v mastra.JSON) bool { return given(v) && string(v) != "false" }

// unserved are the options of memory that this server does not have.
func (o *MemoryOptions) unserved() (issues []mastra.Issue) {
	if w := o.WorkingMemory; w != nil && asked(w.Schema) {
		issues = append(issues, mastra.Issue{Field: "memory.options.workingMemory.schema", Message: notServed + ": an agent is made with its schema"})
	}
	if o.Incomplete != nil && !*o.Incomplete {
		issues = append(issues, mastra.Issue{Field: "memory.options.filterIncompleteToolCalls", Message: notServed + ": calls without a result are left out"})
	}
	return issues
}

// Concurrency is a number of tool calls, or an object that has it as its limit.
type Concurrency int

func (c *Concurrency) UnmarshalJSON(data []byte) error {
	var object struct {
		Limit int `json:"limit"`
	}
	if len(data) > 0 && data[0] == '{' {
		err := schema.Unmarshal(data, &object)
		*c = Concurrency(object.Limit)
		return err
	}
	err := schema.Unmarshal(data, &object.Limit)
	*c = Concurrency(object.Limit)
	return err
}

func (Concurrency) JSONSchema() *schema.Doc {
	one, most := 1.0, 100.0
	n := &schema.Doc{Type: "integer", Minimum: &one, Maximum: &most}
	return &schema.Doc{AnyOf: []*schema.Doc{n, {Type: "object", Properties: map[string]*schema.Doc{"limit": n, "strategy": {Type: "string", Enum: []any{"available", "called"}}}}}}
}

// ScorerOption names a scorer, and its share of the runs.
type ScorerOption struct {
	Scorer   string   `json:"scorer" maxLength:"256"`
	Sampling Sampling `json:"sampling,omitzero"`
}

// Sampling is a share of runs: all of them where Type is empty.
type Sampling struct {
	Type string   `json:"type,omitempty" enum:"none,ratio,count"`
	Rate *float64 `json:"rate,omitempty" minimum:"0" maximum:"1"`
}

func (s Sampling) rate() float64 {
	switch {
	case s.Type == "none":
		return 0
	case s.Type == "ratio" && s.Rate != nil:
		return *s.Rate
	}
	return 1
}

// RoutingOption tells a network's routing agent more.
type RoutingOption struct {
	Instructions string `json:"additionalInstructions,omitempty" maxLength:"65536"`
}

// TitleOption turns titles off or on for one call, or says how they are found.
type TitleOption struct {
	On bool
	mastra.GenerateTitle
}

func (o *TitleOption) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] != '{' {
		return schema.Unmarshal(data, &o.On)
	}
	var how struct {
		Model        string `json:"model"`
		Instructions string `json:"instructions"`
	}
	err := schema.Unmarshal(data, &how)
	o.On, o.Model, o.Instructions = true, how.Model, how.Instructions
	return err
}

func (TitleOption) JSONSchema() *schema.Doc {
	most, long := 256, 65536
	return &schema.Doc{AnyOf: []*schema.Doc{{Type: "boolean"}, {Type: "object", Properties: map[string]*schema.Doc{
		"model": {Type: "string", Pattern: "^[^/]+/.+$", MaxLength: &most}, "instructions": {Type: "string", MaxLength: &long}}}}}
}

// Observing turns observational memory off or on for one call, or says when messages are observed.
type Observing struct {
	On                bool
	Scope, Model      string
	MessageTokens     int
	ObservationTokens int
}

func (o *Observing) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] != '{' {
		return schema.Unmarshal(data, &o.On)
	}
	var how struct {
		Enabled     *bool     `json:"enabled"`
		Scope       string    `json:"scope"`
		Model       ModelName `json:"model"`
		Observation struct {
			MessageTokens int `json:"messageTokens"`
		} `json:"observation"`
		Reflection struct {
			ObservationTokens int `json:"observationTokens"`
		} `json:"reflection"`
	}
	err := schema.Unmarshal(data, &how)
	*o = Observing{how.Enabled == nil || *how.Enabled, how.Scope, string(how.Model), how.Observation.MessageTokens, how.Reflection.ObservationTokens}
	return err
}

func (Observing) JSONSchema() *schema.Doc {
	one, most, longest := 1.0, 10_000_000.0, float64(mastra.MaxObservationTokens)
	return &schema.Doc{AnyOf: []*schema.Doc{{Type: "boolean"}, {Type: "object", Properties: map[string]*schema.Doc{
		"enabled": {Type: "boolean"}, "scope": {Type: "string", Enum: []any{"thread"}}, "model": ModelName("").JSONSchema(),
		"observation": {Type: "object", Properties: map[string]*schema.Doc{"messageTokens": {Type: "integer", Minimum: &one, Maximum: &most}}},
		"reflection":  {Type: "object", Properties: map[string]*schema.Doc{"observationTokens": {Type: "integer", Minimum: &one, Maximum: &longest}}}}}}}
}

// over is an agent's observational memory with the options of one call.
func (o *Observing) over(own *mastra.ObservationalMemory) *mastra.ObservationalMemory {
	if !o.On {
		return nil
	}
	how := mastra.ObservationalMemory{}
	if own != nil {
		how = *own
	}
	how.Model = cmp.Or(o.Model, how.Model)
	how.MessageTokens, how.ObservationTokens = cmp.Or(o.MessageTokens, how.MessageTokens), cmp.Or(o.ObservationTokens, how.ObservationTokens)
	return &how
}

// HistoryOption bounds the messages that a run begins with by their tokens.
type HistoryOption struct {
	MaxTokens int `json:"maxTokens" minimum:"1" maximum:"10000000"`
}
