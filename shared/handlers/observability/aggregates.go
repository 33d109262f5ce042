package observability

import (
	"context"
	"strings"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
	"mastralambda/shared/server"
)

func aggregateRoutes(read server.Option) []server.Route {
	return []server.Route{
		server.JSON("POST /observability/scores/aggregate", AggregateScores, read, server.Summary("Aggregate the scores of a scorer")),
		server.JSON("POST /observability/scores/breakdown", BreakDownScores, read, server.Summary("Aggregate scores by some of their fields")),
		server.JSON("POST /observability/scores/timeseries", ScoreSeries, read, server.Summary("Aggregate scores over time")),
		server.JSON("POST /observability/scores/percentiles", ScorePercentiles, read, server.Summary("Percentiles of scores over time")),
		server.JSON("POST /observability/feedback/aggregate", AggregateFeedback, read, server.Summary("Aggregate feedback of a type")),
		server.JSON("POST /observability/feedback/breakdown", BreakDownFeedback, read, server.Summary("Aggregate feedback by some of its fields")),
		server.JSON("POST /observability/feedback/timeseries", FeedbackSeries, read, server.Summary("Aggregate feedback over time")),
		server.JSON("POST /observability/feedback/percentiles", FeedbackPercentiles, read, server.Summary("Percentiles of feedback over time")),
		server.JSON("POST /observability/metrics/aggregate", AggregateMetrics, read, server.Summary("Aggregate metrics")),
		server.JSON("POST /observability/metrics/breakdown", BreakDownMetrics, read, server.Summary("Aggregate metrics by some of their fields")),
		server.JSON("POST /observability/metrics/timeseries", MetricSeries, read, server.Summary("Aggregate metrics over time")),
		server.JSON("POST /observability/metrics/percentiles", MetricPercentiles, read, server.Summary("Percentiles of a metric over time")),
	}
}

// comparison, grouping and steps are the parts that requests have in common.
type comparison struct {
	ComparePeriod string `json:"comparePeriod,omitempty" enum:"previous_period,previous_day,previous_week"`
}

type grouping struct {
	GroupBy []string `json:"groupBy" minItems:"1" maxItems:"8"`
}

type steps struct {
	Interval string   `json:"interval" enum:"1m,5m,15m,1h,1d"`
	GroupBy  []string `json:"groupBy,omitempty" maxItems:"8"`
}

type ranks struct {
	Percentiles []rank  `json:"percentiles" minItems:"1" maxItems:"20"`
	Interval    string  `json:"interval" enum:"1m,5m,15m,1h,1d"`
	Filters     Filters `json:"filters,omitzero"`
}

// rank is a percentile from 0 to 1.
type rank float64

func (rank) JSONSchema() *schema.Doc {
	least, most := 0.0, 1.0
	return &schema.Doc{Type: "number", Minimum: &least, Maximum: &most}
}

func (r ranks) list() []float64 {
	out := make([]float64, len(r.Percentiles))
	for i, p := range r.Percentiles {
		out[i] = float64(p)
	}
	return out
}

type scorer struct {
	ScorerID    string `json:"scorerId"`
	ScoreSource string `json:"scoreSource,omitempty"`
}

func (s scorer) subject() *subject {
	sub := &subject{name: s.ScorerID, zero: &mastra.Score{}, fields: []wanted{{"scorerId", []string{s.ScorerID}}}}
	if s.ScoreSource != "" {
		sub.name += "|" + s.ScoreSource
		sub.fields = append(sub.fields, wanted{"scoreSource", []string{s.ScoreSource}})
	}
	sub.read = func(ctx context.Context, m *mastra.Mastra, match *matcher, yield func(mastra.Signal)) error {
		q := mastra.ScoreQuery{ScorerID: s.ScorerID, TraceIDs: match.traces(), Match: visit(match, yield)}
		q.From, q.To = match.inclusive()
		_, err := m.Storage.Scores(ctx, q)
		return err
	}
	return sub
}

