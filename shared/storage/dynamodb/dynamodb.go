// Package dynamodb keeps threads, runs and traces in three DynamoDB tables (Definitions). It holds no state but hints:
// any number of processes may work on the same tables.
//
// Reads of one thread, run, trace or claim are strongly consistent. Lists come from indexes, which follow the tables
// within moments. What a batch may be refused for is decided by conditional writes; the rest is written beside them and
// taken back if they are refused. A batch of claims, runs or new threads is one transaction, as far as it can be refused.
package dynamodb

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"mastralambda/shared/awsconfig"

	"mastralambda/shared/mastra"
)

// Tables are the names of the three tables.
type Tables struct{ Threads, Runs, Observability string }

// ParseURL reads dynamodb://?threads=…&runs=…&observability=…
func ParseURL(text string) (Tables, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "dynamodb" || u.Host != "" || u.Path != "" {
		return Tables{}, fmt.Errorf("dynamodb: the URL is not of the form dynamodb://?threads=…&runs=…&observability=…")
	}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return Tables{}, fmt.Errorf("dynamodb: the URL's parameters cannot be read")
	}
	t := Tables{q.Get("threads"), q.Get("runs"), q.Get("observability")}
	for _, p := range []struct{ name, table string }{{"threads", t.Threads}, {"runs", t.Runs}, {"observability", t.Observability}} {
		if p.table == "" {
			return Tables{}, fmt.Errorf("dynamodb: the URL names no table for %s", p.name)
		}
		q.Del(p.name)
	}
	for name := range q {
		return Tables{}, fmt.Errorf("dynamodb: the URL has an unknown parameter %q", name)
	}
	return t, nil
}

// Store is a mastra.Storage and a mastra.KeyStore in DynamoDB. It is safe for concurrent use.
type Store struct {
	client *ddb.Client
	http   *http.Client // nil where the configuration has one of its own
	tables Tables
	now    func() time.Time
	closed atomic.Bool
	seq    sequence
	hints  hints
	names  nameCache
	keep   mastra.Retention
}

var (
	_ mastra.Storage  = (*Store)(nil)
	_ mastra.KeyStore = (*Store)(nil)
)

// OpenURL opens the tables that a STORAGE_URL names, with the environment's region, credentials and endpoint
// (AWS_ENDPOINT_URL_DYNAMODB). It makes no request.
func OpenURL(ctx context.Context, text string) (*Store, error) {
	tables, err := ParseURL(text)
	if err != nil {
		return nil, err
	}
	cfg, err := awsconfig.Load(ctx)
	if err != nil {
		return nil, fmt.Errorf("dynamodb: the AWS configuration cannot be read: %w", err)
	}
	if cfg.Region == "" {
		return nil, fmt.Errorf("dynamodb: no region is set (AWS_REGION)")
	}
	return Open(cfg, tables), nil
}

// Open makes a store of tables that exist. It makes no request. The client retries nothing by itself: the store does,
// since it knows which of its writes may be repeated.
func Open(cfg aws.Config, tables Tables) *Store {
	s := &Store{tables: tables, now: time.Now}
	if c, ok := cfg.HTTPClient.(*awshttp.BuildableClient); ok || cfg.HTTPClient == nil {
		s.http = tuned(c)
		cfg.HTTPClient = s.http
	}
	s.client = ddb.NewFromConfig(cfg, func(o *ddb.Options) { o.Retryer = aws.NopRetryer{} })
	return s
}

// tuned is an HTTP client for a Lambda function: it keeps the few connections that a commit uses at once, and gives up
// on one that froze with the instance soon enough to try another.
func tuned(c *awshttp.BuildableClient) *http.Client {
	if c == nil {
		c = awshttp.NewBuildableClient()
	}
	t := c.WithDialerOptions(func(d *net.Dialer) { d.Timeout = 2 * time.Second }).GetTransport()
	t.MaxIdleConnsPerHost, t.MaxIdleConns, t.IdleConnTimeout = 8*maxParallel, 8*maxParallel, 5*time.Minute
	t.ResponseHeaderTimeout, t.TLSHandshakeTimeout = 5*time.Second, 2*time.Second
	return &http.Client{Transport: t}
}

