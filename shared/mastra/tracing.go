package mastra

import (
	"context"
	"strconv"
	"strings"

	"mastralambda/shared/schema"
)

// Tracing says what of runs is recorded. The zero value records everything.
type Tracing struct {
	ServiceName, Environment string
	// Rate is the share of traces that are kept, from 0 to 1; nil is all of them. Whether one is kept is told by its id, so
	// that all that have a part in it agree.
	Rate *float64
	// Export, where not nil, is handed the spans of every commit, redacted as they are stored. It must neither block nor
	// change them.
	Export func(ctx context.Context, spans []Span)
}

// keeps says whether a trace is among those that are kept.
func (t *Tracing) keeps(traceID string) bool {
	if t.Rate == nil || *t.Rate >= 1 {
		return true
	}
	if len(traceID) < 14 {
		return *t.Rate > 0
	}
	n, err := strconv.ParseUint(traceID[len(traceID)-13:], 16, 64) // the random end of an id
	return err != nil || float64(n)/float64(1<<52) < *t.Rate
}

// Traces says whether the spans of a trace are kept: where they are not, none need be made.
func (m *Mastra) Traces(traceID string) bool { return m.Tracing.keeps(traceID) }

// Record is what of a run's spans is stored: nothing where their trace is not kept, else all, redacted. They are handed to
// the exporter, too.
func (m *Mastra) Record(ctx context.Context, spans []Span) []Span {
	if len(spans) == 0 || !m.Tracing.keeps(spans[0].TraceID) {
		return nil
	}
	redactSpans(spans)
	if m.Tracing.Export != nil {
		m.Tracing.Export(ctx, spans)
	}
	return spans
}

// ParseTraceparent reads W3C's header traceparent: the span that called. ok is false where it is none.
func ParseTraceparent(header string) (caller SpanRef, ok bool) {
	parts := strings.Split(strings.TrimSpace(header), "-")
	if len(parts) < 4 || len(parts[0]) != 2 || parts[0] == "ff" || parts[0] == "00" && len(parts) != 4 || len(parts[3]) != 2 {
		return SpanRef{}, false
	}
	for i, n := range []int{2, 32, 16, 2} {
		zero := true
		for _, c := range parts[i] {
			if c >= '0' && c <= '9' || c >= 'a' && c <= 'f' {
				zero = zero && c == '0'
			} else {
				return SpanRef{}, false
			}
		}
		if len(parts[i]) != n || zero && (i == 1 || i == 2) {
			return SpanRef{}, false
		}
	}
	return SpanRef{TraceID: parts[1], SpanID: parts[2], Remote: true}, true
}

// TraceparentOf is W3C's header traceparent for a call that a tool or a step makes, "" outside of a trace.
func TraceparentOf(ctx context.Context) string {
	at := SpanOf(ctx)
	if len(at.TraceID) != 32 || len(at.SpanID) != 16 {
		return ""
	}
	flags := "01"
	if m := From(ctx); m != nil && !m.Tracing.keeps(at.TraceID) {
		flags = "00"
	}
	return "00-" + at.TraceID + "-" + at.SpanID + "-" + flags
}

// About is metadata of a span with what the caller wants to be said of it beside: own wins.
func (t *TracingOptions) About(rc RequestContext, own JSON) JSON {
	given := t.Metadata
	if (len(given) == 0 || given.Kind() != '{') && len(t.RequestContextKeys) == 0 {
		return own
	}
	var all Object[JSON]
	for _, key := range t.RequestContextKeys {
		path := strings.Split(key, ".")
		if v := entryOf(rc[path[0]], path[1:]); len(v) > 0 {
			setEntry(&all, path, v)
		}
	}
	for _, data := range []JSON{given, own} {
		var o Object[JSON]
		if len(data) == 0 || schema.Unmarshal(data, &o) != nil {
			continue
		}
		for _, m := range o {
			all.Set(m.Key, m.Value)
		}
	}
	data, err := schema.Marshal(all)
	if err != nil {
		return own
	}
	return data
}

// entryOf is what a path leads to within v, nil where it leads to nothing.
func entryOf(v JSON, path []string) JSON {
	for _, key := range path {
		var o Object[JSON]
		if len(v) == 0 || schema.Unmarshal(v, &o) != nil {
			return nil
		}
		v, _ = o.Get(key)
	}
	return v
}

// setEntry puts v where a path leads to.
func setEntry(o *Object[JSON], path []string, v JSON) {
	if len(path) > 1 {
		var within Object[JSON]
		if have, ok := o.Get(path[0]); ok && schema.Unmarshal(have, &within) != nil {
			within = nil
		}
		setEntry(&within, path[1:], v)
		data, err := schema.Marshal(within)
		if err != nil {
			return
		}
		v = data
	}
	o.Set(path[0], v)
}
