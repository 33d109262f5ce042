// Command boom is a function of the project's own wiring whose handlers break.
package main

import (
	"context"
	"errors"
	"iter"
	"strings"

	"mastralambda/functions/wire"
	"mastralambda/shared/mastra"
	"mastralambda/shared/server"
)

type input struct {
	ID string `path:"id" json:"-"`
}

func main() {
	wire.Main(wire.Function{App: func(b mastra.Backends) (*mastra.Mastra, error) { return mastra.New(mastra.Config{Backends: b}) }, Routes: [][]server.Route{{
		server.JSON("GET /plain/:id", answer, server.Permission("x")), server.JSON("GET /long/:id", answer, server.Permission("x"), server.Long),
		server.Stream("GET /stream/:id", server.SSE, stream, server.Permission("x"))}}})
}

func answer(_ context.Context, _ *mastra.Mastra, in input) (string, error) {
	switch in.ID {
	case "panic":
		panic("boom")
	case "error":
		return "", errors.New("secret detail")
	case "large":
		return strings.Repeat("x", 7<<20), nil
	}
	return "well", nil
}

func stream(_ context.Context, _ *mastra.Mastra, in input) (iter.Seq2[mastra.Chunk, error], error) {
	if in.ID == "early" {
		panic("boom")
	}
	return func(yield func(mastra.Chunk, error) bool) {
		yield(mastra.Chunk{Type: "first"}, nil)
		switch in.ID {
		case "panic":
			panic("boom")
		case "error":
			yield(mastra.Chunk{}, errors.New("secret detail"))
		}
	}, nil
}
