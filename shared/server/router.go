package server

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// node is a segment of the paths. A literal wins over a variable, and a variable is tried where the literal leads nowhere:
// /traces/:traceId/:spanId/scores and /traces/:traceId/branches/:spanId stand side by side.
type node struct {
	literals map[string]*node
	variable *node
	routes   map[string]*Route // by method
	allow    string
}

func (n *node) add(method, path string, r *Route) error {
	at := n
	for segment := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		if segment == "" { // the root
			continue
		}
		if strings.HasPrefix(segment, ":") {
			if at.variable == nil {
				at.variable = &node{}
			}
			at = at.variable
			continue
		}
		if at.literals == nil {
			at.literals = map[string]*node{}
		}
		next := at.literals[segment]
		if next == nil {
			next = &node{}
			at.literals[segment] = next
		}
		at = next
	}
	if at.routes == nil {
		at.routes = map[string]*Route{}
	}
	if at.routes[method] != nil {
		return fmt.Errorf("two routes are %s %s", method, path)
	}
	at.routes[method] = r
	methods := []string{"OPTIONS"}
	for m := range at.routes {
		methods = append(methods, m)
		if m == http.MethodGet {
			methods = append(methods, http.MethodHead)
		}
	}
	slices.Sort(methods)
	at.allow = strings.Join(methods, ", ")
	return nil
}

// find walks an escaped path, so that %2F stays inside of its segment. The values are those of the variables, in order.
func (n *node) find(path string, values []string) (*node, []string) {
	path = strings.TrimPrefix(path, "/")
	if path == "" {
		if n.routes == nil {
			return nil, nil
		}
		return n, values
	}
	segment, rest, _ := strings.Cut(path, "/")
	value := segment
	if strings.IndexByte(segment, '%') >= 0 {
		if v, err := url.PathUnescape(segment); err == nil {
			value = v
		}
	}
	if next := n.literals[value]; next != nil {
		if found, v := next.find(rest, values); found != nil {
			return found, v
		}
	}
	if n.variable != nil && segment != "" {
		return n.variable.find(rest, append(values, value))
	}
	return nil, nil
}
