package retrieval_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"mastralambda/shared/mastra"
	"mastralambda/shared/model/offline"
	"mastralambda/shared/retrieval"
	"mastralambda/shared/schema"
	"mastralambda/shared/vectorstore/embedded"
)

func application(t testing.TB, embed mastra.Embedder) *mastra.Mastra {
	t.Helper()
	s, err := embedded.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	m, err := mastra.New(mastra.Config{Backends: mastra.Backends{Embed: embed, Logger: slog.New(slog.DiscardHandler),
		Vectors: []mastra.NamedVectorStore{{Name: "embedded", Type: "embedded", Store: s}}}})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestIngestAndSearch(t *testing.T) {
	m, ctx := application(t, offline.Embedder{}), t.Context()
	ix := retrieval.Index{Name: "docs", Chunking: retrieval.Chunking{Strategy: retrieval.Markdown, MaxSize: 120}}
	if _, err := ix.Search(ctx, m, retrieval.Question{Query: "refund"}); mastra.CodeOf(err) != mastra.CodeNotFound {
		t.Errorf("before the first document: %v", err)
	}
	english := mastra.Object[mastra.JSON]{{Key: "language", Value: mastra.JSON(`"en"`)}}
	n, err := ix.Ingest(ctx, m,
		retrieval.Document{ID: "shop", Text: "# Refunds\nRefunds take five days.\n# Shipping\nShipping is free above 50 euros.", Metadata: english},
		retrieval.Document{ID: "garden", Text: "Roses need water and sun."})
	if err != nil || n != 3 {
		t.Fatalf("%d chunks, %v", n, err)
	}
	search := func(query, filter string) []retrieval.Passage {
		t.Helper()
		found, err := ix.Search(ctx, m, retrieval.Question{Query: query, TopK: 2, Filter: mastra.JSON(filter)})
		if err != nil {
			t.Fatal(err)
		}
		return found.Passages
	}
	if got := search("How long do refunds take?", ""); len(got) != 2 || got[0].Text != "# Refunds\nRefunds take five days." || got[0].Source != "shop" || got[0].Chunk != 0 ||
		strings.Join(got[0].Headings, "/") != "Refunds" || string(got[0].Metadata) != `{"language":"en"}` || got[0].Score < got[1].Score {
		t.Errorf("%+v", got)
	}
	if got := search("roses and refunds", `{"metadata.language":"en"}`); len(got) != 2 || got[0].Source != "shop" || got[1].Source != "shop" {
		t.Errorf("filtered: %+v", got)
	}
	// The same document anew takes the place of the old one, with all of its chunks; the other one stays.
	if n, err := ix.Ingest(ctx, m, retrieval.Document{ID: "shop", Text: "Refunds take ten days."}); err != nil || n != 1 {
		t.Fatalf("%d chunks, %v", n, err)
	}
	if got := search("refunds shipping", `{"source":"shop"}`); len(got) != 1 || got[0].Text != "Refunds take ten days." {
		t.Errorf("after the second version: %+v", got)
	}
	if err := ix.Remove(ctx, m, "shop"); err != nil {
		t.Fatal(err)
	}
	if got := search("refunds", ""); len(got) != 1 || got[0].Source != "garden" {
		t.Errorf("after the removal: %+v", got)
	}
}

func TestIngestRefuses(t *testing.T) {
	m := application(t, offline.Embedder{})
	for name, c := range map[string]struct {
		ix retrieval.Index
		d  retrieval.Document
	}{
		"no id":       {retrieval.Index{Name: "docs"}, retrieval.Document{Text: "text"}},
		"no text":     {retrieval.Index{Name: "docs"}, retrieval.Document{ID: "a", Text: " \n"}},
		"no UTF-8":    {retrieval.Index{Name: "docs"}, retrieval.Document{ID: "a", Text: "\xff"}},
		"a long id":   {retrieval.Index{Name: "docs"}, retrieval.Document{ID: strings.Repeat("a", 2000), Text: "text"}},
		"NUL":         {retrieval.Index{Name: "docs"}, retrieval.Document{ID: "a", Text: "te\x00xt"}},
		"index name":  {retrieval.Index{Name: "no name"}, retrieval.Document{ID: "a", Text: "text"}},
		"strategy":    {retrieval.Index{Name: "docs", Chunking: retrieval.Chunking{Strategy: "magic"}}, retrieval.Document{ID: "a", Text: "text"}},
		"many chunks": {retrieval.Index{Name: "docs", Chunking: retrieval.Chunking{MaxSize: 1}}, retrieval.Document{ID: "a", Text: strings.Repeat("ab", 6000)}},
	} {
		if _, err := c.ix.Ingest(t.Context(), m, c.d); mastra.CodeOf(err) != mastra.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := (retrieval.Index{Name: "docs", Store: "other"}).Ingest(t.Context(), m, retrieval.Document{ID: "a", Text: "text"}); mastra.CodeOf(err) != mastra.CodeNotFound {
		t.Errorf("another store: %v", err)
	}
	m.Embed = nil
	if _, err := (retrieval.Index{Name: "docs"}).Ingest(t.Context(), m, retrieval.Document{ID: "a", Text: "text"}); mastra.CodeOf(err) != mastra.CodeUnavailable {
		t.Errorf("no embedder: %v", err)
	}
}

// failing fails at a text that holds "bad", and counts how it is asked.
type failing struct {
	offline.Embedder
	asked *[]int
}

func (f failing) Embed(ctx context.Context, texts []string) ([][]float32, error) {
	*f.asked = append(*f.asked, len(texts))
	if strings.Contains(strings.Join(texts, " "), "bad") {
		return nil, errors.New("the embedder failed")
	}
	return f.Embedder.Embed(ctx, texts)
}

// A document whose embedding fails changes nothing: its old version stays. Texts are embedded in batches.
func TestADocumentIsReplacedAsAWhole(t *testing.T) {
	var asked []int
	m, ctx := application(t, failing{asked: &asked}), t.Context()
	ix := retrieval.Index{Name: "docs", Chunking: retrieval.Chunking{MaxSize: 8}}
	var text strings.Builder
	for i := range 150 {
		fmt.Fprintf(&text, "word%03d\n\n", i)
	}
	if n, err := ix.Ingest(ctx, m, retrieval.Document{ID: "a", Text: text.String()}); err != nil || n != 150 || len(asked) != 2 || asked[0] != 96 {
		t.Fatalf("%d chunks in calls of %v, %v", n, asked, err)
	}
	if _, err := ix.Ingest(ctx, m, retrieval.Document{ID: "a", Text: text.String() + "bad"}); err == nil {
		t.Error("the failure is hidden")
	}
	store, err := m.VectorStore("")
	if err != nil {
		t.Fatal(err)
	}
	if d, err := store.DescribeIndex(ctx, "docs"); err != nil || d.Count != 150 {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestTool(t *testing.T) {
	m := application(t, offline.Embedder{})
	tool := retrieval.Index{Name: "docs", Documents: []retrieval.Document{{ID: "a", Text: "Refunds take five days."}}}.Tool("searchDocs", "Finds passages.")
	ctx := mastra.NewContext(t.Context(), m)
	for range 2 { // the first call ingests
		out, err := tool.Call(ctx, mastra.JSON(`{"query":"refunds"}`))
		if err != nil {
			t.Fatal(err)
		}
		var found retrieval.Passages
		if err := schema.Unmarshal(out, &found); err != nil || len(found.Passages) != 1 || found.Passages[0].Text != "Refunds take five days." {
			t.Errorf("%s, %v", out, err)
		}
	}
	var invalid *schema.InvalidError
	if _, err := tool.Call(ctx, mastra.JSON(`{"query":"","topK":0}`)); !errors.As(err, &invalid) {
		t.Errorf("%v", err)
	}
}
