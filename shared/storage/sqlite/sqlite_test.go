package sqlite

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"mastralambda/shared/mastra"
	"mastralambda/shared/storage/storagetest"
)

func TestSuite(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) mastra.Storage { return openNew(t) })
	storagetest.RunKeys(t, func(t *testing.T) mastra.KeyStore { return openNew(t) })
}

func oneThread(id string) *mastra.Batch {
	return &mastra.Batch{Threads: []mastra.Thread{{ID: id, CreatedAt: 1, UpdatedAt: 1}}}
}

func TestGroupCommit(t *testing.T) {
	s := openNew(t)
	// The writer is held up until all wait.
	release := make(chan struct{})
	var wg sync.WaitGroup
	hold := make(chan struct{})
	wg.Go(func() {
		s.submit(bg, func(*tx) error { close(hold); <-release; return nil })
	})
	<-hold
	for i := range 50 {
		wg.Go(func() {
			if err := s.Commit(bg, oneThread(fmt.Sprint(i))); err != nil {
				t.Error(err)
			}
		})
	}
	for len(s.queue) < 50 {
		time.Sleep(time.Millisecond)
	}
	close(release)
	wg.Wait()
	if n := s.transactions.Load(); n != 1 {
		t.Errorf("51 writes took %d transactions, want 1", n)
	}
}

// While the log of one transaction is on its way to the disk the next one takes writes in, and reads see them. Nobody is told of
// a write before it is on the disk, but for whoever did not want to wait for that.
func TestTheDiskIsNotWaitedFor(t *testing.T) {
	s := openNew(t)
	syncs := make(chan chan error)
	s.sync = func(*os.File) error { answer := make(chan error); syncs <- answer; return <-answer }
	commit := func(id string, ahead bool) chan error {
		done := make(chan error, 1)
		b := oneThread(id)
		b.Ahead = ahead
		go func() { done <- s.Commit(bg, b) }()
		return done
	}
	first := commit("first", false)
	disk := <-syncs
	second, third := commit("second", false), commit("third", true)
	for {
		if th, _, err := s.Recall(bg, "third", 1); err != nil {
			t.Fatal(err)
		} else if th != nil {
			break
		}
	}
	select {
	case <-first:
		t.Fatal("the first write was answered before it was on the disk")
	default:
	}
	disk <- nil
	must(t, <-first)
	must(t, <-third)
	disk = <-syncs
	select {
	case <-second:
		t.Fatal("the second write was answered before it was on the disk")
	default:
	}
	disk <- nil
	must(t, <-second)
	must(t, <-commit("fourth", true))
	(<-syncs) <- nil // though nobody waits for it

	// What the system could not write it may have forgotten: nothing is built upon it.
	failed := commit("fifth", false)
	(<-syncs) <- errors.New("I/O error")
	for _, err := range []error{<-failed, <-commit("sixth", false)} {
		if err == nil || !strings.Contains(err.Error(), "I/O error") {
			t.Errorf("error %v, want that of the disk", err)
		}
	}
}

