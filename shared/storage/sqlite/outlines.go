package sqlite

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math"

	"mastralambda/shared/mastra"
)

// maxOutlines is how many commits one call of Outlines looks through.
const maxOutlines = 400_000

// Outlines are written by a coder of their own: an aggregate reads some hundred thousand spans, and JSON would take a second.
// A text is written once in a body and referred to from then on.
type outliner struct {
	b     []byte
	texts []string
}

func (o *outliner) uint(n uint64) { o.b = binary.AppendUvarint(o.b, n) }
func (o *outliner) int(n int64)   { o.b = binary.AppendVarint(o.b, n) }

func (o *outliner) float(f float64) { o.b = binary.LittleEndian.AppendUint64(o.b, math.Float64bits(f)) }

func (o *outliner) text(s string) {
	for i, t := range o.texts {
		if t == s {
			o.uint(uint64(i) + 1)
			return
		}
	}
	o.texts = append(o.texts, s)
	o.uint(0)
	if raw, err := hex.DecodeString(s); err == nil && len(raw) >= 8 && hex.EncodeToString(raw) == s { // ids
		o.uint(uint64(len(raw))<<1 | 1)
		o.b = append(o.b, raw...)
		return
	}
	o.uint(uint64(len(s)) << 1)
	o.b = append(o.b, s...)
}

const (
	isEvent = 1 << iota
	hasFailed
	hasModel
	hasCost
	isRemote
)

// outline encodes spans of one trace, and says when the first of them started.
func outline(spans []*mastra.Span) (body []byte, at mastra.Time) {
	o := outliner{b: make([]byte, 0, 96+48*len(spans)), texts: make([]string, 0, 16+2*len(spans))}
	at = spans[0].StartedAt
	for _, s := range spans {
		at = min(at, s.StartedAt)
	}
	o.b = append(o.b, 1) // version
	o.uint(uint64(len(spans)))
	o.int(int64(at))
	o.text(spans[0].TraceID)
	for _, s := range spans {
		use := s.Use()
		flags := uint64(0)
		if s.IsEvent {
			flags |= isEvent
		}
		if len(s.Error) > 0 {
			flags |= hasFailed
		}
		if s.Remote {
			flags |= isRemote
		}
		if use != nil {
			if flags |= hasModel; use.Cost != nil {
				flags |= hasCost
			}
		}
		o.uint(flags)
		o.int(int64(s.StartedAt - at))
		if s.EndedAt == 0 {
			o.int(math.MinInt64)
		} else {
			o.int(int64(s.EndedAt - s.StartedAt))
		}
		for _, t := range [...]string{s.SpanID, s.ParentID, s.Name, s.Type, s.EntityType, s.EntityID, s.EntityName, s.RunID, s.ThreadID, s.ResourceID} {
			o.text(t)
		}
		o.uint(uint64(len(s.Tags)))
		for _, t := range s.Tags {
			o.text(t)
		}
		if use != nil {
			o.text(use.Provider)
			o.text(use.Model)
			u := use.Usage
			for _, n := range [...]int{u.InputTokens, u.OutputTokens, u.TotalTokens, u.ReasoningTokens, u.CachedInputTokens} {
				o.int(int64(n))
			}
			if use.Cost != nil {
				o.float(use.Cost.Amount)
				o.text(use.Cost.Unit)
			}
		}
	}
	return o.b, at
}

var errOutline = errors.New("sqlite: an outline is damaged, or was written by a newer version of this program")

type outlineReader struct {
	b     []byte
	texts []string
	known map[string]string // texts that bodies share, so that each is made once
	bad   bool
}

// maxKnown is how many of them one call keeps.
const maxKnown = 4096

func (r *outlineReader) uint() uint64 {
	n, size := binary.Uvarint(r.b)
	return uint64(r.skip(size, int64(n)))
}

func (r *outlineReader) int() int64 {
	n, size := binary.Varint(r.b)
	return r.skip(size, n)
}

func (r *outlineReader) skip(size int, n int64) int64 {
	if size <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[size:]
	return n
}

