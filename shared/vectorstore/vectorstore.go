// Package vectorstore is what all vector stores agree on: what they take, and how they refuse the rest. See filter for the
// filter language.
package vectorstore

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"mastralambda/shared/mastra"
	"mastralambda/shared/vectorstore/filter"
)

// Limits of what a store takes.
const (
	MaxDimension = 16_000
	MaxID        = 1024      // bytes of an id, and of a namespace
	MaxBatch     = 256 << 20 // bytes of one upsert
	MaxIDs       = 100_000   // of one update or delete
	maxLength    = 1e18      // of a vector: squares of it still fit a float32
)

var (
	indexName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,62}$`)
	metrics   = []mastra.Metric{mastra.Cosine, mastra.Euclidean, mastra.DotProduct}
	types     = []mastra.IndexType{mastra.HNSW, mastra.IVFFlat, mastra.Flat}
)

func invalid(format string, args ...any) error {
	return mastra.Errorf(mastra.CodeInvalid, format, args...)
}

// CheckName refuses the name of an index that is none.
func CheckName(name string) error {
	if !indexName.MatchString(name) {
		return invalid("Invalid index name: %s. Must start with a letter or underscore, contain only letters, numbers, or underscores, and be at most 63 characters long.", name)
	}
	return nil
}

// CheckIndex refuses an index that cannot be made, and fills in what it leaves open.
func CheckIndex(i *mastra.VectorIndex) error {
	if err := CheckName(i.Name); err != nil {
		return err
	}
	if i.Metric == "" {
		i.Metric = mastra.Cosine
	}
	if i.Type == "" {
		i.Type = mastra.HNSW
	}
	c := i.Config
	switch {
	case !slices.Contains(types, i.Type):
		return invalid("Unknown index type %q", i.Type)
	case c.M != 0 && (c.M < 2 || c.M > 100), c.EFConstruction != 0 && (c.EFConstruction < 4 || c.EFConstruction > 1000), c.Lists != 0 && (c.Lists < 1 || c.Lists > 32768):
		return invalid("m must be between 2 and 100, efConstruction between 4 and 1000, lists between 1 and 32768")
	case c.EFConstruction != 0 && c.EFConstruction < 2*max(c.M, 16):
		return invalid("efConstruction must be at least twice m, which is 16 where it is not given")
	case i.Dimension < 1 || i.Dimension > MaxDimension:
		return invalid("Dimension must be between 1 and %d", MaxDimension)
	case !slices.Contains(metrics, i.Metric):
		return invalid("Unknown metric %q", i.Metric)
	}
	return nil
}

// Conflict is the refusal to make an index that exists otherwise.
func Conflict(name string, have, want *mastra.VectorIndex) error {
	return mastra.Errorf(mastra.CodeConflict, "Index %q already exists with %d dimensions and metric %s, but %d dimensions and metric %s were asked for",
		name, have.Dimension, have.Metric, want.Dimension, want.Metric)
}

// NotFound is the refusal of an index that is not there.
func NotFound(name string) error {
	return mastra.Errorf(mastra.CodeNotFound, "Index %q not found", name)
}

// Missing is the refusal to change an entry that is not there.
func Missing(id string) error {
	return mastra.Errorf(mastra.CodeNotFound, "Vector with id %s not found", id)
}

// CheckBatch refuses an upsert of nothing, or of more than a store takes at once.
func CheckBatch(vectors []mastra.Vector) error {
	if len(vectors) == 0 {
		return invalid("There are no vectors to upsert")
	}
	bytes := 0
	for i := range vectors {
		v := &vectors[i]
		if bytes += len(v.Namespace) + len(v.ID) + len(v.Metadata) + 4*len(v.Values); bytes > MaxBatch {
			return mastra.Errorf(mastra.CodeTooLarge, "One upsert takes at most %d MiB", MaxBatch>>20)
		}
	}
	return nil
}

// CheckVector returns the length of a vector that fits an index of dim dimensions, and compacts its metadata.
func CheckVector(index string, dim int, v *mastra.Vector) (norm float64, err error) {
	if v.ID == "" || !text(v.ID) {
		return 0, invalid("The id of a vector must have between 1 and %d bytes of text", MaxID)
	}
	if err := CheckNamespace(v.Namespace); err != nil {
		return 0, err
	}
	if v.Metadata, err = CheckMetadata(v.ID, v.Metadata); err != nil {
		return 0, err
	}
	return CheckValues(index, dim, v.Values)
}

// text says whether s can be an id: Postgres keeps no NUL.
func text(s string) bool {
	return len(s) <= MaxID && utf8.ValidString(s) && strings.IndexByte(s, 0) < 0
}

// CheckNamespace refuses a namespace that is none.
func CheckNamespace(name string) error {
	if !text(name) {
		return invalid("A namespace must have at most %d bytes of text", MaxID)
	}
	return nil
}

// CheckQuery reads what a query asks for, but for its vector.
func CheckQuery(q *mastra.VectorQuery) (*filter.Expr, error) {
	if q.TopK < 1 {
		return nil, invalid("topK must be a positive number")
	}
	if err := CheckNamespace(q.Namespace); err != nil {
		return nil, err
	}
	return filter.Parse(q.Filter)
}

// CheckSelection reads what names entries: the filter is nil where ids do.
func CheckSelection(which mastra.VectorSelection) (*filter.Expr, error) {
	if err := CheckNamespace(which.Namespace); err != nil {
		return nil, err
	}
	f, err := filter.Parse(which.Filter)
	switch {
	case err != nil:
		return nil, err
	case len(which.IDs) > 0 && len(which.Filter) > 0:
		return nil, invalid("Either ids or a filter name vectors, not both")
	case len(which.IDs) == 0 && f == nil:
		return nil, invalid("Ids or a filter that is not empty must name vectors")
	case len(which.IDs) > MaxIDs:
		return nil, invalid("At most %d ids name vectors", MaxIDs)
	case f == nil:
		for _, id := range which.IDs {
			if !text(id) {
				return nil, invalid("The id of a vector must have between 1 and %d bytes of text", MaxID)
			}
		}
	}
	return f, nil
}

// CheckReplace reads what a Replace deletes.
func CheckReplace(namespace string, where mastra.JSON, vectors []mastra.Vector) (*filter.Expr, error) {
	f, err := CheckSelection(mastra.VectorSelection{Namespace: namespace, Filter: where})
	if err != nil {
		return nil, err
	}
	if err := CheckBatch(vectors); err != nil {
		return nil, err
	}
	for _, v := range vectors {
		if v.Namespace != namespace {
			return nil, invalid("The vector %q is in another namespace than what it replaces", v.ID)
		}
	}
	return f, nil
}

// CheckUpdate refuses an update that changes nothing, or what it changes to. norm is that of its values.
func CheckUpdate(index string, dim int, to *mastra.VectorUpdate) (norm float64, err error) {
	if to.Values == nil && to.Metadata == nil {
		return 0, invalid("An update needs a vector or metadata")
	}
	if to.Metadata, err = CheckMetadata("update", to.Metadata); err != nil || to.Values == nil {
		return 0, err
	}
	return CheckValues(index, dim, to.Values)
}

// CheckValues returns the length of values that fit an index of dim dimensions.
func CheckValues(index string, dim int, values []float32) (float64, error) {
	if len(values) != dim {
		return 0, invalid("Vector dimension mismatch: Index %q expects %d dimensions but got %d dimensions. Either use a matching embedding model or delete and recreate the index with the new dimension.", index, dim, len(values))
	}
	var sum float64
	for _, x := range values {
		sum += float64(x) * float64(x)
	}
	norm := math.Sqrt(sum)
	if !(norm <= maxLength) {
		return 0, invalid("A vector must consist of finite numbers, and not be longer than %g", maxLength)
	}
	return norm, nil
}

// CheckMetadata returns compact metadata that every store can keep: an object without NUL, its numbers in the range of a
// float64.
func CheckMetadata(id string, data mastra.JSON) (mastra.JSON, error) {
	if data == nil {
		return nil, nil
	}
	meta := slices.Clone(data)
	if meta.Kind() != '{' || !meta.IsValid() || meta.Compact() != nil {
		return nil, invalid("The metadata of vector %q is no object", id)
	}
	if !plain(meta) {
		if err := checkTokens(id, meta); err != nil {
			return nil, err
		}
	}
	return meta, nil
}

// plain says that nothing in the text needs a closer look: no escape, no exponent, no number of 300 digits.
func plain(meta []byte) bool {
	digits := 0
	for i, c := range meta {
		switch {
		case c == '\\', (c == 'e' || c == 'E') && i > 0 && (meta[i-1] >= '0' && meta[i-1] <= '9'):
			return false
		case c >= '0' && c <= '9' || c == '.':
			if digits++; digits > 300 {
				return false
			}
		default:
			digits = 0
		}
	}
	return true
}

func checkTokens(id string, meta []byte) error {
	d := jsontext.NewDecoder(bytes.NewReader(meta))
	for {
		token, err := d.ReadToken()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch token.Kind() {
		case '"':
			if strings.IndexByte(token.String(), 0) >= 0 {
				return invalid("The metadata of vector %q has a text with a NUL character", id)
			}
		case '0':
			text := token.String()
			if f, err := strconv.ParseFloat(text, 64); err != nil || f == 0 && strings.ContainsAny(strings.SplitN(strings.ToLower(text), "e", 2)[0], "123456789") {
				return invalid("The metadata of vector %q has a number out of range: %.40s", id, text)
			}
		}
	}
}

// Source is where a named store is, as the environment says it.
type Source struct{ Name, URL string }

// Sources reads a list of stores, separated by blanks: each a URL, or name=URL. The first one is the default; without a name
// it has the one given here.
func Sources(list, name string) ([]Source, error) {
	var all []Source
	for _, text := range strings.Fields(list) {
		s := Source{Name: name, URL: text}
		if before, after, ok := strings.Cut(text, "="); ok && sourceName.MatchString(before) {
			s = Source{before, after}
		}
		if slices.ContainsFunc(all, func(o Source) bool { return o.Name == s.Name }) {
			return nil, fmt.Errorf("two vector stores are named %q: name them as name=URL", s.Name)
		}
		all = append(all, s)
	}
	return all, nil
}

var sourceName = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
