package sqlite

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math"
	"slices"

	"mastralambda/shared/mastra"
)

// maxOutlines is how many commits one call of Outlines looks through.
const maxOutlines = 400_000

// Outlines are written by a coder of their own: an aggregate reads some hundred thousand spans, and JSON would take a second.
// What a span has in common with the one before is not written again, nor is a text that was written before.
type outliner struct {
	b     []byte
	texts [maxTexts]string
	n     int // of texts
}

// maxTexts is how many texts are remembered: they are looked for one by one.
const maxTexts = 32

func (o *outliner) uint(n uint64) { o.b = binary.AppendUvarint(o.b, n) }
func (o *outliner) int(n int64)   { o.b = binary.AppendVarint(o.b, n) }

func (o *outliner) float(f float64) { o.b = binary.LittleEndian.AppendUint64(o.b, math.Float64bits(f)) }

// text writes a text, or the number of the one that it repeats.
func (o *outliner) text(s string) {
	for i, t := range o.texts[:o.n] {
		if t == s {
			o.uint(uint64(i) + 1)
			return
		}
	}
	if o.n < maxTexts {
		o.texts[o.n] = s
		o.n++
	}
	o.b = append(o.b, 0)
	o.id(s)
}

// How an id is written.
const (
	asText = iota
	asHex  // half as long
	asUUID
)

// id writes a text that is not written twice.
func (o *outliner) id(s string) {
	var raw [16]byte
	switch len(s) {
	case 16, 32:
		if unhex(raw[:len(s)/2], s) {
			o.uint(uint64(len(s)/2)<<2 | asHex)
			o.b = append(o.b, raw[:len(s)/2]...)
			return
		}
	case 36:
		if s[8] == '-' && s[13] == '-' && s[18] == '-' && s[23] == '-' &&
			unhex(raw[:4], s[:8]) && unhex(raw[4:6], s[9:13]) && unhex(raw[6:8], s[14:18]) && unhex(raw[8:10], s[19:23]) && unhex(raw[10:], s[24:]) {
			o.uint(16<<2 | asUUID)
			o.b = append(o.b, raw[:]...)
			return
		}
	}
	o.uint(uint64(len(s)) << 2)
	o.b = append(o.b, s...)
}

// unhex decodes lower-case hexadecimal digits, and says whether s is nothing else.
func unhex(to []byte, s string) bool {
	for i := range to {
		a, b := digits[s[2*i]], digits[s[2*i+1]]
		if a|b > 15 {
			return false
		}
		to[i] = a<<4 | b
	}
	return true
}

// digits are the values of hexadecimal digits, and 255 for all else.
var digits = func() (d [256]byte) {
	for i := range d {
		d[i] = 255
	}
	for i, c := range "0123456789abcdef" {
		d[c] = byte(i)
	}
	return d
}()

// Flags of a span.
const (
	isEvent = 1 << iota
	hasFailed
	hasModel
	hasCost
	isRemote
	hasEnded
	hasTags
	differs // from the span before: the first of shared, and the others above it
)

// shared are the texts that spans of a run mostly have in common.
func shared(s *mastra.Span) [7]*string {
	return [...]*string{&s.Type, &s.EntityType, &s.EntityID, &s.EntityName, &s.RunID, &s.ThreadID, &s.ResourceID}
}

