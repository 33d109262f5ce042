// Package outline writes spans without their contents in some forty bytes each, and reads them back ten times as fast as JSON: aggregates read
// some hundred thousand.
package outline

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math"
	"slices"

	"mastralambda/shared/mastra"
)

// Append writes the outlines of spans of one trace behind b. What a span has in common with the one before is not written again, nor
// is a text that was written before.
func Append(b []byte, spans []*mastra.Span) []byte {
	w := writer{b: b}
	w.spans(spans)
	return w.b
}

type writer struct {
	b     []byte
	texts [maxTexts]string
	n     int // of texts
}

// maxTexts is how many texts are remembered: they are looked for one by one.
const maxTexts = 32

func (w *writer) uint(n uint64) { w.b = binary.AppendUvarint(w.b, n) }
func (w *writer) int(n int64)   { w.b = binary.AppendVarint(w.b, n) }

func (w *writer) float(f float64) { w.b = binary.LittleEndian.AppendUint64(w.b, math.Float64bits(f)) }

// text writes a text, or the number of the one that it repeats.
func (w *writer) text(s string) {
	for i, t := range w.texts[:w.n] {
		if t == s {
			w.uint(uint64(i) + 1)
			return
		}
	}
	if w.n < maxTexts {
		w.texts[w.n] = s
		w.n++
	}
	w.b = append(w.b, 0)
	w.id(s)
}

// How an id is written.
const (
	asText = iota
	asHex  // half as long
	asUUID
)

// id writes a text that is not written twice.
func (w *writer) id(s string) {
	var raw [16]byte
	switch len(s) {
	case 16, 32:
		if unhex(raw[:len(s)/2], s) {
			w.uint(uint64(len(s)/2)<<2 | asHex)
			w.b = append(w.b, raw[:len(s)/2]...)
			return
		}
	case 36:
		if s[8] == '-' && s[13] == '-' && s[18] == '-' && s[23] == '-' &&
			unhex(raw[:4], s[:8]) && unhex(raw[4:6], s[9:13]) && unhex(raw[6:8], s[14:18]) && unhex(raw[8:10], s[19:23]) && unhex(raw[10:], s[24:]) {
			w.uint(16<<2 | asUUID)
			w.b = append(w.b, raw[:]...)
			return
		}
	}
	w.uint(uint64(len(s)) << 2)
	w.b = append(w.b, s...)
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
	differs // from the span before: the first of Shared, and the others above it
)

// Shared are the texts that spans of a run mostly have in common.
func Shared(s *mastra.Span) [7]*string {
	return [...]*string{&s.Type, &s.EntityType, &s.EntityID, &s.EntityName, &s.RunID, &s.ThreadID, &s.ResourceID}
}

// outline writes spans of one trace.
func (w *writer) spans(spans []*mastra.Span) {
	at := spans[0].StartedAt
	for _, s := range spans {
		at = min(at, s.StartedAt)
	}
	w.uint(uint64(len(spans)))
	w.int(int64(at))
	w.id(spans[0].TraceID)
	var none mastra.Span
	last := &none
	for i, s := range spans {
		use := s.Use()
		parent := slices.IndexFunc(spans[:i], func(p *mastra.Span) bool { return p.SpanID == s.ParentID })
		tags := s.MarkedTags(parent < 0) // what is below says the same
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
		set(hasTags, len(tags) > 0)
		texts := Shared(s)
		for i, t := range Shared(last) {
			set(differs<<i, *texts[i] != *t)
		}
		w.uint(flags)
		w.int(int64(s.StartedAt - at))
		if s.EndedAt != 0 {
			w.int(int64(s.EndedAt - s.StartedAt))
		}
		w.id(s.SpanID)
		if parent >= 0 {
			w.uint(uint64(parent) + 1)
		} else {
			w.b = append(w.b, 0)
			w.id(s.ParentID)
		}
		w.text(s.Name)
		for i, t := range texts {
			if flags&(differs<<i) != 0 {
				w.text(*t)
			}
		}
		if len(tags) > 0 {
			w.uint(uint64(len(tags)))
			for _, t := range tags {
				w.text(t)
			}
		}
		if use != nil {
			w.text(use.Provider)
			w.text(use.Model)
			u := use.Usage
			if u.CacheCreationInputTokens > 0 { // it stands in for the total, which is a sum: earlier versions look at neither
				u.TotalTokens = -u.CacheCreationInputTokens
			}
			for _, n := range [...]int{u.InputTokens, u.OutputTokens, u.TotalTokens, u.ReasoningTokens, u.CachedInputTokens} {
				w.int(int64(n))
			}
			if use.Cost != nil {
				w.float(use.Cost.Amount)
				w.text(use.Cost.Unit)
			}
		}
		last = s
	}
}

var ErrDamaged = errors.New("outline: spans are damaged, or were written by a newer version of this program")

// Reader reads outlines, one after the other: what they have in common it makes once. What goes wrong makes it Bad.
type Reader struct {
	B      []byte // that is not read yet
	Bad    bool
	texts  [maxTexts]string
	n      int
	ids    []byte
	places []piece           // in ids: of the trace, then of each span and its parent
	known  map[string]string // texts that bodies share, so that each is made once
}

