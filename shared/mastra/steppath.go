package mastra

import (
	"strconv"
	"strings"
)

// The key of a step in Run.Steps is its ID. A step of a nested workflow is kept under the path to it, and so is each turn
// of a foreach; the parts of a path are joined by a character that no ID of a user has.
const stepSeparator = "\x1f"

// StepKey is the key of a step below that of parent; parent "" is the run itself.
func StepKey(parent, id string) string {
	if parent == "" {
		return id
	}
	return parent + stepSeparator + id
}

// TurnKey is the key of turn i of the foreach over the step at key.
func TurnKey(key string, i int) string { return key + stepSeparator + "[" + strconv.Itoa(i) + "]" }

// Around is the key of the nested workflow that the step at key belongs to, or "" where that is the run itself. The turns
// of a loop or foreach over that workflow belong to it.
func Around(key string) string {
	for {
		i := strings.LastIndex(key, stepSeparator)
		if i < 0 {
			return ""
		}
		last := key[i+1:]
		if key = key[:i]; !strings.HasPrefix(last, "[") {
			return key
		}
	}
}

// Turn is the first turn of a foreach or loop that key lies in, -1 where it lies in none.
func Turn(key string) int {
	for part := range strings.SplitSeq(key, stepSeparator) {
		if strings.HasPrefix(part, "[") {
			if n, err := strconv.Atoi(strings.Trim(part, "[]")); err == nil {
				return n
			}
		}
	}
	return -1
}

// StepName is a key as it shows on the wire: "step", "nested.step", "step[0]".
func StepName(key string) string {
	if !strings.Contains(key, stepSeparator) {
		return key
	}
	return strings.ReplaceAll(strings.ReplaceAll(key, stepSeparator+"[", "["), stepSeparator, ".")
}

// StepPath is the ids that lead to the step at key, without the turns.
func StepPath(key string) []string {
	var path []string
	for part := range strings.SplitSeq(key, stepSeparator) {
		if !strings.HasPrefix(part, "[") {
			path = append(path, part)
		}
	}
	return path
}

// IsTurn says that key is one turn of a foreach.
func IsTurn(key string) bool {
	i := strings.LastIndex(key, stepSeparator+"[")
	return i >= 0 && !strings.Contains(key[i+1:], stepSeparator)
}

// IsNested says that key lies below another step: a turn, or a step of a nested workflow.
func IsNested(key string) bool { return strings.Contains(key, stepSeparator) }
