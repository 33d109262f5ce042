package retrieval

import (
	"context"
	"fmt"
	"strconv"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// Index is where documents are: an index of a vector store, which Ingest makes where it is not there.
type Index struct {
	Store     string // the name of the vector store; the default one where empty
	Name      string
	Namespace string
	Chunking  Chunking
	Documents []Document // what the tool ingests where the index is not there
}

// Document is a text to be found again. Its metadata are filtered by, and come back with its chunks.
type Document struct {
	ID       string
	Text     string
	Metadata mastra.Object[mastra.JSON] // without the keys that a chunk has itself, see Passage
}

// Passage is a chunk that was found. Its JSON is also the metadata that a chunk is stored with, but for the score.
type Passage struct {
	Text     string      `json:"text"`
	Source   string      `json:"source" jsonschema:"the document's id"`
	Chunk    int         `json:"chunk" jsonschema:"which part of the document, from 0"`
	Headings []string    `json:"headings,omitempty" jsonschema:"the headings that it stands under"`
	Score    float64     `json:"score" jsonschema:"1 is equal"`
	Metadata mastra.JSON `json:"metadata,omitempty" jsonschema:"of the document"`
}

// stored is the metadata of a chunk.
type stored struct {
	Text     string      `json:"text"`
	Source   string      `json:"source"`
	Chunk    int         `json:"chunk"`
	Start    int         `json:"start"`
	Headings []string    `json:"headings,omitempty"`
	Metadata mastra.JSON `json:"metadata,omitempty"`
}

const (
	embedBatch = 96 // texts that are embedded at once
	maxChunks  = 10_000
)

// Ingest cuts documents into chunks, embeds them and stores them. A document takes the place of an earlier one of its id, at
// once: whoever searches meanwhile finds the old one or the new one. It returns how many chunks there are. Where a
// document fails, those before it are stored.
func (ix Index) Ingest(ctx context.Context, m *mastra.Mastra, documents ...Document) (chunks int, err error) {
	store, err := ix.open(m)
	if err != nil {
		return 0, err
	}
	for _, d := range documents {
		vectors, err := ix.vectors(ctx, m.Embed, d)
		if err == nil {
			err = ix.replace(ctx, m, store, d, vectors)
		}
		if err != nil {
			return chunks, fmt.Errorf("document %q: %w", d.ID, err)
		}
		chunks += len(vectors)
	}
	return chunks, nil
}

// Remove deletes a document, which need not be there.
func (ix Index) Remove(ctx context.Context, m *mastra.Mastra, id string) error {
	store, err := ix.open(m)
	if err != nil {
		return err
	}
	_, err = store.Delete(ctx, ix.Name, mastra.VectorSelection{Namespace: ix.Namespace, Filter: sourceIs(id)})
	return err
}

func (ix Index) open(m *mastra.Mastra) (mastra.VectorStore, error) {
	if m.Embed == nil {
		return nil, mastra.Errorf(mastra.CodeUnavailable, "No embedder is configured")
	}
	return m.VectorStore(ix.Store)
}

func sourceIs(id string) mastra.JSON {
	filter, _ := schema.Marshal(map[string]string{"source": id}) // strings always encode
	return filter
}

func (ix Index) vectors(ctx context.Context, embed mastra.Embedder, d Document) ([]mastra.Vector, error) {
	if d.ID == "" {
		return nil, mastra.Errorf(mastra.CodeInvalid, "A document needs an id")
	}
	chunks, err := ix.Chunking.Split(d.Text)
	if err != nil {
		return nil, err
	}
	if len(chunks) == 0 || len(chunks) > maxChunks {
		return nil, mastra.Errorf(mastra.CodeInvalid, "A document must have between 1 and %d chunks, not %d", maxChunks, len(chunks))
	}
	var about mastra.JSON
	if d.Metadata != nil {
		if about, err = schema.Marshal(d.Metadata); err != nil {
			return nil, err
		}
	}
	out := make([]mastra.Vector, 0, len(chunks))
	for at := 0; at < len(chunks); at += embedBatch {
		batch := chunks[at:min(at+embedBatch, len(chunks))]
		texts := make([]string, len(batch))
		for i, c := range batch {
			texts[i] = c.Text
		}
		values, err := embed.Embed(ctx, texts)
		if err != nil {
			return nil, err
		}
		if len(values) != len(batch) {
			return nil, fmt.Errorf("the embedder made %d vectors of %d texts", len(values), len(batch))
		}
		for i, c := range batch {
			meta, err := schema.Marshal(stored{c.Text, d.ID, at + i, c.Start, c.Headings, about})
			if err != nil {
				return nil, err
			}
			out = append(out, mastra.Vector{ID: d.ID + "#" + strconv.Itoa(at+i), Namespace: ix.Namespace, Values: values[i], Metadata: meta})
		}
	}
	return out, nil
}

func (ix Index) replace(ctx context.Context, m *mastra.Mastra, store mastra.VectorStore, d Document, vectors []mastra.Vector) error {
	err := store.Replace(ctx, ix.Name, ix.Namespace, sourceIs(d.ID), vectors)
	if mastra.CodeOf(err) != mastra.CodeNotFound {
		return err
	}
	if err := store.CreateIndex(ctx, mastra.VectorIndex{Name: ix.Name, Dimension: m.Embed.Dimension(), Metric: mastra.Cosine}); err != nil {
		return err
	}
	return store.Replace(ctx, ix.Name, ix.Namespace, sourceIs(d.ID), vectors)
}

// Question is what is searched for.
type Question struct {
	Query  string      `json:"query" minLength:"1" maxLength:"2000" jsonschema:"the question in full"`
	TopK   int         `json:"topK,omitzero" minimum:"1" maximum:"50" jsonschema:"how many passages to find"`
	Filter mastra.JSON `json:"-"` // of the chunks' metadata: {"metadata.language": "en"}; not for the model to choose
}

// Passages are what was found, the nearest first.
type Passages struct {
	Passages []Passage `json:"passages"`
}

// Search finds the passages nearest to a question. An index that is not there is a CodeNotFound.
func (ix Index) Search(ctx context.Context, m *mastra.Mastra, q Question) (Passages, error) {
	store, err := ix.open(m)
	if err != nil {
		return Passages{}, err
	}
	vectors, err := m.Embed.Embed(ctx, []string{q.Query})
	if err != nil {
		return Passages{}, err
	}
	if len(vectors) != 1 {
		return Passages{}, fmt.Errorf("the embedder made %d vectors of one text", len(vectors))
	}
	if q.TopK == 0 {
		q.TopK = 4
	}
	matches, err := store.Query(ctx, ix.Name, mastra.VectorQuery{Vector: vectors[0], Namespace: ix.Namespace, TopK: q.TopK, Filter: q.Filter})
	if err != nil {
		return Passages{}, err
	}
	out := Passages{Passages: make([]Passage, len(matches))}
	for i, match := range matches {
		var s stored
		if err := schema.Unmarshal(match.Metadata, &s); err != nil {
			return Passages{}, fmt.Errorf("the entry %q of the index %q is no chunk of a document: %w", match.ID, ix.Name, err)
		}
		out.Passages[i] = Passage{s.Text, s.Source, s.Chunk, s.Headings, match.Score, s.Metadata}
	}
	return out, nil
}

// Tool is a tool that searches the index. Where the index is not there it ingests the Documents first.
func (ix Index) Tool(id, description string) *mastra.Tool {
	return mastra.NewTool(id, description, func(ctx context.Context, q Question) (Passages, error) {
		m := mastra.From(ctx) // the application that runs the tool
		found, err := ix.Search(ctx, m, q)
		if mastra.CodeOf(err) == mastra.CodeNotFound && len(ix.Documents) > 0 {
			if _, err = ix.Ingest(ctx, m, ix.Documents...); err == nil {
				found, err = ix.Search(ctx, m, q)
			}
		}
		return found, err
	})
}
