package lambdahttp_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"mastralambda/shared/lambdahttp"
	"mastralambda/shared/mastra"
	"mastralambda/shared/server"
)

type input struct {
	ID   string   `path:"id" json:"-"`
	Tags []string `query:"tag" json:"-"`
	Text string   `json:"text,omitempty"`
}

type output struct {
	ID   string   `json:"id"`
	Tags []string `json:"tags"`
	Text string   `json:"text"`
	Req  string   `json:"req"`
	Key  string   `json:"key"`
}

func echo(ctx context.Context, _ *mastra.Mastra, in input) (output, error) {
	q := mastra.RequestOf(ctx)
	return output{in.ID, in.Tags, in.Text, q.ID, q.Fingerprint}, nil
}

type clip struct {
	ID    string `path:"id" json:"-"`
	Audio []byte `upload:"audio" json:"-"`
}

func play(_ context.Context, _ *mastra.Mastra, in clip) (*mastra.Audio, error) {
	return &mastra.Audio{MediaType: "audio/wav", Body: io.NopCloser(bytes.NewReader(in.Audio))}, nil
}

func ticks(ctx context.Context, _ *mastra.Mastra, in input) (iter.Seq2[mastra.Chunk, error], error) {
	if in.ID == "unknown" {
		return nil, mastra.Errorf(mastra.CodeNotFound, "There is none")
	}
	return func(yield func(mastra.Chunk, error) bool) {
		for range 3 {
			if !yield(mastra.Chunk{Type: "tick"}, nil) {
				return
			}
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
				return
			}
		}
		if in.ID == "forever" {
			<-ctx.Done()
		}
	}, nil
}

func boom(context.Context, *mastra.Mastra, input) (output, error) { panic("boom") }

func large(_ context.Context, _ *mastra.Mastra, in input) (output, error) {
	return output{Text: strings.Repeat("\"", 4<<20)}, nil
}

