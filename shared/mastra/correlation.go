package mastra

import (
	"bytes"
	"strings"

	"mastralambda/shared/schema"
)

// Correlation is what metadata of a span says of whom and what it is for, beside what it has as fields: lists and metrics go by it.
type Correlation struct{ UserID, OrganizationID, SessionID, RequestID, ExperimentID string }

var correlationKeys = [...]string{"userId", "organizationId", "sessionId", "requestId", "experimentId"}

func (c *Correlation) texts() [len(correlationKeys)]*string {
	return [...]*string{&c.UserID, &c.OrganizationID, &c.SessionID, &c.RequestID, &c.ExperimentID}
}

// CorrelationOf reads it out of metadata, nil where there is none.
func CorrelationOf(metadata JSON) *Correlation {
	says := false
	for _, key := range correlationKeys {
		says = says || bytes.Contains(metadata, []byte(`"`+key+`"`))
	}
	var all Object[JSON]
	if !says || schema.Unmarshal(metadata, &all) != nil {
		return nil
	}
	var c Correlation
	for i, to := range c.texts() {
		if v, ok := all.Get(correlationKeys[i]); ok && v.Kind() == '"' {
			_ = schema.Unmarshal(v, to) // a text that is none is left out
		}
	}
	if c == (Correlation{}) {
		return nil
	}
	return &c
}

// Correlated is what the span says of whom it is for: what was set, or what its metadata says. nil where that is nothing.
func (s *Span) Correlated() *Correlation {
	if s.Correlation != nil || len(s.Metadata) == 0 {
		return s.Correlation
	}
	return CorrelationOf(s.Metadata)
}

// correlationMark begins a text that stands among the tags of an outline and is none.
const correlationMark = "\x00"

// Marks are c as texts that stand among the tags of an outline, whose form has no other place for them: what earlier versions read, too.
func (c *Correlation) Marks() (marks []string) {
	if c == nil {
		return nil
	}
	for i, text := range c.texts() {
		if *text != "" {
			marks = append(marks, correlationMark+correlationKeys[i]+"="+*text)
		}
	}
	return marks
}

// Mark takes over what Marks wrote, and says whether it is that.
func (s *Span) Mark(text string) bool {
	rest, ok := strings.CutPrefix(text, correlationMark)
	key, value, said := strings.Cut(rest, "=")
	if !ok || !said {
		return false
	}
	var c Correlation
	if s.Correlation != nil {
		c = *s.Correlation
	}
	for i, to := range c.texts() {
		if correlationKeys[i] == key {
			*to, s.Correlation = value, &c
			return true
		}
	}
	return false
}
