// Package server serves route tables over HTTP: router, decoding and validation, errors, framing, middleware, OpenAPI.
package server

import (
	"context"
	"fmt"
	"io"
	"iter"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// Route is one row of a route table. JSON, Stream, Bytes and Upload make it, so that its types cannot disagree with its handler.
type Route struct {
	Method, Path string  // "/agents/:agentId/generate", below the prefix
	Permission   string  // what the caller needs: "agents:execute"; "" is open to every known caller
	Public       bool    // needs no caller at all
	Root         bool    // stands outside of the prefix
	Framing      Framing // of a stream; "" for all other routes
	BodyLimit    int     // bytes; MaxBody where 0
	Long         bool    // may outlast 29 seconds: it waits for a model or a run
	Summary      string
	MediaType    string       // of the answer
	In, Out      reflect.Type // Out is nil where the answer is no JSON
	params       []string     // the names of the path's variables, in order
	input        func() *input
	serve        func(s *Server, w http.ResponseWriter, r *http.Request, in any)
}

// Framing is how the chunks of a stream are told apart.
type Framing string

const (
	SSE     Framing = "sse"     // "data: {…}\n\n", closed by "data: [DONE]\n\n"
	Chunked Framing = "chunked" // each record is ended by 0x1E
)

// Option sets what a Route has besides its handler.
type Option func(*Route)

// Permission names what the caller needs.
func Permission(p string) Option { return func(r *Route) { r.Permission = p } }

// Summary says in a line what the route does, for OpenAPI.
func Summary(text string) Option { return func(r *Route) { r.Summary = text } }

// Long marks a route that may outlast 29 seconds.
func Long(r *Route) { r.Long = true }

// BodyLimit makes a route take shorter bodies than others.
func BodyLimit(bytes int) Option { return func(r *Route) { r.BodyLimit = bytes } }

// Public marks a route that needs no caller, Root one that stands outside of the prefix.
func Public(r *Route) { r.Public = true }
func Root(r *Route)   { r.Root = true }

// The fields of an input are filled from the request by their tags: path:"agentId" and query:"page" (both with json:"-"),
// the rest from the JSON body.

// JSON is a route that answers one JSON value.
func JSON[In, Out any](pattern string, h func(context.Context, *mastra.Mastra, In) (Out, error), opts ...Option) Route {
	r := newRoute[In](pattern, opts)
	r.Out, r.MediaType = reflect.TypeFor[Out](), "application/json"
	r.serve = func(s *Server, w http.ResponseWriter, q *http.Request, in any) {
		out, err := h(q.Context(), s.Mastra, *in.(*In))
		if err != nil {
			s.writeError(w, q, err)
			return
		}
		s.writeJSON(w, q, http.StatusOK, out)
	}
	return r
}

// Stream is a route that answers chunks. An error of h comes before any header.
func Stream[In any](pattern string, f Framing, h func(context.Context, *mastra.Mastra, In) (iter.Seq2[mastra.Chunk, error], error), opts ...Option) Route {
	r := newRoute[In](pattern, opts)
	r.Framing, r.Long, r.MediaType = f, true, "text/event-stream"
	if f == Chunked {
		r.MediaType = "text/plain"
	}
	r.serve = func(s *Server, w http.ResponseWriter, q *http.Request, in any) {
		chunks, err := h(q.Context(), s.Mastra, *in.(*In))
		if err != nil {
			s.writeError(w, q, err)
			return
		}
		s.writeStream(w, q, s.framing(q, f), chunks)
	}
	return r
}

// An input with a field upload:"audio" (json:"-", of type []byte) takes a multipart form with that file, or a JSON body
// in which it is base64.

// Bytes is a route that answers audio.
func Bytes[In any](pattern string, h func(context.Context, *mastra.Mastra, In) (*mastra.Audio, error), opts ...Option) Route {
	r := newRoute[In](pattern, opts)
	r.MediaType = "audio/*"
	r.serve = func(s *Server, w http.ResponseWriter, q *http.Request, in any) {
		audio, err := h(q.Context(), s.Mastra, *in.(*In))
		if err != nil {
			s.writeError(w, q, err)
			return
		}
		defer audio.Body.Close()
		w.Header().Set("Content-Type", audio.MediaType)
		if _, err := io.Copy(w, audio.Body); err != nil {
			s.logger(q).WarnContext(q.Context(), "the audio did not reach the client", "error", err)
		}
	}
	return r
}

func newRoute[In any](pattern string, opts []Option) Route {
	method, path, _ := strings.Cut(pattern, " ")
	r := Route{Method: method, Path: path, In: reflect.TypeFor[In]()}
	for _, o := range opts {
		o(&r)
	}
	for segment := range strings.SplitSeq(path, "/") {
		if name, ok := strings.CutPrefix(segment, ":"); ok {
			r.params = append(r.params, name)
		}
	}
	t := r.In
	r.input = sync.OnceValue(func() *input { return newInput(t) })
	return r
}

// Params are the names of the path's variables, in order.
func (r Route) Params() []string { return r.params }

// Check compiles the route's schemas, which are otherwise made at its first request.
func (r Route) Check() error {
	in := r.input()
	for _, s := range []*schema.Schema{in.params, in.body} {
		if s == nil {
			continue
		}
		if err := s.Check(); err != nil {
			return fmt.Errorf("%s %s: %w", r.Method, r.Path, err)
		}
	}
	for _, f := range in.path {
		if !slices.Contains(r.params, f.name) {
			return fmt.Errorf("%s %s: the path has no %s", r.Method, r.Path, f.name)
		}
	}
	return nil
}
