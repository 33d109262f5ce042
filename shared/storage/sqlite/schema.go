package sqlite

import (
	"cmp"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/klauspost/compress/s2"
)

//go:embed 1.sql
var schema1 string

//go:embed 2.sql
var schema2 string

//go:embed 3.sql
var schema3 string

//go:embed 4.sql
var schema4 string

//go:embed 5.sql
var schema5 string

//go:embed 6.sql
var schema6 string

//go:embed 7.sql
var schema7 string

//go:embed 8.sql
var schema8 string

// migrations lead from one version of the schema to the next; PRAGMA user_version counts those that a file has seen. A new one is
// a file N.sql and its place here; then `go generate` in this folder.
var migrations = [...]string{schema1, schema2, schema3, schema4, schema5, schema6, schema7, schema8}

// fresh is a database that all migrations have made and nothing has been written to, by s2. One that is older than the migrations
// is brought up to date like any other file: it only costs time, and TestFresh.
//
//go:generate env FRESH=write go test -count=1 -run ^TestFresh$ .
//go:embed fresh.db.s2
var fresh []byte

// applicationID marks a file as one of ours, so that another program's database is refused, not filled ("Mlam").
const applicationID = 0x4d6c616d

// create puts fresh where no file is: a tenth of the time that the migrations take, and one sync instead of seven. It does nothing
// where SQLite finds something of a database. The file appears whole or not at all, and never in place of another process's.
func create(path string) (err error) {
	for _, file := range []string{path, path + "-wal", path + "-journal"} { // what a log holds would be written into the new file
		if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	image, err := s2.Decode(nil, fresh)
	if err != nil {
		return err
	}
	part := fmt.Sprintf("%s.%d.new", path, os.Getpid())
	f, err := os.OpenFile(part, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, os.Remove(part)) }()
	_, err = f.Write(image)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Link(part, path) // SQLite syncs the folder before the first commit ends
}

// migrate brings the schema up to date. On a current file it reads two numbers of its header.
func migrate(c *conn) error {
	v, err := version(c)
	if err != nil || v == len(migrations) {
		return err
	}
	if _, err := c.exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	defer func() { _, _ = c.exec("ROLLBACK") }() // without effect after COMMIT
	if v, err = version(c); err != nil {         // another process may have been here first
		return err
	}
	for _, m := range migrations[v:] {
		if err := c.script(m); err != nil {
			return err
		}
	}
	if err := c.script(fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d", applicationID, len(migrations))); err != nil {
		return err
	}
	_, err = c.exec("COMMIT")
	return err
}

// version is the schema's version of a file: 0 of a new one. It is one statement: another process may be making the file.
func version(c *conn) (int, error) {
	r, err := c.first("SELECT user_version, application_id, (SELECT count(*) FROM sqlite_schema) FROM pragma_user_version, pragma_application_id")
	if err != nil {
		return 0, err
	}
	v, id := int(r.int(0)), r.int(1)
	if v == 0 && id == 0 && r.int(2) == 0 {
		return 0, nil
	}
	switch {
	case id != applicationID:
		return 0, errors.New("it is the database of another program")
	case v > len(migrations):
		return 0, fmt.Errorf("it was written by a newer version of this program (schema %d, known here: %d)", v, len(migrations))
	}
	return v, nil
}
