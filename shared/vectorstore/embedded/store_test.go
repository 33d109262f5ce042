package embedded_test

import (
	"testing"

	"mastralambda/shared/mastra"
	"mastralambda/shared/vectorstore/embedded"
	"mastralambda/shared/vectorstore/vectortest"
)

func open(t testing.TB, dir string) *embedded.Store {
	t.Helper()
	s, err := embedded.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestStore(t *testing.T) {
	vectortest.Run(t, func(t *testing.T) mastra.VectorStore { return open(t, t.TempDir()) })
}
