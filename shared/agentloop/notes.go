package agentloop

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// notesTool is the name of the tool that an agent keeps its working memory by.
const notesTool = "updateWorkingMemory"

// saveTries is how often notes are saved again that somebody else saved meanwhile.
const saveTries = 8

// writesNotes says whether the run may change its working memory.
func (x *run) writesNotes() bool {
	return x.stores() && x.memory().WorkingMemory != nil && !x.memory().ReadOnly
}

// offerNotes adds the tool by which the agent keeps its working memory; a tool of its own by that name stays.
func (x *run) offerNotes() {
	if x.writesNotes() && x.tool(notesTool) == nil && (x.call.ActiveTools == nil || slices.Contains(x.call.ActiveTools, notesTool)) {
		x.tools = append(x.tools, x.notesCallable())
	}
}

// textNotes is what the tool takes of notes in Markdown.
type textNotes struct {
	Memory string `json:"memory" jsonschema:"All of the notes, in Markdown. A text, not an object."`
}

// objectNotes is what the tool takes of notes in JSON.
type objectNotes struct {
	Memory mastra.JSON `json:"memory"`
}

type saved struct {
	Success bool `json:"success"`
}

// notesCallable is the tool of this run.
func (x *run) notesCallable() *mastra.Tool {
	w := x.memory().WorkingMemory
	of := w.Of(x.threadID, x.resourceID)
	if w.Schema == nil {
		return mastra.NewTool(notesTool, "Replaces the notes that you keep. Whatever you leave out is forgotten, so pass all of them.",
			func(ctx context.Context, in textNotes) (saved, error) {
				return saved{true}, saveNotes(ctx, x.m.Storage, of, func(string) (string, error) { return in.Memory, nil })
			})
	}
	t := mastra.NewTool(notesTool, "Adds to the notes that you keep, or changes them. Pass what is new or different; null removes a field, a list replaces the former one.",
		func(ctx context.Context, in objectNotes) (saved, error) {
			return saved{true}, saveNotes(ctx, x.m.Storage, of, func(old string) (string, error) { return mergeNotes(w.Schema, old, in.Memory) })
		})
	t.Input = schema.Of(reflect.StructOf([]reflect.StructField{{Name: "Memory", Type: w.Schema.Type(), Tag: `json:"memory"`}})) // what the model is shown
	return t
}

// saveNotes changes notes; what somebody else saves meanwhile is not lost.
func saveNotes(ctx context.Context, s mastra.Storage, of mastra.NotesOf, change func(old string) (string, error)) error {
	for try := 0; ; try++ {
		n, err := s.WorkingMemory(ctx, of)
		if err != nil {
			return err
		}
		if n.Data, err = change(n.Data); err != nil {
			return err
		}
		err = s.SaveWorkingMemory(ctx, *n)
		if mastra.CodeOf(err) != mastra.CodeConflict || try+1 == saveTries {
			return err
		}
	}
}

// mergeNotes puts what is new into notes in JSON. What comes of it has to fit the schema.
func mergeNotes(s *schema.Schema, old string, news mastra.JSON) (string, error) {
	var base, change any
	if err := schema.Unmarshal(news, &change); err != nil {
		return "", err
	}
	if text, ok := change.(string); ok && schema.Unmarshal([]byte(text), &change) != nil { // some models write JSON as a text
		change = text
	}
	if old != "" {
		if err := schema.Unmarshal([]byte(old), &base); err != nil {
			base = nil // it was Markdown once
		}
	}
	merged := merge(base, change)
	data, err := schema.Marshal(merged)
	if err != nil {
		return "", err
	}
	issues, err := s.Validate(merged)
	if err != nil {
		return "", err
	}
	if len(issues) > 0 {
		lines := make([]string, len(issues))
		for i, issue := range issues {
			lines[i] = issue.Field + ": " + issue.Message
		}
		return "", errors.New("The notes do not fit: " + strings.Join(lines, "; ")) //nolint:staticcheck // the model reads it
	}
	return string(data), nil
}

// merge is RFC 7386, JSON Merge Patch.
func merge(base, change any) any {
	fields, ok := change.(map[string]any)
	if !ok {
		return change
	}
	out := map[string]any{}
	if old, ok := base.(map[string]any); ok {
		for k, v := range old {
			out[k] = v
		}
	}
	for k, v := range fields {
		if v == nil {
			delete(out, k)
		} else {
			out[k] = merge(out[k], v)
		}
	}
	return out
}

// notesPrompt tells the model of its notes, and how it keeps them where it may.
func notesPrompt(w *mastra.WorkingMemory, notes string, writes bool) string {
	var b strings.Builder
	b.WriteString("These are the notes that you keep of the user, over all that happens between you:\n")
	if w.Scope == mastra.ScopeThread {
		b.Reset()
		b.WriteString("These are the notes that you keep of this conversation:\n")
	}
	fmt.Fprintf(&b, "<%s>\n%s\n</%[1]s>\n", notesTag, within(notesTag, cmp.Or(notes, "(none yet)")))
	if !writes {
		b.WriteString("You cannot change them now. Use them without speaking of them.")
		return b.String()
	}
	if w.Schema != nil {
		fmt.Fprintf(&b, "They are JSON of this schema:\n<working_memory_schema>\n%s\n</working_memory_schema>\n", w.Schema.JSON())
	} else {
		fmt.Fprintf(&b, "They are Markdown of this form, whose empty sections stay:\n<working_memory_template>\n%s\n</working_memory_template>\n", strings.TrimSpace(w.Form()))
	}
	b.WriteString("Whenever you learn something that may matter later, or something you noted has changed, call " + notesTool + " at once, in the same turn as your answer. " +
		"You may not see this conversation again, so what is not in the notes is forgotten. Keep what is still true even where it has nothing to do with the matter at hand. " +
		"The user does not see the notes: don't speak of them.")
	return b.String()
}
