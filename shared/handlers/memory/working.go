package memory

import (
	"context"
	"slices"
	"strings"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// WorkingInput names a thread whose working memory is asked for.
type WorkingInput struct {
	ThreadID   string `path:"threadId" json:"-"`
	AgentID    string `query:"agentId" json:"-" required:"true"`
	ResourceID string `query:"resourceId" json:"-"`
}

// Working is an agent's notes of a thread or its resource.
type Working struct {
	WorkingMemory *string       `json:"workingMemory"`
	Source        mastra.Scope  `json:"source"` // whose notes they are
	Template      *WorkingShape `json:"workingMemoryTemplate"`
	ThreadExists  bool          `json:"threadExists"`
}

// WorkingShape is the form of the notes: Markdown, or an empty object of their schema as text.
type WorkingShape struct {
	Format  string `json:"format"` // markdown or json
	Content string `json:"content"`
}

// WorkingMemory reads the notes that an agent keeps. The thread need not be there yet where they are its resource's.
func WorkingMemory(ctx context.Context, m *mastra.Mastra, in WorkingInput) (Working, error) {
	out := Working{Source: mastra.ScopeThread}
	memory, err := memoryOf(m, in.AgentID)
	if err != nil || memory == nil {
		return out, err
	}
	t, err := owned(ctx, m, in.ThreadID, in.ResourceID)
	if err != nil && mastra.CodeOf(err) != mastra.CodeNotFound {
		return out, err
	}
	out.ThreadExists = t != nil
	resource := mastra.Resource(ctx, in.ResourceID)
	if resource == "" && t != nil {
		resource = t.ResourceID
	}
	w := memory.WorkingMemory
	if w == nil {
		return out, nil
	}
	out.Template = shape(w)
	if w.Scope != mastra.ScopeThread {
		out.Source = mastra.ScopeResource
	}
	of := w.Of(in.ThreadID, resource)
	if of == (mastra.NotesOf{}) || of.ThreadID != "" && t == nil {
		return out, nil
	}
	notes, err := m.Storage.WorkingMemory(ctx, of)
	if err == nil && notes.Version > 0 {
		out.WorkingMemory = &notes.Data
	}
	return out, err
}

// SetWorkingInput replaces an agent's notes.
type SetWorkingInput struct {
	ThreadID      string `path:"threadId" json:"-"`
	AgentID       string `query:"agentId" json:"-" required:"true"`
	WorkingMemory string `json:"workingMemory"`
	ResourceID    string `json:"resourceId,omitempty" maxLength:"256"`
}

// Done says that it is done.
type Done struct {
	Success bool `json:"success"`
}

// SetWorkingMemory replaces the notes that an agent keeps. Those that have a schema have to fit it.
func SetWorkingMemory(ctx context.Context, m *mastra.Mastra, in SetWorkingInput) (Done, error) {
	memory, err := remembering(m, in.AgentID)
	if err != nil {
		return Done{}, err
	}
	t, err := owned(ctx, m, in.ThreadID, in.ResourceID)
	if err != nil {
		return Done{}, err
	}
	w := memory.WorkingMemory
	if w == nil {
		return Done{}, mastra.Errorf(mastra.CodeInvalid, "Working memory is not enabled for this agent")
	}
	if w.Schema != nil {
		if err := fits(w.Schema, in.WorkingMemory); err != nil {
			return Done{}, err
		}
	}
	resource := mastra.Resource(ctx, in.ResourceID)
	if resource == "" {
		resource = t.ResourceID
	}
	of := w.Of(in.ThreadID, resource)
	for try := 0; ; try++ {
		notes, err := m.Storage.WorkingMemory(ctx, of)
		if err != nil {
			return Done{}, err
		}
		notes.Data = in.WorkingMemory
		err = m.Storage.SaveWorkingMemory(ctx, *notes)
		if mastra.CodeOf(err) != mastra.CodeConflict || try == 5 { // somebody else replaced them meanwhile: so do we
			return Done{err == nil}, err
		}
	}
}

func fits(s *schema.Schema, notes string) error {
	var value any
	if err := schema.Unmarshal([]byte(notes), &value); err != nil {
		return mastra.Invalid("workingMemory", "It has to be JSON: this agent's notes have a schema")
	}
	issues, err := s.Validate(value)
	if err != nil || len(issues) == 0 {
		return err
	}
	for i := range issues {
		issues[i].Field = "workingMemory." + issues[i].Field
	}
	return &mastra.Error{Code: mastra.CodeInvalid, Message: "Invalid request body", Issues: issues}
}

func shape(w *mastra.WorkingMemory) *WorkingShape {
	if w.Schema == nil {
		return &WorkingShape{"markdown", strings.TrimSpace(w.Form())}
	}
	return &WorkingShape{"json", string(emptied(w.Schema.JSON(), 0))}
}

// emptied is an empty value of a schema: its objects with all their fields.
func emptied(doc mastra.JSON, depth int) mastra.JSON {
	var s struct {
		Type       mastra.JSON                `json:"type"`
		Properties mastra.Object[mastra.JSON] `json:"properties"`
	}
	if depth > 16 || schema.Unmarshal(doc, &s) != nil {
		return mastra.JSON("null")
	}
	var kinds []string
	if schema.Unmarshal(s.Type, &kinds) != nil {
		kinds = []string{strings.Trim(string(s.Type), `"`)}
	}
	switch {
	case slices.Contains(kinds, "object"):
		b := []byte{'{'}
		for i, p := range s.Properties {
			if i > 0 {
				b = append(b, ',')
			}
			b = schema.AppendString(b, p.Key)
			b = append(append(b, ':'), emptied(p.Value, depth+1)...)
		}
		return append(b, '}')
	case slices.Contains(kinds, "array"):
		return mastra.JSON("[]")
	case slices.Contains(kinds, "string"):
		return mastra.JSON(`""`)
	}
	return mastra.JSON("null")
}