// maxKnown is how many of them one call keeps.
const maxKnown = 4096

// Begin begins what b begins with.
func (r *Reader) Begin(b []byte) {
	if r.B, r.n, r.Bad = b, 0, false; r.known == nil {
		r.known = map[string]string{}
	}
}

// Uint and Int read numbers as binary.AppendUvarint and AppendVarint write them.
func (r *Reader) Uint() uint64 {
	n, size := binary.Uvarint(r.B)
	return uint64(r.skip(size, int64(n)))
}

func (r *Reader) Int() int64 {
	n, size := binary.Varint(r.B)
	return r.skip(size, n)
}

func (r *Reader) skip(size int, n int64) int64 {
	if size <= 0 {
		r.Bad, r.B = true, nil
		return 0
	}
	r.B = r.B[size:]
	return n
}

func (r *Reader) float() float64 {
	if len(r.B) < 8 {
		r.Bad, r.B = true, nil
		return 0
	}
	f := math.Float64frombits(binary.LittleEndian.Uint64(r.B))
	r.B = r.B[8:]
	return f
}

func (r *Reader) text() string {
	if i := r.Uint(); i > 0 {
		if i > uint64(r.n) {
			r.Bad = true
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

func (r *Reader) id() string { return r.idOf(r.Uint()) }

func (r *Reader) idOf(n uint64) string {
	size := n >> 2
	if size > uint64(len(r.B)) || n&3 == asUUID && size != 16 {
		r.Bad, r.B = true, nil
		return ""
	}
	b := r.B[:size]
	r.B = r.B[size:]
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
func (r *Reader) shared(b []byte) string {
	if s, ok := r.known[string(b)]; ok {
		return s
	}
	s := string(b)
	if len(r.known) < maxKnown {
		r.known[s] = s
	}
	return s
}

// Trace reads which trace the spans are of.
func (r *Reader) Trace() (string, error) {
	r.Uint()
	r.Int()
	id := r.id()
	if r.Bad {
		return "", ErrDamaged
	}
	return id, nil
}

// Spans reads spans of one trace, up to most, into spans where they fit.
func (r *Reader) Spans(spans []mastra.Span, most int) ([]mastra.Span, error) {
	n, at := r.Uint(), mastra.Time(r.Int())
	r.ids, r.places = r.ids[:0], r.places[:0]
	r.place()
	if n == 0 || n > uint64(len(r.B)) {
		return nil, ErrDamaged
	}
	n = min(n, uint64(most))
	spans = slices.Grow(spans[:0], int(n))[:n]
	clear(spans)
	var none mastra.Span
	last := &none
	for i := range spans {
		s := &spans[i]
		flags := r.Uint()
		s.IsEvent, s.Remote, s.StartedAt = flags&isEvent != 0, flags&isRemote != 0, at+mastra.Time(r.Int())
		if flags&hasEnded != 0 {
			s.EndedAt = s.StartedAt + mastra.Time(r.Int())
		}
		if flags&hasFailed != 0 {
			s.Error = Failed
		}
		r.place()
		if parent := r.Uint(); parent == 0 {
			r.place()
		} else if parent <= uint64(i) {
			r.places = append(r.places, r.places[2*parent-1])
		} else {
			return nil, ErrDamaged
		}
		s.Name = r.text()
		before := Shared(last)
		for k, t := range Shared(s) {
			if flags&(differs<<k) != 0 {
				*t = r.text()
			} else {
				*t = *before[k]
			}
		}
		if flags&hasTags != 0 {
			for tags := r.Uint(); tags > 0 && !r.Bad; tags-- {
				s.AddMarked(r.text())
			}
		}
		if flags&hasModel != 0 {
			s.Model = &mastra.ModelUse{Provider: r.text(), Model: r.text()}
			u := &s.Model.Usage
			for _, n := range [...]*int{&u.InputTokens, &u.OutputTokens, &u.TotalTokens, &u.ReasoningTokens, &u.CachedInputTokens} {
				*n = int(r.Int())
			}
			if u.TotalTokens < 0 {
				u.CacheCreationInputTokens, u.TotalTokens = -u.TotalTokens, u.InputTokens+u.OutputTokens
			}
			if flags&hasCost != 0 {
				s.Model.Cost = &mastra.Cost{Amount: r.float(), Unit: r.text()}
			}
		}
		if r.Bad {
			return nil, ErrDamaged
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

var Failed = mastra.JSON(`{}`)

// piece is where in the ids of spans one stands: all of them become one text.
type piece struct{ from, to int }

// place reads an id into the ids of spans.
func (r *Reader) place() {
	from := len(r.ids)
	n := r.Uint()
	if size := n >> 2; size <= uint64(len(r.B)) && n&3 == asHex {
		r.ids = hex.AppendEncode(r.ids, r.B[:size])
		r.B = r.B[size:]
	} else {
		r.ids = append(r.ids, r.idOf(n)...)
	}
	r.places = append(r.places, piece{from, len(r.ids)})
}
