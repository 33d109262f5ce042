package observability

import (
	"cmp"
	"context"
	"math"
	"slices"
	"strings"

	"mastralambda/shared/mastra"
)

// subject is what an aggregate is about: the scores of a scorer, feedback of a type, metrics of some names.
type subject struct {
	name   string // of a series that is not grouped
	fields []wanted
	zero   mastra.Signal // says which fields there are
	labels bool          // a field that is not known is a label
	read   func(ctx context.Context, m *mastra.Mastra, match *matcher, yield func(mastra.Signal)) error
}

// each calls yield with what the subject and the filters have in common and is a number.
func (s *subject) each(ctx context.Context, m *mastra.Mastra, filters *Filters, within Range, yield func(mastra.Signal, float64)) error {
	match := filters.matcher(ctx)
	match.Range = within
	match.fields = append(match.fields, s.fields...)
	return s.read(ctx, m, match, func(v mastra.Signal) {
		if n, ok := v.Number(); ok {
			yield(v, n)
		}
	})
}

// noLabels are fields of a metric that are neither a text nor a label.
var noLabels = []string{"tags", "metadata", "scope", "costMetadata"}

// groups checks the fields that an answer is to be grouped by.
func (s *subject) groups(by []string) error {
	var unknown []string
	for _, name := range by {
		if _, ok := s.zero.Field(name); !ok && (!s.labels || slices.Contains(noLabels, name)) {
			unknown = append(unknown, name)
		}
	}
	if unknown != nil {
		return mastra.Invalid("groupBy", "Invalid groupBy column(s): %s", strings.Join(unknown, ", "))
	}
	return nil
}

// cell adds up what falls together.
type cell struct {
	n                        int
	sum, least, most, latest float64
	at                       mastra.Time
	distinct                 map[string]struct{}
	cost                     float64
	costs                    bool
	units                    []string
	values                   []float64 // for percentiles
}

func (c *cell) add(s mastra.Signal, n float64, distinct string, keep bool) {
	if c.n == 0 {
		c.least, c.most = n, n
	}
	c.n++
	c.sum += n
	c.least, c.most = min(c.least, n), max(c.most, n)
	if at := s.At(); at >= c.at {
		c.at, c.latest = at, n
	}
	if distinct != "" {
		if text, _ := s.Field(distinct); text != "" {
			if c.distinct == nil {
				c.distinct = map[string]struct{}{}
			}
			c.distinct[text] = struct{}{}
		}
	}
	if keep {
		c.values = append(c.values, n)
	}
	if p, ok := s.(*mastra.MetricPoint); ok && p.EstimatedCost != nil {
		c.cost, c.costs = c.cost+*p.EstimatedCost, true
		if !slices.Contains(c.units, p.CostUnit) {
			c.units = append(c.units, p.CostUnit)
		}
	}
}

// value is nil where nothing was added; counts are 0 then.
func (c *cell) value(aggregation string) *float64 {
	var v float64
	switch aggregation {
	case "count":
		v = float64(c.n)
		return &v
	case "count_distinct":
		v = float64(len(c.distinct))
		return &v
	}
	if c.n == 0 {
		return nil
	}
	switch aggregation {
	case "avg":
		v = c.sum / float64(c.n)
	case "min":
		v = c.least
	case "max":
		v = c.most
	case "last":
		v = c.latest
	default:
		v = c.sum
	}
	return &v
}

func (c *cell) estimated() (*float64, *string) {
	if !c.costs {
		return nil, nil
	}
	if len(c.units) == 1 {
		return &c.cost, orNull(c.units[0])
	}
	return &c.cost, nil
}

// percentile interpolates between the two values nearest to it. values are sorted.
func percentile(values []float64, p float64) float64 {
	at := p * float64(len(values)-1)
	low := math.Floor(at)
	below := values[int(low)]
	above := values[min(int(low)+1, len(values)-1)]
	return below + (above-below)*(at-low)
}

var intervals = map[string]mastra.Time{"1m": 60_000, "5m": 300_000, "15m": 900_000, "1h": 3_600_000, "1d": 86_400_000}

// bucket is the beginning of the interval that t lies in.
func bucket(t, interval mastra.Time) mastra.Time {
	return t - ((t%interval)+interval)%interval
}

// previous is the range that a period is compared with; ok is false where the period is open.
func previous(compare string, r Range) (_ Range, ok bool) {
	if compare == "" || r.Start == 0 || r.End == 0 {
		return r, false
	}
	back := r.End - r.Start
	switch compare {
	case "previous_day":
		back = intervals["1d"]
	case "previous_week":
		back = 7 * intervals["1d"]
	}
	r.Start, r.End = r.Start-back, r.End-back
	return r, true
}

// Aggregate is one number over all. What is compared with stands beside it where it was asked for.
type Aggregate struct {
	Value         *float64 `json:"value"`
	PreviousValue *float64 `json:"previousValue"`
	ChangePercent *float64 `json:"changePercent"`
	EstimatedCost *float64 `json:"estimatedCost"`
	CostUnit      *string  `json:"costUnit"`
	PreviousCost  *float64 `json:"previousEstimatedCost"`
	CostChange    *float64 `json:"costChangePercent"`
}

