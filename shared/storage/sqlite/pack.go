package sqlite

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
	"mastralambda/shared/storage/outline"
)

// pack is the spans of one commit and trace on their way into a row: their outline, then their contents. It is written while
// a caller waits, so it has a coder of its own, in which what the spans of a run share stands once.
type pack struct {
	tenant, trace string
	spans         []*mastra.Span // a root first
	body          []byte
}

// The first byte of a body says how it is written. The spans' outline is never compressed: it is read much more often than
// their contents.
const (
	packVersion = 3   // an outline, then contents, compressed
	allInOne    = 2   // the same, compressed as a whole where it is long
	jsonArray   = '[' // as older versions wrote it
)

// packSpans groups spans by trace. Of two of one id the last one stays.
func packSpans(tenant string, spans []mastra.Span) ([]pack, error) {
	if len(spans) == 0 {
		return nil, nil
	}
	packs := make([]pack, 0, 1)
	for i := range slices.Backward(spans) {
		s := &spans[i]
		if err := checkID("trace", s.TraceID); err != nil {
			return nil, err
		}
		if err := checkID("span", s.SpanID); err != nil {
			return nil, err
		}
		at := slices.IndexFunc(packs, func(p pack) bool { return p.trace == s.TraceID })
		if at < 0 {
			at = len(packs)
			packs = append(packs, pack{tenant: tenant, trace: s.TraceID, spans: make([]*mastra.Span, 0, len(spans))})
		}
		packs[at].spans = append(packs[at].spans, s)
	}
	for i := range packs {
		p := &packs[i]
		slices.Reverse(p.spans)
		p.spans = withoutRepeats(p.spans)
		if root := lastRoot(p.spans); root > 0 {
			s := p.spans[root]
			copy(p.spans[1:], p.spans[:root])
			p.spans[0] = s
		}
		p.body = encodePack(p.spans)
	}
	return packs, nil
}

// withoutRepeats keeps the last span of each id. Few spans are compared with each other, many are looked up.
func withoutRepeats(spans []*mastra.Span) []*mastra.Span {
	if len(spans) <= 16 {
		kept := spans[:0]
		for i, s := range spans {
			if !slices.ContainsFunc(spans[i+1:], func(later *mastra.Span) bool { return later.SpanID == s.SpanID }) {
				kept = append(kept, s)
			}
		}
		return kept
	}
	last := make(map[string]int, len(spans))
	for i, s := range spans {
		last[s.SpanID] = i
	}
	kept := spans[:0]
	for i, s := range spans {
		if last[s.SpanID] == i {
			kept = append(kept, s)
		}
	}
	return kept
}

// lastRoot is the place of the last root, -1 where there is none.
func lastRoot(spans []*mastra.Span) int {
	for i, s := range slices.Backward(spans) {
		if s.Root() {
			return i
		}
	}
	return -1
}

func contentsOf(s *mastra.Span) [6]*mastra.JSON {
	return [...]*mastra.JSON{&s.Attributes, &s.Metadata, &s.Input, &s.Output, &s.Error, &s.Context}
}

// What stands where a content's length would, which is written two higher.
const (
	noContent   = 0
	sameContent = 1 // as that of the span before
)

func encodePack(spans []*mastra.Span) []byte {
	room := rooms.Get().(*[]byte)
	defer rooms.Put(room)
	b := (*room)[:0]
	var last *mastra.Span
	for _, s := range spans {
		for i, c := range contentsOf(s) {
			switch {
			case len(*c) == 0:
				b = append(b, noContent)
			case last != nil && bytes.Equal(*c, *contentsOf(last)[i]):
				b = append(b, sameContent)
			default:
				b = append(binary.AppendUvarint(b, uint64(len(*c))+2), *c...)
			}
		}
		last = s
	}
	*room = b
	whole := rooms.Get().(*[]byte)
	defer rooms.Put(whole)
	*whole = appendCompressed(outline.Append(append((*whole)[:0], packVersion), spans), b) // a short one begins with a length: it does not look compressed
	return bytes.Clone(*whole)
}

// decodePack reads a body. Its contents stay in body, or in what that was compressed from.
func decodePack(body []byte) (spans []mastra.Span, err error) {
	var r packDecoder
	if spans, err = r.pack(body, nil); err != nil || r.B == nil {
		return spans, err
	}
	if r.packed != nil {
		if r.B, err = decompress(r.packed); err != nil {
			return nil, err
		}
	}
	for i := range spans {
		s := &spans[i]
		s.Error = nil // that it has one is all that an outline says
		for k, c := range contentsOf(s) {
			switch n := r.Uint(); {
			case n == noContent:
			case n == sameContent && i > 0:
				*c = *contentsOf(&spans[i-1])[k]
			case n == sameContent || n-2 > uint64(len(r.B)):
				return nil, outline.ErrDamaged
			default:
				*c = r.B[: n-2 : n-2]
				r.B = r.B[n-2:]
				if !c.IsValid(jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true)) { // what a tool made is shown all the same, as the text that it is
					if *c, err = schema.Marshal(string(*c)); err != nil {
						return nil, err
					}
				}
			}
		}
	}
	if r.Bad {
		return nil, outline.ErrDamaged
	}
	return spans, nil
}

// packDecoder reads packs, one after the other.
type packDecoder struct {
	outline.Reader
	packed []byte // the contents behind an outline, compressed
}

// pack reads the outline of a body and leaves its contents in r. Of a JSON array it reads all, and leaves nil.
func (r *packDecoder) pack(body []byte, spans []mastra.Span) (_ []mastra.Span, err error) {
	r.packed = nil
	switch versionOf(body) {
	case packVersion:
		r.Begin(body[1:])
		if spans, err = r.Spans(spans, math.MaxInt); err == nil {
			r.packed, r.B = r.B, []byte{}
		}
		return spans, err
	}
	if body, err = decompress(body); err != nil {
		return nil, err
	}
	switch versionOf(body) {
	case allInOne:
		r.Begin(body[1:])
		return r.Spans(spans, math.MaxInt)
	case jsonArray:
		r.Begin(nil)
		spans = nil
		if err = schema.Unmarshal(body, &spans); err == nil && len(spans) == 0 {
			err = outline.ErrDamaged
		}
		for i := range spans {
			spans[i].Model = spans[i].Use()
		}
		return spans, err
	}
	return nil, outline.ErrDamaged
}

func versionOf(body []byte) byte {
	if len(body) == 0 {
		return 0
	}
	return body[0]
}
