package lambdalocal

import "strings"

// Resource is a node of a REST API's tree of paths.
type Resource struct {
	Path     string // "/api/agents/{agentId}"
	id       string
	methods  map[string]*integration // by method, or "ANY"
	children map[string]*Resource
}

// integration is where a method of a resource leads.
type integration struct {
	Route
	pool *Pool
}

// add makes the resource of a path.
func (r *Resource) add(path string) *Resource {
	at := r
	for segment := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		if segment == "" {
			break
		}
		if at.children == nil {
			at.children = map[string]*Resource{}
		}
		if at.children[segment] == nil {
			at.children[segment] = &Resource{Path: strings.TrimSuffix(at.Path, "/") + "/" + segment}
		}
		at = at.children[segment]
	}
	return at
}

// match finds the resource of a path, as API Gateway does: by resource first and by method after it, a literal before a variable
// before a greedy one. A literal that leads nowhere is not given up for a variable, but for a greedy one further up. A resource
// without a method is none. The path's escapes stay: "%2F" is no slash. values are the path's variables.
func (r *Resource) match(path string, values map[string]string) *Resource {
	path = strings.TrimPrefix(strings.TrimSuffix(path, "/"), "/")
	if path == "" {
		return r.itself()
	}
	return r.find(strings.Split(path, "/"), values)
}

func (r *Resource) itself() *Resource {
	if len(r.methods) == 0 {
		return nil
	}
	return r
}

func (r *Resource) find(segments []string, values map[string]string) *Resource {
	if len(segments) == 0 {
		return r.itself()
	}
	next, variable, greedy := r.children[segments[0]], "", ""
	for name := range r.children {
		switch {
		case strings.HasSuffix(name, "+}"):
			greedy = name
		case strings.HasPrefix(name, "{") && next == nil && segments[0] != "":
			variable = name
		}
	}
	if variable != "" {
		next = r.children[variable]
	}
	if next != nil {
		if found := next.find(segments[1:], values); found != nil {
			if variable != "" {
				values[strings.Trim(variable, "{}")] = segments[0]
			}
			return found
		}
	}
	if greedy == "" {
		return nil
	}
	values[strings.Trim(greedy, "{+}")] = strings.Join(segments, "/")
	return r.children[greedy].itself()
}
