package filter

import (
	"fmt"
	"strings"
	"testing"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

const doc = `{"t":"a","n":3,"ok":true,"none":null,"s":"Grüße aus \"Köln\"","num":"10","tags":["x","y",7],
	"nested":{"deep":{"v":1.5}},"lines":[{"sku":"p","qty":2},{"sku":"q","qty":9}],"day":"2026-03-01","empty":[]}`

func TestMatch(t *testing.T) {
	for filter, want := range map[string]bool{
		``: true, `null`: true, `{}`: true,
		`{"t":"a"}`: true, `{"t":"b"}`: false, `{"t":"a","n":3}`: true, `{"t":"a","n":4}`: false,
		`{"n":"3"}`: false, `{"ok":true}`: true, `{"ok":false}`: false, `{"ok":1}`: false,
		`{"s":"Grüße aus \"Köln\""}`: true,
		`{"t":["b","a"]}`:            true, `{"t":[]}`: false, `{"tags":["q","x"]}`: true,
		`{"nested":{"deep":{"v":1.5}}}`: true, `{"nested.deep.v":{"$gte":1.5}}`: true, `{"nested":{"deep.v":2}}`: false,
		`{"nested.deep":{"$eq":{"v":1.5}}}`: true, `{"tags":{"$eq":["x","y",7]}}`: true, `{"tags":{"$eq":["x"]}}`: false,
		`{"n":{"$gt":2,"$lt":4}}`: true, `{"n":{"$gt":3}}`: false, `{"n":{"$gte":3}}`: true, `{"n":{"$lte":2.9}}`: false, `{"n":{"$gt":"2"}}`: true,
		`{"num":{"$gt":9}}`: true, `{"num":{"$gt":"9"}}`: true, `{"t":{"$gt":9}}`: false, `{"ok":{"$gt":0}}`: false,
		`{"day":{"$gt":"2026-02-28","$lt":"2026-03-02"}}`: true,
		`{"t":{"$ne":"b"}}`: true, `{"t":{"$ne":"a"}}`: false,
		`{"n":{"$in":[1,3]}}`: true, `{"n":{"$in":3}}`: true, `{"n":{"$nin":[1,3]}}`: false, `{"n":{"$nin":[]}}`: true, `{"tags":{"$nin":["z"]}}`: true, `{"tags":{"$nin":["z",7]}}`: false,
		`{"ok":{"$in":[true]}}`: true, `{"nested.deep":{"$in":[{"v":1.5}]}}`: true,
		`{"tags":{"$all":["y","x"]}}`: true, `{"tags":{"$all":["y","z"]}}`: false, `{"tags":{"$all":[]}}`: false, `{"tags":{"$all":"y"}}`: true, `{"t":{"$all":["a"]}}`: false,
		`{"tags":{"$size":3}}`: true, `{"empty":{"$size":0}}`: true, `{"t":{"$size":0}}`: false, `{"gone":{"$size":0}}`: false,
		`{"lines":{"$elemMatch":{"sku":"q","qty":{"$gt":5}}}}`: true, `{"lines":{"$elemMatch":{"sku":"p","qty":{"$gt":5}}}}`: false, `{"tags":{"$elemMatch":{"$gt":5,"$lt":8}}}`: true,
		`{"lines":{"$elemMatch":{"$or":[{"sku":"z"},{"qty":9}]}}}`: true,
		`{"s":{"$contains":"KöLN"}}`:                               true, `{"s":{"$contains":"bonn"}}`: false, `{"tags":{"$contains":["q",7]}}`: true, `{"tags":{"$contains":"X"}}`: true, `{"tags":{"$contains":7}}`: true, `{"n":{"$contains":3}}`: true,
		`{"s":{"$regex":"^gr.*n\"$","$options":"i"}}`: true, `{"s":{"$regex":"^gr"}}`: false, `{"n":{"$regex":"3"}}`: false,
		`{"$or":[{"t":"b"},{"n":3}]}`: true, `{"$or":[{"t":"a","n":9},{"n":8}]}`: false, `{"$or":[]}`: false, `{"$and":[]}`: true, `{"$nor":[]}`: true,
		`{"$nor":[{"t":"b"},{"n":4}]}`: true, `{"$nor":[{"t":"a"}]}`: false, `{"$and":[{"t":"a"},{"$not":{"n":4}}]}`: true, `{"$and":{"t":"a"}}`: true,
		`{"$not":{"t":"a"}}`: false, `{"n":{"$not":{"$gt":5}}}`: true, `{"n":{"$not":{"$gt":1,"$lt":5}}}`: false,
		`{"none":null}`: true, `{"gone":null}`: true, `{"t":null}`: false, `{"t":{"$ne":null}}`: true, `{"gone":{"$ne":null}}`: false,
		`{"t":{"$exists":true}}`: true, `{"gone":{"$exists":false}}`: true, `{"none":{"$exists":true}}`: false, `{"nested.deep.w":{"$exists":true}}`: false,
		// A missing field is unknown, as in SQL: neither a condition nor its negation holds.
		`{"gone":{"$ne":1}}`: false, `{"$not":{"gone":1}}`: false, `{"gone":{"$nin":[1]}}`: false, `{"$or":[{"gone":1},{"t":"a"}]}`: true, `{"$nor":[{"gone":1}]}`: false,
	} {
		e, err := Parse(mastra.JSON(filter))
		if err != nil {
			t.Errorf("%s: %v", filter, err)
		} else if got := e.Match(mastra.JSON(doc)); got != want {
			t.Errorf("%s is %t, want %t", filter, got, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for filter, want := range map[string]string{
		`{"t":{"$bogus":1}}`:                   "Unsupported operator: $bogus",
		`{"$bogus":1}`:                         "Unsupported operator: $bogus",
		`{"$not":{"a":{"$where":"1"}}}`:        "Unsupported operator: $where",
		`{"$eq":1}`:                            "Invalid top-level operator: $eq",
		`{"$and":[{"$eq":1}]}`:                 "Invalid top-level operator: $eq",
		`{"a":{"$or":[{"b":1}]}}`:              "Logical operator $or cannot be used at field level: a.$or",
		`{"a":{"$gt":1,"b":2}}`:                "Invalid operator: b",
		`{"$not":{}}`:                          "$not operator cannot be empty",
		`{"a":{"$not":1}}`:                     "$not operator requires an object",
		`{"a":{"$elemMatch":[1]}}`:             "$elemMatch requires an object with conditions",
		`{"a":{}}`:                             "No condition on the field a",
		`{"a..b":1}`:                           "Invalid field key: a..b",
		`{"a":{"$exists":"yes"}}`:              "$exists needs true or false",
		`{"a":{"$size":-1}}`:                   "$size needs a count",
		`{"a":{"$gt":null}}`:                   "$gt needs a number or a text",
		`{"a":{"$regex":"("}}`:                 "Invalid $regex: error parsing regexp: missing closing ): `(`",
		`{"a":{"$regex":"((a{50}){50}){50}"}}`: "Invalid $regex: error parsing regexp: invalid repeat count: `{50}`",
		`{"a":{"$regex":"` + "[a-z]{900}[a-z]{900}[a-z]{900}" + `"}}`: "The $regex is too large",
		`{"a":{"$regex":"a","$options":"x"}}`:                         "$options may be of i, m and s",
		`{"a":{"$options":"i"}}`:                                      "$options needs a $regex beside it",
		`{"$or":[1]}`:                                                 "$or needs a list of conditions",
		`[]`:                                                          "The filter must be an object",
		`{"a":`:                                                       "The filter is not valid JSON",
		`{"a":"` + strings.Repeat("x", MaxBytes) + `"}`:                              "The filter is larger than 65536 bytes",
		strings.Repeat(`{"$not":`, 40) + `{"a":1}` + strings.Repeat("}", 40):         "The filter is nested deeper than 32",
		`{"$or":[` + strings.TrimSuffix(strings.Repeat(`{"a":1},`, 600), ",") + `]}`: "The filter has more than 512 conditions",
		`{"a":[` + strings.TrimSuffix(strings.Repeat(`1,`, 1001), ",") + `]}`:        "$in takes at most 1000 items",
	} {
		_, err := Parse(mastra.JSON(filter))
		if e, ok := err.(*mastra.Error); !ok || e.Code != mastra.CodeInvalid || e.Message != want {
			t.Errorf("%.60s: %v, want %s", filter, err, want)
		}
	}
}

// FuzzFilter: nothing panics, and what was parsed is stable.
func FuzzFilter(f *testing.F) {
	f.Add(`{"t":"a","n":{"$gt":1}}`, doc)
	f.Add(`{"$or":[{"a.b":{"$in":["x",1,null,true]}},{"c":{"$elemMatch":{"$regex":"^a","$options":"i"}}}]}`, `{"a":{"b":["x"]},"c":["abc"]}`)
	f.Add(`{"$nor":[{"a":{"$not":{"$size":2}}}]}`, `{"a":[1,[2,{"b":"\u00e9\\"}]]`)
	f.Add(`{"a":{"$all":[[1],{"b":2}],"$exists":true}}`, `{"a":[[1],{"b":2}],"b":"unclosed`)
	f.Fuzz(func(t *testing.T, filter, doc string) {
		e, err := Parse(mastra.JSON(filter))
		if err != nil {
			if mastra.CodeOf(err) != mastra.CodeInvalid {
				t.Fatalf("%v", err)
			}
			return
		}
		first := e.Match(mastra.JSON(doc))
		var v any
		if e == nil || schema.Unmarshal([]byte(doc), &v) != nil {
			return
		}
		compact, err := schema.Marshal(v)
		if err != nil {
			return
		}
		if second := e.Match(compact); first != second && !strings.Contains(doc, `\u`) {
			t.Fatalf("%s: %t of %s, %t of %s", filter, first, doc, second, compact)
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	e, err := Parse(mastra.JSON(`{"category":"b","n":{"$gt":1}}`))
	if err != nil {
		b.Fatal(err)
	}
	d := mastra.JSON(fmt.Sprintf(`{"title":%q,"category":"b","n":17,"lang":"en"}`, strings.Repeat("word ", 8)))
	b.ReportAllocs()
	for b.Loop() {
		if !e.Match(d) {
			b.Fatal("no match")
		}
	}
}
