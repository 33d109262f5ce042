package sqlite

import (
	"context"
	"slices"
	"strings"

	"mastralambda/shared/mastra"
)

// list is a page of a table's rows.
type list struct {
	columns, table string
	join           string // of tables that only the columns need
	order, tie     string // columns: rows equal in order follow each other by tie
	descending     bool
	where          []string
	args           []any
	total          func(*conn) (int, error) // count where nil
	mastra.Paging
}

// equal keeps the rows whose column has a value.
func (l *list) equal(column, value string) {
	l.where, l.args = append(l.where, column+" = ?"), append(l.args, value)
}

// match is equal where value is not empty. It says whether it is.
func (l *list) match(column, value string) bool {
	if value != "" {
		l.equal(column, value)
	}
	return value != ""
}

// between keeps the rows whose column lies between two times, inclusive; 0 is open. It says whether either is set.
func (l *list) between(column string, from, to mastra.Time) bool {
	if from != 0 {
		l.where, l.args = append(l.where, column+" >= ?"), append(l.args, int64(from))
	}
	if to != 0 {
		l.where, l.args = append(l.where, column+" <= ?"), append(l.args, int64(to))
	}
	return from != 0 || to != 0
}

func (l *list) conditions() string { return " WHERE " + strings.Join(l.where, " AND ") }

// count counts all rows of the list.
func (l *list) count(ctx context.Context, c *conn) (int, error) {
	for r, err := range c.query(ctx, "SELECT count(*) FROM "+l.table+l.conditions(), l.args...) {
		if err != nil {
			return 0, err
		}
		return int(r.int(0)), nil
	}
	return 0, nil
}

// window is the part of total rows that a page holds, seen from the nearer end: skipping rows costs time.
func (l *list) window(total int) (offset, n int, fromEnd bool) {
	if l.PerPage <= 0 || l.Page < 0 || l.Page > total/l.PerPage {
		return 0, 0, false
	}
	offset = l.Page * l.PerPage
	n = min(l.PerPage, total-offset)
	if after := total - offset - n; after < offset {
		return after, n, true
	}
	return offset, n, false
}

// readPage reads a page and its total at one moment. A page of no rows asks for the total alone.
func readPage[T any](ctx context.Context, s *Store, l list, scan func(*conn, row) (T, error)) (*mastra.Page[T], error) {
	p := &mastra.Page[T]{Items: []T{}}
	err := s.readers.read(ctx, func(c *conn) (err error) {
		if l.total == nil {
			p.Total, err = l.count(ctx, c)
		} else {
			p.Total, err = l.total(c)
		}
		if err != nil {
			return err
		}
		offset, n, fromEnd := l.window(p.Total)
		if n == 0 {
			return nil
		}
		p.HasMore = fromEnd && offset > 0 || !fromEnd && offset+n < p.Total
		direction := " ASC"
		if l.descending != fromEnd {
			direction = " DESC"
		}
		sql := "SELECT " + l.columns + " FROM " + l.table + l.join + l.conditions() + " ORDER BY " + l.order + direction + ", " + l.tie + direction + " LIMIT ? OFFSET ?"
		for r, err := range c.query(ctx, sql, append(slices.Clip(l.args), int64(n), int64(offset))...) {
			if err != nil {
				return err
			}
			item, err := scan(c, r)
			if err != nil {
				return err
			}
			p.Items = append(p.Items, item)
		}
		if fromEnd {
			slices.Reverse(p.Items)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}

// matchPage is readPage of the rows that match as well, which it looks at one by one.
func matchPage[T any](ctx context.Context, s *Store, l list, scan func(*conn, row) (T, error), match func(*T) bool) (*mastra.Page[T], error) {
	p := &mastra.Page[T]{Items: []T{}}
	direction := " ASC"
	if l.descending {
		direction = " DESC"
	}
	sql := "SELECT " + l.columns + " FROM " + l.table + l.join + l.conditions() + " ORDER BY " + l.order + direction + ", " + l.tie + direction
	first := max(0, min(l.Page, 1<<30)) * max(0, l.PerPage)
	err := s.readers.read(ctx, func(c *conn) error {
		seen := 0
		for r, err := range c.query(ctx, sql, l.args...) {
			if err != nil {
				return err
			}
			if seen++; seen > maxMatched {
				return errTooMany()
			}
			if seen%1024 == 0 && ctx.Err() != nil {
				return ctx.Err()
			}
			item, err := scan(c, r)
			if err != nil {
				return err
			}
			if !match(&item) {
				continue
			}
			switch p.Total++; {
			case p.Total <= first:
			case len(p.Items) < l.PerPage:
				p.Items = append(p.Items, item)
			default:
				p.HasMore = true
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}