// visit makes a condition that nothing fulfils of what looks at all that match: nothing is kept for a page.
func visit(match *matcher, yield func(mastra.Signal)) func(mastra.Signal) bool {
	return func(s mastra.Signal) bool {
		if match.match(s) {
			yield(s)
		}
		return false
	}
}

type feedbackOf struct {
	FeedbackType   string `json:"feedbackType"`
	FeedbackSource string `json:"feedbackSource,omitempty"`
}

func (f feedbackOf) subject() *subject {
	sub := &subject{name: f.FeedbackType, zero: &mastra.Feedback{}, fields: []wanted{{"feedbackType", []string{f.FeedbackType}}}}
	if f.FeedbackSource != "" {
		sub.name += "|" + f.FeedbackSource
		sub.fields = append(sub.fields, wanted{"feedbackSource", []string{f.FeedbackSource}})
	}
	sub.read = func(ctx context.Context, m *mastra.Mastra, match *matcher, yield func(mastra.Signal)) error {
		q := mastra.ScoreQuery{TraceIDs: match.traces(), Match: visit(match, yield)}
		q.From, q.To = match.inclusive()
		_, err := m.Storage.Feedback(ctx, q)
		return err
	}
	return sub
}

func metricsOf(names []string) *subject {
	return &subject{name: strings.Join(names, ","), zero: &mastra.MetricPoint{}, labels: true,
		read: func(ctx context.Context, m *mastra.Mastra, match *matcher, yield func(mastra.Signal)) error {
			return eachMetric(ctx, m, names, match, func(p *mastra.MetricPoint) bool { yield(p); return true })
		}}
}

// AggregateScoresInput asks for one number over the scores of a scorer.
type AggregateScoresInput struct {
	scorer
	aggregation
	comparison
}

// AggregateScores is one number over the scores of a scorer.
func AggregateScores(ctx context.Context, m *mastra.Mastra, in AggregateScoresInput) (Record, error) {
	return in.subject().aggregate(ctx, m, &in.aggregation, "scorerId", in.ComparePeriod)
}

// BreakDownScoresInput asks for the scores of a scorer by some of their fields.
type BreakDownScoresInput struct {
	scorer
	aggregation
	grouping
}

// BreakDownScores groups the scores of a scorer.
func BreakDownScores(ctx context.Context, m *mastra.Mastra, in BreakDownScoresInput) (Breakdown, error) {
	return in.subject().breakdown(ctx, m, &in.aggregation, in.GroupBy, "scorerId", 0, false)
}

// ScoreSeriesInput asks for the scores of a scorer over time.
type ScoreSeriesInput struct {
	scorer
	aggregation
	steps
}

// ScoreSeries is the scores of a scorer over time.
func ScoreSeries(ctx context.Context, m *mastra.Mastra, in ScoreSeriesInput) (Series, error) {
	return in.subject().timeseries(ctx, m, &in.aggregation, in.Interval, in.GroupBy, "scorerId")
}

// ScorePercentilesInput asks for percentiles of the scores of a scorer.
type ScorePercentilesInput struct {
	scorer
	ranks
}

// ScorePercentiles are percentiles of the scores of a scorer over time.
func ScorePercentiles(ctx context.Context, m *mastra.Mastra, in ScorePercentilesInput) (Percentiles, error) {
	return in.subject().percentiles(ctx, m, &in.Filters, in.list(), in.Interval)
}

// AggregateFeedbackInput asks for one number over feedback of a type.
type AggregateFeedbackInput struct {
	feedbackOf
	aggregation
	comparison
}

// AggregateFeedback is one number over feedback of a type, as far as it is numbers.
func AggregateFeedback(ctx context.Context, m *mastra.Mastra, in AggregateFeedbackInput) (Record, error) {
	return in.subject().aggregate(ctx, m, &in.aggregation, "feedbackType", in.ComparePeriod)
}

// BreakDownFeedbackInput asks for feedback by some of its fields.
type BreakDownFeedbackInput struct {
	feedbackOf
	aggregation
	grouping
}

