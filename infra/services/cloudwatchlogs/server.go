// Package cloudwatchlogs is a CloudWatch Logs for tests: groups, streams, PutLogEvents and FilterLogEvents in the AWS JSON 1.1
// protocol, in memory. What it does is taken from AWS's API reference and user guide, not from the client that is tested
// against it.
package cloudwatchlogs

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	maxPageBytes  = 1 << 20
	maxPageEvents = 10_000
	maxBatchBytes = 1 << 20
	perEvent      = 26 // bytes that each event counts besides its message
	maxKept       = 200_000
)

// Server is an http.Handler, safe for concurrent use.
type Server struct {
	// Now is the clock, time.Now where nil.
	Now func() time.Time
	// Scan is how many events one FilterLogEvents looks at, 10 000 where 0. With few of them, pages are partly full or empty, and
	// carry a token nevertheless, as those of AWS may.
	Scan int

	mu       sync.Mutex
	groups   map[string]map[string]bool // group: streams
	events   map[string][]event         // group: in the order of their timestamps
	sequence int
	throttle int
	requests map[string]int
}

type event struct {
	Timestamp int64  `json:"timestamp"`
	Message   string `json:"message"`
	Stream    string `json:"logStreamName"`
	Ingestion int64  `json:"ingestionTime"`
	ID        string `json:"eventId"`
	sequence  int
}

// Throttle refuses the next n requests.
func (s *Server) Throttle(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.throttle = n
}

// Requests is how often an operation was asked for.
func (s *Server) Requests(operation string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests[operation]
}

// Put keeps a line that a function wrote, as Lambda does; the group and the stream are made.
func (s *Server) Put(group, stream string, at time.Time, line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.create(group)
	s.groups[group][stream] = true
	s.keep(group, stream, at.UnixMilli(), line)
}

func (s *Server) create(group string) {
	if s.groups == nil {
		s.groups, s.events = map[string]map[string]bool{}, map[string][]event{}
	}
	if s.groups[group] == nil {
		s.groups[group] = map[string]bool{}
	}
}

func (s *Server) now() time.Time {
	if s.Now != nil {
		return s.Now()
	}
	return time.Now()
}

func (s *Server) keep(group, stream string, at int64, message string) {
	s.sequence++
	e := event{Timestamp: at, Message: message, Stream: stream, Ingestion: s.now().UnixMilli(), ID: fmt.Sprintf("%056d", s.sequence), sequence: s.sequence}
	all := s.events[group]
	i := len(all)
	for i > 0 && all[i-1].Timestamp > at {
		i--
	}
	all = slices.Insert(all, i, e)
	if len(all) > maxKept {
		all = slices.Clone(all[len(all)-maxKept/2:])
	}
	s.events[group] = all
}

// fault is an error of the API.
type fault struct{ kind, message string }

