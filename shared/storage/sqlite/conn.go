package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/url"
	"path/filepath"

	sqlite3 "modernc.org/sqlite"

	"mastralambda/shared/mastra"
)

// Result codes of SQLite, https://www.sqlite.org/rescode.html.
const (
	codeBusy     = 5
	codeReadOnly = 8
	codeCorrupt  = 11
	codeFull     = 13
	codeCantOpen = 14
	codeNotADB   = 26
)

func codeOf(err error) int {
	var e *sqlite3.Error
	if errors.As(err, &e) {
		return e.Code() & 0xff
	}
	return 0
}

// maxStatements is how many prepared statements a connection keeps: more than there are, but for filtered lists.
const maxStatements = 128

// conn is one connection of the driver, used without database/sql: a statement is prepared once and its arguments are
// bound without conversions. It is used by one goroutine at a time.
type conn struct {
	raw        rawConn
	statements map[string]*statement
}

type rawConn interface {
	driver.Conn
	driver.ExecerContext
}

type statement struct {
	raw  rawStmt
	args []driver.NamedValue
	row  row
}

type rawStmt interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

// open opens the file at path; it is created if it is not there.
func open(path string, pragmas ...string) (*conn, error) { return openWith("", path, pragmas...) }

// openWith is open with a VFS of SQLite's; "" is the system's.
func openWith(vfs, path string, pragmas ...string) (*conn, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	q := url.Values{"_pragma": pragmas}
	if vfs != "" {
		q.Set("vfs", vfs)
	}
	name := url.URL{Scheme: "file", Path: filepath.ToSlash(path), RawQuery: q.Encode()}
	c, err := new(sqlite3.Driver).Open(name.String())
	if err != nil {
		return nil, err
	}
	return &conn{raw: c.(rawConn), statements: map[string]*statement{}}, nil
}

func (c *conn) close() error {
	c.forget()
	return c.raw.Close()
}

// forget closes all statements. None may be in use.
func (c *conn) forget() {
	for _, s := range c.statements {
		_ = s.raw.Close()
	}
	clear(c.statements)
}

// trim keeps the number of statements bounded. None may be in use.
func (c *conn) trim() {
	if len(c.statements) > maxStatements {
		c.forget()
	}
}

func (c *conn) prepare(sql string, args []any) (*statement, error) {
	s := c.statements[sql]
	if s == nil {
		raw, err := c.raw.Prepare(sql)
		if err != nil {
			return nil, failed(err)
		}
		s = &statement{raw: raw.(rawStmt), args: make([]driver.NamedValue, len(args))}
		for i := range s.args {
			s.args[i].Ordinal = i + 1
		}
		c.statements[sql] = s
	}
	for i, a := range args {
		s.args[i].Value = a
	}
	return s, nil
}

// script runs any number of statements without arguments.
func (c *conn) script(sql string) error {
	_, err := c.raw.ExecContext(context.Background(), sql, nil)
	return err
}

// exec runs one statement and returns how many rows it changed. Arguments are int64, string, []byte and nil.
func (c *conn) exec(sql string, args ...any) (changed int64, err error) {
	r, err := c.execResult(sql, args)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// insert is exec for one new row and returns its n.
func (c *conn) insert(sql string, args ...any) (n int64, err error) {
	r, err := c.execResult(sql, args)
	if err != nil {
		return 0, err
	}
	return r.LastInsertId()
}

func (c *conn) execResult(sql string, args []any) (driver.Result, error) {
	s, err := c.prepare(sql, args)
	if err != nil {
		return nil, err
	}
	r, err := s.raw.ExecContext(context.Background(), s.args)
	if err != nil {
		return nil, failed(err)
	}
	return r, nil
}

// query runs one statement and yields its rows. A row holds until the next one; two loops over the same statement must
// not overlap. A ctx that ends interrupts the search for the first row, which is where sorting and counting are done.
func (c *conn) query(ctx context.Context, sql string, args ...any) iter.Seq2[row, error] {
	return func(yield func(row, error) bool) {
		s, err := c.prepare(sql, args)
		if err != nil {
			yield(nil, err)
			return
		}
		rows, err := s.raw.QueryContext(ctx, s.args)
		if err != nil {
			yield(nil, failed(err))
			return
		}
		defer func() { _ = rows.Close() }()
		if s.row == nil {
			s.row = make(row, len(rows.Columns()))
		}
		for {
			err := rows.Next(s.row)
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield(nil, failed(err))
				return
			}
			if !yield(s.row, nil) {
				return
			}
		}
	}
}

// first is the first row of a query, nil where there is none.
func (c *conn) first(sql string, args ...any) (row, error) {
	for r, err := range c.query(context.Background(), sql, args...) {
		return r, err
	}
	return nil, nil
}

// failed puts the errors of SQLite in order: a database that stays locked is worth another try.
func failed(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if codeOf(err) == codeBusy {
		return &mastra.Error{Code: mastra.CodeUnavailable, Message: "The storage is busy", Err: err}
	}
	return fmt.Errorf("sqlite: %w", err)
}

// row is one row of a result; a NULL reads as zero.
type row []driver.Value

func (r row) text(i int) string      { s, _ := r[i].(string); return s }
func (r row) int(i int) int64        { n, _ := r[i].(int64); return n }
func (r row) time(i int) mastra.Time { return mastra.Time(r.int(i)) }
func (r row) json(i int) mastra.JSON { b, _ := r[i].([]byte); return b }
