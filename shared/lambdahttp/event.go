package lambdahttp

import (
	"net/http"
	"strings"

	"github.com/aws/aws-lambda-go/events"
)

// normalize makes an event's path what a client would have sent to the server itself: no base path of a custom domain, every
// escape valid. REST APIs hand the path on as it was sent (HTTP APIs and some emulators decode it), so a valid escape stays.
func normalize(e *events.APIGatewayProxyRequest) {
	e.Path = escape(withoutBase(e.Path, e.Resource))
}

// finish mends what the adapter leaves: its query has a random order, which would tell repeats of one request apart.
func finish(r *http.Request, e events.APIGatewayProxyRequest) {
	if strings.Contains(r.URL.RawQuery, "&") {
		r.URL.RawQuery = r.URL.Query().Encode()
	}
	r.RequestURI = r.URL.RequestURI()
	if host := r.Header.Get("Host"); host != "" {
		r.Host = host
	}
	if r.Header.Get("X-Request-Id") == "" && e.RequestContext.RequestID != "" {
		r.Header.Set("X-Request-Id", e.RequestContext.RequestID)
	}
}

// withoutBase takes the segments before those that resource ("/api/agents/{agentId}/{proxy+}") stands for off the path: the
// base path under which a custom domain has the API is part of the event's path.
func withoutBase(path, resource string) string {
	if resource == "" || !strings.HasPrefix(path, "/") {
		return path
	}
	template := strings.Split(strings.Trim(resource, "/"), "/")
	for rest := path; ; {
		if fits(strings.Split(strings.TrimPrefix(rest, "/"), "/"), template) {
			return rest
		}
		next := strings.IndexByte(rest[1:], '/')
		if next < 0 {
			return path
		}
		rest = rest[1+next:]
	}
}

func fits(segments, template []string) bool {
	for i, t := range template {
		if strings.HasSuffix(t, "+}") {
			return len(segments) > i
		}
		if i >= len(segments) || !strings.HasPrefix(t, "{") && t != segments[i] {
			return false
		}
	}
	return len(segments) == len(template) || len(segments) == len(template)+1 && segments[len(template)] == ""
}

// escape escapes what cannot stand in a path as it is sent: "?", "#", spaces, control and non-ASCII bytes, and a "%" that
// begins no escape.
func escape(path string) string {
	valid := func(i int) bool {
		c := path[i]
		if c == '%' {
			return i+2 < len(path) && isHex(path[i+1]) && isHex(path[i+2])
		}
		return c > ' ' && c < 0x7F && !strings.ContainsRune("?#\"<>\\^`{|}", rune(c))
	}
	i := 0
	for i < len(path) && valid(i) {
		i++
	}
	if i == len(path) {
		return path
	}
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	b.WriteString(path[:i])
	for ; i < len(path); i++ {
		if valid(i) {
			b.WriteByte(path[i])
		} else {
			b.Write([]byte{'%', digits[path[i]>>4], digits[path[i]&15]})
		}
	}
	return b.String()
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}
