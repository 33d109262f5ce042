package bedrock

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	"mastralambda/shared/mastra"
)

// The requests and answers are those of the services' documentation, with shorter vectors.
func TestEmbedder(t *testing.T) {
	for _, c := range []struct {
		id     string
		answer string
		want   []string // the requests
		err    string
	}{
		{id: "amazon.titan-embed-text-v2:0", answer: `{"embedding":[1,0],"embeddingsByType":{"float":[1,0]},"inputTextTokenCount":3}`,
			want: []string{`{"inputText":"one","dimensions":2,"normalize":true}`, `{"inputText":"two","dimensions":2,"normalize":true}`}},
		{id: "amazon.titan-embed-text-v1", answer: `{"embedding":[1,0],"inputTextTokenCount":3}`, want: []string{`{"inputText":"one"}`, `{"inputText":"two"}`}},
		{id: "cohere.embed-multilingual-v3", answer: `{"id":"x","texts":["one","two"],"response_type":"embeddings_floats","embeddings":[[1,0],[0,1]]}`,
			want: []string{`{"texts":["one","two"],"input_type":"search_document","truncate":"END"}`}},
		{id: "us.cohere.embed-v4:0", answer: `{"embeddings":{"float":[[1,0],[0,1]]},"response_type":"embeddings_by_type"}`,
			want: []string{`{"texts":["one","two"],"input_type":"search_document","truncate":"END","output_dimension":2}`}},
		{id: "cohere.embed-english-v3", answer: `{"embeddings":[[1,0]]}`, err: "The model's answer makes no sense"},
		{id: "cohere.embed-english-v3", answer: `{"embeddings":"x"}`, err: "The model's answer makes no sense"},
		{id: "amazon.titan-embed-text-v2:0", answer: `{"embedding":[1,0,0]}`, err: "The model's answer makes no sense"},
	} {
		var mu sync.Mutex
		var sent []string
		client := answering(t, 200, "application/json", []byte(c.answer), func(r *http.Request, body string) {
			mu.Lock()
			defer mu.Unlock()
			sent = append(sent, body)
			if !strings.HasSuffix(r.URL.Path, "/invoke") {
				t.Errorf("%s", r.URL)
			}
		})
		e, err := NewEmbedder(c.id, 2, client)
		if err != nil {
			t.Fatal(err)
		}
		v, err := e.Embed(t.Context(), []string{"one", "two"})
		if c.err != "" {
			if mastra.CodeOf(err) != mastra.CodeUpstream || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %v", c.id, err)
			}
			continue
		}
		if err != nil || len(v) != 2 || v[0][0] != 1 {
			t.Errorf("%s: %v, %v", c.id, v, err)
		}
		if len(sent) == 2 && sent[0] > sent[1] {
			sent[0], sent[1] = sent[1], sent[0]
		}
		if strings.Join(sent, "\n") != strings.Join(c.want, "\n") {
			t.Errorf("%s: sent %v", c.id, sent)
		}
	}
}
