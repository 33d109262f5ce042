package agents

import (
	"cmp"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// RecallOption turns semantic recall off or on for one call, or says how it recalls.
type RecallOption struct {
	Given bool
	*mastra.SemanticRecall
}

func (o *RecallOption) UnmarshalJSON(data []byte) error {
	o.Given = true
	on := false
	if schema.Unmarshal(data, &on) == nil {
		if on {
			o.SemanticRecall = &mastra.SemanticRecall{Range: mastra.EachSide(2)}
		}
		return nil
	}
	o.SemanticRecall = &mastra.SemanticRecall{Range: mastra.EachSide(2)}
	return schema.Unmarshal(data, o.SemanticRecall)
}

func (RecallOption) JSONSchema() *schema.Doc {
	one, most := 1.0, 100.0
	return &schema.Doc{AnyOf: []*schema.Doc{{Type: "boolean"}, {Type: "object", Properties: map[string]*schema.Doc{
		"topK": {Type: "integer", Minimum: &one, Maximum: &most}, "messageRange": mastra.MessageRange{}.JSONSchema(),
		"scope": {Type: "string", Enum: []any{"thread", "resource"}}, "threshold": {Type: "number"}, "filter": {Type: "object"}}}}}
}

// WorkingOption turns the working memory off for one call, or on with a form of its own. An agent whose notes have a schema
// keeps it.
type WorkingOption struct {
	Enabled  bool         `json:"enabled,omitzero"`
	Template string       `json:"template,omitempty" maxLength:"65536"`
	Scope    mastra.Scope `json:"scope,omitempty" enum:"thread,resource"`
	Schema   mastra.JSON  `json:"schema,omitempty"`
}

// over is an agent's memory with the options of one call; nil where there are none.
func (o *MemoryOptions) over(m *mastra.Memory) *mastra.Memory {
	if m == nil || !o.SemanticRecall.Given && o.WorkingMemory == nil && o.GenerateTitle == nil && o.History == nil && o.Observational == nil {
		return nil
	}
	changed := *m
	if r := o.SemanticRecall; r.Given {
		if r.SemanticRecall != nil && len(r.Filter) == 0 && m.SemanticRecall != nil {
			r.Filter = m.SemanticRecall.Filter
		}
		changed.SemanticRecall = r.SemanticRecall
	}
	if w := o.WorkingMemory; w != nil {
		switch {
		case !w.Enabled:
			changed.WorkingMemory = nil
		case m.WorkingMemory != nil && m.WorkingMemory.Schema != nil:
		default:
			working := mastra.WorkingMemory{}
			if m.WorkingMemory != nil {
				working = *m.WorkingMemory
			}
			if w.Template != "" {
				working.Template = w.Template
			}
			if w.Scope != "" {
				working.Scope = w.Scope
			}
			changed.WorkingMemory = &working
		}
	}
	if t := o.GenerateTitle; t != nil {
		changed.GenerateTitle = nil
		if t.On {
			how := mastra.GenerateTitle{}
			if m.GenerateTitle != nil {
				how = *m.GenerateTitle
			}
			how.Model, how.Instructions = cmp.Or(t.Model, how.Model), cmp.Or(t.Instructions, how.Instructions)
			changed.GenerateTitle = &how
		}
	}
	if o.Observational != nil {
		changed.Observational = o.Observational.over(m.Observational)
	}
	if o.History != nil {
		changed.MaxTokens = o.History.MaxTokens
	}
	return &changed
}
