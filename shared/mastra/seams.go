package mastra

import (
	"fmt"
	"reflect"
	"strings"

	"mastralambda/shared/schema"
)

// check names the steps that have no name, and verifies that ids are unique, that schemas compile and that the output
// of each node is what the next one takes.
func (g *Graph) check() error {
	prev, from, maps := g.In.Type(), "the input", 0
	seen := map[string]bool{}
	if len(g.Nodes) == 0 {
		return fmt.Errorf("workflow %s has no steps", g.ID)
	}
	if g.State != nil {
		if err := g.State.Check(); err != nil {
			return fmt.Errorf("workflow %s, its state: %w", g.ID, err)
		}
	}
	for i := range g.Nodes {
		n := &g.Nodes[i]
		if n.Kind == KindForEach {
			if prev.Kind() != reflect.Slice {
				return fmt.Errorf("workflow %s: the output of %s is no list, which the foreach over %s needs", g.ID, from, n.Steps[0].ID)
			}
			prev = prev.Elem()
		}
		for _, s := range n.Steps {
			if s.ID == "" {
				s.ID = fmt.Sprintf("mapping_%s_%d", g.ID, maps)
				maps++
			}
			if seen[s.ID] || s.ID == "input" {
				return fmt.Errorf("workflow %s: two steps are named %q (\"input\" is taken)", g.ID, s.ID)
			}
			seen[s.ID] = true
			for _, sch := range []*schema.Schema{s.In, s.Out, s.Resume, s.Suspend} {
				if sch == nil {
					continue
				}
				if err := sch.Check(); err != nil {
					return fmt.Errorf("workflow %s, step %s: %w", g.ID, s.ID, err)
				}
			}
			if s.Workflow != nil {
				if err := s.Workflow.check(); err != nil {
					return fmt.Errorf("workflow %s: %w", g.ID, err)
				}
			}
			if err := fits(prev, s.In.Type(), ""); err != nil {
				return fmt.Errorf("workflow %s: the output of %s does not fit step %s: %w", g.ID, from, s.ID, err)
			}
		}
		switch n.Kind {
		case KindStep, KindLoop:
			prev = n.Steps[0].Out.Type()
			if n.Kind == KindLoop {
				if err := fits(prev, n.Steps[0].In.Type(), ""); err != nil {
					return fmt.Errorf("workflow %s: the output of %s does not fit its own input: %w", g.ID, n.Steps[0].ID, err)
				}
			}
		case KindForEach:
			prev = reflect.SliceOf(n.Steps[0].Out.Type())
		case KindParallel, KindBranch:
			prev = keyed(n.Steps, n.Kind == KindBranch)
		}
		if len(n.Steps) > 0 {
			from = "step " + n.Steps[0].ID
		}
	}
	if err := fits(prev, g.Out.Type(), ""); err != nil {
		return fmt.Errorf("workflow %s: the output of %s is not the workflow's: %w", g.ID, from, err)
	}
	return nil
}

// keyed is the struct {step id: output}; of a branch each may be absent.
func keyed(steps []*Step, optional bool) reflect.Type {
	fields := make([]reflect.StructField, len(steps))
	for i, s := range steps {
		t, tag := s.Out.Type(), s.ID
		if optional {
			t, tag = reflect.PointerTo(t), tag+",omitempty"
		}
		fields[i] = reflect.StructField{Name: fmt.Sprintf("F%d", i), Type: t, Tag: reflect.StructTag(fmt.Sprintf(`json:%q`, tag))}
	}
	return reflect.StructOf(fields)
}

type jsonField struct {
	reflect.Type
	optional bool
}

func jsonFields(t reflect.Type) map[string]jsonField {
	m := map[string]jsonField{}
	for _, f := range reflect.VisibleFields(t) {
		tag := f.Tag.Get("json")
		if f.Anonymous || !f.IsExported() || tag == "-" {
			continue
		}
		name, opts, _ := strings.Cut(tag, ",")
		if name == "" {
			name = f.Name
		}
		m[name] = jsonField{f.Type, strings.Contains(opts, "omit")}
	}
	return m
}

// fits says why JSON of a does not decode into b with all that b requires.
func fits(a, b reflect.Type, at string) error {
	for a.Kind() == reflect.Pointer {
		a = a.Elem()
	}
	for b.Kind() == reflect.Pointer {
		b = b.Elem()
	}
	if a == b || a.Kind() == reflect.Interface || b.Kind() == reflect.Interface || a == reflect.TypeFor[JSON]() || b == reflect.TypeFor[JSON]() {
		return nil
	}
	if a.Kind() == reflect.Struct && b.Kind() == reflect.Struct {
		have := jsonFields(a)
		for name, want := range jsonFields(b) {
			h, ok := have[name]
			switch {
			case !ok && !want.optional:
				return fmt.Errorf("%s%s is missing", at, name)
			case !ok:
				continue
			case h.optional && !want.optional:
				return fmt.Errorf("%s%s may be absent", at, name)
			}
			if err := fits(h.Type, want.Type, at+name+"."); err != nil {
				return err
			}
		}
		return nil
	}
	if a.Kind() == b.Kind() && (a.Kind() == reflect.Slice || a.Kind() == reflect.Map) {
		return fits(a.Elem(), b.Elem(), at+"[].")
	}
	number := func(k reflect.Kind) bool { return k >= reflect.Int && k <= reflect.Float64 }
	if a.Kind() == b.Kind() || number(a.Kind()) && number(b.Kind()) || b.Kind() == reflect.Map && a.Kind() == reflect.Struct {
		return nil
	}
	return fmt.Errorf("%s is %s, not %s", strings.TrimSuffix(at, "."), a, b)
}
