package sqlite

import (
	"encoding/binary"
	"hash/crc32"
	"math"
	"slices"

	"mastralambda/shared/mastra"
	"mastralambda/shared/storage/outline"
)

// A segment is what finds the spans of some packs of a tenant, column by column: a list reads of each segment the columns that it
// asks for, and writing one costs less than an entry in an index for each trace and column.
const (
	segmentPacks = 512
	segmentSpans = 1 << 14 // behind which no pack is added
)

// Columns of a segment: the first two are of its packs, the others have a value for each span.
const (
	columnPacks = iota
	columnOutlines
	columnFlags
	columnStarted
	columnEnded
	columnTags
	columnType // the first text, in the order of outline.Shared
	columnEntityType
	columnEntityID
	columnEntityName
	columnRun
	columnThread
	columnResource
	columnName
	columns
)

// Flags of a span in a segment.
const (
	isCurrent = 1 << iota // no later commit has replaced it
	isListed              // it is the root that lists show of its trace
	isRoot
	isFailed
	isOver
)

func flagsOf(s *mastra.Span) byte {
	f := byte(isCurrent)
	if s.Root() {
		f |= isRoot
	}
	if len(s.Error) > 0 {
		f |= isFailed
	}
	if s.EndedAt != 0 {
		f |= isOver
	}
	return f
}

// statusOf is Span.Status of a span's flags.
func statusOf(flags byte) string {
	switch {
	case flags&isFailed != 0:
		return "error"
	case flags&isOver == 0:
		return "running"
	}
	return "success"
}

// packPlace is where a segment has a pack.
type packPlace struct {
	n           int64 // of packs
	at          int64 // when its first span started
	row, spans  int   // of its spans
	start, size int   // of its outline
}

// segmentBuilder makes a segment.
type segmentBuilder struct {
	packs          []packPlace
	outlines       []byte
	flags          []byte
	started, ended []int64
	texts          [columns - columnTags]textBuilder
	room           []byte
}

func (b *segmentBuilder) reset() {
	b.packs, b.outlines, b.flags, b.started, b.ended = b.packs[:0], b.outlines[:0], b.flags[:0], b.started[:0], b.ended[:0]
	for i := range b.texts {
		b.texts[i].reset()
	}
}

func (b *segmentBuilder) full() bool {
	return len(b.packs) >= segmentPacks || len(b.flags) >= segmentSpans
}

// add adds a pack. flags are those of its spans, nil where nothing is known of them yet.
func (b *segmentBuilder) add(n int64, spans []mastra.Span, outlined, flags []byte) {
	p := packPlace{n: n, at: math.MaxInt64, row: len(b.flags), spans: len(spans), start: len(b.outlines), size: len(outlined)}
	b.outlines = append(b.outlines, outlined...)
	listed := -1
	for i := range spans {
		s := &spans[i]
		p.at = min(p.at, int64(s.StartedAt))
		b.started, b.ended = append(b.started, int64(s.StartedAt)), append(b.ended, int64(s.EndedAt))
		if flags == nil {
			b.flags = append(b.flags, flagsOf(s))
			if s.Root() && listed != 0 { // of several it is the first one that packSpans put there
				listed = i
			}
		}
		b.texts[0].add(tagsText(s.Tags))
		texts := outline.Shared(s)
		if i == 0 {
			for k, t := range texts {
				b.texts[1+k].add(*t)
			}
		} else {
			before := outline.Shared(&spans[i-1])
			for k, t := range texts {
				if *t == *before[k] {
					b.texts[1+k].repeat()
				} else {
					b.texts[1+k].add(*t)
				}
			}
		}
		b.texts[columnName-columnTags].add(s.Name)
	}
	if flags != nil {
		b.flags = append(b.flags, flags...)
	} else if listed >= 0 {
		b.flags[p.row+listed] |= isListed
	}
	b.packs = append(b.packs, p)
}

func (b *segmentBuilder) roots() int { return rootsIn(b.flags) }

func rootsIn(flags []byte) (n int) {
	for _, f := range flags {
		n += int(f & isListed)
	}
	return n / isListed
}