func invalid(format string, args ...any) *fault {
	return &fault{"InvalidParameterException", fmt.Sprintf(format, args...)}
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	operation, ok := strings.CutPrefix(r.Header.Get("X-Amz-Target"), "Logs_20140328.")
	operations := map[string]func(*json.Decoder) (any, *fault){"CreateLogGroup": s.createGroup, "CreateLogStream": s.createStream, "PutLogEvents": s.put, "FilterLogEvents": s.filter}
	do := operations[operation]
	var out any
	var failed *fault
	switch {
	case !ok || do == nil || r.Method != http.MethodPost:
		failed = &fault{"UnknownOperationException", operation + " is not one of " + strings.Join(slices.Sorted(maps.Keys(operations)), ", ")}
	case !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 "):
		failed = &fault{"MissingAuthenticationTokenException", "Missing Authentication Token"}
	default:
		s.mu.Lock()
		if s.requests == nil {
			s.requests = map[string]int{}
		}
		s.requests[operation]++
		if s.throttle > 0 {
			s.throttle--
			failed = &fault{"ThrottlingException", "Rate exceeded"}
		} else {
			out, failed = do(json.NewDecoder(http.MaxBytesReader(w, r.Body, 4<<20)))
		}
		s.mu.Unlock()
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	if failed != nil {
		w.WriteHeader(http.StatusBadRequest)
		out = map[string]string{"__type": failed.kind, "message": failed.message}
	}
	_ = json.NewEncoder(w).Encode(out) // the client has gone
}

type named struct {
	Group  string `json:"logGroupName"`
	Stream string `json:"logStreamName"`
}

func (s *Server) createGroup(d *json.Decoder) (any, *fault) {
	var in named
	if err := d.Decode(&in); err != nil || in.Group == "" {
		return nil, invalid("logGroupName is missing")
	}
	if s.groups[in.Group] != nil {
		return nil, &fault{"ResourceAlreadyExistsException", "The specified log group already exists"}
	}
	s.create(in.Group)
	return struct{}{}, nil
}

func (s *Server) createStream(d *json.Decoder) (any, *fault) {
	var in named
	if err := d.Decode(&in); err != nil || in.Stream == "" {
		return nil, invalid("logStreamName is missing")
	}
	streams := s.groups[in.Group]
	switch {
	case streams == nil:
		return nil, &fault{"ResourceNotFoundException", "The specified log group does not exist."}
	case streams[in.Stream]:
		return nil, &fault{"ResourceAlreadyExistsException", "The specified log stream already exists"}
	}
	streams[in.Stream] = true
	return struct{}{}, nil
}

// put refuses a batch as a whole for its form, and of a good one what is older than 14 days or two hours ahead.
func (s *Server) put(d *json.Decoder) (any, *fault) {
	var in struct {
		named
		Events []struct {
			Timestamp int64  `json:"timestamp"`
			Message   string `json:"message"`
		} `json:"logEvents"`
	}
	if err := d.Decode(&in); err != nil {
		return nil, invalid("the request cannot be read")
	}
	if streams := s.groups[in.Group]; streams == nil {
		return nil, &fault{"ResourceNotFoundException", "The specified log group does not exist."}
	} else if !streams[in.Stream] {
		return nil, &fault{"ResourceNotFoundException", "The specified log stream does not exist."}
	}
	bytes := 0
	for i, e := range in.Events {
		bytes += len(e.Message) + perEvent
		switch {
		case e.Message == "":
			return nil, invalid("Log event message is empty")
		case i > 0 && e.Timestamp < in.Events[i-1].Timestamp:
			return nil, invalid("Log events in a single PutLogEvents request must be in chronological order.")
		case e.Timestamp-in.Events[0].Timestamp > (24 * time.Hour).Milliseconds():
			return nil, invalid("The batch of log events in a single PutLogEvents request cannot span more than 24 hours.")
		}
	}
	if len(in.Events) == 0 || len(in.Events) > maxPageEvents || bytes > maxBatchBytes {
		return nil, invalid("Upload too large or empty: %d events, %d bytes", len(in.Events), bytes)
	}
	rejected := map[string]int{}
	for i, e := range in.Events {
		switch at := time.UnixMilli(e.Timestamp); {
		case at.Before(s.now().AddDate(0, 0, -14)):
			rejected["tooOldLogEventEndIndex"] = i + 1
		case at.After(s.now().Add(2 * time.Hour)):
			if _, ok := rejected["tooNewLogEventStartIndex"]; !ok {
				rejected["tooNewLogEventStartIndex"] = i
			}
		default:
			s.keep(in.Group, in.Stream, e.Timestamp, e.Message)
		}
	}
	out := map[string]any{"nextSequenceToken": strconv.Itoa(s.sequence)}
	if len(rejected) > 0 {
		out["rejectedLogEventsInfo"] = rejected
	}
	return out, nil
}

// position is what a token says: the direction, and the event that the last page ended at.
type position struct {
	FromHead  bool
	Timestamp int64
	Sequence  int
}

func (s *Server) filter(d *json.Decoder) (any, *fault) {
	var in struct {
		Group      string   `json:"logGroupName"`
		Identifier string   `json:"logGroupIdentifier"`
		Streams    []string `json:"logStreamNames"`
		Prefix     string   `json:"logStreamNamePrefix"`
		Start      *int64   `json:"startTime"`
		End        *int64   `json:"endTime"`
		Pattern    string   `json:"filterPattern"`
		Token      string   `json:"nextToken"`
		Limit      *int     `json:"limit"`
		FromHead   *bool    `json:"startFromHead"`
	}
	if err := d.Decode(&in); err != nil {
		return nil, invalid("the request cannot be read")
	}
	if (in.Group == "") == (in.Identifier == "") {
		return nil, invalid("exactly one of logGroupName and logGroupIdentifier is needed")
	}
	group := in.Group
	if group == "" {
		if _, name, ok := strings.Cut(in.Identifier, ":log-group:"); ok { // an ARN
			in.Identifier = name
		}
		group = strings.TrimSuffix(in.Identifier, ":*")
	}
	if s.groups[group] == nil {
		return nil, &fault{"ResourceNotFoundException", "The specified log group does not exist."}
	}
	if len(in.Streams) > 0 && in.Prefix != "" {
		return nil, invalid("logStreamNames and logStreamNamePrefix exclude each other")
	}
	limit := maxPageEvents
	if in.Limit != nil {
		if limit = *in.Limit; limit < 1 || limit > maxPageEvents {
			return nil, invalid("limit must be between 1 and 10000")
		}
	}
	at := position{FromHead: in.FromHead == nil || *in.FromHead}
	if in.Token != "" {
		data, err := base64.RawURLEncoding.DecodeString(in.Token)
		if err != nil || json.Unmarshal(data, &at) != nil {
			return nil, invalid("The specified nextToken is invalid.")
		}
	}
	if !at.FromHead && (in.Start == nil || *in.Start < time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()) {
		return nil, invalid("startFromHead=false needs a startTime on or after Jan 1, 2024")
	}
	if len(in.Pattern) > 1024 {
		return nil, invalid("filterPattern is longer than 1024")
	}
	fits, err := parsePattern(in.Pattern)
	if err != nil {
		return nil, invalid("Invalid filter pattern: %v", err)
	}
	events := slices.Clone(s.events[group])
	if !at.FromHead {
		slices.Reverse(events)
	}
	page, bytes, seen, scan := []event{}, 0, 0, s.Scan
	if scan == 0 {
		scan = maxPageEvents
	}
	last := at
	for _, e := range events {
		if in.Token != "" && !at.before(e) || in.Start != nil && e.Timestamp < *in.Start || in.End != nil && e.Timestamp > *in.End {
			continue
		}
		if seen == scan || len(page) == limit || bytes > 0 && bytes+len(e.Message)+perEvent > maxPageBytes {
			token, _ := json.Marshal(last) // numbers always encode
			return map[string]any{"events": page, "searchedLogStreams": []any{}, "nextToken": base64.RawURLEncoding.EncodeToString(token)}, nil
		}
		seen++
		last = position{at.FromHead, e.Timestamp, e.sequence}
		if len(in.Streams) > 0 && !slices.Contains(in.Streams, e.Stream) || !strings.HasPrefix(e.Stream, in.Prefix) || !fits(e.Message) {
			continue
		}
		page = append(page, e)
		bytes += len(e.Message) + perEvent
	}
	return map[string]any{"events": page, "searchedLogStreams": []any{}}, nil
}

// before says whether an event is beyond the position.
func (p position) before(e event) bool {
	if p.FromHead {
		return e.Timestamp > p.Timestamp || e.Timestamp == p.Timestamp && e.sequence > p.Sequence
	}
	return e.Timestamp < p.Timestamp || e.Timestamp == p.Timestamp && e.sequence < p.Sequence
}
