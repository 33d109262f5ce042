package lambdalocal_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"mastralambda/infra/lambdalocal"
)

var probe = sync.OnceValues(func() (string, error) {
	file := filepath.Join(scratch, "probe")
	out, err := exec.Command("go", "build", "-tags", "lambda.norpc", "-o", file, "./testdata/probe").CombinedOutput()
	if err != nil {
		return "", errors.New(string(out))
	}
	return file, nil
})

// probes runs the template of testdata over a function that does what the path asks of it.
func probes(t *testing.T, given lambdalocal.Given, limit int) (*lambdalocal.Stack, string) {
	t.Helper()
	file, err := probe()
	if err != nil {
		t.Fatal(err)
	}
	template, err := lambdalocal.Load("testdata/template.yaml", given)
	if err != nil {
		t.Fatal(err)
	}
	stack, err := lambdalocal.Up(template, lambdalocal.Options{Limit: limit, Log: func(string, string, []byte) {}, Logger: slog.New(slog.DiscardHandler),
		Bootstraps: func(string) string { return file }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stack.Close)
	front := httptest.NewServer(stack.Gateway)
	t.Cleanup(front.Close)
	return stack, front.URL
}

type reply struct {
	status int
	header http.Header
	body   string
	err    error // of the body
}

func ask(t *testing.T, method, url string, body io.Reader, header ...string) reply {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Body.Close()
	data, err := io.ReadAll(w.Body)
	return reply{w.StatusCode, w.Header, string(data), err}
}

func TestEventsAreAPIGateways(t *testing.T) {
	_, url := probes(t, lambdalocal.Given{}, 0)
	get := func(method, path, body string, header ...string) (e events.APIGatewayProxyRequest, raw string) {
		r := ask(t, method, url+path, strings.NewReader(body), header...)
		if err := json.Unmarshal([]byte(r.body), &e); err != nil {
			t.Fatalf("%s %s: %v %s", method, path, err, r.body)
		}
		return e, r.body
	}
	e, raw := get("GET", "/prod/plain/a%2Fb%20c?x=1&x=2%263&y=", "", "X-Tag", "1", "X-Tag", "2")
	if e.Resource != "/plain/{do}" || e.Path != "/plain/a%2Fb%20c" || e.PathParameters["do"] != "a%2Fb%20c" || e.RequestContext.Path != "/prod/plain/a%2Fb%20c" || e.RequestContext.Stage != "prod" {
		t.Error(raw)
	}
	if got := e.MultiValueQueryStringParameters["x"]; len(got) != 2 || got[1] != "2&3" || e.QueryStringParameters["x"] != "2&3" || e.QueryStringParameters["y"] != "" {
		t.Error(raw)
	}
	if got := e.MultiValueHeaders["X-Tag"]; len(got) != 2 || e.Headers["X-Tag"] != "2" || e.Headers["X-Forwarded-Proto"] != "https" || e.Headers["Host"] == "" || e.RequestContext.Identity.SourceIP == "" {
		t.Error(raw)
	}
	if !strings.Contains(raw, `"body":null`) || e.IsBase64Encoded {
		t.Error(raw)
	}
	if e, raw = get("PUT", "/prod/plain/x/y/z%2F", "\x00\xFF"); e.Resource != "/plain/{do}/{proxy+}" || e.PathParameters["proxy"] != "y/z%2F" || e.PathParameters["do"] != "x" || e.Body != "AP8=" || !e.IsBase64Encoded {
		t.Error(raw)
	}
	if e, raw = get("GET", "/prod/plain/x/", ""); e.Resource != "/plain/{do}" || e.Path != "/plain/x/" {
		t.Error(raw)
	}
}

// A path is matched by resource and then by method; what is not there is the gateway's own 403.
func TestPathsAreMatchedAsAPIGatewayDoes(t *testing.T) {
	stack, url := probes(t, lambdalocal.Given{}, 0)
	for path, resource := range map[string]string{
		"POST /prod/plain/literal":   "/plain/literal",
		"GET /prod/plain/literal":    "", // a literal without the method is not given up for a variable
		"GET /prod/plain/literal/x":  "/{proxy+}",
		"GET /prod/plain/deep/er":    "/plain/deep/er",
		"GET /prod/plain/deep":       "/{proxy+}", // a literal that leads nowhere, for a greedy one further up
		"GET /prod/plain/deep/other": "/{proxy+}",
		"GET /prod/plain":            "/{proxy+}",
		"GET /prod/plain/x":          "/plain/{do}",
		"GET /prod/":                 "", // greedy does not match nothing
		"GET /prod":                  "",
	} {
		method, path, _ := strings.Cut(path, " ")
		r := ask(t, method, url+path, nil)
		var e events.APIGatewayProxyRequest
		_ = json.Unmarshal([]byte(r.body), &e)
		if e.Resource != resource || resource == "" && (r.status != 403 || !strings.Contains(r.body, `{"error":"Missing Authentication Token","requestId":"`) ||
			r.header.Get("Access-Control-Allow-Origin") != "*" || r.header.Get("X-Amzn-Errortype") != "MissingAuthenticationTokenException") {
			t.Errorf("%s %s: %+v", method, path, r)
		}
	}
	if r := ask(t, "GET", url+"/other/plain/x", nil); r.status != 403 || r.body != `{"message":"Forbidden"}` {
		t.Errorf("another stage: %+v", r)
	}
	domain := httptest.NewServer(stack.Gateway.Domain("/v1"))
	defer domain.Close()
	r := ask(t, "GET", domain.URL+"/v1/plain/x", nil)
	if !strings.Contains(r.body, `"resource":"/plain/{do}","path":"/v1/plain/x"`) || !strings.Contains(r.body, `"stage":"prod"`) {
		t.Errorf("a custom domain: %+v", r)
	}
}

func TestAnswersThatAreNone(t *testing.T) {
	_, url := probes(t, lambdalocal.Given{}, 0)
	for _, c := range []struct {
		path   string
		status int
		body   string
	}{
		{"/plain/panic", 502, `"Internal server error"`},
		{"/plain/error", 502, `"Internal server error"`},
		{"/plain/exit", 502, `"Internal server error"`},
		{"/plain/sleep", 502, `"Internal server error"`}, // longer than the function may
		{"/hasty/sleep", 504, `"Endpoint request timed out"`},
		{"/plain/large", 502, `"Internal server error"`},
		{"/plain/malformed", 502, `"Internal server error"`},
		{"/plain/status", 502, `"Internal server error"`},
		{"/streams/buffered", 502, `"Internal server error"`},
		{"/streams/raw", 502, `"Internal server error"`},
		{"/streams/empty", 502, `"Internal server error"`},
		{"/plain/memory", 200, `209715200`}, // seen afterwards only
		{"/plain/binary", 200, "\x00\xFF\x01"},
		{"/plain/pid", 200, ``}, // and the function lives on
	} {
		r := ask(t, "GET", url+"/prod"+c.path, nil)
		if r.status != c.status || !strings.Contains(r.body, c.body) || c.status >= 500 && r.header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s: %+v", c.path, r)
		}
	}
	if r := ask(t, "GET", url+"/prod/plain/headers", nil); r.status != 401 || strings.Join(r.header["X-Both"], ",") != "a,b" || r.header.Get("X-Amzn-Remapped-Www-Authenticate") != "Bearer" {
		t.Errorf("%+v", r)
	}
	if r := ask(t, "POST", url+"/prod/plain/x", bytes.NewReader(make([]byte, 10<<20+1))); r.status != 413 {
		t.Errorf("over 10 MB: %d %.200s", r.status, r.body)
	}
	if r := ask(t, "POST", url+"/prod/plain/x", bytes.NewReader(make([]byte, 5<<20))); r.status != 413 { // in base64 more than an event holds
		t.Errorf("over 6 MB: %d %.200s", r.status, r.body)
	}
}

