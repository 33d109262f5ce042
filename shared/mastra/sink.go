package mastra

import (
	"cmp"
	"context"
	"sync"
)

// SpanSink gathers the spans of what a run calls, until the run commits them with its own. It is safe for concurrent use.
type SpanSink struct {
	mu    sync.Mutex
	spans []Span
}

// maxSunk is how many spans of one run are gathered: a tool that asks a store in a loop shall not fill the memory.
const maxSunk = 1000

// Take empties the sink.
func (s *SpanSink) Take() []Span {
	s.mu.Lock()
	defer s.mu.Unlock()
	spans := s.spans
	s.spans = nil
	return spans
}

// WithSpanSink makes AddSpan write to s. The runners call it.
func WithSpanSink(ctx context.Context, s *SpanSink) context.Context {
	return context.WithValue(ctx, sinkKey, s)
}

// AddSpan records a span below the one that ctx stands at, or below the ParentID that it has: its type, name, times, attributes, input,
// output and error are the caller's, and its SpanID where it has one. Outside of a run it does nothing.
func AddSpan(ctx context.Context, s Span) {
	sink, _ := ctx.Value(sinkKey).(*SpanSink)
	at := SpanOf(ctx)
	if sink == nil || !at.Inside() {
		return
	}
	s.TraceID, s.RunID = at.TraceID, at.RunID
	s.ParentID = cmp.Or(s.ParentID, at.SpanID)
	if s.SpanID == "" {
		s.SpanID = NewSpanID()
	}
	sink.mu.Lock()
	defer sink.mu.Unlock()
	if len(sink.spans) < maxSunk {
		sink.spans = append(sink.spans, s)
	}
}
