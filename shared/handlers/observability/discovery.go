package observability

import (
	"context"
	"slices"
	"strings"

	"mastralambda/shared/mastra"
)

// free keeps a caller bound to a resource out: names are of all resources.
func free(ctx context.Context) error {
	if mastra.Resource(ctx, "") != "" {
		return mastra.Errorf(mastra.CodeForbidden, "Access denied: names are those of all resources")
	}
	return nil
}

func limited(all []string, prefix string, limit int) []string {
	out := []string{}
	for _, text := range all {
		if strings.HasPrefix(text, prefix) && (limit == 0 || len(out) < limit) {
			out = append(out, text)
		}
	}
	return out
}

// MetricNamesInput narrows names down.
type MetricNamesInput struct {
	Prefix string `query:"prefix" json:"-"`
	Limit  int    `query:"limit" json:"-" minimum:"1"`
}

// NameList lists names.
type NameList struct {
	Names []string `json:"names"`
}

// MetricNames are the metrics that spans may have.
func MetricNames(ctx context.Context, m *mastra.Mastra, in MetricNamesInput) (NameList, error) {
	return NameList{limited(mastra.MetricNames, in.Prefix, in.Limit)}, free(ctx)
}

// MetricLabelKeysInput names a metric.
type MetricLabelKeysInput struct {
	MetricName string `query:"metricName" json:"-" required:"true"`
}

// KeyList lists labels.
type KeyList struct {
	Keys []string `json:"keys"`
}

// MetricLabelKeys are the labels of a metric: durations have one.
func MetricLabelKeys(ctx context.Context, _ *mastra.Mastra, in MetricLabelKeysInput) (KeyList, error) {
	if !slices.Contains(mastra.MetricNames, in.MetricName) || !strings.HasSuffix(in.MetricName, "_duration_ms") {
		return KeyList{[]string{}}, free(ctx)
	}
	return KeyList{[]string{"status"}}, free(ctx)
}

// MetricLabelValuesInput names a metric and a label of it.
type MetricLabelValuesInput struct {
	MetricName string `query:"metricName" json:"-" required:"true"`
	LabelKey   string `query:"labelKey" json:"-" required:"true"`
	Prefix     string `query:"prefix" json:"-"`
	Limit      int    `query:"limit" json:"-" minimum:"1"`
}

// ValueList lists values.
type ValueList struct {
	Values []string `json:"values"`
}

// MetricLabelValues are the values of a metric's label.
func MetricLabelValues(ctx context.Context, m *mastra.Mastra, in MetricLabelValuesInput) (ValueList, error) {
	keys, err := MetricLabelKeys(ctx, m, MetricLabelKeysInput{in.MetricName})
	if err != nil || !slices.Contains(keys.Keys, in.LabelKey) {
		return ValueList{[]string{}}, err
	}
	return ValueList{limited([]string{"error", "ok"}, in.Prefix, in.Limit)}, nil
}

// NothingAsked is an input without fields.
type NothingAsked struct{}

// EntityTypeList lists types of entities.
type EntityTypeList struct {
	EntityTypes []string `json:"entityTypes"`
}

// names are the distinct texts that pick chooses, sorted.
func names(ctx context.Context, m *mastra.Mastra, pick func(mastra.Name) string) ([]string, error) {
	if err := free(ctx); err != nil {
		return nil, err
	}
	all, err := m.Storage.Names(ctx)
	out := []string{}
	for _, n := range all {
		if text := pick(n); text != "" {
			out = append(out, text)
		}
	}
	slices.Sort(out)
	return slices.Compact(out), err
}

// EntityTypes are the types of entities that have had spans.
func EntityTypes(ctx context.Context, m *mastra.Mastra, _ NothingAsked) (out EntityTypeList, err error) {
	out.EntityTypes, err = names(ctx, m, func(n mastra.Name) string {
		if n.Kind != mastra.NameEntity {
			return ""
		}
		return n.EntityType
	})
	return out, err
}

// OfTypeInput narrows names down to those of a type of entity.
type OfTypeInput struct {
	EntityType string `query:"entityType" json:"-" enum:"agent,scorer,rag_ingestion,trajectory,input_processor,input_step_processor,output_processor,output_step_processor,tool_result_processor,workflow_step,tool,mcp_server,workflow_run,memory"`
}

func (in OfTypeInput) pick(kind string) func(mastra.Name) string {
	return func(n mastra.Name) string {
		if n.Kind != kind || in.EntityType != "" && n.EntityType != in.EntityType {
			return ""
		}
		return n.Text
	}
}

// EntityNames are the names of entities that have had spans.
func EntityNames(ctx context.Context, m *mastra.Mastra, in OfTypeInput) (out NameList, err error) {
	out.Names, err = names(ctx, m, in.pick(mastra.NameEntity))
	return out, err
}

// TagList lists tags.
type TagList struct {
	Tags []string `json:"tags"`
}

// Tags are the tags that spans have had.
func Tags(ctx context.Context, m *mastra.Mastra, in OfTypeInput) (out TagList, err error) {
	out.Tags, err = names(ctx, m, in.pick(mastra.NameTag))
	return out, err
}

// ServiceNameList lists services.
type ServiceNameList struct {
	ServiceNames []string `json:"serviceNames"`
}

// ServiceNames is this deployment's own name.
func ServiceNames(_ context.Context, m *mastra.Mastra, _ NothingAsked) (ServiceNameList, error) {
	return ServiceNameList{limited([]string{m.Tracing.ServiceName}, "", 0)[:min(1, len(m.Tracing.ServiceName))]}, nil
}

// EnvironmentList lists environments.
type EnvironmentList struct {
	Environments []string `json:"environments"`
}

// Environments is this deployment's own.
func Environments(_ context.Context, m *mastra.Mastra, _ NothingAsked) (EnvironmentList, error) {
	return EnvironmentList{limited([]string{m.Tracing.Environment}, "", 0)[:min(1, len(m.Tracing.Environment))]}, nil
}