func change(now, before *float64) *float64 {
	if now == nil || before == nil || *before == 0 {
		return nil
	}
	percent := (*now - *before) / math.Abs(*before) * 100
	return &percent
}

type aggregation struct {
	Aggregation string  `json:"aggregation" enum:"sum,avg,min,max,count,count_distinct,last"`
	Filters     Filters `json:"filters,omitzero"`
}

func (s *subject) aggregate(ctx context.Context, m *mastra.Mastra, a *aggregation, distinct, compare string) (Record, error) {
	total := func(r Range) (cell, error) {
		var c cell
		return c, s.each(ctx, m, &a.Filters, r, func(v mastra.Signal, n float64) { c.add(v, n, distinct, false) })
	}
	now, err := total(a.Filters.Timestamp)
	if err != nil {
		return nil, err
	}
	out := Aggregate{Value: now.value(a.Aggregation)}
	out.EstimatedCost, out.CostUnit = now.estimated()
	shown := []string{"value"}
	if s.labels {
		shown = append(shown, "estimatedCost", "costUnit")
	}
	if r, ok := previous(compare, a.Filters.Timestamp); ok {
		before, err := total(r)
		if err != nil {
			return nil, err
		}
		out.PreviousValue = before.value(a.Aggregation)
		out.PreviousCost, _ = before.estimated()
		out.ChangePercent, out.CostChange = change(out.Value, out.PreviousValue), change(out.EstimatedCost, out.PreviousCost)
		shown = append(shown, "previousValue", "changePercent")
		if s.labels {
			shown = append(shown, "previousEstimatedCost", "costChangePercent")
		}
	}
	return record(out, shown, nil)
}

// grouped are cells by the values of some fields.
type grouped struct {
	by     []string
	cells  map[string]*cell
	values map[string][]*string // the fields' values, nil where one is not set
}

func newGrouped(by []string) *grouped {
	return &grouped{by: by, cells: map[string]*cell{}, values: map[string][]*string{}}
}

func (g *grouped) key(s mastra.Signal) string {
	var b strings.Builder
	for _, name := range g.by {
		text, ok := s.Field(name)
		if !ok {
			text = ""
		}
		b.WriteString(text)
		b.WriteByte(0)
	}
	key := b.String()
	if g.values[key] == nil {
		values := make([]*string, len(g.by))
		for i, name := range g.by {
			text, _ := s.Field(name)
			values[i] = orNull(text)
		}
		g.values[key] = values
	}
	return key
}

func (g *grouped) cell(key string) *cell {
	c := g.cells[key]
	if c == nil {
		c = &cell{}
		g.cells[key] = c
	}
	return c
}

// Group is one row of a breakdown.
type Group struct {
	Dimensions    mastra.Object[*string] `json:"dimensions"`
	Value         float64                `json:"value"`
	EstimatedCost *float64               `json:"estimatedCost"`
	CostUnit      *string                `json:"costUnit"`
}

// Breakdown is an aggregate by the values of some fields.
type Breakdown struct {
	Groups []Record `json:"groups"`
}

const maxGroups = 10_000

func (s *subject) breakdown(ctx context.Context, m *mastra.Mastra, a *aggregation, by []string, distinct string, limit int, ascending bool) (Breakdown, error) {
	if err := s.groups(by); err != nil {
		return Breakdown{}, err
	}
	g := newGrouped(by)
	err := s.each(ctx, m, &a.Filters, a.Filters.Timestamp, func(v mastra.Signal, n float64) {
		if key := g.key(v); g.cells[key] != nil || len(g.cells) < maxGroups {
			g.cell(key).add(v, n, distinct, false)
		}
	})
	if err != nil {
		return Breakdown{}, err
	}
	type row struct {
		Group
		key string
	}
	rows := make([]row, 0, len(g.cells))
	for key, c := range g.cells {
		r := row{key: key}
		for i, name := range by {
			r.Dimensions = append(r.Dimensions, mastra.Member[*string]{Key: name, Value: g.values[key][i]})
		}
		if v := c.value(a.Aggregation); v != nil {
			r.Value = *v
		}
		r.EstimatedCost, r.CostUnit = c.estimated()
		rows = append(rows, r)
	}
	slices.SortFunc(rows, func(a, b row) int {
		c := cmp.Compare(b.Value, a.Value)
		if ascending {
			c = -c
		}
		return cmp.Or(c, cmp.Compare(a.key, b.key))
	})
	if limit > 0 {
		rows = rows[:min(limit, len(rows))]
	}
	shown := []string{"dimensions", "value"}
	if s.labels {
		shown = append(shown, "estimatedCost", "costUnit")
	}
	out := Breakdown{Groups: []Record{}}
	for i := range rows {
		r, err := record(rows[i].Group, shown, nil)
		if err != nil {
			return Breakdown{}, err
		}
		out.Groups = append(out.Groups, r)
	}
	return out, nil
}