// Keep says how long traces, scores and feedback are kept; without it they are for ever. It is called before the first use.
func (s *Store) Keep(r mastra.Retention) { s.keep = r }

// expire marks an item that belongs to a moment to be deleted when it has been kept long enough.
func expire(it item, at mastra.Time, kept time.Duration) {
	if kept > 0 {
		it[TTLAttribute] = number((int64(at) + kept.Milliseconds()) / 1000)
	}
}

// expired says that an item is to be deleted by its age. DynamoDB does that some days later.
func (s *Store) expired(it item) bool {
	return it[TTLAttribute] != nil && numberOf(it[TTLAttribute]) <= s.now().Unix()
}

// since is the oldest moment that a list shows of what is kept that long, "" where it is kept for ever.
func (s *Store) since(kept time.Duration) string {
	if kept <= 0 {
		return ""
	}
	return moment(mastra.TimeOf(s.now().Add(-kept)))
}

// day is the name under which what is deleted by its age is counted: the counter goes with the things. Without an age all
// of a kind have one counter.
func day(at mastra.Time, kept time.Duration) string {
	if kept <= 0 {
		return ""
	}
	return at.Time().Format(time.DateOnly)
}

// endOfDay is when the day of such a name ends; ok is false of other names.
func endOfDay(name string) (end mastra.Time, ok bool) {
	at, err := time.Parse(time.DateOnly, name)
	return mastra.TimeOf(at.Add(24 * time.Hour)), err == nil
}

// kept is how long scores or feedback are kept.
func (s *Store) kept(kind string) time.Duration {
	if kind == kindFeedback {
		return s.keep.Feedback
	}
	return s.keep.Scores
}

// Close lets idle connections go. Calls after it are a CodeUnavailable.
func (s *Store) Close() error {
	if !s.closed.Swap(true) && s.http != nil {
		s.http.CloseIdleConnections()
	}
	return nil
}

// begin is asked at the start of each call.
func (s *Store) begin(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.closed.Load() {
		return mastra.Errorf(mastra.CodeUnavailable, "The storage is closed")
	}
	if t := mastra.Tenant(ctx); len(t) > maxTenant || !utf8.ValidString(t) {
		return mastra.Errorf(mastra.CodeInvalid, "The tenant's name is longer than %d bytes, or no text", maxTenant)
	}
	return nil
}

func (s *Store) time() mastra.Time { return mastra.TimeOf(s.now()) }

// sequence numbers writes in the order they were made: by the clock, and strictly rising within a process.
type sequence struct{ last atomic.Int64 }

// next returns the first of n numbers.
func (q *sequence) next(n int) int64 {
	for {
		last := q.last.Load()
		first := max(time.Now().UnixMicro(), last+1)
		if q.last.CompareAndSwap(last, first+int64(n)-1) {
			return first
		}
	}
}

// hint is what a thread was seen to be. It spares requests, and is never believed: conditions are.
type hint struct {
	exists        bool
	former        bool // a former version made it, of two items
	dead          bool // its deletion has not ended
	updated, mark mastra.Time
}

// hints are the threads last seen.
type hints struct {
	mu   sync.Mutex
	seen map[string]hint // by partition key
}

const maxHints = 1024

func (h *hints) get(pk string) (hint, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	v, ok := h.seen[pk]
	return v, ok
}

func (h *hints) set(pk string, v hint) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.seen == nil || len(h.seen) >= maxHints {
		h.seen = make(map[string]hint, 16)
	}
	h.seen[strings.Clone(pk)] = v
}

func (h *hints) drop(pks ...string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, pk := range pks {
		delete(h.seen, pk)
	}
}

// distinct is s without its repeats, in order.
func distinct(s []string) []string {
	out := make([]string, 0, len(s))
	for _, v := range s {
		if !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}
