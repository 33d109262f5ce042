package offline

import (
	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

type shape struct {
	Type       mastra.JSON                `json:"type"` // a name or a list of names
	Enum       []mastra.JSON              `json:"enum"`
	Const      mastra.JSON                `json:"const"`
	AnyOf      []mastra.JSON              `json:"anyOf"`
	Properties mastra.Object[mastra.JSON] `json:"properties"`
}

// smallest is a small value of a JSON Schema: every property filled, lists empty.
func smallest(doc mastra.JSON) mastra.JSON { return smallestAt(doc, 0) }

func smallestAt(doc mastra.JSON, depth int) mastra.JSON {
	var s shape
	if depth > 50 || schema.Unmarshal(doc, &s) != nil {
		return mastra.JSON("null")
	}
	switch {
	case len(s.Enum) > 0:
		return s.Enum[0]
	case s.Const != nil:
		return s.Const
	case len(s.AnyOf) > 0:
		return smallestAt(s.AnyOf[0], depth+1)
	}
	var name string
	if schema.Unmarshal(s.Type, &name) != nil {
		var names []string
		if schema.Unmarshal(s.Type, &names) == nil {
			for _, n := range names {
				if n != "null" {
					name = n
					break
				}
			}
		}
	}
	switch name {
	case "object":
		out := mastra.Object[mastra.JSON]{}
		for _, p := range s.Properties {
			out = append(out, mastra.Member[mastra.JSON]{Key: p.Key, Value: smallestAt(p.Value, depth+1)})
		}
		if data, err := schema.Marshal(out); err == nil {
			return data
		}
	case "array":
		return mastra.JSON("[]")
	case "number", "integer":
		return mastra.JSON("0")
	case "boolean":
		return mastra.JSON("true")
	case "string":
		return mastra.JSON(`"demo"`)
	}
	return mastra.JSON("null")
}