func (r *outlineReader) float() float64 {
	if len(r.b) < 8 {
		r.bad, r.b = true, nil
		return 0
	}
	f := math.Float64frombits(binary.LittleEndian.Uint64(r.b))
	r.b = r.b[8:]
	return f
}

func (r *outlineReader) text() string {
	if i := r.uint(); i > 0 {
		if i > uint64(len(r.texts)) {
			r.bad = true
			return ""
		}
		return r.texts[i-1]
	}
	n := r.uint()
	size := n >> 1
	if size > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return ""
	}
	var s string
	if n&1 == 1 {
		s = hex.EncodeToString(r.b[:size])
	} else {
		s = r.shared(r.b[:size])
	}
	r.b, r.texts = r.b[size:], append(r.texts, s)
	return s
}

// shared is b as a text; one that other bodies have too is the same.
func (r *outlineReader) shared(b []byte) string {
	if s, ok := r.known[string(b)]; ok {
		return s
	}
	s := string(b)
	if len(r.known) < maxKnown {
		r.known[s] = s
	}
	return s
}

// readOutline decodes a body into spans, which it may use again.
func readOutline(body []byte, r *outlineReader, spans []mastra.Span) ([]mastra.Span, error) {
	if len(body) == 0 || body[0] != 1 {
		return nil, errOutline
	}
	*r = outlineReader{b: body[1:], texts: r.texts[:0], known: r.known}
	if r.known == nil {
		r.known = map[string]string{}
	}
	n, at, trace := r.uint(), mastra.Time(r.int()), r.text()
	spans = spans[:0]
	for ; n > 0 && !r.bad; n-- {
		flags := r.uint()
		s := mastra.Span{TraceID: trace, IsEvent: flags&isEvent != 0, Remote: flags&isRemote != 0, StartedAt: at + mastra.Time(r.int())}
		if took := r.int(); took != math.MinInt64 {
			s.EndedAt = s.StartedAt + mastra.Time(took)
		}
		if flags&hasFailed != 0 {
			s.Error = mastra.JSON(`{}`)
		}
		for _, t := range [...]*string{&s.SpanID, &s.ParentID, &s.Name, &s.Type, &s.EntityType, &s.EntityID, &s.EntityName, &s.RunID, &s.ThreadID, &s.ResourceID} {
			*t = r.text()
		}
		for tags := r.uint(); tags > 0 && !r.bad; tags-- {
			s.Tags = append(s.Tags, r.text())
		}
		if flags&hasModel != 0 {
			s.Model = &mastra.ModelUse{Provider: r.text(), Model: r.text()}
			u := &s.Model.Usage
			for _, n := range [...]*int{&u.InputTokens, &u.OutputTokens, &u.TotalTokens, &u.ReasoningTokens, &u.CachedInputTokens} {
				*n = int(r.int())
			}
			if flags&hasCost != 0 {
				s.Model.Cost = &mastra.Cost{Amount: r.float(), Unit: r.text()}
			}
		}
		spans = append(spans, s)
	}
	if r.bad {
		return nil, errOutline
	}
	return spans, nil
}

// Outlines calls yield with spans that it uses again.
func (s *Store) Outlines(ctx context.Context, q mastra.SpanQuery, yield func([]mastra.Span) bool) error {
	l := list{}
	l.equal("tenant", mastra.Tenant(ctx))
	l.between("at", q.From, q.To)
	direction := "DESC"
	if q.Ascending {
		direction = "ASC"
	}
	sql := "SELECT body FROM outlines" + l.conditions() + " ORDER BY at " + direction + ", n " + direction
	return s.readers.read(ctx, func(c *conn) error {
		var r outlineReader
		var spans []mastra.Span
		seen := 0
		for row, err := range c.query(ctx, sql, l.args...) {
			if err != nil {
				return err
			}
			if seen++; seen > maxOutlines {
				return errTooMany()
			}
			if seen%1024 == 0 && ctx.Err() != nil {
				return ctx.Err()
			}
			if spans, err = readOutline(row.json(0), &r, spans); err != nil {
				return err
			}
			if !yield(spans) {
				return nil
			}
		}
		return nil
	})
}

func errTooMany() error {
	return mastra.Errorf(mastra.CodeInvalid, "There are too many to look through: ask for a narrower range of time")
}
