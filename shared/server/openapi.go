package server

import (
	"net/http"
	"strconv"
	"strings"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// describe is the OpenAPI 3.1 document of the route tables.
func (s *Server) describe() ([]byte, error) {
	paths := mastra.Object[mastra.Object[any]]{}
	for i := range s.routes {
		r := &s.routes[i]
		path := s.pathOf(r)
		for _, p := range r.Params() {
			path = strings.Replace(path, ":"+p, "{"+p+"}", 1)
		}
		operations, _ := paths.Get(path)
		operations.Set(strings.ToLower(r.Method), s.operation(r))
		paths.Set(path, operations)
	}
	problem := schema.For[Problem]().JSON()
	doc := mastra.Object[any]{
		{Key: "openapi", Value: "3.1.0"},
		{Key: "info", Value: map[string]string{"title": "Mastra API", "version": s.Version}},
		{Key: "paths", Value: paths},
		{Key: "components", Value: map[string]any{
			"schemas":         map[string]any{"Problem": problem},
			"securitySchemes": map[string]any{"bearer": map[string]string{"type": "http", "scheme": "bearer"}},
		}},
	}
	if s.Mastra.Auth != nil {
		doc.Set("security", []any{map[string]any{"bearer": []string{}}})
	}
	return schema.Marshal(doc)
}

func (s *Server) pathOf(r *Route) string {
	if r.Root {
		return r.Path
	}
	return s.Prefix + r.Path
}

func (s *Server) operation(r *Route) mastra.Object[any] {
	in := r.input()
	tag, _, _ := strings.Cut(strings.TrimPrefix(r.Path, "/"), "/")
	op := mastra.Object[any]{{Key: "tags", Value: []string{tag}}}
	op.Set("operationId", operationID(r))
	if r.Summary != "" {
		op.Set("summary", r.Summary)
	}
	var parameters []any
	for _, p := range r.Params() {
		parameters = append(parameters, map[string]any{"name": p, "in": "path", "required": true, "schema": map[string]string{"type": "string"}})
	}
	if in.params != nil {
		var doc schema.Doc
		if schema.Unmarshal(in.params.JSON(), &doc) == nil {
			for _, f := range in.query {
				parameters = append(parameters, map[string]any{"name": f.name, "in": "query", "schema": doc.Properties[f.name],
					"required": in.typ.FieldByIndex(f.index).Tag.Get("required") == "true"})
			}
		}
	}
	if parameters != nil {
		op.Set("parameters", parameters)
	}
	if in.file != nil {
		name := in.typ.FieldByIndex(in.file).Tag.Get("upload")
		op.Set("requestBody", content("multipart/form-data", mastra.JSON(`{"type":"object","required":[`+strconv.Quote(name)+`],"properties":{`+strconv.Quote(name)+`:{"type":"string","format":"binary"}}}`)))
	} else if in.body != nil && r.Method != http.MethodGet {
		op.Set("requestBody", content("application/json", in.body.JSON()))
	}
	success := map[string]any{"description": "OK"}
	if r.Out != nil {
		success = content("application/json", schema.Published(r.Out))
		success["description"] = "OK"
	} else {
		success["content"] = map[string]any{r.MediaType: map[string]any{"schema": map[string]string{"type": "string"}}}
	}
	failure := content("application/json", mastra.JSON(`{"$ref":"#/components/schemas/Problem"}`))
	failure["description"] = "What is wrong, every issue listed"
	op.Set("responses", mastra.Object[any]{{Key: "200", Value: success}, {Key: "default", Value: failure}})
	if r.Public {
		op.Set("security", []any{})
	}
	return op
}

func content(media string, doc mastra.JSON) map[string]any {
	return map[string]any{"content": map[string]any{media: map[string]any{"schema": doc}}}
}

func operationID(r *Route) string {
	var b strings.Builder
	b.WriteString(strings.ToLower(r.Method))
	for segment := range strings.SplitSeq(r.Path, "/") {
		for word := range strings.FieldsFuncSeq(segment, func(c rune) bool { return c == ':' || c == '-' || c == '.' }) {
			b.WriteString(strings.ToUpper(word[:1]) + word[1:])
		}
	}
	return b.String()
}

func (s *Server) serveOpenAPI(w http.ResponseWriter, r *http.Request, _ any) {
	doc, err := s.openAPI()
	if err != nil {
		s.writeError(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(doc)
}

// Swagger UI itself comes from a CDN, by exact version and hash: embedded it would weigh more than the server.
const swaggerPage = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="referrer" content="no-referrer"><title>Mastra API</title>
<link rel="stylesheet" href="https://unpkg.com/swagger-ui-dist@5.35.0/swagger-ui.css" integrity="sha384-WlYgdmXYOOBWL5apwjDEZwN+U3HmXSSu5R6V5aGxEcf7z+KuRNwBhoxKVN1i3D5I" crossorigin="anonymous"></head>
<body><div id="ui"><noscript>This page needs JavaScript.</noscript><p>The document itself is <a href="OPENAPI">OPENAPI</a>.</p></div>
<script src="https://unpkg.com/swagger-ui-dist@5.35.0/swagger-ui-bundle.js" integrity="sha384-gjRm0bEPMeTmMh5jT2cHccIwCUZSTd8YC+j0d0sXw0MdGEfScduGpSyF3ZSSLkX9" crossorigin="anonymous"></script>
<script>if (window.SwaggerUIBundle) SwaggerUIBundle({url: "OPENAPI" + location.search, dom_id: "#ui"})</script></body></html>
`

func (s *Server) serveSwagger(w http.ResponseWriter, _ *http.Request, _ any) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Write([]byte(strings.ReplaceAll(swaggerPage, "OPENAPI", s.Prefix+"/openapi.json")))
}

// Studio takes a server for alive whose root answers 200.
const rootPage = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Mastra API</title></head>
<body><h1>Mastra API</h1><p>The server runs. Its routes: <a href="swagger-ui">swagger-ui</a>, <a href="OPENAPI">OPENAPI</a>.</p></body></html>
`

func (s *Server) serveRoot(w http.ResponseWriter, _ *http.Request, _ any) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Write([]byte(strings.ReplaceAll(rootPage, "OPENAPI", strings.TrimPrefix(s.Prefix, "/")+"/openapi.json")))
}
