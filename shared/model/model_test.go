package model

import (
	"context"
	"errors"
	"io"
	"iter"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mastralambda/shared/mastra"
)

func env(pairs ...string) func(string) string {
	return func(name string) string {
		for _, p := range pairs {
			if key, value, _ := strings.Cut(p, "="); key == name {
				return value
			}
		}
		return ""
	}
}

func TestFromEnv(t *testing.T) {
	for _, c := range []struct {
		env  []string
		id   string
		want string // provider/id of the model, or a part of the error
	}{
		{nil, "", "offline/demo"},
		{nil, "offline/demo", "offline/demo"},
		{nil, "offline/other", "known are"},
		{nil, "bedrock/us.amazon.nova-lite-v1:0", "bedrock/us.amazon.nova-lite-v1:0"},
		{[]string{"ANTHROPIC_API_KEY=k"}, "anthropic/claude-x", "anthropic/claude-x"},
		{nil, "anthropic/claude-x", "needs ANTHROPIC_API_KEY"},
		{[]string{"MODEL=openai/m", "OPENAI_API_KEY=k"}, "", "openai/m"},
		{nil, "openai/m", "needs OPENAI_API_KEY"},
		{[]string{"OPEN_ROUTER_BASE_URL=https://o.example/v1"}, "open-router/meta/llama-3", "open-router/meta/llama-3"},
		{nil, "acme/x", "NAME_BASE_URL"},
		{nil, "plain", "not provider/model-id"},
		{[]string{"OPENAI_BASE_URL=ftp://x"}, "openai/m", "not a URL"},
		{[]string{"OPENAI_API_KEY=k", "OPENAI_HEADERS=X-Team=a, X-Site=b=c"}, "openai/m", "openai/m"},
		{[]string{"OPENAI_API_KEY=k", "OPENAI_HEADERS=X Team=secret"}, "openai/m", "not a list of Name=value"},
		{[]string{"MODEL=acme/x"}, "", "MODEL: "},
		{[]string{"MODEL_TIMEOUT=soon"}, "", "MODEL_TIMEOUT"},
		{[]string{`MODEL_PRICES={"a/b":{"input":1,"per":2}}`}, "", "MODEL_PRICES"},
		{[]string{`MODEL_PRICES={"a/b":{"input":-1}}`}, "", "below 0"},
	} {
		got := ""
		models, err := FromEnv(env(c.env...))
		if err == nil {
			var m mastra.LanguageModel
			if m, err = models(c.id); err == nil {
				got = m.Info().Provider + "/" + m.Info().ID
				if again, _ := models(c.id); again != m {
					t.Errorf("%v %s: made twice", c.env, c.id)
				}
			}
		}
		if err != nil {
			if got = err.Error(); strings.Contains(got, "secret") {
				t.Errorf("%s shows a header", got)
			}
		}
		if err == nil && got != c.want || !strings.Contains(got, c.want) {
			t.Errorf("%v %s: %s, want %s", c.env, c.id, got, c.want)
		}
	}
}

// talking says a word after each of its pauses.
type talking []time.Duration

func (talking) Info() mastra.ModelInfo { return mastra.ModelInfo{Provider: "test", ID: "talking"} }

func (m talking) Stream(ctx context.Context, _ *mastra.ModelRequest) iter.Seq2[mastra.ModelPart, error] {
	return func(yield func(mastra.ModelPart, error) bool) {
		for _, pause := range m {
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				yield(mastra.ModelPart{}, context.Cause(ctx))
				return
			}
			if !yield(mastra.ModelPart{Type: mastra.ModelTextDelta, Text: "a"}, nil) {
				return
			}
		}
		yield(mastra.ModelPart{Type: mastra.ModelFinish, Usage: mastra.Usage{InputTokens: 1000, CachedInputTokens: 400, CacheCreationInputTokens: 100, OutputTokens: 200}}, nil)
	}
}

func TestSilenceEndsACall(t *testing.T) {
	for _, c := range []struct {
		name   string
		model  talking
		reader time.Duration // how long the reader takes for each part
		words  int
		fails  bool
	}{
		{"it goes on", talking{9 * time.Second, 9 * time.Second}, 0, 2, false},
		{"it never begins", talking{11 * time.Second}, 0, 0, true},
		{"it stops in the middle", talking{time.Second, 11 * time.Second}, 0, 1, true},
		{"the reader is slow", talking{time.Second, 9 * time.Second}, time.Minute, 2, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			words := 0
			var failed error
			for p, err := range (attended{c.model, 10 * time.Second, nil}).Stream(t.Context(), &mastra.ModelRequest{}) {
				failed = err
				if p.Type == mastra.ModelTextDelta {
					words++
				}
				time.Sleep(c.reader)
			}
			if words != c.words || (failed != nil) != c.fails || c.fails && mastra.CodeOf(failed) != mastra.CodeUpstream {
				t.Errorf("%s: %d words, %v", c.name, words, failed)
			}
		})
	}
}

