package schema

import "strings"

// The drafts that the reference server names: it publishes tools in one and workflows in the other.
const (
	Draft202012 = "https://json-schema.org/draft/2020-12/schema"
	Draft07     = "http://json-schema.org/draft-07/schema#"
)

// SuperJSON is the schema as the reference server puts it into lists: a string that holds {"json": {"$schema": …}}.
// It is "" for a nil schema.
func (s *Schema) SuperJSON(draft string) string {
	if s == nil {
		return ""
	}
	if text, ok := s.super.Load(draft); ok {
		return text.(string)
	}
	text := s.superJSON(draft)
	s.super.Store(draft, text)
	return text
}

func (s *Schema) superJSON(draft string) string {
	doc := string(s.JSON())
	var b strings.Builder
	b.WriteString(`{"json":{"$schema":"` + draft + `"`)
	if strings.HasPrefix(doc, "{") && len(doc) > 2 {
		b.WriteString("," + doc[1:])
	} else {
		b.WriteString("}") // true, or an empty schema: anything goes
	}
	b.WriteString("}")
	return b.String()
}
