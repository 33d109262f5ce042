package app

import (
	"context"
	"strconv"

	"mastralambda/shared/mastra"
)

// An agent that retrieves: its tool finds the passages nearest to a question in the vector store, and the model answers
// from them. Ask it "How long do refunds take?".
var docsAgent = &mastra.Agent{
	ID:           "docsAgent",
	Name:         "Docs Agent",
	Description:  "Answers questions about the shop from its documents.",
	Instructions: "Answer from the passages that searchDocs finds, and from nothing else. Say so if they do not hold the answer.",
	Tools:        []mastra.Callable{searchDocs},
	Memory:       &mastra.Memory{LastMessages: 10},
}

var searchDocs = mastra.NewTool("searchDocs", "Finds the passages of the shop's documents that are nearest to a question.", search)

// Question is what is searched for.
type Question struct {
	Query string `json:"query" minLength:"1" maxLength:"2000" jsonschema:"the question in full"`
}

// Passages are what was found, the nearest first.
type Passages struct {
	Passages []Passage `json:"passages"`
}

// Passage is a piece of a document.
type Passage struct {
	Text  string  `json:"text"`
	Score float64 `json:"score" jsonschema:"1 is equal"`
}

const docsIndex = "docs"

// documents stands for what a real application would load from elsewhere and cut into passages.
var documents = []string{
	"Refunds are paid back within five working days, to the card that the order was paid with.",
	"Orders of more than 50 euros are shipped free of charge; below that shipping costs 4.90 euros.",
	"A parcel takes two to three working days inside of the country and up to ten days abroad.",
	"Goods can be returned within 30 days if they are unused and in their original packaging.",
	"The support team answers by mail at any time and by telephone from 9 to 17 o'clock on weekdays.",
}

func search(ctx context.Context, in Question) (Passages, error) {
	m := mastra.From(ctx) // the application that runs the tool: its vector store, embedder, agents, …
	store, err := m.VectorStore("")
	if err != nil {
		return Passages{}, err
	}
	vectors, err := m.Embed.Embed(ctx, []string{in.Query})
	if err != nil {
		return Passages{}, err
	}
	query := mastra.VectorQuery{Vector: vectors[0], TopK: 2}
	matches, err := store.Query(ctx, docsIndex, query)
	if mastra.CodeOf(err) == mastra.CodeNotFound { // the first question fills the store
		if err = fill(ctx, m, store); err == nil {
			matches, err = store.Query(ctx, docsIndex, query)
		}
	}
	if err != nil {
		return Passages{}, err
	}
	var out Passages
	for _, match := range matches {
		if i, err := strconv.Atoi(match.ID); err == nil && i < len(documents) {
			out.Passages = append(out.Passages, Passage{documents[i], match.Score})
		}
	}
	return out, nil
}

func fill(ctx context.Context, m *mastra.Mastra, store mastra.VectorStore) error {
	vectors, err := m.Embed.Embed(ctx, documents)
	if err != nil {
		return err
	}
	if err := store.CreateIndex(ctx, mastra.VectorIndex{Name: docsIndex, Dimension: m.Embed.Dimension(), Metric: mastra.Cosine}); err != nil {
		return err
	}
	entries := make([]mastra.Vector, len(documents))
	for i := range documents {
		entries[i] = mastra.Vector{ID: strconv.Itoa(i), Values: vectors[i]}
	}
	return store.Upsert(ctx, docsIndex, entries)
}
