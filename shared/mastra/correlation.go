package mastra

import (
	"bytes"
	"slices"
	"strings"

	"mastralambda/shared/schema"
)

// Correlation is what metadata of a span says of whom and what it is for, beside what it has as fields: lists and metrics go by it. Whose
// root a span is below counts where it is committed without its root.
type Correlation struct {
	UserID, OrganizationID, SessionID, RequestID, ExperimentID string
	RootEntityType, RootEntityID, RootEntityName               string
}

var correlationKeys = [...]string{"userId", "organizationId", "sessionId", "requestId", "experimentId", "rootEntityType", "rootEntityId", "rootEntityName"}

func (c *Correlation) texts() [len(correlationKeys)]*string {
	return [...]*string{&c.UserID, &c.OrganizationID, &c.SessionID, &c.RequestID, &c.ExperimentID, &c.RootEntityType, &c.RootEntityID, &c.RootEntityName}
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

// mark begins a text that stands among the tags of an outline and is none. A tag that begins with it has it twice.
const mark = "\x00"

// MarkedTags are the span's tags as an outline has them: between them what it is correlated with, where that is asked for. An outline has no
// other place for it that versions before this one read over.
func (s *Span) MarkedTags(correlated bool) []string {
	tags := s.Tags
	if slices.ContainsFunc(tags, func(t string) bool { return strings.HasPrefix(t, mark) }) {
		tags = slices.Clone(tags)
		for i, t := range tags {
			if strings.HasPrefix(t, mark) {
				tags[i] = mark + t
			}
		}
	}
	if !correlated {
		return tags
	}
	if c := s.Correlated(); c != nil {
		tags = slices.Clip(tags)
		for i, text := range c.texts() {
			if *text != "" {
				tags = append(tags, mark+correlationKeys[i]+"="+*text)
			}
		}
	}
	return tags
}

// AddMarked takes over one of MarkedTags.
func (s *Span) AddMarked(text string) {
	if rest, ok := strings.CutPrefix(text, mark); ok {
		if strings.HasPrefix(rest, mark) {
			text = rest
		} else if key, value, ok := strings.Cut(rest, "="); ok {
			var c Correlation
			if s.Correlation != nil {
				c = *s.Correlation
			}
			for i, to := range c.texts() {
				if correlationKeys[i] == key {
					*to, s.Correlation = value, &c
					return
				}
			}
		}
	}
	s.Tags = append(s.Tags, text)
}
