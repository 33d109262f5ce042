package vectortest

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"mastralambda/shared/mastra"
)

// found are the ids that a query of a namespace finds, sorted.
func found(t *testing.T, s mastra.VectorStore, namespace, filter string) []string {
	t.Helper()
	got, err := s.Query(t.Context(), "docs", mastra.VectorQuery{Vector: []float32{1, 0}, Namespace: namespace, TopK: 1000, Filter: mastra.JSON(filter)})
	must(t, err)
	ids := make([]string, len(got))
	for i, m := range got {
		ids[i] = m.ID
	}
	slices.Sort(ids)
	return ids
}

func wantIDs(t *testing.T, s mastra.VectorStore, namespace, filter string, want ...string) {
	t.Helper()
	if got := found(t, s, namespace, filter); !slices.Equal(got, want) {
		t.Errorf("%q in %q finds %v, want %v", filter, namespace, got, want)
	}
}

func three(t *testing.T, s mastra.VectorStore) {
	t.Helper()
	create(t, s, "docs", 2, mastra.Cosine)
	must(t, s.Upsert(t.Context(), "docs", []mastra.Vector{
		{ID: "a", Values: []float32{1, 0}, Metadata: mastra.JSON(`{"doc":"x","n":1}`)},
		{ID: "b", Values: []float32{1, 1}, Metadata: mastra.JSON(`{"doc":"x","n":2}`)},
		{ID: "c", Values: []float32{0, 1}, Metadata: mastra.JSON(`{"doc":"y","n":3}`)},
		{ID: "a", Namespace: "other", Values: []float32{0, 1}, Metadata: mastra.JSON(`{"doc":"x","n":9}`)},
	}))
}

func namespaces(t *testing.T, s mastra.VectorStore) {
	ctx := t.Context()
	three(t, s)
	wantIDs(t, s, "", "", "a", "b", "c")
	wantIDs(t, s, "other", "", "a")
	wantIDs(t, s, "other", `{"n":1}`)
	wantIDs(t, s, "none", "")
	if d, err := s.DescribeIndex(ctx, "docs"); err != nil || d.Count != 4 {
		t.Errorf("all namespaces count: %+v, %v", d, err)
	}
	must(t, s.Upsert(ctx, "docs", []mastra.Vector{{ID: "a", Namespace: "other", Values: []float32{1, 0}}}))
	wantIDs(t, s, "", `{"n":1}`, "a") // it is another one
	_, err := s.Delete(ctx, "docs", mastra.VectorSelection{Namespace: "other", IDs: []string{"b"}})
	code(t, err, mastra.CodeNotFound)
	for _, bad := range []string{strings.Repeat("n", 1025), "a\x00b", "\xff"} {
		code(t, s.Upsert(ctx, "docs", []mastra.Vector{{ID: "a", Namespace: bad, Values: []float32{1, 0}}}), mastra.CodeInvalid)
		_, err := s.Query(ctx, "docs", mastra.VectorQuery{Vector: []float32{1, 0}, TopK: 1, Namespace: bad})
		code(t, err, mastra.CodeInvalid)
	}
}

