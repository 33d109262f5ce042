package pgvector

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"mastralambda/infra/services"
	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
	"mastralambda/shared/vectorstore/filter"
)

// A filter holds for the same documents in Postgres and in Go: random ones of both, of values that differ by a hair.

var values = []string{`null`, `true`, `false`, `0`, `-0`, `1`, `1.0`, `1e0`, `10`, `-3.5`, `0.1`, `1e-7`, `9007199254740992`, `9007199254740993`, `12345678901234567890`, `1e300`,
	`""`, `"a"`, `"A"`, `"abc"`, `"ABC"`, `"ä"`, `"Ä"`, `"straße"`, `"𝔸x"`, `"a\nb"`, `"a.b"`, `"\\d"`, `"null"`, `"true"`, `"10"`, `"10.0"`, `" 10"`, `"+5"`, `".5"`, `"5."`, `"."`, `"1e5"`,
	`"1e500"`, `"1E+2"`, `"1e+-2"`, `"-"`, `"0x10"`, `"NaN"`, `"Infinity"`, `"2026-01-02"`, `"2026-01-10"`, `"x'; DROP TABLE t; --"`, `"$1"`, `"\u007f"`,
	`[]`, `["a"]`, `["a","b"]`, `["b","a"]`, `[1,2,3]`, `[1.0]`, `[null]`, `[[1],"a"]`, `[{"k":1},{"k":2,"l":"a"}]`, `[9007199254740993]`, `{}`, `{"k":1}`, `{"k":{"l":[1,2]}}`, `{"l":"a","k":1}`}

var patterns = []string{`a`, `^a`, `b$`, `^$`, `(?i)abc`, `(?i)Ä`, `(?i)STRASSE|straße`, `[a-c]+`, `[^a]`, `a.b`, `(?s)a.b`, `(?m)^b$`, `^a$`, `\d+`, `\w`, `\W`, `\s`, `\bb`, `\Bb`, `a{1,3}`, `(a|b)*c`, `a|`, `()`, `(?:)`,
	`\.`, `\\d`, `[.\]\\^-]`, `\p{Lu}`, `[[:alpha:]]`, `𝔸`, `[𝔸-𝔹]`, `x{0}`, `a*?`, `(?U)a+`, `\x{e4}`, `\Aa\z`, `'`, `\$1`, `(^a|b$)+`, `(a*)*`, `\x7f`, `(?i)k`, `(?i)ſ`}

var keys = []string{"a", "b", "c", "k", "l", "0", "a b", `q"`, "ä", "x'y"}

type random struct{ *rand.Rand }

func (r random) pick(from []string) string { return from[r.IntN(len(from))] }

func quoted(s string) string {
	b, _ := schema.Marshal(s)
	return string(b)
}

func (r random) document() string {
	var members []string
	for _, i := range r.Perm(len(keys))[:r.IntN(5)] {
		v := r.pick(values)
		if r.IntN(8) == 0 {
			v = r.document()
		}
		if r.IntN(8) == 0 {
			v = "[" + v + "," + r.document() + "]"
		}
		members = append(members, quoted(keys[i])+":"+v)
	}
	return "{" + strings.Join(members, ",") + "}"
}

func (r random) list() string {
	n := r.IntN(4)
	items := make([]string, n)
	for i := range items {
		items[i] = r.pick(values)
	}
	return "[" + strings.Join(items, ",") + "]"
}

func (r random) operators(depth int) string {
	var ops []string
	for range 1 + r.IntN(2) {
		op := r.pick([]string{"$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$all", "$exists", "$elemMatch", "$size", "$contains", "$regex", "$not"})
		if strings.Contains(strings.Join(ops, ","), `"`+op+`"`) {
			continue
		}
		v := r.pick(values)
		switch op {
		case "$in", "$nin", "$all":
			v = r.list()
		case "$contains":
			if r.IntN(3) == 0 {
				v = r.list()
			}
		case "$exists":
			v = r.pick([]string{"true", "false"})
		case "$size":
			v = r.pick([]string{"0", "1", "2", "3"})
		case "$regex":
			v = quoted(r.pick(patterns))
		case "$not":
			v = r.operators(depth + 1)
		case "$elemMatch":
			if v = r.operators(depth + 1); r.IntN(2) == 0 {
				v = r.filter(depth + 1)
			}
		}
		ops = append(ops, quoted(op)+":"+v)
	}
	return "{" + strings.Join(ops, ",") + "}"
}

func (r random) filter(depth int) string {
	if depth < 3 && r.IntN(3) == 0 {
		list := make([]string, r.IntN(4))
		for i := range list {
			list[i] = r.filter(depth + 1)
		}
		return fmt.Sprintf(`{%q:[%s]}`, r.pick([]string{"$and", "$or", "$nor"}), strings.Join(list, ","))
	}
	path := r.pick(keys)
	for r.IntN(3) == 0 {
		path += "." + r.pick(keys)
	}
	v := r.operators(depth)
	if r.IntN(4) == 0 {
		v = r.pick(values)
	}
	return "{" + quoted(path) + ":" + v + "}"
}

func TestFiltersHoldForTheSame(t *testing.T) {
	filters := 4000
	if testing.Short() {
		filters = 400
	}
	r := random{rand.New(rand.NewPCG(1, 2))}
	conn, err := pgx.Connect(t.Context(), services.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var documents []string
	for _, v := range values {
		documents = append(documents, `{"a":`+v+`}`)
	}
	for range 300 {
		documents = append(documents, r.document())
	}
	if _, err := conn.Exec(t.Context(), `CREATE TEMP TABLE documents AS SELECT n, d AS metadata FROM unnest($1::text[]::jsonb[]) WITH ORDINALITY AS x (d, n)`, documents); err != nil {
		t.Fatal(err)
	}
	parsed, both := 0, 0
	for range filters {
		text := r.filter(0)
		e, err := filter.Parse(mastra.JSON(text))
		if err != nil {
			if mastra.CodeOf(err) != mastra.CodeInvalid {
				t.Fatalf("%s: %v", text, err)
			}
			continue
		}
		parsed++
		if e == nil {
			continue
		}
		var w where
		condition := w.condition(e, "metadata", r.IntN(4) == 0)
		rows, err := conn.Query(t.Context(), `SELECT n FROM documents WHERE `+condition+` ORDER BY n`, append([]any{pgx.QueryExecModeExec}, w.args...)...)
		if err != nil {
			t.Fatal(err)
		}
		got, err := pgx.CollectRows(rows, pgx.RowTo[int])
		if err != nil {
			t.Errorf("%s: %v\n%s %q", text, err, condition, w.args)
			continue
		}
		if len(got) > 0 && len(got) < len(documents) {
			both++
		}
		for n, d := range documents {
			if goes, sql := e.Match(mastra.JSON(d)), slices.Contains(got, n+1); goes != sql {
				t.Errorf("%s of %s: %t in Go, %t in Postgres\n%s %q", text, d, goes, sql, condition, w.args)
				break
			}
		}
		if t.Failed() && both > 200 {
			break
		}
	}
	if parsed < filters/2 || both < filters/5 {
		t.Errorf("of %d filters %d were parsed and %d matched some documents: that says little", filters, parsed, both)
	}
}