// Series is a line over time.
type Series struct {
	Series []Record `json:"series"`
}

// maxPoints is how many points an answer has at most.
const maxPoints = 50_000

type point struct {
	Timestamp     mastra.Time `json:"timestamp"`
	Value         float64     `json:"value"`
	EstimatedCost *float64    `json:"estimatedCost"`
}

func (s *subject) timeseries(ctx context.Context, m *mastra.Mastra, a *aggregation, interval string, by []string, distinct string) (Series, error) {
	if err := s.groups(by); err != nil {
		return Series{}, err
	}
	type place struct {
		key string
		at  mastra.Time
	}
	g := newGrouped(by)
	cells := map[place]*cell{}
	err := s.each(ctx, m, &a.Filters, a.Filters.Timestamp, func(v mastra.Signal, n float64) {
		p := place{g.key(v), bucket(v.At(), intervals[interval])}
		if cells[p] == nil && len(cells) <= maxPoints {
			cells[p] = &cell{}
		}
		if cells[p] != nil {
			cells[p].add(v, n, distinct, false)
		}
	})
	if err == nil && len(cells) > maxPoints {
		err = mastra.Errorf(mastra.CodeInvalid, "There are too many points to show: ask for a longer interval or a narrower range of time")
	}
	if err != nil {
		return Series{}, err
	}
	byKey := map[string][]place{}
	var order []string
	places := make([]place, 0, len(cells))
	for p := range cells {
		places = append(places, p)
	}
	slices.SortFunc(places, func(a, b place) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.key, b.key)) })
	for _, p := range places {
		if byKey[p.key] == nil {
			order = append(order, p.key)
		}
		byKey[p.key] = append(byKey[p.key], p)
	}
	if len(by) == 0 && len(order) == 0 {
		order = []string{""}
	}
	pointFields := []string{"timestamp", "value"}
	if s.labels {
		pointFields = append(pointFields, "estimatedCost")
	}
	out := Series{Series: []Record{}}
	for _, key := range order {
		name := s.name
		if len(by) > 0 {
			var parts []string
			for _, v := range g.values[key] {
				if v == nil {
					v = new(string)
				}
				parts = append(parts, *v)
			}
			name = strings.Join(parts, "|")
		}
		points := []Record{}
		var units []string
		for _, p := range byKey[key] {
			pt := point{Timestamp: p.at}
			if v := cells[p].value(a.Aggregation); v != nil {
				pt.Value = *v
			}
			var unit *string
			if pt.EstimatedCost, unit = cells[p].estimated(); unit != nil && !slices.Contains(units, *unit) {
				units = append(units, *unit)
			}
			r, err := record(pt, pointFields, nil)
			if err != nil {
				return Series{}, err
			}
			points = append(points, r)
		}
		line := struct {
			Name     string   `json:"name"`
			CostUnit *string  `json:"costUnit"`
			Points   []Record `json:"points"`
		}{name, nil, points}
		if len(units) == 1 {
			line.CostUnit = &units[0]
		}
		shown := []string{"name", "points"}
		if s.labels {
			shown = []string{"name", "costUnit", "points"}
		}
		r, err := record(line, shown, nil)
		if err != nil {
			return Series{}, err
		}
		out.Series = append(out.Series, r)
	}
	return out, nil
}

// Percentiles are lines over time, one a percentile.
type Percentiles struct {
	Series []PercentileSeries `json:"series"`
}

// PercentileSeries is the line of one percentile.
type PercentileSeries struct {
	Percentile float64           `json:"percentile"`
	Points     []PercentilePoint `json:"points"`
}

// PercentilePoint is a percentile of one interval.
type PercentilePoint struct {
	Timestamp mastra.Time `json:"timestamp"`
	Value     float64     `json:"value"`
}

func (s *subject) percentiles(ctx context.Context, m *mastra.Mastra, filters *Filters, percentiles []float64, interval string) (Percentiles, error) {
	cells := map[mastra.Time]*cell{}
	err := s.each(ctx, m, filters, filters.Timestamp, func(v mastra.Signal, n float64) {
		at := bucket(v.At(), intervals[interval])
		if cells[at] == nil {
			cells[at] = &cell{}
		}
		cells[at].add(v, n, "", true)
	})
	if err == nil && len(cells)*len(percentiles) > maxPoints {
		err = mastra.Errorf(mastra.CodeInvalid, "There are too many points to show: ask for a longer interval or a narrower range of time")
	}
	if err != nil {
		return Percentiles{}, err
	}
	var times []mastra.Time
	for at, c := range cells {
		times = append(times, at)
		slices.Sort(c.values)
	}
	slices.Sort(times)
	out := Percentiles{Series: []PercentileSeries{}}
	for _, p := range percentiles {
		line := PercentileSeries{Percentile: p, Points: []PercentilePoint{}}
		for _, at := range times {
			line.Points = append(line.Points, PercentilePoint{at, percentile(cells[at].values, p)})
		}
		out.Series = append(out.Series, line)
	}
	return out, nil
}
