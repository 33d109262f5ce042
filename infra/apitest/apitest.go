// Package apitest is one suite of requests for whatever serves the API: the local process, the functions behind an API Gateway
// front, sam local.
package apitest

import (
	"regexp"
	"strings"
	"testing"
)

// Call makes a request: the path begins with "/api" or is one of those outside of it.
type Call func(t testing.TB, method, path, body string) (status int, answer string)

// Case is one request. Its path is below /api.
type Case struct {
	Name, Method, Path, Body string
	Status                   int
	Want                     string // a regular expression
}

// Skip names what a backend does not serve; nil is nothing.
type Skip func(c Case) bool

func check(t *testing.T, call Call, skip Skip, cases []Case) {
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			if skip != nil && skip(c) {
				t.Skip("not served here")
			}
			c.check(t, call)
		})
	}
}

// check makes the request and returns the groups of Want.
func (c Case) check(t *testing.T, call Call) []string {
	path := strings.NewReplacer(`{`, "%7B", `}`, "%7D", `"`, "%22").Replace("/api" + c.Path)
	status, body := call(t, c.Method, path, c.Body)
	found := regexp.MustCompile(`(?s)` + c.Want).FindStringSubmatch(body)
	if status != c.Status || found == nil {
		t.Errorf("%d %.1500s\nwant %d %s", status, body, c.Status, c.Want)
		return nil
	}
	return found[1:]
}

// step is a case of a journey: keep names, separated by blanks, what the groups of its Want were, as $name in later steps.
type step struct {
	Case
	keep string
}

// walk makes requests in their order. kept are pairs of $names and values.
func walk(t *testing.T, call Call, skip Skip, kept []string, steps []step) {
	for _, s := range steps {
		t.Run(s.Name, func(t *testing.T) {
			fill := strings.NewReplacer(kept...)
			c := s.Case
			c.Path, c.Body, c.Want = fill.Replace(c.Path), fill.Replace(c.Body), fill.Replace(c.Want)
			if skip != nil && skip(c) {
				t.Skip("not served here")
			}
			found := c.check(t, call)
			for i, name := range strings.Fields(s.keep) {
				if i < len(found) && found[i] != "" {
					kept = append([]string{"$" + name, found[i]}, kept...) // the latest wins
				}
			}
		})
	}
}