func changes(t *testing.T, s mastra.VectorStore) {
	ctx := t.Context()
	three(t, s)
	count := func(want int) func(int, error) {
		return func(got int, err error) {
			t.Helper()
			if must(t, err); got != want {
				t.Errorf("%d entries were changed, want %d", got, want)
			}
		}
	}
	ids := func(ids ...string) mastra.VectorSelection { return mastra.VectorSelection{IDs: ids} }
	where := func(filter string) mastra.VectorSelection {
		return mastra.VectorSelection{Filter: mastra.JSON(filter)}
	}
	count(1)(s.Update(ctx, "docs", ids("a"), mastra.VectorUpdate{Metadata: mastra.JSON(`{"doc":"z"}`)}))
	count(2)(s.Update(ctx, "docs", ids("b", "c", "b"), mastra.VectorUpdate{Values: []float32{3, 4}}))
	got, err := s.Query(ctx, "docs", mastra.VectorQuery{Vector: []float32{3, 4}, TopK: 10, IncludeVector: true})
	must(t, err)
	for _, m := range got {
		want := map[string]mastra.Match{
			"a": {Metadata: mastra.JSON(`{"doc":"z"}`), Vector: []float32{1, 0}},
			"b": {Metadata: mastra.JSON(`{"doc":"x","n":2}`), Vector: []float32{3, 4}},
			"c": {Metadata: mastra.JSON(`{"doc":"y","n":3}`), Vector: []float32{3, 4}},
		}[m.ID]
		if !sameJSON(m.Metadata, want.Metadata) || !slices.Equal(m.Vector, want.Vector) {
			t.Errorf("after the update %+v", m)
		}
	}
	count(2)(s.Update(ctx, "docs", where(`{"n":{"$gte":2}}`), mastra.VectorUpdate{Metadata: mastra.JSON(`{"doc":"w"}`), Values: []float32{1, 0}}))
	wantIDs(t, s, "", `{"doc":"w"}`, "b", "c")
	count(0)(s.Update(ctx, "docs", where(`{"n":5}`), mastra.VectorUpdate{Metadata: mastra.JSON(`{}`)}))
	count(0)(s.Delete(ctx, "docs", where(`{"n":5}`)))

	// What is wrong or not there changes nothing.
	_, err = s.Update(ctx, "docs", ids("a", "nope"), mastra.VectorUpdate{Metadata: mastra.JSON(`{"doc":"v"}`)})
	code(t, err, mastra.CodeNotFound)
	_, err = s.Delete(ctx, "docs", ids("a", "nope"))
	code(t, err, mastra.CodeNotFound)
	for _, bad := range []mastra.VectorUpdate{{}, {Values: []float32{1}}, {Values: []float32{}}, {Metadata: mastra.JSON(`[]`)}, {Values: []float32{1, 2}, Metadata: mastra.JSON(`{"a":"\u0000"}`)}} {
		_, err := s.Update(ctx, "docs", ids("a"), bad)
		code(t, err, mastra.CodeInvalid)
	}
	for _, bad := range []mastra.VectorSelection{{}, where(`{}`), where(`null`), where(`{"a":{"$bogus":1}}`), {IDs: []string{"a"}, Filter: mastra.JSON(`{"n":1}`)}, ids("a\x00"), {Namespace: "\x00", IDs: []string{"a"}}} {
		_, err := s.Delete(ctx, "docs", bad)
		code(t, err, mastra.CodeInvalid)
		_, err = s.Update(ctx, "docs", bad, mastra.VectorUpdate{Metadata: mastra.JSON(`{}`)})
		code(t, err, mastra.CodeInvalid)
	}
	wantIDs(t, s, "", `{"doc":"z"}`, "a")

	count(2)(s.Delete(ctx, "docs", ids("b", "c", "c")))
	wantIDs(t, s, "", "", "a")
	count(1)(s.Delete(ctx, "docs", where(`{"doc":"z"}`)))
	wantIDs(t, s, "", "")
	wantIDs(t, s, "other", "", "a") // nothing of this was its
	_, err = s.Delete(ctx, "nope", ids("a"))
	code(t, err, mastra.CodeNotFound)
}

func replace(t *testing.T, s mastra.VectorStore) {
	ctx := t.Context()
	three(t, s)
	chunk := func(id string) mastra.Vector {
		return mastra.Vector{ID: id, Values: []float32{1, 0}, Metadata: mastra.JSON(`{"doc":"x"}`)}
	}
	must(t, s.Replace(ctx, "docs", "", mastra.JSON(`{"doc":"x"}`), []mastra.Vector{chunk("b"), chunk("d")}))
	wantIDs(t, s, "", "", "b", "c", "d")
	wantIDs(t, s, "other", "", "a")
	code(t, s.Replace(ctx, "docs", "", mastra.JSON(`{"doc":"x"}`), []mastra.Vector{chunk("e"), {ID: "f", Values: []float32{1}}}), mastra.CodeInvalid)
	code(t, s.Replace(ctx, "docs", "", mastra.JSON(`{"doc":"x"}`), nil), mastra.CodeInvalid)
	code(t, s.Replace(ctx, "docs", "", mastra.JSON(`{}`), []mastra.Vector{chunk("e")}), mastra.CodeInvalid)
	code(t, s.Replace(ctx, "docs", "other", mastra.JSON(`{"doc":"x"}`), []mastra.Vector{chunk("e")}), mastra.CodeInvalid)
	wantIDs(t, s, "", "", "b", "c", "d")
}

