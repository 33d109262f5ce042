package sqlite

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/s2"
)

// What a new file begins as is what the migrations make, whatever a file has seen of them before. FRESH=write makes it anew.
func TestFresh(t *testing.T) {
	migrated := filepath.Join(t.TempDir(), "migrated.db")
	must(t, os.WriteFile(migrated, nil, 0o644)) // an empty file is SQLite's own
	must(t, openAt(t, migrated).Close())
	if os.Getenv("FRESH") == "write" {
		must(t, os.WriteFile("fresh.db.s2", imageOf(t, migrated), 0o644))
		return
	}
	made := filepath.Join(t.TempDir(), "made.db")
	must(t, create(made))
	if have, want := contents(t, made), contents(t, migrated); have != want {
		t.Errorf("fresh.db.s2 is not what the migrations make: go generate in this folder\nhave %s\nwant %s", have, want)
	}
}

// imageOf is the database at path by s2, without free pages and ready for a write-ahead log.
func imageOf(t *testing.T, path string) []byte {
	compact := path + ".compact"
	c, err := open(path)
	must(t, err)
	must(t, c.script("VACUUM INTO '"+compact+"'"))
	must(t, c.close())
	c, err = open(compact, "journal_mode(wal)")
	must(t, err)
	must(t, c.close())
	image, err := os.ReadFile(compact)
	must(t, err)
	return s2.EncodeBest(nil, image)
}

// contents is all that a database holds before anybody has used it: settings, schema, rows.
func contents(t *testing.T, path string) string {
	c, err := open(path)
	must(t, err)
	defer func() { must(t, c.close()) }()
	var b strings.Builder
	for _, q := range []string{"SELECT * FROM pragma_user_version, pragma_application_id, pragma_journal_mode, pragma_page_size, pragma_auto_vacuum, pragma_integrity_check",
		"SELECT name, sql FROM sqlite_schema ORDER BY name", "SELECT n FROM indexed"} {
		for r, err := range c.query(bg, q) {
			must(t, err)
			fmt.Fprintf(&b, "%v\n", r)
		}
	}
	return b.String()
}

// A file is made once, whoever else makes it at the same time, and where something of a database is left, SQLite decides.
func TestCreate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mastra.db")
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			s, err := Open(path)
			if err == nil {
				err = errors.Join(s.Commit(bg, oneThread(fmt.Sprint(i))), s.Close())
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	s := openAt(t, path)
	for i := range 4 {
		if _, err := s.Thread(bg, fmt.Sprint(i)); err != nil {
			t.Errorf("thread %d is lost: %v", i, err)
		}
	}
	left, err := filepath.Glob(path + "*.new")
	if must(t, err); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
	must(t, s.Close())
	for _, of := range []string{"-wal", "-journal"} {
		path := filepath.Join(t.TempDir(), "mastra.db")
		must(t, os.WriteFile(path+of, []byte("left behind"), 0o644))
		if err := create(path); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(path); err == nil {
			t.Errorf("a new file is put beside an old %s", of)
		}
		must(t, openAt(t, path).Commit(bg, oneThread("t")))
	}
}
