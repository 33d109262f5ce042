package local_test

import (
	"testing"

	"mastralambda/infra/local"
	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
	"mastralambda/shared/server"
)

// Schemas are compiled at first use: here all of them are.
func TestEveryRouteCompiles(t *testing.T) {
	for _, table := range local.Tables() {
		for _, r := range table {
			if err := r.Check(); err != nil {
				t.Error(err)
			}
			if r.Out != nil {
				if err := schema.Of(r.Out).Check(); err != nil {
					t.Errorf("the answer of %s %s: %v", r.Method, r.Path, err)
				}
			}
			if r.Permission == "" && !r.Public {
				t.Errorf("%s %s needs no permission", r.Method, r.Path)
			}
		}
	}
	if _, err := server.New(server.Server{Mastra: &mastra.Mastra{}}, local.Tables()...); err != nil {
		t.Error(err)
	}
}
