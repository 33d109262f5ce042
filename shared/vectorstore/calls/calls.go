// Package calls is how the calls of a mastra.VectorStore travel to another Lambda function, the one in the database's network:
// Serve answers there what invoke.Store sends.
package calls

import (
	"encoding/binary"
	"math"

	"github.com/go-json-experiment/json"

	"mastralambda/shared/mastra"
)

// MaxPayload is how many bytes an invocation and its answer may have, a little below Lambda's 6 MB.
const MaxPayload = 6<<20 - 4096

// Call is a call of one method. The fields that the method does not take are left out.
type Call struct {
	Operation string            `json:"vectorStore"` // what tells it from API Gateway's events
	Store     string            `json:"store,omitzero"`
	Caller    *mastra.Principal `json:"caller,omitzero"`
	Name      string            `json:"index,omitzero"`
	Create    *Index            `json:"create,omitzero"`
	Upsert    []Entry           `json:"upsert,omitzero"`
	Which     *Selection        `json:"which,omitzero"`
	To        *Update           `json:"to,omitzero"`
	Query     *Query            `json:"query,omitzero"`
}

// Answer is what it comes back as.
type Answer struct {
	Error   *Refusal `json:"error,omitzero"`
	Names   []string `json:"names,omitzero"`
	Index   *Index   `json:"index,omitzero"`
	Matches []Match  `json:"matches,omitzero"`
	Changed int      `json:"changed,omitzero"`
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

// Encode refuses what is no text: it would travel as another one.
func (c Call) Encode() ([]byte, error) {
	data, err := json.Marshal(c)
	if err != nil {
		return nil, mastra.Errorf(mastra.CodeInvalid, "Ids, namespaces, filters and metadata must be text in UTF-8")
	}
	return data, nil
}

// Entry is a mastra.Vector. Its metadata is text, so that the store refuses what is no JSON.
type Entry struct {
	ID        string  `json:"id"`
	Namespace string  `json:"namespace,omitzero"`
	Values    Numbers `json:"values"`
	Metadata  *string `json:"metadata,omitzero"`
}

// EntriesOf makes vectors travel.
func EntriesOf(vectors []mastra.Vector) []Entry {
	out := make([]Entry, len(vectors))
	for i, v := range vectors {
		out[i] = Entry{v.ID, v.Namespace, numbersOf(v.Values), textOf(v.Metadata)}
	}
	return out
}

func vectorsOf(entries []Entry) []mastra.Vector {
	out := make([]mastra.Vector, len(entries))
	for i, e := range entries {
		out[i] = mastra.Vector{ID: e.ID, Namespace: e.Namespace, Values: e.Values.values(), Metadata: jsonOf(e.Metadata)}
	}
	return out
}

// Selection is a mastra.VectorSelection.
type Selection struct {
	Namespace string   `json:"namespace,omitzero"`
	IDs       []string `json:"ids,omitzero"`
	Filter    *string  `json:"filter,omitzero"`
}

// SelectionOf makes a selection travel.
func SelectionOf(s mastra.VectorSelection) *Selection {
	return &Selection{s.Namespace, s.IDs, textOf(s.Filter)}
}

func (s *Selection) selection() mastra.VectorSelection {
	return mastra.VectorSelection{Namespace: s.Namespace, IDs: s.IDs, Filter: jsonOf(s.Filter)}
}

// Update is a mastra.VectorUpdate.
type Update struct {
	Values   *Numbers `json:"values,omitzero"`
	Metadata *string  `json:"metadata,omitzero"`
}

// UpdateOf makes an update travel: nil numbers, which stay, are not those of an empty vector.
func UpdateOf(u mastra.VectorUpdate) *Update {
	out := &Update{Metadata: textOf(u.Metadata)}
	if u.Values != nil {
		values := numbersOf(u.Values)
		out.Values = &values
	}
	return out
}

func (u *Update) update() mastra.VectorUpdate {
	out := mastra.VectorUpdate{Metadata: jsonOf(u.Metadata)}
	if u.Values != nil {
		if out.Values = u.Values.values(); out.Values == nil {
			out.Values = []float32{}
		}
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
