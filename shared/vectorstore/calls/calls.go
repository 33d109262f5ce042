// Package calls is how the calls of a mastra.VectorStore travel to another Lambda function, the one in the database's network:
// Serve answers there what invoke.Store sends.
package calls

import (
	"encoding/binary"
	"math"
	"unicode/utf8"

	"mastralambda/shared/mastra"
)

// MaxPayload is how many bytes an invocation and its answer may have, a little below Lambda's 6 MB.
const MaxPayload = 6<<20 - 4096

// Call is a call of one method. The fields that the method does not take are left out.
type Call struct {
	Method string            `json:"vectorStore"` // what tells it from API Gateway's events
	Store  string            `json:"store,omitzero"`
	Caller *mastra.Principal `json:"caller,omitzero"`
	Name   string            `json:"index,omitzero"`
	Create *Index            `json:"create,omitzero"`
	Upsert []Entry           `json:"upsert,omitzero"`
	Query  *Query            `json:"query,omitzero"`
}

// Answer is what it comes back as.
type Answer struct {
	Error   *Refusal `json:"error,omitzero"`
	Names   []string `json:"names,omitzero"`
	Index   *Index   `json:"index,omitzero"`
	Matches []Match  `json:"matches,omitzero"`
}

// Refusal is a mastra.Error; one of CodeInternal has no message.
type Refusal struct {
	Code    mastra.Code    `json:"code"`
	Message string         `json:"message"`
	Issues  []mastra.Issue `json:"issues,omitzero"`
}

// Index is a mastra.VectorIndex with its name.
type Index struct {
	Name string `json:"name"`
	mastra.VectorIndex
}

// IndexOf makes an index travel.
func IndexOf(i mastra.VectorIndex) *Index { return &Index{i.Name, i} }

func (i *Index) index() mastra.VectorIndex {
	out := i.VectorIndex
	out.Name = i.Name
	return out
}

// Described is the index of an answer, nil where it has none.
func (a Answer) Described() *mastra.VectorIndex {
	if a.Index == nil {
		return nil
	}
	i := a.Index.index()
	return &i
}

// Entry is a mastra.Vector. Its metadata is text, so that the store refuses what is no JSON.
type Entry struct {
	ID       string  `json:"id"`
	Values   Numbers `json:"values"`
	Metadata *string `json:"metadata,omitzero"`
}

// EntriesOf refuses ids that are no text: they would travel as others.
func EntriesOf(vectors []mastra.Vector) ([]Entry, error) {
	out := make([]Entry, len(vectors))
	for i, v := range vectors {
		if !utf8.ValidString(v.ID) {
			return nil, mastra.Errorf(mastra.CodeInvalid, "The id of a vector must be text")
		}
		out[i] = Entry{v.ID, numbersOf(v.Values), textOf(v.Metadata)}
	}
	return out, nil
}

func vectorsOf(entries []Entry) []mastra.Vector {
	out := make([]mastra.Vector, len(entries))
	for i, e := range entries {
		out[i] = mastra.Vector{ID: e.ID, Values: e.Values.values(), Metadata: jsonOf(e.Metadata)}
	}
	return out
}

// Query is a mastra.VectorQuery.
type Query struct {
	Vector        Numbers  `json:"vector"`
	Namespace     string   `json:"namespace,omitzero"`
	TopK          int      `json:"topK"`
	Filter        *string  `json:"filter,omitzero"`
	IncludeVector bool     `json:"includeVector,omitzero"`
	MinScore      *float64 `json:"minScore,omitzero"`
}

// QueryOf makes a query travel.
func QueryOf(q mastra.VectorQuery) *Query {
	return &Query{numbersOf(q.Vector), q.Namespace, q.TopK, textOf(q.Filter), q.IncludeVector, q.MinScore}
}

func (q *Query) query() mastra.VectorQuery {
	return mastra.VectorQuery{Vector: q.Vector.values(), Namespace: q.Namespace, TopK: q.TopK, Filter: jsonOf(q.Filter), IncludeVector: q.IncludeVector, MinScore: q.MinScore}
}

// Match is a mastra.Match.
type Match struct {
	ID       string      `json:"id"`
	Score    float64     `json:"score"`
	Metadata mastra.JSON `json:"metadata,omitzero"`
	Vector   Numbers     `json:"vector,omitzero"`
}

func matchesOf(found []mastra.Match) []Match {
	out := make([]Match, len(found))
	for i, m := range found {
		out[i] = Match{m.ID, m.Score, m.Metadata, numbersOf(m.Vector)}
	}
	return out
}

// Found are the matches of an answer.
func (a Answer) Found() []mastra.Match {
	out := make([]mastra.Match, len(a.Matches))
	for i, m := range a.Matches {
		out[i] = mastra.Match{ID: m.ID, Score: m.Score, Metadata: m.Metadata, Vector: m.Vector.values()}
	}
	return out
}

// Numbers are float32s, little-endian, in JSON base64: exact, also where they are none that JSON has, and half as long.
type Numbers []byte

func numbersOf(values []float32) Numbers {
	out := make(Numbers, 0, 4*len(values))
	for _, v := range values {
		out = binary.LittleEndian.AppendUint32(out, math.Float32bits(v))
	}
	return out
}

func (n Numbers) values() []float32 {
	if len(n) == 0 {
		return nil
	}
	out := make([]float32, len(n)/4)
	for i := range out {
		out[i] = math.Float32frombits(binary.LittleEndian.Uint32(n[4*i:]))
	}
	return out
}

func textOf(data mastra.JSON) *string {
	if data == nil {
		return nil
	}
	s := string(data)
	return &s
}

func jsonOf(s *string) mastra.JSON {
	if s == nil {
		return nil
	}
	return mastra.JSON(*s)
}