func handler(t *testing.T) *lambdahttp.Handler {
	t.Helper()
	m, err := mastra.New(mastra.Config{Backends: mastra.Backends{Logger: slog.New(slog.DiscardHandler)}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := server.New(server.Server{Mastra: m, Prefix: "/api", Version: "1", Origins: []string{"https://app.example"}}, []server.Route{
		server.JSON("GET /things/:id", echo), server.JSON("POST /things/:id", echo), server.JSON("POST /things/:id/boom", boom),
		server.JSON("GET /things/:id/large", large), server.Bytes("POST /things/:id/play", play),
		server.Stream("POST /things/:id/stream", server.SSE, ticks), server.JSON("POST /things/:id/wait", echo, server.Long),
		server.JSON("POST /things/:id/crash", boom, server.Long), server.Bytes("POST /things/:id/speak", play, server.Long)})
	if err != nil {
		t.Fatal(err)
	}
	return &lambdahttp.Handler{Server: s}
}

// event is what API Gateway sends for a request that resource matches.
func event(t *testing.T, method, resource, path string, more string) events.APIGatewayProxyRequest {
	t.Helper()
	var e events.APIGatewayProxyRequest
	text := `{"resource":"` + resource + `","path":"` + path + `","httpMethod":"` + method + `",
		"headers":{"Host":"abc.execute-api.us-east-1.amazonaws.com"},"multiValueHeaders":{"Host":["abc.execute-api.us-east-1.amazonaws.com"]},
		"queryStringParameters":null,"multiValueQueryStringParameters":null,"pathParameters":{"id":"x"},"stageVariables":null,
		"requestContext":{"resourceId":"r","resourcePath":"` + resource + `","httpMethod":"` + method + `","path":"/prod` + path + `","stage":"prod",
		"requestId":"c6af9ac6-7b61-11e6-9a41-93e8deadbeef","domainName":"abc.execute-api.us-east-1.amazonaws.com","apiId":"abc",
		"identity":{"sourceIp":"192.0.2.1"},"protocol":"HTTP/1.1"},"body":null,"isBase64Encoded":false}`
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		t.Fatal(err)
	}
	if more != "" {
		if err := json.Unmarshal([]byte(more), &e); err != nil {
			t.Fatal(err)
		}
	}
	return e
}

// result is an answer of either kind, as the client gets it.
type result struct {
	status   int
	header   http.Header
	body     string
	err      error // of the body
	streamed bool
}

func invoke(t *testing.T, ctx context.Context, h *lambdahttp.Handler, e events.APIGatewayProxyRequest) result {
	t.Helper()
	out, err := h.Invoke(ctx, e)
	if err != nil {
		t.Fatal(err)
	}
	switch out := out.(type) {
	case events.APIGatewayProxyResponse:
		body := []byte(out.Body)
		if out.IsBase64Encoded {
			if body, err = base64.StdEncoding.DecodeString(out.Body); err != nil {
				t.Fatal(err)
			}
		}
		return result{out.StatusCode, out.MultiValueHeaders, string(body), nil, false}
	case *events.APIGatewayProxyStreamingResponse:
		body, err := io.ReadAll(out.Body)
		if err := out.Close(); err != nil {
			t.Error(err)
		}
		return result{out.StatusCode, out.MultiValueHeaders, string(body), err, true}
	}
	t.Fatalf("the answer is a %T", out)
	return result{}
}

func TestEventsBecomeRequests(t *testing.T) {
	h, greedy := handler(t), "/api/things/{id}/{proxy+}"
	audio := string([]byte{0, 1, 0xFF, 0xFE, '"'})
	form := "--b\r\nContent-Disposition: form-data; name=\"audio\"; filename=\"a\"\r\n\r\n" + audio + "\r\n--b--\r\n"
	upload := `{"isBase64Encoded":true,"body":"` + base64.StdEncoding.EncodeToString([]byte(form)) + `","multiValueHeaders":{"content-type":["multipart/form-data; boundary=b"]}}`
	for _, c := range []struct {
		name, method, resource, path, more string
		status                             int
		body                               string // that the answer holds
		streamed                           bool
	}{
		{"plain", "GET", "/api/things/{id}", "/api/things/x", "", 200, `"id":"x"`, false},
		{"an escaped slash", "GET", "/api/things/{id}", "/api/things/a%2Fb%20c", "", 200, `"id":"a/b c"`, false},
		{"an escaped per cent", "GET", "/api/things/{id}", "/api/things/a%252Fb", "", 200, `"id":"a%2Fb"`, false},
		{"decoded by an emulator", "GET", "/api/things/{id}", "/api/things/ä 100%?#", "", 200, `"id":"ä 100%?#"`, false},
		{"a custom domain's base path", "GET", "/api/things/{id}", "/v1/mastra/api/things/x", "", 200, `"id":"x"`, false},
		{"a greedy path's base", "GET", "/api/{proxy+}", "/v1/api/things/x", "", 200, `"id":"x"`, false},
		{"a slash at the end", "GET", "/api/things/{id}", "/v1/api/things/x/", "", 200, `"id":"x"`, false},
		{"many values", "GET", "/api/things/{id}", "/api/things/x", `{"queryStringParameters":{"tag":"b&c"},"multiValueQueryStringParameters":{"tag":["a","b&c"]}}`, 200, `"tags":["a","b&c"]`, false},
		{"the event's id", "GET", "/api/things/{id}", "/api/things/x", "", 200, `"req":"c6af9ac6-7b61-11e6-9a41-93e8deadbeef"`, false},
		{"the caller's id", "GET", "/api/things/{id}", "/api/things/x", `{"multiValueHeaders":{"x-request-id":["mine"]}}`, 200, `"req":"mine"`, false},
		{"a body in base64", "POST", "/api/things/{id}", "/api/things/x", `{"isBase64Encoded":true,"body":"eyJ0ZXh0Ijoiw6QifQ=="}`, 200, `"text":"ä"`, false},
		{"a text body", "POST", "/api/things/{id}", "/api/things/x", `{"body":"{\"text\":\"ä\"}"}`, 200, `"text":"ä"`, false},
		{"a body that is no base64", "POST", "/api/things/{id}", "/api/things/x", `{"isBase64Encoded":true,"body":"*"}`, 400, `{"error":"Bad Request"}`, false},
		{"no base64, streamed", "POST", "/api/things/{id}/wait", "/api/things/x/wait", `{"isBase64Encoded":true,"body":"*"}`, 400, `{"error":"Bad Request"}`, true},
		{"bytes", "POST", greedy, "/api/things/x/play", upload, 200, audio, false},
		{"bytes, streamed", "POST", "/api/things/{id}/speak", "/api/things/x/speak", upload, 200, audio, true},
		{"a long route", "POST", "/api/things/{id}/wait", "/api/things/x/wait", `{"body":"{\"text\":\"t\"}"}`, 200, `"text":"t"`, true},
		{"an error of a long route", "POST", "/api/things/{id}/wait", "/api/things/x/wait", `{"body":"{"}`, 400, `"issues"`, true},
		{"a wrong method", "GET", "/api/things/{id}/wait", "/api/things/x/wait", "", 405, `Method Not Allowed`, true},
		{"nowhere", "GET", greedy, "/api/things/x/nowhere", "", 404, `Not Found`, false},
		{"a panic", "POST", greedy, "/api/things/x/boom", "", 500, `"error":"Internal Server Error"`, false},
		{"a panic, streamed", "POST", "/api/things/{id}/crash", "/api/things/x/crash", "", 500, `"error":"Internal Server Error"`, true},
		{"too much", "GET", greedy, "/api/things/x/large", "", 500, `too large`, false},
		{"an error before the stream", "POST", "/api/things/{id}/stream", "/api/things/unknown/stream", "", 404, `There is none`, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := invoke(t, t.Context(), h, event(t, c.method, c.resource, c.path, c.more))
			if got.status != c.status || !strings.Contains(got.body, c.body) || got.streamed != c.streamed || got.err != nil {
				t.Errorf("status %d, streamed %v, error %v: %.300s", got.status, got.streamed, got.err, got.body)
			}
			if got.header.Get("Content-Length") != "" || got.header.Get("Content-Type") == "" {
				t.Errorf("headers: %v", got.header)
			}
		})
	}
}

