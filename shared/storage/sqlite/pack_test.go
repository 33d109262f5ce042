package sqlite

import (
	"fmt"
	"reflect"
	"slices"
	"testing"

	"mastralambda/shared/mastra"
)

func packed() []mastra.Span {
	spans := answered("01990000-0000-7000-8000-000000000000", 1_800_000_000_000).Spans
	spans[1].Tags = []string{"a", "b"}
	spans[2].EndedAt, spans[2].Error = 0, mastra.JSON(`{"message":"no"}`)
	spans[3].Model = &mastra.ModelUse{Provider: "p", Model: "m", Usage: mastra.Usage{InputTokens: 3, OutputTokens: 4, TotalTokens: 7}, Cost: &mastra.Cost{Amount: 0.5, Unit: "USD"}}
	for i := range 40 { // more texts than are remembered
		spans[4].Tags = append(spans[4].Tags, fmt.Sprint("tag", i%35))
	}
	return spans
}

func TestPack(t *testing.T) {
	want := packed()
	want[0], want[2] = want[2], want[0] // the root comes first wherever it stood
	packs, err := packSpans("", want)
	must(t, err)
	got, err := decodePack(packs[0].body)
	must(t, err)
	want = []mastra.Span{want[2], want[0], want[1], want[3], want[4]}
	for i := range want {
		want[i].Model = want[i].Use()
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// What cannot be read of one commit hides nothing of the others.
func TestDamagedPack(t *testing.T) {
	s := openNew(t)
	for _, id := range []string{"a", "damaged", "b"} {
		must(t, s.Commit(bg, spansOf(id)))
		if id == "damaged" {
			must(t, s.submit(bg, func(t *tx) error { _, err := t.exec("UPDATE packs SET body = x'0201' WHERE n = 2"); return err }))
		}
	}
	p, err := s.Traces(bg, mastra.TraceQuery{Paging: mastra.Paging{PerPage: 9}})
	must(t, err)
	var ids []string
	for _, root := range p.Items {
		ids = append(ids, root.TraceID)
	}
	slices.Sort(ids)
	if !slices.Equal(ids, []string{"trace-a", "trace-b"}) {
		t.Errorf("%v", ids)
	}
}

func FuzzDecodePack(f *testing.F) {
	packs, err := packSpans("", packed())
	must(f, err)
	f.Add(packs[0].body)
	f.Add([]byte("[]"))
	f.Fuzz(func(t *testing.T, body []byte) {
		spans, err := decodePack(body)
		if err != nil || len(spans) == 0 {
			return
		}
		all := make([]*mastra.Span, len(spans))
		for i := range spans {
			all[i] = &spans[i]
		}
		if _, err := decodePack(encodePack(all)); err != nil {
			t.Errorf("what was read cannot be written: %v", err)
		}
	})
}

func spansOf(id string) *mastra.Batch { return &mastra.Batch{Spans: answered(id, 1).Spans} }
