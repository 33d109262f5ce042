package schema

import (
	"net/url"
	"strconv"
	"strings"
)

// index finds what references may name, in node and the schemas below it.
func (c *compiler) index(node any, base *url.URL) {
	m, ok := node.(map[string]any)
	if !ok {
		return
	}
	_, referred := m["$ref"].(string)
	key := "$id"
	if c.draft == 4 {
		key = "id"
	}
	if id, ok := m[key].(string); ok && (c.draft >= 2019 || !referred) {
		if u, err := base.Parse(id); err != nil {
			c.fail(key, "%v", err)
		} else if c.draft < 2019 && strings.HasPrefix(id, "#") {
			c.anchors[u.String()] = m
		} else {
			u.Fragment = ""
			base, c.resources[u.String()] = u, m
		}
	}
	c.bases[identity(m)] = base
	for _, key := range []string{"$anchor", "$dynamicAnchor"} {
		if name, ok := m[key].(string); ok {
			if key == "$dynamicAnchor" && c.dynamic[name] {
				c.fail(key, "%q is there twice", name)
			}
			c.dynamic[name] = c.dynamic[name] || key == "$dynamicAnchor"
			c.anchors[base.String()+"#"+name] = m
		}
	}
	for key, value := range m {
		switch key {
		case "items", "additionalItems", "contains", "additionalProperties", "propertyNames", "not", "if", "then", "else", "unevaluatedItems", "unevaluatedProperties", "contentSchema",
			"allOf", "anyOf", "oneOf", "prefixItems":
			if list, ok := value.([]any); ok {
				for _, sub := range list {
					c.index(sub, base)
				}
			}
			c.index(value, base)
		case "properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies":
			named, _ := value.(map[string]any)
			for _, sub := range named {
				c.index(sub, base)
			}
		}
	}
}

// refer is the rule that a reference of the schema m names.
func (c *compiler) refer(keyword string, m map[string]any, value any) []*rule {
	text, ok := value.(string)
	base := c.bases[identity(m)]
	u, err := base.Parse(text)
	if !ok || err != nil {
		c.fail(keyword, "not a reference")
		return nil
	}
	fragment := u.Fragment
	u.Fragment, u.RawFragment = "", ""
	node, found := c.resources[u.String()]
	switch {
	case !found || fragment == "":
	case strings.HasPrefix(fragment, "/"):
		node, found = pointed(node, fragment)
	default:
		node, found = c.anchors[u.String()+"#"+fragment]
	}
	if !found {
		c.fail(keyword, "%s is not part of the document", text)
		return nil
	}
	if m, ok := node.(map[string]any); ok && c.bases[identity(m)] == nil { // below no keyword that is known
		c.index(node, u)
	}
	return []*rule{c.rule(node)}
}

// pointed is what a JSON pointer leads to.
func pointed(node any, pointer string) (any, bool) {
	for token := range strings.SplitSeq(pointer[1:], "/") {
		token = strings.NewReplacer("~1", "/", "~0", "~").Replace(token)
		switch v := node.(type) {
		case map[string]any:
			var ok bool
			if node, ok = v[token]; !ok {
				return nil, false
			}
		case []any:
			i, err := strconv.Atoi(token)
			if err != nil || i < 0 || i >= len(v) {
				return nil, false
			}
			node = v[i]
		default:
			return nil, false
		}
	}
	return node, true
}
