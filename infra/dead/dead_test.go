package dead_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mastralambda/infra/dead"
	"mastralambda/shared/mastra"
	"mastralambda/shared/queue/local"
	"mastralambda/shared/storage/sqlite"
)

// Work that failed too often is listed with its reason, and sent again.
func TestDeadWork(t *testing.T) {
	store, err := sqlite.Open(filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	ctx, q := t.Context(), local.Open(store)
	run := func(args ...string) (string, error) {
		var out strings.Builder
		err := dead.Run(ctx, q, &out, args)
		return out.String(), err
	}
	if out, err := run("list"); err != nil || out != "There is none.\n" {
		t.Errorf("%q %v", out, err)
	}
	if err := q.Send(ctx, mastra.Work{Kind: "webhook", Tenant: "ann", ID: "run-1"}); err != nil {
		t.Fatal(err)
	}
	for range local.Attempts {
		d, err := q.Receive(ctx, time.Second, time.Minute)
		if err != nil || d == nil || d.Handle.Fail(ctx, 0, errors.New("it answers 503")) != nil {
			t.Fatal(d, err)
		}
	}
	out, err := run("list")
	if err != nil || !strings.Contains(out, `webhook "run-1"  tenant ann`) || !strings.Contains(out, "8 attempts: it answers 503") {
		t.Fatalf("%q %v", out, err)
	}
	id, _, _ := strings.Cut(out, " ")
	if out, err := run("resend", id); err != nil || out != "Sent again.\n" {
		t.Errorf("%q %v", out, err)
	}
	if d, err := q.Receive(ctx, time.Second, time.Minute); err != nil || d == nil || d.ID != "run-1" || d.Attempt != 1 {
		t.Errorf("%+v %v", d, err)
	}
	if _, err := run("resend", "none"); mastra.CodeOf(err) != mastra.CodeNotFound {
		t.Error(err)
	}
	for _, args := range [][]string{nil, {"resend"}, {"delete", "x"}} {
		if _, err := run(args...); err == nil || !strings.Contains(err.Error(), "usage") {
			t.Errorf("%v: %v", args, err)
		}
	}
}