// What is remembered of a thread's end is what is stored, whoever changes it.
func TestRecallRemembers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s, other := openAt(t, path), openAt(t, path)
	n := 0
	message := func(id string, at mastra.Time) mastra.Message {
		n++
		return mastra.Message{ID: id, ThreadID: "t", Role: "user", CreatedAt: at, Content: mastra.JSON(fmt.Sprintf(`{"n":%d}`, n))}
	}
	show := func(last int) string {
		t.Helper()
		th, messages, err := s.Recall(bg, "t", last)
		must(t, err)
		text := "none"
		if th != nil {
			text = fmt.Sprintf("%s %s %d:", th.Title, th.ResourceID, th.UpdatedAt)
		}
		for _, m := range messages {
			text += " " + m.ID + string(m.Content)
		}
		return text
	}
	stored := func(last int) string {
		t.Helper()
		s.tails.of = nil // what the writer has in hand is done: nobody else asks here
		return show(last)
	}
	thread := []mastra.Thread{{ID: "t", ResourceID: "me", Title: "one", CreatedAt: 1, UpdatedAt: 1}}
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"nothing", func() error { return nil }},
		{"a thread", func() error {
			return s.Commit(bg, &mastra.Batch{Threads: thread, Messages: []mastra.Message{message("a", 10)}})
		}},
		{"one more", func() error {
			return s.Commit(bg, &mastra.Batch{Messages: []mastra.Message{message("b", 20), message("c", 20)}})
		}},
		{"an older one", func() error { return s.Commit(bg, &mastra.Batch{Messages: []mastra.Message{message("d", 15)}}) }},
		{"the same again", func() error { return s.Commit(bg, &mastra.Batch{Messages: []mastra.Message{message("b", 20)}}) }},
		{"a refused batch", func() error {
			err := s.Commit(bg, &mastra.Batch{Messages: []mastra.Message{message("e", 30), {ID: "a", ThreadID: "u", Content: mastra.JSON(`{}`)}}})
			if mastra.CodeOf(err) != mastra.CodeConflict {
				return fmt.Errorf("want a conflict, got %w", err)
			}
			return nil
		}},
		{"a title", func() error {
			thread[0].Title = "two"
			return s.Commit(bg, &mastra.Batch{Threads: thread})
		}},
		{"another process", func() error { return other.Commit(bg, &mastra.Batch{Messages: []mastra.Message{message("f", 40)}}) }},
		{"many", func() error {
			for i := range 300 {
				if err := s.Commit(bg, &mastra.Batch{Ahead: true, Messages: []mastra.Message{message(fmt.Sprint("m", i), mastra.Time(50+i))}}); err != nil {
					return err
				}
			}
			return nil
		}},
		{"one that is deleted", func() error { _, err := s.DeleteMessages(bg, []string{"m298"}); return err }},
		{"another owner", func() error { return s.TransferThread(bg, "t", "me", "you") }},
		{"none", func() error { return s.DeleteThread(bg, "t") }},
	} {
		must(t, step.do())
		for _, last := range []int{2, 40, 0} {
			known := show(last)
			if want := stored(last); known != want {
				t.Errorf("%s: recalled %s\nwant     %s", step.name, known, want)
			}
			show(3)
		}
	}
}

func TestContextEndsInTheQueue(t *testing.T) {
	s := openNew(t)
	release, hold := make(chan struct{}), make(chan struct{})
	go s.submit(bg, func(*tx) error { close(hold); <-release; return nil })
	<-hold
	ctx, cancel := context.WithCancel(bg)
	left := make(chan error)
	go func() { left <- s.Commit(ctx, oneThread("left")) }()
	for len(s.queue) == 0 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
	close(release)
	must(t, s.Commit(bg, oneThread("stayed")))
	if _, err := s.Thread(bg, "left"); mastra.CodeOf(err) != mastra.CodeNotFound {
		t.Errorf("the batch of a caller that left was written (%v)", err)
	}

	// Once it is begun, its caller learns what became of it.
	ctx, cancel = context.WithCancel(bg)
	must(t, s.submit(ctx, func(t *tx) error { cancel(); _, err := t.exec("DELETE FROM threads"); return err }))
	if _, err := s.Thread(bg, "stayed"); mastra.CodeOf(err) != mastra.CodeNotFound {
		t.Errorf("reported as done, but not done (%v)", err)
	}
}

