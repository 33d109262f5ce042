// Package rdsdata is an RDS Data API for tests: transactions and single statements of its REST protocol, run on a real Postgres.
// What it does is taken from AWS's API reference.
package rdsdata

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"mastralambda/shared/mastra"
)

// Server is an http.Handler over one database, safe for concurrent use.
type Server struct {
	Postgres string // URL
	Cluster  string // ARN of the cluster that it is
	Secret   string // ARN of the secret that lets in

	mu       sync.Mutex
	sleeping int
	open     map[string]*pgx.Conn
}

// Sleep refuses the next n transactions, as a cluster does that wakes up from its pause.
func (s *Server) Sleep(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sleeping = n
}

type fault struct {
	kind    string
	message string
}

func (f *fault) Error() string { return f.kind + ": " + f.message }

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Cluster       string `json:"resourceArn"`
		Secret        string `json:"secretArn"`
		TransactionID string `json:"transactionId"`
		SQL           string `json:"sql"`
	}
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4<<20)).Decode(&in)
	var out any
	switch {
	case err != nil:
		err = &fault{"BadRequestException", "the request cannot be read"}
	case !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 "), in.Secret != s.Secret:
		err = &fault{"AccessDeniedException", "not authorized to perform " + r.URL.Path}
	case in.Cluster != s.Cluster:
		err = &fault{"DatabaseNotFoundException", "there is no such cluster"}
	case r.URL.Path == "/BeginTransaction":
		out, err = s.begin(r.Context())
	case r.URL.Path == "/Execute":
		out, err = s.execute(r.Context(), in.TransactionID, in.SQL)
	case r.URL.Path == "/CommitTransaction":
		out, err = s.end(r.Context(), in.TransactionID, "COMMIT", "Transaction Committed")
	case r.URL.Path == "/RollbackTransaction":
		out, err = s.end(r.Context(), in.TransactionID, "ROLLBACK", "Rollback Complete")
	default:
		err = &fault{"NotFoundException", r.URL.Path}
	}
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		f := &fault{"InternalServerErrorException", err.Error()}
		errors.As(err, &f)
		w.Header().Set("X-Amzn-Errortype", f.kind)
		w.WriteHeader(http.StatusBadRequest)
		out = map[string]string{"message": f.message}
	}
	_ = json.NewEncoder(w).Encode(out) // the client has gone
}

func (s *Server) begin(ctx context.Context) (any, error) {
	s.mu.Lock()
	asleep := s.sleeping > 0
	if asleep {
		s.sleeping--
	}
	s.mu.Unlock()
	if asleep {
		return nil, &fault{"DatabaseResumingException", "The Aurora DB instance is resuming after being auto-paused. Please wait a few seconds and try again."}
	}
	conn, err := pgx.Connect(ctx, s.Postgres)
	if err != nil {
		return nil, &fault{"DatabaseUnavailableException", err.Error()}
	}
	if _, err := conn.Exec(ctx, "BEGIN"); err != nil {
		return nil, err
	}
	id := mastra.NewID()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open = map[string]*pgx.Conn{}
	}
	s.open[id] = conn
	return map[string]string{"transactionId": id}, nil
}

func (s *Server) connection(id string, forget bool) (*pgx.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	conn := s.open[id]
	if conn == nil {
		return nil, &fault{"TransactionNotFoundException", "Transaction " + id + " is not found"}
	}
	if forget {
		delete(s.open, id)
	}
	return conn, nil
}

// execute runs one statement: several in one text are refused.
func (s *Server) execute(ctx context.Context, id, statement string) (any, error) {
	conn, err := s.connection(id, false)
	if err != nil {
		return nil, err
	}
	tag, err := conn.Exec(ctx, statement, pgx.QueryExecModeExec)
	if err != nil {
		var refused *pgconn.PgError
		if errors.As(err, &refused) {
			return nil, &fault{"DatabaseErrorException", "ERROR: " + refused.Message + "; SQLState: " + refused.Code}
		}
		return nil, err
	}
	updated := tag.RowsAffected()
	if tag.Select() {
		updated = 0
	}
	return map[string]any{"numberOfRecordsUpdated": updated, "generatedFields": []any{}}, nil
}

func (s *Server) end(ctx context.Context, id, statement, status string) (any, error) {
	conn, err := s.connection(id, true)
	if err != nil {
		return nil, err
	}
	_, err = conn.Exec(ctx, statement)
	return map[string]string{"transactionStatus": status}, errors.Join(err, conn.Close(ctx))
}
