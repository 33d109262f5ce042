package cloudwatch

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"mastralambda/shared/mastra"
)

// What of a query goes into a filter pattern is made of these characters only; so nothing that a client sends reads as syntax.
// The service's answer may hold too much, never too little: every record is matched again here.
var (
	plainName  = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)
	plainStart = regexp.MustCompile(`^[A-Za-z0-9_.:/@ -]{1,128}`)
	jsonNumber = regexp.MustCompile(`^-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)
	plainFloat = regexp.MustCompile(`^-?[0-9]{1,15}(\.[0-9]{1,15})?$`)
)

const maxPattern = 1024 // bytes

// patternOf is the filter pattern of a query; "" where nothing can match. It always asks for a level, which the lines of the
// platform itself do not have.
func patternOf(q mastra.LogQuery, levels []string) string {
	if len(levels) == 0 {
		return ""
	}
	var wanted []string
	for _, level := range levels {
		wanted = append(wanted, `$.level = "`+strings.ToUpper(level)+`"`)
	}
	pattern := "{ (" + strings.Join(wanted, " || ") + ")"
	add := func(term string) {
		if term != "" && len(pattern)+len(term)+6 <= maxPattern {
			pattern += " && " + term
		}
	}
	if q.RunID != "" {
		add(equal("runId", q.RunID))
	}
	for _, name := range slices.Sorted(maps.Keys(q.Filters)) {
		if name != "level" { // the pattern has it in capitals
			add(equal(name, q.Filters[name]))
		}
	}
	return pattern + " }"
}

// equal asks whether a field begins with as much of a value as is plain; "" asks nothing.
func equal(name, value string) string {
	start := plainStart.FindString(value)
	switch {
	case !plainName.MatchString(name), start == "", value == "true", value == "false", value == "null":
		return ""
	case plainFloat.MatchString(value): // a number or a text that looks like one
		return "($." + name + " = " + value + " || $." + name + ` = "` + value + `")`
	case jsonNumber.MatchString(value):
		return ""
	case start == value:
		return "$." + name + ` = "` + value + `"`
	}
	return "$." + name + ` = "` + start + `*"`
}