func TestCost(t *testing.T) {
	prices, err := readPrices(`{"test/talking": {"input": 3, "output": 15, "cachedInput": 0.3, "cacheWrite": 3.75}, "test/plain": {"input": 3, "output": 15}}`)
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]float64{"test/talking": (500*3 + 400*0.3 + 100*3.75 + 200*15) / 1e6, "test/plain": (1000*3 + 200*15) / 1e6} {
		got := 0.0
		for p := range (attended{talking{}, 0, prices[id]}).Stream(t.Context(), &mastra.ModelRequest{}) {
			got += p.Cost
		}
		if math.Abs(got-want) > 1e-12 {
			t.Errorf("%s: %v, want %v", id, got, want)
		}
	}
}

func TestEmbedders(t *testing.T) {
	for _, c := range []struct {
		env       []string
		dimension int
		err       string
	}{
		{nil, 256, ""},
		{[]string{"EMBEDDER=openai/text-embedding-3-small", "OPENAI_API_KEY=k"}, 1536, ""},
		{[]string{"EMBEDDER=openai/text-embedding-3-large", "EMBEDDER_DIMENSION=256", "OPENAI_API_KEY=k"}, 256, ""},
		{[]string{"EMBEDDER=ollama/nomic-embed-text", "OLLAMA_BASE_URL=http://localhost:11434/v1"}, 768, ""},
		{[]string{"EMBEDDER=ollama/mine", "OLLAMA_BASE_URL=http://localhost:11434/v1"}, 0, "EMBEDDER_DIMENSION"},
		{[]string{"EMBEDDER=bedrock/amazon.titan-embed-text-v2:0"}, 1024, ""},
		{[]string{"EMBEDDER=bedrock/cohere.embed-multilingual-v3"}, 1024, ""},
		{[]string{"EMBEDDER=bedrock/acme.embed", "EMBEDDER_DIMENSION=5"}, 0, "are known"},
		{[]string{"EMBEDDER=anthropic/x", "EMBEDDER_DIMENSION=5"}, 0, "known are"},
		{[]string{"EMBEDDER=openai/text-embedding-3-small"}, 0, "OPENAI_API_KEY"},
		{[]string{"EMBEDDER=plain"}, 0, "not provider/model-id"},
	} {
		e, err := EmbedderFromEnv(env(c.env...))
		if c.err == "" && (err != nil || e.Dimension() != c.dimension) || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%v: %v", c.env, err)
		}
	}
}

func TestEmbedderOverHTTP(t *testing.T) {
	answer := `{"object":"list","data":[{"object":"embedding","index":1,"embedding":[0,1]},{"object":"embedding","index":0,"embedding":[1,0]}],"model":"mine","usage":{"prompt_tokens":2}}`
	status, sent := 200, ""
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		sent = r.URL.Path + " " + r.Header.Get("X-Team") + " " + string(body)
		w.Header().Set("Retry-After", "0")
		w.WriteHeader(status)
		io.WriteString(w, answer)
	}))
	defer s.Close()
	e, err := EmbedderFromEnv(env("EMBEDDER=acme/mine", "EMBEDDER_DIMENSION=2", "ACME_BASE_URL="+s.URL+"/v1", "ACME_HEADERS=X-Team=a"))
	if err != nil {
		t.Fatal(err)
	}
	v, err := e.Embed(t.Context(), []string{"one", "two"})
	if err != nil || len(v) != 2 || v[0][0] != 1 || v[1][1] != 1 || !strings.HasPrefix(sent, `/v1/embeddings a {"input":["one","two"],"model":"mine"`) {
		t.Errorf("%v, %v, sent %s", v, err, sent)
	}
	for _, c := range []struct {
		status int
		answer string
		want   string
	}{
		{429, `{"error":{"message":"slow down"}}`, "The model is rate limited"},
		{200, `{"data":[{"index":0,"embedding":[1,0]}]}`, "The model's answer makes no sense"},
		{200, `{"data":[{"index":0,"embedding":[1]},{"index":1,"embedding":[1]}]}`, "The model's answer makes no sense"},
	} {
		status, answer = c.status, c.answer
		_, err := e.Embed(t.Context(), []string{"one", "two"})
		var known *mastra.Error
		if !errors.As(err, &known) || known.Code != mastra.CodeUpstream || known.Message != c.want {
			t.Errorf("%d %s: %v", c.status, c.answer, err)
		}
	}
}