// A failure of the whole transaction is reported to all that were in it.
func TestTransactionFails(t *testing.T) {
	s := openNew(t)
	release, hold := make(chan struct{}), make(chan struct{})
	go s.submit(bg, func(*tx) error { close(hold); <-release; return nil })
	<-hold
	results := make(chan error, 2)
	go func() { results <- s.Commit(bg, oneThread("a")) }()
	for len(s.queue) < 1 {
		time.Sleep(time.Millisecond)
	}
	// As a full disk does: SQLite rolls back by itself.
	go func() { results <- s.submit(bg, func(t *tx) error { _, err := t.exec("ROLLBACK"); return err }) }()
	for len(s.queue) < 2 {
		time.Sleep(time.Millisecond)
	}
	close(release)
	for range 2 {
		if err := <-results; err == nil {
			t.Error("acknowledged, but rolled back")
		}
	}
	must(t, s.Commit(bg, oneThread("b")))
	p, err := s.Threads(bg, mastra.ThreadQuery{Paging: mastra.Paging{PerPage: 9}})
	must(t, err)
	if p.Total != 1 || p.Items[0].ID != "b" {
		t.Errorf("threads %+v, want b alone", p.Items)
	}
}

func TestTwoStoresOnOneFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deep", "er", "a b?c#d%41.db")
	stores := make([]*Store, 4)
	var wg sync.WaitGroup
	for i := range stores { // at once, on a file that is not there yet
		wg.Go(func() {
			var err error
			if stores[i], err = Open(path); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	const each = 50
	for i, s := range stores {
		wg.Go(func() {
			for j := range each {
				id := fmt.Sprint(i, "-", j)
				b := oneThread(id)
				b.Spans = []mastra.Span{{TraceID: id, SpanID: "root", RunID: id}}
				if err := s.Commit(bg, b); err != nil {
					t.Error(err)
				}
				next := stores[(i+1)%len(stores)]
				if _, err := next.Thread(bg, id); err != nil {
					t.Errorf("%s is not visible to the next store: %v", id, err)
				}
				if p, err := next.Traces(bg, mastra.TraceQuery{RunID: id, Paging: mastra.Paging{PerPage: 2}}); err != nil || p.Total != 1 {
					t.Errorf("the trace of %s is not visible to the next store: %v, %v", id, p, err)
				}
			}
		})
	}
	wg.Wait()
	p, err := stores[0].Threads(bg, mastra.ThreadQuery{Paging: mastra.Paging{PerPage: 1}})
	must(t, err)
	if want := each * len(stores); p.Total != want {
		t.Errorf("%d threads, want %d", p.Total, want)
	}
	for _, s := range stores {
		must(t, s.Close())
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}

func TestClose(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mastra.db")
	s := openAt(t, path)
	release, hold := make(chan struct{}), make(chan struct{})
	go s.submit(bg, func(*tx) error { close(hold); <-release; return nil })
	<-hold
	results := make(chan error, 20)
	for i := range cap(results) {
		go func() { results <- s.Commit(bg, oneThread(fmt.Sprint(i))) }()
	}
	for len(s.queue) < cap(results) {
		time.Sleep(time.Millisecond)
	}
	closed := make(chan error)
	go func() { closed <- s.Close() }()
	close(release)
	must(t, <-closed)
	for range cap(results) {
		must(t, <-results)
	}
	must(t, s.Close())
	for _, err := range []error{s.Commit(bg, oneThread("late")), func() error { _, err := s.Thread(bg, "1"); return err }()} {
		if mastra.CodeOf(err) != mastra.CodeUnavailable {
			t.Errorf("after Close: %v, want CodeUnavailable", err)
		}
	}
	p, err := openAt(t, path).Threads(bg, mastra.ThreadQuery{Paging: mastra.Paging{PerPage: 1}})
	must(t, err)
	if p.Total != cap(results) {
		t.Errorf("%d threads after Close, want %d", p.Total, cap(results))
	}
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		must(t, os.WriteFile(path, []byte(content), 0o644))
		return path
	}
	with := func(name, sql string) string {
		path := filepath.Join(dir, name)
		c, err := open(path)
		must(t, err)
		must(t, c.script(sql))
		must(t, c.close())
		return path
	}
	newer := filepath.Join(dir, "newer.db")
	s := openAt(t, newer)
	must(t, s.Close())
	with("newer.db", "PRAGMA user_version = 99")
	for _, c := range []struct{ path, want string }{
		{filepath.Join(write("file", "x"), "sub", "mastra.db"), "cannot make the folder"},
		{dir, "cannot be opened for writing"},
		{write("text.db", strings.Repeat("this is no database. ", 100)), "is not a database, or it is damaged"},
		{newer, "newer version"},
		{with("other.db", "CREATE TABLE t (a)"), "another program"},
		{with("versioned.db", "PRAGMA user_version = 1"), "another program"},
	} {
		_, err := Open(c.path)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), dir) || strings.Contains(err.Error(), "\n") {
			t.Errorf("Open(%s): %v, want one line with %q", c.path, err, c.want)
		}
	}
	must(t, openAt(t, write("empty.db", "")).Commit(bg, oneThread("t"))) // a file just made
}