// outline writes spans of one trace.
func (o *outliner) outline(spans []*mastra.Span) {
	at := spans[0].StartedAt
	for _, s := range spans {
		at = min(at, s.StartedAt)
	}
	o.uint(uint64(len(spans)))
	o.int(int64(at))
	o.id(spans[0].TraceID)
	var none mastra.Span
	last := &none
	for i, s := range spans {
		use := s.Use()
		flags := uint64(0)
		set := func(flag uint64, is bool) {
			if is {
				flags |= flag
			}
		}
		set(isEvent, s.IsEvent)
		set(hasFailed, len(s.Error) > 0)
		set(isRemote, s.Remote)
		set(hasModel, use != nil)
		set(hasCost, use != nil && use.Cost != nil)
		set(hasEnded, s.EndedAt != 0)
		set(hasTags, len(s.Tags) > 0)
		texts := shared(s)
		for i, t := range shared(last) {
			set(differs<<i, *texts[i] != *t)
		}
		o.uint(flags)
		o.int(int64(s.StartedAt - at))
		if s.EndedAt != 0 {
			o.int(int64(s.EndedAt - s.StartedAt))
		}
		o.id(s.SpanID)
		if parent := slices.IndexFunc(spans[:i], func(p *mastra.Span) bool { return p.SpanID == s.ParentID }); parent >= 0 {
			o.uint(uint64(parent) + 1)
		} else {
			o.b = append(o.b, 0)
			o.id(s.ParentID)
		}
		o.text(s.Name)
		for i, t := range texts {
			if flags&(differs<<i) != 0 {
				o.text(*t)
			}
		}
		if len(s.Tags) > 0 {
			o.uint(uint64(len(s.Tags)))
			for _, t := range s.Tags {
				o.text(t)
			}
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
		last = s
	}
}

var errOutline = errors.New("sqlite: spans are damaged, or were written by a newer version of this program")

type outlineReader struct {
	b      []byte
	texts  [maxTexts]string
	n      int
	ids    []byte
	places []piece           // in ids: of the trace, then of each span and its parent
	known  map[string]string // texts that bodies share, so that each is made once
	bad    bool
	packed []byte // contents behind the outline of a pack, compressed
}

// maxKnown is how many of them one call keeps.
const maxKnown = 4096

func (r *outlineReader) begin(b []byte) {
	if r.b, r.packed, r.n, r.bad = b, nil, 0, false; r.known == nil {
		r.known = map[string]string{}
	}
}

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
		if i > uint64(r.n) {
			r.bad = true
			return ""
		}
		return r.texts[i-1]
	}
	s := r.id()
	if r.n < maxTexts {
		r.texts[r.n] = s
		r.n++
	}
	return s
}

func (r *outlineReader) id() string { return r.idOf(r.uint()) }