// selectionStays: what a filter matched is asked for again after changes of all kinds.
func selectionStays(t *testing.T, s mastra.VectorStore) {
	ctx := t.Context()
	three(t, s)
	const filter = `{"n":{"$gte":2}}`
	wantIDs(t, s, "", filter, "b", "c")
	must(t, s.Upsert(ctx, "docs", []mastra.Vector{{ID: "d", Values: []float32{1, 0}, Metadata: mastra.JSON(`{"n":4}`)}, {ID: "b", Values: []float32{1, 0}, Metadata: mastra.JSON(`{"n":0}`)}}))
	wantIDs(t, s, "", filter, "c", "d")
	_, err := s.Update(ctx, "docs", mastra.VectorSelection{IDs: []string{"a"}}, mastra.VectorUpdate{Metadata: mastra.JSON(`{"n":7}`)})
	must(t, err)
	_, err = s.Delete(ctx, "docs", mastra.VectorSelection{IDs: []string{"c"}})
	must(t, err)
	wantIDs(t, s, "", filter, "a", "d")
	must(t, s.DeleteIndex(ctx, "docs"))
	three(t, s)
	wantIDs(t, s, "", filter, "b", "c")
}

// unusual: what a caller may send, and what the stores would keep or read differently.
func unusual(t *testing.T, s mastra.VectorStore) {
	ctx := t.Context()
	create(t, s, "docs", 2, mastra.Cosine)
	for i, meta := range []string{`{"a":"\u0000"}`, `{"\u0000":1}`, `{"a":1e999}`, `{"a":-1e309}`, `{"a":1e-999}`, `{"a":"\ud800"}`, `{"a":1,"a":2}`, "{\"a\":\"\xff\"}", `{"a":01}`, `{} {}`, ``, `null`,
		`{"a":` + strings.Repeat("9", 400) + `}`} {
		code(t, s.Upsert(ctx, "docs", []mastra.Vector{{ID: "good", Values: []float32{1, 2}}, {ID: fmt.Sprint(i), Values: []float32{1, 2}, Metadata: mastra.JSON(meta)}}), mastra.CodeInvalid)
	}
	for _, id := range []string{"", strings.Repeat("i", 1025), "a\x00b", "\xff"} {
		code(t, s.Upsert(ctx, "docs", []mastra.Vector{{ID: id, Values: []float32{1, 2}}}), mastra.CodeInvalid)
	}
	if d, err := s.DescribeIndex(ctx, "docs"); err != nil || d.Count != 0 {
		t.Fatalf("what was refused has left %+v, %v", d, err)
	}
	odd := map[string]string{
		"'; DROP TABLE x; --": `{"k'\"; DROP TABLE x; --":"$1"}`, strings.Repeat("ü", 512): `{"a":{"b":{"c":[1,[2,{"d":null}]]}}}`, "<script>": `{"n":1e308,"m":1e-300,"z":0e-999,"big":12345678901234567890}`,
		" ": `{"long":"` + strings.Repeat("x", 100_000) + `"}`, "emoji \U0001F600": `{"emoji":"\ud83d\ude00 \u00e9"}`,
	}
	var all []mastra.Vector
	for id, meta := range odd {
		all = append(all, mastra.Vector{ID: id, Values: []float32{1, 2}, Metadata: mastra.JSON(meta)})
	}
	must(t, s.Upsert(ctx, "docs", all))
	got, err := s.Query(ctx, "docs", mastra.VectorQuery{Vector: []float32{1, 2}, TopK: 10})
	if err != nil || len(got) != len(odd) {
		t.Fatalf("%d of %d, %v", len(got), len(odd), err)
	}
	for _, m := range got {
		if !sameJSON(m.Metadata, mastra.JSON(odd[m.ID])) {
			t.Errorf("%.30s has %.100s, want %.100s", m.ID, m.Metadata, odd[m.ID])
		}
	}
	wantIDs(t, s, "", `{"k'\"; DROP TABLE x; --":{"$in":["$1","'"]}}`, "'; DROP TABLE x; --")
	wantIDs(t, s, "", `{"big":12345678901234567890}`, "<script>")
	wantIDs(t, s, "", `{"big":12345678901234567891}`)
	for _, filter := range []string{`{"a":"\u0000"}`, `{"a\u0000b":1}`, `{"a":1e999}`, `{"a":{"$in":[1e999]}}`, `{"a":{"$regex":"\\pL{9}"}}`} {
		_, err := s.Query(ctx, "docs", mastra.VectorQuery{Vector: []float32{1, 2}, TopK: 1, Filter: mastra.JSON(filter)})
		code(t, err, mastra.CodeInvalid)
	}
}