func TestStreamsArriveAsTheyAreMade(t *testing.T) {
	_, url := probes(t, lambdalocal.Given{}, 0)
	w, err := http.Get(url + "/prod/streams/parts")
	if err != nil {
		t.Fatal(err)
	}
	defer w.Body.Close()
	first := make([]byte, 64)
	n, err := w.Body.Read(first)
	if err != nil || string(first[:n]) != "part 0\n" || w.StatusCode != 201 || len(w.Cookies()) != 2 {
		t.Errorf("%q %v %v", first[:n], err, w)
	}
	if rest, err := io.ReadAll(w.Body); err != nil || string(rest) != "part 1\npart 2\n" {
		t.Errorf("%q %v", rest, err)
	}
	for _, path := range []string{"error", "exit", "endless"} { // a body that fails, a crash, the function's timeout
		if r := ask(t, "GET", url+"/prod/streams/"+path, nil); r.err == nil || !strings.HasPrefix(r.body, "part 0\n") {
			t.Errorf("%s: %+v", path, r)
		}
	}
}

// An instance serves one request at a time, is used again, and is frozen in between; a caller who leaves changes nothing.
func TestInstances(t *testing.T) {
	stack, url := probes(t, lambdalocal.Given{}, 2)
	pids := func(n int) (ok map[string]int, throttled int) {
		ok = map[string]int{}
		var mu sync.Mutex
		var all sync.WaitGroup
		for range n {
			all.Go(func() {
				r := ask(t, "GET", url+"/prod/plain/pid", nil)
				mu.Lock()
				defer mu.Unlock()
				switch r.status {
				case 200:
					ok[r.body]++
				case 500:
					throttled++
				}
			})
		}
		all.Wait()
		return ok, throttled
	}
	if ok, throttled := pids(3); len(ok) != 2 || throttled != 1 || stack.Pools["ProbeFunction"].Instances() != 2 {
		t.Errorf("%v, %d throttled", ok, throttled)
	}
	alone := func() map[string]int { // an instance is free when it asks for more, some time after its answer
		for {
			if ok, _ := pids(1); len(ok) == 1 {
				return ok
			}
		}
	}
	one := alone()
	if again := alone(); len(one) != 1 || len(again) != 1 || stack.Pools["ProbeFunction"].Instances() != 2 {
		t.Errorf("%v, then %v", one, again)
	}
	count := func() int { n, _ := strconv.Atoi(ask(t, "GET", url+"/prod/plain/count", nil).body); return n }
	before := count()
	time.Sleep(2 * time.Second)
	if passed := count() - before; passed > 1000 {
		t.Errorf("it counted %d ms while it was frozen", passed)
	}
}

