package observability

import (
	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// Record is a score, a piece of feedback, a metric or a line of the log as the reference server shows it: every field is
// there, null where it is not set.
type Record = mastra.Object[mastra.JSON]

var originFields = []string{"experimentId", "entityType", "entityId", "entityName", "entityVersionId", "parentEntityVersionId", "parentEntityType", "parentEntityId",
	"parentEntityName", "rootEntityVersionId", "rootEntityType", "rootEntityId", "rootEntityName", "userId", "organizationId", "resourceId", "runId", "sessionId",
	"threadId", "requestId", "environment", "executionSource", "serviceName"}

func fieldsOf(before []string, after ...string) []string {
	return append(append(append([]string{}, before...), originFields...), after...)
}

var (
	scoreFields = fieldsOf([]string{"scoreId", "timestamp", "traceId", "spanId", "scoreTraceId"}, "scorerId", "scorerVersion", "source", "scoreSource", "score", "reason",
		"tags", "metadata", "scope")
	feedbackFields = fieldsOf([]string{"feedbackId", "timestamp", "traceId", "spanId"}, "feedbackUserId", "sourceId", "reviewStatus", "source", "feedbackSource", "feedbackType",
		"value", "comment", "tags", "metadata", "scope")
	metricFields = fieldsOf([]string{"metricId", "timestamp", "name", "value", "traceId", "spanId"}, "provider", "model", "estimatedCost", "costUnit", "costMetadata", "tags",
		"labels", "metadata", "scope")
	logFields = fieldsOf([]string{"logId", "timestamp", "level", "message", "data", "traceId", "spanId"}, "tags", "source", "metadata", "scope")
)

// record is v with all fields in order. also are those that v has under another name.
func record(v any, fields []string, also map[string]string) (Record, error) {
	data, err := schema.Marshal(v)
	if err != nil {
		return nil, err
	}
	var have map[string]mastra.JSON
	if err := schema.Unmarshal(data, &have); err != nil {
		return nil, err
	}
	out := make(Record, len(fields))
	for i, name := range fields {
		value := have[name]
		if as, ok := also[name]; ok && value == nil {
			value = have[as]
		}
		out[i] = mastra.Member[mastra.JSON]{Key: name, Value: value}
	}
	return out, nil
}

func records[T any](items []T, show func(*T) (Record, error)) ([]Record, error) {
	out := make([]Record, len(items))
	for i := range items {
		r, err := show(&items[i])
		if err != nil {
			return nil, err
		}
		out[i] = r
	}
	return out, nil
}

func showScore(s *mastra.Score) (Record, error) {
	return record(s, scoreFields, map[string]string{"source": "scoreSource"})
}

// showFeedback shows a source that is not known as the reference server does: empty.
func showFeedback(f *mastra.Feedback) (Record, error) {
	r, err := record(f, feedbackFields, map[string]string{"source": "feedbackSource"})
	for i := range r {
		if r[i].Value == nil && (r[i].Key == "source" || r[i].Key == "feedbackSource") {
			r[i].Value = mastra.JSON(`""`)
		}
		if r[i].Value == nil && r[i].Key == "reviewStatus" {
			r[i].Value = mastra.JSON(`"needs-review"`)
		}
	}
	return r, err
}

func showMetric(m *mastra.MetricPoint) (Record, error) {
	r, err := record(m, metricFields, nil)
	labels := mastra.JSON(`{}`)
	if m.Status != "" {
		labels = mastra.JSON(`{"status":"` + m.Status + `"}`)
	}
	r.Set("labels", labels)
	about := mastra.Object[string]{}
	for _, f := range [...][2]string{{"runId", m.RunID}, {"resourceId", m.ResourceID}, {"threadId", m.ThreadID}, {"userId", m.UserID}, {"organizationId", m.OrganizationID}, {"sessionId", m.SessionID}, {"requestId", m.RequestID},
		{"experimentId", m.ExperimentID}} {
		if f[1] != "" {
			about.Set(f[0], f[1])
		}
	}
	if data, err := schema.Marshal(about); err == nil {
		r.Set("metadata", data)
	}
	return r, err
}
