package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"mastralambda/shared/schema"
)

// A server that answers every query with the first ten ids has the recall of just those.
func TestVectorsAreStoredAndRecallIsMeasured(t *testing.T) {
	set := newVectorSet(120)
	var stored int
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			Vectors [][]float32 `json:"vectors"`
			IDs     []string    `json:"ids"`
			Query   []float32   `json:"queryVector"`
		}
		body, _ := io.ReadAll(r.Body)
		if len(body) > 0 && schema.Unmarshal(body, &in) != nil {
			w.WriteHeader(http.StatusBadRequest)
		}
		switch {
		case strings.HasSuffix(r.URL.Path, "/upsert"):
			for i, v := range in.Vectors {
				if in.IDs[i] != fmt.Sprintf("v%d", stored) || len(v) != dimensions || v[7] != set.stored[stored][7] {
					t.Errorf("vector %d is %s", stored, in.IDs[i])
				}
				stored++
			}
			fmt.Fprintf(w, `{"ids":[%q]}`, in.IDs[0])
		case strings.HasSuffix(r.URL.Path, "/query"):
			if len(in.Query) != dimensions {
				t.Errorf("a query of %d", len(in.Query))
			}
			io.WriteString(w, `[{"id":"v0"},{"id":"v1"},{"id":"v2"},{"id":"v3"},{"id":"v4"},{"id":"v5"},{"id":"v6"},{"id":"v7"},{"id":"v8"},{"id":"v9"},{"id":"v10"}]`)
		default:
			io.WriteString(w, `{"success":true}`)
		}
	}))
	defer server.Close()
	address := server.Listener.Addr().String()
	if n, err := set.upsert(t.Context(), address, time.Minute); err != nil || n != 120 || stored != 120 {
		t.Fatalf("%d of 120 stored: %v", n, err)
	}
	if recall, err := set.recall(t.Context(), address, neighbours); err != nil || recall != 1 {
		t.Errorf("of ten vectors: %v %v", recall, err)
	}
	if recall, err := set.recall(t.Context(), address, 120); err != nil || recall > 0.5 {
		t.Errorf("of all: %v %v", recall, err)
	}
}

func TestTheNearestIsItself(t *testing.T) {
	set := newVectorSet(50)
	for i, v := range set.stored {
		if got := set.nearest(v, 50); got[0] != i || len(got) != neighbours {
			t.Errorf("%d: %v", i, got)
		}
	}
}