func TestTheStageThrottles(t *testing.T) {
	_, url := probes(t, lambdalocal.Given{Parameters: map[string]string{"Burst": "1"}}, 0)
	limited := 0
	for range 5 {
		if r := ask(t, "GET", url+"/prod/nothing", nil); r.status == 429 && strings.Contains(r.body, `{"error":"Too Many Requests"`) {
			limited++
		}
	}
	if limited == 0 {
		t.Error("five requests at once passed a burst of one")
	}
}

func TestTheTemplateIsResolved(t *testing.T) {
	given := lambdalocal.Given{Refs: map[string]string{"Table": "t-1"}, Parameters: map[string]string{"Stage": "dev"}, FunctionEnv: map[string]map[string]string{"ProbeFunction": {"OTHER": "mine"}}}
	template, err := lambdalocal.Load("testdata/template.yaml", given)
	if err != nil {
		t.Fatal(err)
	}
	f := template.Functions[0]
	if _, extra := f.Env["EXTRA"]; len(template.Functions) != 2 || extra || f.Env["OTHER"] != "mine" || f.Timeout != time.Second || f.Memory != 128 || template.API.Stage != "dev" ||
		f.Env["TABLE"] != "dynamodb://?threads=t-1&arn=arn:aws:local:us-east-1:000000000000:Table&stage=dev&literal=${x}" {
		t.Errorf("%+v", template)
	}
	given.Parameters["Extra"] = "yes"
	if template, err = lambdalocal.Load("testdata/template.yaml", given); err != nil || len(template.Functions) != 3 || template.Functions[0].Env["EXTRA"] != "a,b" || template.Functions[0].Env["OTHER"] != "x" {
		t.Errorf("%v %+v", err, template)
	}
	given.Parameters["Extra"] = "maybe"
	if _, err = lambdalocal.Load("testdata/template.yaml", given); err == nil || !strings.Contains(err.Error(), `parameter Extra="maybe"`) {
		t.Error(err)
	}
	if _, err := lambdalocal.Parse([]byte("Resources: {F: {Type: AWS::Serverless::Function, Properties: {Timeout: !Cidr [a]}}}"), given); err == nil || !strings.Contains(err.Error(), "Cidr") {
		t.Error(err)
	}
}

func TestInvokeAPI(t *testing.T) {
	stack, _ := probes(t, lambdalocal.Given{}, 0)
	api := httptest.NewServer(stack.InvokeAPI())
	defer api.Close()
	signed := []string{"Authorization", "AWS4-HMAC-SHA256 Credential=test"}
	for _, c := range []struct {
		name, body string
		header     []string
		status     int
		want, flag string
	}{
		{"ProbeFunction", `{"path":"/plain/x"}`, signed, 200, `{"statusCode":200,`, ""},
		{"arn:aws:lambda:us-east-1:000000000000:function:ProbeFunction:live", `{"path":"/plain/x"}`, signed, 200, `{"statusCode":200,`, ""},
		{"ProbeFunction", `{"path":"/plain/error"}`, signed, 200, `{"errorMessage":"no"`, "Unhandled"},
		{"ProbeFunction", `{"path":"/plain/exit"}`, signed, 200, `"errorType":"Runtime.ExitError"`, "Unhandled"},
		{"ProbeFunction", `{"path":"/plain/sleep"}`, signed, 200, `Task timed out after 1.00 seconds`, "Unhandled"},
		{"Nothing", `{}`, signed, 404, `Function not found`, ""},
		{"ProbeFunction", `{}`, nil, 403, `Missing Authentication Token`, ""},
		{"ProbeFunction", strings.Repeat("x", 7<<20), signed, 413, `smaller than`, ""},
	} {
		r := ask(t, "POST", api.URL+"/2015-03-31/functions/"+c.name+"/invocations", strings.NewReader(c.body), c.header...)
		if r.status != c.status || !strings.Contains(r.body, c.want) || r.header.Get("X-Amz-Function-Error") != c.flag {
			t.Errorf("%s %.60s: %+v", c.name, c.body, r)
		}
	}
}
