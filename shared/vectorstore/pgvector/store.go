// Package pgvector is a vector store in Postgres with pgvector 0.8 or newer. The migrations of infra/migrations make its
// catalog; every index is a table of its own. It fits a transaction pooler: no statement is prepared under a name, no setting
// outlives its transaction.
package pgvector

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/pgvector/pgvector-go"
	pgxvector "github.com/pgvector/pgvector-go/pgx"

	"mastralambda/infra/migrations"
	"mastralambda/shared/mastra"
	"mastralambda/shared/vectorstore"
)

// Timeouts of the statements of one call. A database that wakes up is waited for beside them.
const (
	connectTimeout = time.Minute
	readTimeout    = 25 * time.Second
	writeTimeout   = 2 * time.Minute
	buildTimeout   = 14 * time.Minute
	maxConns       = 4
)

// Store is a mastra.VectorStore. A caller sees the indexes of its tenant only.
type Store struct {
	pool *pgxpool.Pool

	mu    sync.Mutex
	known map[indexKey]*index

	building context.Context // of builds that nobody waits for
	stop     context.CancelFunc
	builds   sync.WaitGroup
}

type indexKey struct{ tenant, name string }

var _ mastra.VectorStore = (*Store)(nil)

// Config changes how each connection is made: who signs in with a token, and whom the server's certificate is trusted from.
type Config func(context.Context, *pgx.ConnConfig) error

// Open returns the store of a database. It connects where it is used. The URL is that of libpq; without an sslmode a server
// beyond this machine must show a certificate that is valid for its name.
func Open(databaseURL string, configs ...Config) (*Store, error) {
	u, err := url.Parse(databaseURL)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" || u.Host == "" {
		return nil, errors.New("not a URL as postgres://user@host/database") // not err: it would show the password
	}
	q := u.Query()
	if host := u.Hostname(); q.Get("sslmode") == "" && host != "localhost" && !strings.HasPrefix(host, "127.") && host != "::1" {
		q.Set("sslmode", "verify-full")
	}
	if q.Get("default_query_exec_mode") == "" {
		q.Set("default_query_exec_mode", "cache_describe")
	}
	u.RawQuery = q.Encode()
	c, err := pgxpool.ParseConfig(u.String())
	if err != nil {
		return nil, errors.New("the URL has parameters that Postgres does not take")
	}
	switch c.ConnConfig.DefaultQueryExecMode {
	case pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol:
	default:
		return nil, errors.New("default_query_exec_mode: only cache_describe, exec and simple_protocol work behind a transaction pooler")
	}
	if q.Get("pool_max_conns") == "" {
		c.MaxConns = maxConns
	}
	c.MaxConnIdleTime = 30 * time.Second
	c.ConnConfig.ConnectTimeout = cmp.Or(c.ConnConfig.ConnectTimeout, connectTimeout)
	c.BeforeConnect = func(ctx context.Context, c *pgx.ConnConfig) error {
		for _, change := range configs {
			if err := change(ctx, c); err != nil {
				return err
			}
		}
		return nil
	}
	c.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		if err := pgxvector.RegisterTypes(ctx, conn); err != nil {
			return err
		}
		conn.TypeMap().RegisterDefaultPgType([]pgvector.Vector(nil), "_vector") // where no description says what a parameter is
		return nil
	}
	pool, err := pgxpool.NewWithConfig(context.Background(), c)
	if err != nil {
		return nil, fmt.Errorf("vector store: %w", err)
	}
	s := &Store{pool: pool, known: map[indexKey]*index{}}
	s.building, s.stop = context.WithCancel(context.Background())
	return s, nil
}

// Close ends what the store does in the background, and its connections.
func (s *Store) Close() error {
	s.stop()
	s.builds.Wait()
	s.pool.Close()
	return nil
}

// Migrate brings the database up to date. The user must be allowed to make an extension and a schema where they are missing.
func (s *Store) Migrate(ctx context.Context) error {
	c := s.pool.Config()
	if err := c.BeforeConnect(ctx, c.ConnConfig); err != nil {
		return err
	}
	conn, err := pgx.ConnectConfig(ctx, c.ConnConfig) // the pool's own connections need what the migrations make
	if err != nil {
		return fmt.Errorf("vector store: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	return migrations.Apply(ctx, func(ctx context.Context, do func(migrations.Exec) error) error {
		return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			return do(func(ctx context.Context, statement string) (int64, error) {
				tag, err := tx.Exec(ctx, statement)
				return tag.RowsAffected(), err
			})
		})
	})
}

// tx runs do in one transaction whose statements may take timeout each.
func (s *Store) tx(ctx context.Context, timeout time.Duration, do func(pgx.Tx) error) error {
	return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, setting, "statement_timeout", timeout.Milliseconds()); err != nil {
			return err
		}
		return do(tx)
	})
}

const setting = `SELECT set_config($1::text, $2::bigint::text, true)`

// Codes of Postgres's errors that mean something to a caller.
const (
	undefinedTable  = "42P01"
	duplicateTable  = "42P07"
	uniqueViolation = "23505"
	outOfRange      = "22003"
	invalidRegex    = "2201B"
	canceled        = "57014"
	deadlock        = "40P01"
	serialization   = "40001"
)

func sqlState(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// refusal is an error of Postgres as the caller may see it.
func refusal(err error) error {
	switch state := sqlState(err); {
	case state == outOfRange:
		return &mastra.Error{Code: mastra.CodeInvalid, Message: "A number of the vector is larger than 65504, the most that an index of more than 2000 dimensions takes", Err: err}
	case state == invalidRegex:
		return &mastra.Error{Code: mastra.CodeInvalid, Message: "The $regex is too large", Err: err}
	case state == canceled:
		return &mastra.Error{Code: mastra.CodeUnavailable, Message: "The vector store took too long", Err: err}
	case strings.HasPrefix(state, "53"), strings.HasPrefix(state, "57P"): // no resources; it stops or starts
		return &mastra.Error{Code: mastra.CodeUnavailable, Message: "The vector store does not answer", Err: err}
	}
	return err
}

// with runs use on the index of a name. What is known of an index may be old: it is looked up again where its table is gone.
func (s *Store) with(ctx context.Context, name string, use func(*index) error) error {
	if err := vectorstore.CheckName(name); err != nil {
		return err
	}
	key := indexKey{mastra.Tenant(ctx), name}
	for range 3 {
		s.mu.Lock()
		ix := s.known[key]
		s.mu.Unlock()
		if ix == nil {
			var err error
			if ix, err = s.lookUp(ctx, key); err != nil {
				return refusal(err)
			}
		}
		err := use(ix)
		if sqlState(err) != undefinedTable {
			return refusal(err)
		}
		s.forget(key, ix)
	}
	return vectorstore.NotFound(name)
}

func (s *Store) forget(key indexKey, ix *index) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known[key] == ix {
		delete(s.known, key)
	}
}

func (s *Store) lookUp(ctx context.Context, key indexKey) (*index, error) {
	ix := &index{}
	err := s.pool.QueryRow(ctx, `SELECT id, dimension, metric, type, options FROM mastralambda.vector_indexes WHERE tenant = $1 AND name = $2`, key.tenant, key.name).
		Scan(&ix.id, &ix.dim, &ix.metric, &ix.kind, &ix.config)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, vectorstore.NotFound(key.name)
	}
	if sqlState(err) == undefinedTable {
		return nil, errors.New("the database has no catalog of vector indexes: its migrations were not run")
	}
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known[key] = ix
	return ix, nil
}