// TestKill kills a process with SIGKILL while it commits: what it acknowledged must be there.
func TestKill(t *testing.T) {
	if path := os.Getenv("SQLITE_KILL"); path != "" {
		commitForever(openAt(t, path))
	}
	path := filepath.Join(t.TempDir(), "mastra.db")
	acknowledged := map[string]bool{}
	for round := range 5 {
		child := exec.Command(os.Args[0], "-test.run=^TestKill$")
		child.Env = append(os.Environ(), "SQLITE_KILL="+path, fmt.Sprint("SQLITE_ROUND=", round))
		out, err := child.StdoutPipe()
		must(t, err)
		must(t, child.Start())
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			acknowledged[lines.Text()] = true
			if n == 50+37*round {
				must(t, child.Process.Kill())
			}
		}
		if err := child.Wait(); err == nil || child.ProcessState.Success() {
			t.Fatalf("the child was not killed: %v", err)
		}
		s := openAt(t, path)
		for id := range acknowledged {
			if _, messages, err := s.Recall(bg, id, 5); err != nil || len(messages) != 1 {
				t.Errorf("round %d: %s was acknowledged and is lost (%v)", round, id, err)
			}
		}
		for id := range acknowledged {
			if spans, err := s.Trace(bg, id); err != nil || len(spans) != 1 {
				t.Errorf("round %d: the spans of %s were acknowledged and are lost (%v)", round, id, err)
			}
		}
		p, err := s.Threads(bg, mastra.ThreadQuery{Paging: mastra.Paging{PerPage: 100_000}})
		must(t, err)
		traces, err := s.Traces(bg, mastra.TraceQuery{})
		must(t, err)
		if traces.Total != p.Total {
			t.Errorf("round %d: %d traces are listed, want one of each of %d threads", round, traces.Total, p.Total)
		}
		for _, th := range p.Items { // and nothing is there by half
			if _, messages, err := s.Recall(bg, th.ID, 5); err != nil || len(messages) != 1 {
				t.Errorf("round %d: of %s only the thread is there (%v)", round, th.ID, err)
			}
		}
		must(t, s.Close())
	}
	t.Logf("%d commits were acknowledged by 5 killed processes", len(acknowledged))
}

func commitForever(s *Store) {
	var mu sync.Mutex
	for worker := range 8 {
		go func() {
			for i := 0; ; i++ {
				id := fmt.Sprint(os.Getenv("SQLITE_ROUND"), "-", worker, "-", i)
				b := oneThread(id)
				b.Messages = []mastra.Message{{ID: id, ThreadID: id, CreatedAt: 1, Content: mastra.JSON(`"` + strings.Repeat("x", 2000) + `"`)}}
				b.Spans = []mastra.Span{{TraceID: id, SpanID: "root", RunID: id}}
				if err := s.Commit(bg, b); err != nil {
					panic(err)
				}
				mu.Lock()
				os.Stdout.WriteString(id + "\n")
				mu.Unlock()
			}
		}()
	}
	select {}
}