// A body of a column begins with one of these; compressed is none of them.
const (
	asPacks = iota + 2
	asBytes
	asInts
	asWords  // each value once, and which of them each span has
	asPrints // two bytes of a hash of each span's value, where there are too many values
)

// column writes a column. What it returns holds until the next one.
func (b *segmentBuilder) column(kind int) []byte {
	out := b.room[:0]
	switch kind {
	case columnPacks:
		out = append(out, asPacks)
		var last packPlace
		for _, p := range b.packs {
			out = binary.AppendUvarint(out, uint64(p.n-last.n))
			out = binary.AppendVarint(out, p.at-last.at)
			out = binary.AppendUvarint(out, uint64(p.spans))
			out = binary.AppendUvarint(out, uint64(p.size))
			last = p
		}
	case columnOutlines:
		out = append(append(out, asBytes), b.outlines...)
	case columnFlags:
		out = append(append(out, asBytes), b.flags...)
	case columnStarted:
		out = appendInts(out, b.started)
	case columnEnded:
		out = appendInts(out, b.ended)
	default:
		out = b.texts[kind-columnTags].append(out)
	}
	b.room = out
	return compress(out)
}

// appendInts writes numbers as what they are above the least of them; 0 as 0.
func appendInts(out []byte, all []int64) []byte {
	least, most := int64(math.MaxInt64), int64(math.MinInt64)
	for _, n := range all {
		if n != 0 {
			least, most = min(least, n), max(most, n)
		}
	}
	width := 1
	for width < 8 && uint64(most-least) >= 1<<(8*width)-1 {
		width *= 2
	}
	if least > most {
		least = 0
	}
	out = binary.AppendVarint(append(out, asInts, byte(width)), least)
	for _, n := range all {
		v := uint64(0)
		if n != 0 {
			v = uint64(n-least) + 1
		}
		switch width {
		case 1:
			out = append(out, byte(v))
		case 2:
			out = binary.LittleEndian.AppendUint16(out, uint16(v))
		case 4:
			out = binary.LittleEndian.AppendUint32(out, uint32(v))
		default:
			out = binary.LittleEndian.AppendUint64(out, v)
		}
	}
	return out
}

func readInts(body []byte, n int) ([]int64, error) {
	if len(body) < 2 || body[0] != asInts {
		return nil, errSegment
	}
	width := int(body[1])
	least, size := binary.Varint(body[2:])
	if size <= 0 || len(body) != 2+size+n*width {
		return nil, errSegment
	}
	body = body[2+size:]
	all := make([]int64, n)
	for i := range all {
		var v uint64
		switch width {
		case 1:
			v = uint64(body[i])
		case 2:
			v = uint64(binary.LittleEndian.Uint16(body[2*i:]))
		case 4:
			v = uint64(binary.LittleEndian.Uint32(body[4*i:]))
		case 8:
			v = binary.LittleEndian.Uint64(body[8*i:])
		default:
			return nil, errSegment
		}
		if v != 0 {
			all[i] = least + int64(v-1)
		}
	}
	return all, nil
}

// textBuilder makes the column of a text.
type textBuilder struct {
	values []string
	known  map[string]uint32
	codes  []uint32
}

func (b *textBuilder) reset() {
	clear(b.values) // what they say is of no use any more
	clear(b.known)
	b.values, b.codes = b.values[:0], b.codes[:0]
}

func (b *textBuilder) repeat() { b.codes = append(b.codes, b.codes[len(b.codes)-1]) }

func (b *textBuilder) add(value string) {
	if n := len(b.codes); n > 0 && b.values[b.codes[n-1]] == value {
		b.repeat()
		return
	}
	code, ok := b.known[value]
	if !ok {
		if b.known == nil {
			b.known = map[string]uint32{}
		}
		code = uint32(len(b.values))
		b.known[value] = code
		b.values = append(b.values, value)
	}
	b.codes = append(b.codes, code)
}

// maxWords is how many values a column has before it holds prints of them.
const maxWords = 255

