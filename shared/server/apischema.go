package server

import (
	"net/http"
	"slices"
	"strings"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// apiRoute is a route as the reference server's GET /system/api-schema shows it, of which its command line tool makes commands.
type apiRoute struct {
	Method       string      `json:"method"`
	Path         string      `json:"path"`
	ResponseType string      `json:"responseType"`
	PathParams   *schema.Doc `json:"pathParamSchema,omitempty"`
	Query        mastra.JSON `json:"queryParamSchema,omitzero"`
	Body         mastra.JSON `json:"bodySchema,omitzero"`
	Response     mastra.JSON `json:"responseSchema,omitzero"`
}

func (s *Server) serveAPISchema(w http.ResponseWriter, r *http.Request, _ any) {
	s.writeJSON(w, r, http.StatusOK, struct {
		Version int        `json:"version"`
		Routes  []apiRoute `json:"routes"`
	}{1, s.apiRoutes()})
}

func (s *Server) listRoutes() []apiRoute {
	list := make([]apiRoute, 0, len(s.routes))
	for i := range s.routes {
		route := &s.routes[i]
		if route.Root {
			continue
		}
		in := route.input()
		a := apiRoute{Method: route.Method, Path: route.Path, ResponseType: "json"}
		if route.Out != nil {
			a.Response = schema.Published(route.Out)
		} else {
			a.ResponseType = "stream"
		}
		if len(route.params) > 0 {
			a.PathParams = &schema.Doc{Type: "object", Required: route.params, Properties: map[string]*schema.Doc{}}
			for _, p := range route.params {
				a.PathParams.Properties[p] = &schema.Doc{Type: "string"}
			}
		}
		if in.params != nil {
			a.Query = in.params.JSON()
		}
		if in.body != nil && route.Method != http.MethodGet {
			a.Body = in.body.JSON()
		}
		list = append(list, a)
	}
	return list
}

// servePermissions lists what a key's permissions may hold: what the routes ask for, "group:*" and "*".
func (s *Server) servePermissions(w http.ResponseWriter, r *http.Request, _ any) {
	patterns := []string{"*"}
	for i := range s.routes {
		if group, _, ok := strings.Cut(s.routes[i].Permission, ":"); ok {
			patterns = append(patterns, group+":*", s.routes[i].Permission)
		}
	}
	slices.Sort(patterns)
	s.writeJSON(w, r, http.StatusOK, map[string][]string{"patterns": slices.Compact(patterns)})
}
