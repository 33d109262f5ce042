package mastra_test

import (
	"testing"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// A span is written by hand as the encoder would write it.
func TestSpanJSON(t *testing.T) {
	all := mastra.Span{TraceID: "t", SpanID: "s", ParentID: "p", Remote: true, Name: "a \"b\" <c>\n\x00", Type: mastra.SpanAgentRun, IsEvent: true, StartedAt: 1, EndedAt: 1_700_000_000_123,
		EntityType: "agent", EntityID: "é", EntityName: "💥", RunID: "r", ThreadID: "th", ResourceID: "re", Attributes: mastra.JSON(`{"a":1}`), Metadata: mastra.JSON(`{}`), Tags: []string{"x", `y"`},
		Input: mastra.JSON(`[1,"2"]`), Output: mastra.JSON(`"o"`), Error: mastra.JSON(`{"message":"no"}`), Context: mastra.JSON(`{"k":null}`)}
	spans := []mastra.Span{all, {TraceID: "t", SpanID: "u", StartedAt: 5}}
	got, err := mastra.AppendSpans(nil, spans)
	if err != nil {
		t.Fatal(err)
	}
	want, err := schema.Marshal(spans)
	if err != nil {
		t.Fatal(err)
	}
	a, b := mastra.JSON(got), want.Clone()
	if a.Canonicalize() != nil || b.Canonicalize() != nil || string(a) != string(b) {
		t.Errorf("\n got %s\nwant %s", a, b)
	}
	var back []mastra.Span
	if err := schema.Unmarshal(got, &back); err != nil || len(back) != 2 || back[0].Name != all.Name {
		t.Errorf("%v %+v", err, back)
	}
	if _, err := (&mastra.Span{Input: mastra.JSON(`{"cut`)}).AppendJSON(nil); err == nil {
		t.Error("what is no JSON was written")
	}
}