// BreakDownFeedback groups feedback of a type.
func BreakDownFeedback(ctx context.Context, m *mastra.Mastra, in BreakDownFeedbackInput) (Breakdown, error) {
	return in.subject().breakdown(ctx, m, &in.aggregation, in.GroupBy, "feedbackType", 0, false)
}

// FeedbackSeriesInput asks for feedback over time.
type FeedbackSeriesInput struct {
	feedbackOf
	aggregation
	steps
}

// FeedbackSeries is feedback of a type over time.
func FeedbackSeries(ctx context.Context, m *mastra.Mastra, in FeedbackSeriesInput) (Series, error) {
	return in.subject().timeseries(ctx, m, &in.aggregation, in.Interval, in.GroupBy, "feedbackType")
}

// FeedbackPercentilesInput asks for percentiles of feedback.
type FeedbackPercentilesInput struct {
	feedbackOf
	ranks
}

// FeedbackPercentiles are percentiles of feedback of a type over time.
func FeedbackPercentiles(ctx context.Context, m *mastra.Mastra, in FeedbackPercentilesInput) (Percentiles, error) {
	return in.subject().percentiles(ctx, m, &in.Filters, in.list(), in.Interval)
}

type distinct struct {
	DistinctColumn string `json:"distinctColumn,omitempty" enum:"entityType,entityName,parentEntityType,parentEntityName,rootEntityType,rootEntityName,name,provider,model,environment,executionSource,serviceName,threadId,resourceId"`
}

func (d distinct) check(aggregation string) error {
	if aggregation == "count_distinct" && d.DistinctColumn == "" {
		return mastra.Invalid("distinctColumn", "Required by count_distinct")
	}
	return nil
}

// AggregateMetricsInput asks for one number over metrics.
type AggregateMetricsInput struct {
	Name Texts `json:"name"`
	aggregation
	distinct
	comparison
}

// AggregateMetrics is one number over metrics, with what they cost.
func AggregateMetrics(ctx context.Context, m *mastra.Mastra, in AggregateMetricsInput) (Record, error) {
	if err := in.check(in.Aggregation); err != nil {
		return nil, err
	}
	return metricsOf(in.Name).aggregate(ctx, m, &in.aggregation, in.DistinctColumn, in.ComparePeriod)
}

// BreakDownMetricsInput asks for metrics by some of their fields.
type BreakDownMetricsInput struct {
	Name Texts `json:"name"`
	aggregation
	distinct
	grouping
	Limit          int    `json:"limit,omitempty" minimum:"1" maximum:"1000"`
	OrderDirection string `json:"orderDirection,omitempty" enum:"ASC,DESC"`
}

// BreakDownMetrics groups metrics.
func BreakDownMetrics(ctx context.Context, m *mastra.Mastra, in BreakDownMetricsInput) (Breakdown, error) {
	if err := in.check(in.Aggregation); err != nil {
		return Breakdown{}, err
	}
	return metricsOf(in.Name).breakdown(ctx, m, &in.aggregation, in.GroupBy, in.DistinctColumn, in.Limit, in.OrderDirection == "ASC")
}

// MetricSeriesInput asks for metrics over time.
type MetricSeriesInput struct {
	Name Texts `json:"name"`
	aggregation
	distinct
	steps
}

// MetricSeries is metrics over time.
func MetricSeries(ctx context.Context, m *mastra.Mastra, in MetricSeriesInput) (Series, error) {
	if err := in.check(in.Aggregation); err != nil {
		return Series{}, err
	}
	return metricsOf(in.Name).timeseries(ctx, m, &in.aggregation, in.Interval, in.GroupBy, in.DistinctColumn)
}

// MetricPercentilesInput asks for percentiles of a metric.
type MetricPercentilesInput struct {
	Name string `json:"name"`
	ranks
}

// MetricPercentiles are percentiles of a metric over time.
func MetricPercentiles(ctx context.Context, m *mastra.Mastra, in MetricPercentilesInput) (Percentiles, error) {
	return metricsOf([]string{in.Name}).percentiles(ctx, m, &in.Filters, in.list(), in.Interval)
}