// large: one upsert of many entries, and one that is too large.
func large(t *testing.T, s mastra.VectorStore) {
	ctx := t.Context()
	create(t, s, "docs", 2, mastra.Cosine)
	many := make([]mastra.Vector, 30_000)
	for i := range many {
		many[i] = mastra.Vector{ID: fmt.Sprint(i % 25_000), Values: []float32{1, float32(i)}, Metadata: mastra.JSON(fmt.Sprintf(`{"n":%d}`, i))}
	}
	must(t, s.Upsert(ctx, "docs", many))
	if d, err := s.DescribeIndex(ctx, "docs"); err != nil || d.Count != 25_000 {
		t.Errorf("after %d upserts %+v, %v", len(many), d, err)
	}
	got, err := s.Query(ctx, "docs", mastra.VectorQuery{Vector: []float32{1, 0}, TopK: 10, Filter: mastra.JSON(`{"n":{"$in":[24999,25000,0]}}`)})
	if err != nil || len(got) != 2 || !strings.Contains(string(got[1].Metadata), "25000") {
		t.Errorf("of two of one id the later one stays: %+v, %v", got, err)
	}
	text := mastra.JSON(`{"t":"` + strings.Repeat("x", 3<<20) + `"}`)
	for i := range many[:90] {
		many[i].Metadata = text
	}
	code(t, s.Upsert(ctx, "docs", many[:90]), mastra.CodeTooLarge)
}

// opposed: writers that change the same entries in opposite orders all get through.
func opposed(t *testing.T, s mastra.VectorStore) {
	create(t, s, "docs", 2, mastra.Cosine)
	var entries []mastra.Vector
	for i := range 50 {
		entries = append(entries, mastra.Vector{ID: fmt.Sprint(i), Values: []float32{1, float32(i)}, Metadata: mastra.JSON(`{"n":1}`)})
	}
	must(t, s.Upsert(t.Context(), "docs", entries))
	backwards := slices.Clone(entries)
	slices.Reverse(backwards)
	var writers sync.WaitGroup
	for w := range 6 {
		writers.Go(func() {
			for range 5 {
				var err error
				switch w % 3 {
				case 0:
					err = s.Upsert(t.Context(), "docs", entries)
				case 1:
					err = s.Upsert(t.Context(), "docs", backwards)
				case 2:
					_, err = s.Update(t.Context(), "docs", mastra.VectorSelection{Filter: mastra.JSON(`{"n":1}`)}, mastra.VectorUpdate{Values: []float32{1, 1}})
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	if d, err := s.DescribeIndex(t.Context(), "docs"); err != nil || d.Count != 50 {
		t.Errorf("in the end %+v, %v", d, err)
	}
}