func (b *textBuilder) append(out []byte) []byte {
	if len(b.values) > maxWords {
		out = append(out, asPrints)
		prints := make([]uint16, len(b.values))
		for i, v := range b.values {
			prints[i] = printOf(v)
		}
		for _, c := range b.codes {
			out = binary.LittleEndian.AppendUint16(out, prints[c])
		}
		return out
	}
	out = append(out, asWords, byte(len(b.values)))
	for _, v := range b.values {
		out = append(binary.AppendUvarint(out, uint64(len(v))), v...)
	}
	if len(b.values) > 1 {
		for _, c := range b.codes {
			out = append(out, byte(c))
		}
	}
	return out
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// printOf is a hash of a text that only "" has 0 of.
func printOf(text string) uint16 {
	if text == "" {
		return 0
	}
	c := crc32.Checksum([]byte(text), castagnoli)
	return max(1, uint16(c)^uint16(c>>16))
}

// texts is a column of texts as it is read.
type texts struct {
	words  []string
	codes  []byte // nil: all are the first word
	prints []byte // two bytes each, instead
}

func readTexts(body []byte, n int) (t texts, err error) {
	if len(body) == 0 {
		return t, errSegment
	}
	switch body[0] {
	case asPrints:
		if t.prints = body[1:]; len(t.prints) != 2*n {
			return t, errSegment
		}
		return t, nil
	case asWords:
		if len(body) < 2 {
			return t, errSegment
		}
		t.words = make([]string, body[1])
		body = body[2:]
		for i := range t.words {
			length, size := binary.Uvarint(body)
			if size <= 0 || length > uint64(len(body)-size) {
				return t, errSegment
			}
			t.words[i] = string(body[size : size+int(length)])
			body = body[size+int(length):]
		}
		if len(t.words) > 1 {
			t.codes = body
		}
		if len(t.words) == 0 && n > 0 || len(t.words) > 1 && len(body) != n {
			return t, errSegment
		}
		return t, nil
	}
	return t, errSegment
}

// keep takes those rows out of a mask whose text is not wanted. Where a column has prints alone, what stays is no more than likely.
func (t *texts) keep(mask []byte, wanted func(string) bool, likely func(uint16) bool) {
	if t.prints != nil {
		for i := range mask {
			if mask[i] != 0 {
				if likely(binary.LittleEndian.Uint16(t.prints[2*i:])) {
					mask[i] = isLikely
				} else {
					mask[i] = 0
				}
			}
		}
		return
	}
	var is [maxWords + 1]bool
	all := true
	for i, w := range t.words {
		is[i] = wanted(w)
		all = all && is[i]
	}
	switch {
	case all:
	case t.codes == nil:
		clear(mask)
	default:
		for i, c := range t.codes {
			if !is[c] {
				mask[i] = 0
			}
		}
	}
}

// What a mask says of a row, beside 0.
const (
	isCertain = 1
	isLikely  = 2
)

// tagsText is tags as one text.
func tagsText(tags []string) string {
	if len(tags) == 0 {
		return ""
	}
	var out []byte
	for _, t := range tags {
		out = append(binary.AppendUvarint(out, uint64(len(t))), t...)
	}
	return string(out)
}

// holdsTags says whether a text of tags holds all that are wanted.
func holdsTags(text string, wanted []string) bool {
	var have []string
	for rest := []byte(text); len(rest) > 0; {
		length, size := binary.Uvarint(rest)
		if size <= 0 || length > uint64(len(rest)-size) {
			return false
		}
		have = append(have, string(rest[size:size+int(length)]))
		rest = rest[size+int(length):]
	}
	return !slices.ContainsFunc(wanted, func(t string) bool { return !slices.Contains(have, t) })
}

func readPlaces(body []byte, packs, spans int) ([]packPlace, error) {
	if len(body) == 0 || body[0] != asPacks {
		return nil, errSegment
	}
	r := outline.Reader{B: body[1:]}
	all := make([]packPlace, packs)
	var last packPlace
	for i := range all {
		p := &all[i]
		p.n, p.at = last.n+int64(r.Uint()), last.at+r.Int()
		p.row, p.start = last.row+last.spans, last.start+last.size
		p.spans, p.size = int(r.Uint()), int(r.Uint())
		if r.Bad || p.spans < 0 || p.spans > spans-p.row || p.size < 0 {
			return nil, errSegment
		}
		last = *p
	}
	if last.row+last.spans != spans {
		return nil, errSegment
	}
	return all, nil
}
