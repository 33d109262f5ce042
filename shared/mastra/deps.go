//go:build never

package mastra

import (
	_ "github.com/sashabaranov/go-openai"
	_ "modernc.org/sqlite"
)
