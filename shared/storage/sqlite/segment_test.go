package sqlite

import (
	"slices"
	"testing"

	"mastralambda/shared/mastra"
	"mastralambda/shared/storage/outline"
	"mastralambda/shared/storage/storagetest"
)

// What thousands of commits leave behind is as it was asked for, in few segments.
func TestSegments(t *testing.T) {
	s := openNew(t)
	storagetest.RunTraces(t, s, storagetest.Load{Rounds: 9, Commits: 4, Traces: 200})
	var segments, packs int64
	must(t, s.readers.read(bg, func(c *conn) error {
		r, err := c.first("SELECT count(*), sum(packs) FROM segments")
		if err == nil {
			segments, packs = r.int(0), r.int(1)
		}
		return err
	}))
	if most := packs/segmentPacks + 24; segments > most {
		t.Errorf("%d segments of %d packs, want %d at most", segments, packs, most)
	}
}

// A damaged segment is an error, no panic.
func FuzzSegment(f *testing.F) {
	var b segmentBuilder
	spans := packed()
	all := make([]*mastra.Span, len(spans))
	for i := range spans {
		all[i] = &spans[i]
	}
	b.add(7, spans, outline.Append(nil, all), nil)
	for kind := range columns {
		f.Add(slices.Clone(b.column(kind)), 1, len(spans))
	}
	f.Fuzz(func(t *testing.T, body []byte, packs, spans int) {
		packs, spans = packs&0xff, spans&0xfff
		if places, err := readPlaces(body, packs, spans); err == nil && packs > 0 {
			if last := places[packs-1]; last.row+last.spans != spans {
				t.Errorf("%+v", places)
			}
		}
		_, _ = readInts(body, spans)
		for _, p := range splitPacks("tenant", body) {
			_ = p.body
		}
		_, _ = readPacks(body)
		c, err := readTexts(body, spans)
		if err != nil {
			return
		}
		mask := slices.Repeat([]byte{isCertain}, spans)
		c.keep(mask, func(text string) bool { return holdsTags(text, []string{"a"}) }, func(p uint16) bool { return p&1 == 0 })
	})
}