func (r *outlineReader) idOf(n uint64) string {
	size := n >> 2
	if size > uint64(len(r.b)) || n&3 == asUUID && size != 16 {
		r.bad, r.b = true, nil
		return ""
	}
	b := r.b[:size]
	r.b = r.b[size:]
	switch n & 3 {
	case asHex:
		return hex.EncodeToString(b)
	case asUUID:
		s := append(make([]byte, 0, 36), "00000000-0000-0000-0000-000000000000"...)
		hex.Encode(s, b[:4])
		hex.Encode(s[9:], b[4:6])
		hex.Encode(s[14:], b[6:8])
		hex.Encode(s[19:], b[8:10])
		hex.Encode(s[24:], b[10:])
		return string(s)
	}
	return r.shared(b)
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

// trace reads which trace the spans are of.
func (r *outlineReader) trace() (string, error) {
	r.uint()
	r.int()
	id := r.id()
	if r.bad {
		return "", errOutline
	}
	return id, nil
}

// outline reads spans of one trace, up to most, into spans where they fit.
func (r *outlineReader) outline(spans []mastra.Span, most int) ([]mastra.Span, error) {
	n, at := r.uint(), mastra.Time(r.int())
	r.ids, r.places = r.ids[:0], r.places[:0]
	r.place()
	if n == 0 || n > uint64(len(r.b)) {
		return nil, errOutline
	}
	n = min(n, uint64(most))
	spans = slices.Grow(spans[:0], int(n))[:n]
	clear(spans)
	var none mastra.Span
	last := &none
	for i := range spans {
		s := &spans[i]
		flags := r.uint()
		s.IsEvent, s.Remote, s.StartedAt = flags&isEvent != 0, flags&isRemote != 0, at+mastra.Time(r.int())
		if flags&hasEnded != 0 {
			s.EndedAt = s.StartedAt + mastra.Time(r.int())
		}
		if flags&hasFailed != 0 {
			s.Error = failedOnce
		}
		r.place()
		if parent := r.uint(); parent == 0 {
			r.place()
		} else if parent <= uint64(i) {
			r.places = append(r.places, r.places[2*parent-1])
		} else {
			return nil, errOutline
		}
		s.Name = r.text()
		before := shared(last)
		for k, t := range shared(s) {
			if flags&(differs<<k) != 0 {
				*t = r.text()
			} else {
				*t = *before[k]
			}
		}
		if flags&hasTags != 0 {
			for tags := r.uint(); tags > 0 && !r.bad; tags-- {
				s.Tags = append(s.Tags, r.text())
			}
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
		if r.bad {
			return nil, errOutline
		}
		last = s
	}
	ids := string(r.ids)
	id := func(p piece) string { return ids[p.from:p.to] }
	for i := range spans {
		spans[i].TraceID, spans[i].SpanID, spans[i].ParentID = id(r.places[0]), id(r.places[2*i+1]), id(r.places[2*i+2])
	}
	return spans, nil
}

var failedOnce = mastra.JSON(`{}`)

// piece is where in the ids of spans one stands: all of them become one text.
type piece struct{ from, to int }

// place reads an id into the ids of spans.
func (r *outlineReader) place() {
	from := len(r.ids)
	n := r.uint()
	if size := n >> 2; size <= uint64(len(r.b)) && n&3 == asHex {
		r.ids = hex.AppendEncode(r.ids, r.b[:size])
		r.b = r.b[size:]
	} else {
		r.ids = append(r.ids, r.idOf(n)...)
	}
	r.places = append(r.places, piece{from, len(r.ids)})
}

// Outlines calls yield with spans that it uses again.
func (s *Store) Outlines(ctx context.Context, q mastra.SpanQuery, yield func([]mastra.Span) bool) error {
	tenant, since := mastra.Tenant(ctx), s.since(s.retention.Traces, math.MinInt64)
	return s.indexed(ctx, func(c *conn) error {
		o := outlines{yield: yield}
		if q.TraceIDs != nil {
			return o.ofTraces(ctx, c, tenant, q.TraceIDs, int64(since))
		}
		from, to := int64(since), int64(math.MaxInt64)
		if q.From != 0 {
			from = max(from, int64(q.From))
		}
		if q.To != 0 {
			to = int64(q.To)
		}
		return o.between(ctx, c, tenant, from, to, q.Ascending)
	})
}

// outlines are on their way to who asked for them.
type outlines struct {
	outlineReader
	spans []mastra.Span
	seen  int
	yield func([]mastra.Span) bool
}

func (o *outlines) ofTraces(ctx context.Context, c *conn, tenant string, traces []string, since int64) error {
	reader := packReader{c: c}
	for _, id := range traces {
		if err := ctx.Err(); err != nil {
			return err
		}
		packs, err := c.packsOf(tenant, id)
		if err != nil {
			return err
		}
		for _, p := range packs {
			body, err := reader.body(p.n)
			if err != nil {
				return err
			}
			if o.spans, err = o.pack(body, o.spans); err != nil {
				return err
			}
			if startOf(o.spans) < since {
				continue
			}
			for i := range o.spans { // of a pack that an older version made more is read
				s := &o.spans[i]
				if s.Attributes, s.Metadata, s.Input, s.Output, s.Context = nil, nil, nil, nil, nil; len(s.Error) > 0 {
					s.Error = failedOnce
				}
			}
			if o.seen++; o.seen > maxOutlines {
				return errTooMany()
			}
			if !o.yield(o.spans) {
				return nil
			}
		}
	}
	return nil
}

// startOf is when the first of some spans started.
func startOf(spans []mastra.Span) int64 {
	at := spans[0].StartedAt
	for i := range spans {
		at = min(at, spans[i].StartedAt)
	}
	return int64(at)
}

func (o *outlines) between(ctx context.Context, c *conn, tenant string, from, to int64, ascending bool) error {
	all, err := c.segments(ctx, tenant, from, to)
	if err != nil {
		return err
	}
	over := false
	return inOrder(all, !ascending, false, func(s *segment) (some []spot, err error) {
		if over {
			return nil, nil
		}
		if err := cmp.Or(ctx.Err(), s.loadOutlines()); err != nil {
			return nil, err
		}
		for i, p := range s.places {
			if p.at >= from && p.at <= to {
				some = append(some, spot{s, p.at, i})
			}
		}
		return some, nil
	}, func(f spot) (bool, error) {
		if o.seen++; o.seen > maxOutlines {
			return false, errTooMany()
		}
		p := f.places[f.row]
		o.begin(f.outlines[p.start : p.start+p.size])
		if o.spans, err = o.outline(o.spans, p.spans); err != nil {
			return false, err
		}
		over = !o.yield(o.spans)
		return !over, nil
	})
}

func errTooMany() error {
	return mastra.Errorf(mastra.CodeInvalid, "There are too many to look through: ask for a narrower range of time")
}