func TestSweep(t *testing.T) {
	now := time.UnixMilli(1_000_000)
	s, err := Open(filepath.Join(t.TempDir(), "mastra.db"), Clock(func() time.Time { return now }))
	must(t, err)
	defer s.Close()
	for i := range 3000 { // each lives for 100 commits
		now = now.Add(time.Millisecond)
		must(t, s.Commit(bg, &mastra.Batch{Claims: []mastra.ClaimUpdate{{Create: true,
			Claim: mastra.Claim{Key: fmt.Sprintf("%08x", uint32(i)*2654435761), Owner: "o", ExpiresAt: mastra.TimeOf(now) + 100}}}}))
	}
	c, err := open(s.path)
	must(t, err)
	defer c.close()
	r, err := c.first("SELECT count(*) FROM claims")
	must(t, err)
	if n := r.int(0); n < 100 || n > 600 {
		t.Errorf("%d claims are kept, want the 100 live ones and not many more", n)
	}
}

// TestLogStaysBounded keeps a reader at work all the time, so that SQLite never finds a moment to begin its log anew.
func TestLogStaysBounded(t *testing.T) {
	s := openNew(t)
	s.maxLog = 1 << 20
	must(t, s.Commit(bg, oneThread("t")))
	ctx, stop := context.WithCancel(bg)
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for ctx.Err() == nil {
				s.readers.read(bg, func(c *conn) error {
					_, _, err := c.thread("-", "t")
					time.Sleep(3 * time.Millisecond) // work with what was read
					return err
				})
			}
		})
	}
	content := mastra.JSON(`"` + strings.Repeat("x", 20_000) + `"`)
	for i := range 2*logCheckEvery + 1 {
		must(t, s.Commit(bg, &mastra.Batch{Messages: []mastra.Message{{ID: fmt.Sprint(i), ThreadID: "t", Content: content}}}))
	}
	stop()
	wg.Wait()
	i, err := os.Stat(s.path + "-wal")
	must(t, err)
	if i.Size() > 1<<20 {
		t.Errorf("the write-ahead log has %d bytes", i.Size())
	}
}

func TestExpiredChunksGo(t *testing.T) {
	now := time.UnixMilli(1_800_000_000_000)
	s, err := Open(filepath.Join(t.TempDir(), "db"), Clock(func() time.Time { return now }))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	write := func(run string, n int, expires mastra.Time) {
		for i := range n {
			b := mastra.ChunkBlock{RunID: run, End: mastra.Position{Epoch: 1, Seq: int64(i) + 1}, Count: 1, ExpiresAt: expires, Data: []byte("x")}
			if err := s.Commit(t.Context(), &mastra.Batch{Chunks: []mastra.ChunkBlock{b}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	left := func(run string) int {
		blocks, err := s.Chunks(t.Context(), run, mastra.Position{}, 1000)
		if err != nil {
			t.Fatal(err)
		}
		return len(blocks)
	}
	write("old", 100, mastra.TimeOf(now)+1000)
	write("kept", 10, 0)
	if left("old") != 100 {
		t.Error("they went too early")
	}
	now = now.Add(time.Minute)
	write("new", 128, mastra.TimeOf(now)+1000)
	if left("old") != 0 || left("kept") != 10 || left("new") != 128 {
		t.Errorf("%d, %d, %d are left", left("old"), left("kept"), left("new"))
	}
}

// A list is of one moment, whatever is deleted while it is looked through.
func TestAListIsOfOneMoment(t *testing.T) {
	s := openNew(t)
	for _, id := range []string{"a", "b"} {
		must(t, s.Commit(bg, &mastra.Batch{Spans: []mastra.Span{{TraceID: id, SpanID: id + "1", Name: "run", Type: mastra.SpanAgentRun, StartedAt: 1, EndedAt: 2}}}))
	}
	gone := false
	page, err := s.Traces(bg, mastra.TraceQuery{Paging: mastra.Paging{PerPage: 10}, Match: func(root *mastra.Span) bool {
		if !gone {
			gone = true
			must(t, s.DeleteTraces(bg, []string{"a"}))
		}
		return true
	}})
	must(t, err)
	if len(page.Items) != 2 || page.Items[0].TraceID != "b" || page.Items[1].TraceID != "a" {
		t.Errorf("%+v", page.Items)
	}
}
