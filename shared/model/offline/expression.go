package offline

import (
	"regexp"
	"strings"
)

var (
	spoken     = strings.NewReplacer(" plus ", "+", " minus ", "-", " times ", "*", " multiplied by ", "*", " divided by ", "/", "×", "*", "÷", "/", "−", "-")
	candidate  = regexp.MustCompile(`[-0-9.(][-0-9.+*/^() ]*[0-9)]`)
	arithmetic = regexp.MustCompile(`[0-9)] *[-+*/^] *[-(]*[0-9.]`)
)

// findExpression is the longest piece of text that looks like arithmetic, "" if there is none.
// A date such as 2026-11-23 is none.
func findExpression(text string) string {
	if len(text) > 10_000 {
		return ""
	}
	best := ""
	for _, c := range candidate.FindAllString(spoken.Replace(text), -1) {
		if c = strings.TrimSpace(c); arithmetic.MatchString(c) && balanced(c) && !date.MatchString(c) && len(c) > len(best) && len(c) <= 1000 {
			best = c
		}
	}
	return best
}

var date = regexp.MustCompile(`^\d{4}-\d\d-\d\d$`)

func balanced(s string) bool {
	open := 0
	for _, c := range s {
		switch c {
		case '(':
			open++
		case ')':
			if open--; open < 0 {
				return false
			}
		}
	}
	return open == 0
}