func TestHeadAndPreflight(t *testing.T) {
	h := handler(t)
	if got := invoke(t, t.Context(), h, event(t, "HEAD", "/api/things/{id}", "/api/things/x", "")); got.status != 200 || got.body != "" {
		t.Errorf("HEAD: %d %q", got.status, got.body)
	}
	ask := `{"multiValueHeaders":{"Origin":["https://app.example"],"Access-Control-Request-Method":["POST"]}}`
	for resource, streamed := range map[string]bool{"/api/things/{id}": false, "/api/things/{id}/stream": true} {
		got := invoke(t, t.Context(), h, event(t, "OPTIONS", resource, strings.Replace(resource, "{id}", "x", 1), ask))
		if got.status/100 != 2 || got.header.Get("Access-Control-Allow-Origin") != "https://app.example" || got.streamed != streamed {
			t.Errorf("OPTIONS %s: %+v", resource, got)
		}
		if streamed && got.body == "" { // API Gateway takes no stream without a body
			t.Error("an empty stream")
		}
	}
}

// The fingerprint tells repeats of one request: the order in which a map gives its query must not change it.
func TestQueryHasOneOrder(t *testing.T) {
	h, seen := handler(t), map[string]bool{}
	for range 20 {
		got := invoke(t, t.Context(), h, event(t, "POST", "/api/things/{id}/wait", "/api/things/x/wait",
			`{"multiValueQueryStringParameters":{"a":["1"],"b":["2"],"c":["3"],"d":["4"],"tag":["z","y"]}}`))
		var out output
		if err := json.Unmarshal([]byte(got.body), &out); err != nil || !slices.Equal(out.Tags, []string{"z", "y"}) {
			t.Fatal(got.body, err)
		}
		seen[out.Key] = true
	}
	if len(seen) != 1 {
		t.Errorf("%d fingerprints: %v", len(seen), slices.Collect(maps.Keys(seen)))
	}
}

func TestStreamArrivesAsItIsMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, settled := handler(t), time.Duration(0)
		start := time.Now()
		h.Settle = func(context.Context) error { time.Sleep(time.Minute); settled = time.Since(start); return nil }
		out, _ := h.Invoke(t.Context(), event(t, "POST", "/api/things/{id}/stream", "/api/things/x/stream", ""))
		stream := out.(*events.APIGatewayProxyStreamingResponse)
		defer stream.Close()
		buf := make([]byte, 4096)
		n, err := stream.Body.Read(buf)
		if first := string(buf[:n]); first == ": \n\n" { // the head was out before the first chunk was made
			n, err = stream.Body.Read(buf)
		}
		if first := strings.TrimPrefix(string(buf[:n]), ": \n\n"); err != nil || first != "data: {\"type\":\"tick\"}\n\n" || time.Since(start) != 0 {
			t.Fatalf("%q after %v, %v", buf[:n], time.Since(start), err)
		}
		rest, err := io.ReadAll(stream.Body)
		if err != nil || strings.Count(string(rest), "tick") != 2 || !strings.HasSuffix(string(rest), "data: [DONE]\n\n") {
			t.Errorf("%q, %v", rest, err)
		}
		if settled != 63*time.Second {
			t.Errorf("the body ended %v after the start", settled)
		}
	})
}

func TestBufferedWhereToldTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := handler(t)
		h.Buffered = true
		got := invoke(t, t.Context(), h, event(t, "POST", "/api/things/{id}/stream", "/api/things/x/stream", ""))
		if got.streamed || strings.Count(got.body, "tick") != 3 || got.header.Get("Content-Type") != "text/event-stream" {
			t.Errorf("%+v", got)
		}
	})
}

// What ends with the invocation's time is cut off where the client sees it.
func TestDeadlineCutsTheStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		start := time.Now()
		got := invoke(t, ctx, handler(t), event(t, "POST", "/api/things/{id}/stream", "/api/things/forever/stream", ""))
		if got.err == nil && !strings.HasSuffix(got.body, "data: [DONE]\n\n") || time.Since(start) != 28*time.Second {
			t.Errorf("after %v: %v %q", time.Since(start), got.err, got.body)
		}
	})
}

// A response that Lambda no longer takes leaves the handler its time: Close waits for it.
func TestCloseWaitsForTheHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, settled := handler(t), false
		h.Settle = func(context.Context) error { time.Sleep(time.Second); settled = true; return nil }
		out, _ := h.Invoke(t.Context(), event(t, "POST", "/api/things/{id}/stream", "/api/things/x/stream", ""))
		if err := out.(*events.APIGatewayProxyStreamingResponse).Close(); err != nil || !settled {
			t.Error(err, settled)
		}
		if _, err := out.(*events.APIGatewayProxyStreamingResponse).Body.Read(make([]byte, 1)); errors.Is(err, io.ErrUnexpectedEOF) {
			t.Error(err)
		}
	})
}

func FuzzPath(f *testing.F) {
	for _, s := range []string{"/api/things/a%2Fb", "/api/things/%", "/x y/\x00\xff?#", "//", ""} {
		f.Add(s, "/api/things/{id}/{proxy+}")
	}
	m, err := mastra.New(mastra.Config{Backends: mastra.Backends{Logger: slog.New(slog.DiscardHandler)}})
	if err != nil {
		f.Fatal(err)
	}
	s, err := server.New(server.Server{Mastra: m, Prefix: "/api"}, []server.Route{server.JSON("GET /things/:id", echo)})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, path, resource string) {
		out, err := (&lambdahttp.Handler{Server: s}).Invoke(t.Context(), events.APIGatewayProxyRequest{HTTPMethod: "GET", Path: path, Resource: resource})
		if got, ok := out.(events.APIGatewayProxyResponse); err != nil || !ok || got.StatusCode >= 500 || got.StatusCode == 400 {
			t.Errorf("%v, %+v", err, out)
		}
	})
}

// An event that is no request is for Direct; its panic fails the invocation only.
func TestDirectInvocations(t *testing.T) {
	h, settled := handler(t), 0
	h.Settle = func(context.Context) error { settled++; return nil }
	h.Direct = func(_ context.Context, event mastra.JSON) (any, error) {
		if string(event) == `{"panic":true}` {
			panic("boom")
		}
		return event, nil
	}
	if out, err := h.InvokeAny(t.Context(), mastra.JSON(`{"hello":1}`)); err != nil || string(out.(mastra.JSON)) != `{"hello":1}` || settled != 1 {
		t.Error(out, err, settled)
	}
	if out, err := h.InvokeAny(t.Context(), mastra.JSON(`{"panic":true}`)); err == nil || strings.Contains(err.Error(), "boom") {
		t.Error(out, err)
	}
	data, err := json.Marshal(event(t, "GET", "/api/things/{id}", "/api/things/x", ""))
	if err != nil {
		t.Fatal(err)
	}
	if out, err := h.InvokeAny(t.Context(), data); err != nil || out.(events.APIGatewayProxyResponse).StatusCode != 200 {
		t.Error(out, err)
	}
}
