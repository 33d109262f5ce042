package dynamodb

import (
	"bytes"
	"compress/flate"
	"fmt"
	"io"
	"sync"
)

const (
	compressFrom = 400      // bytes: a write unit is 1 KB
	wordsUpTo    = 16 << 10 // bytes: what is longer has words of its own

	// The first byte of a stored value; brief marks one that is not whole. One in the form of following is read with the words and
	// with what stands before it in its item.
	raw, deflate, brief, worded, following = 0, 1, 2, 4, 8
)

// words are what the values of these tables have in common, what is likelier nearer to the end. They never change: what was
// written with them is read with them.
const words = `"name":"workflow run: '","spanType":"workflow_run","name":"workflow step: '","spanType":"workflow_step","name":"tool: '","spanType":"tool_call","attributes":{"toolType":"tool"},"toolCalls":[{"toolCallId":"","toolName":"","args":{},"inputDetails":{"text":0,"cacheRead":0,"cacheWrite":0},"outputDetails":{"text":0,"reasoning":0},"error":{"message":"","id":"","details":{},"category":"","finishReason":"tool-calls","isContinued":true,"provider":"openai","provider":"anthropic","provider":"bedrock","tags":["","requestContext":{},"availableTools":[],"toolChoice":"auto","operationType":"save","processorPhase":"outputResult","messageCount":2},"entityType":"output_processor","operationType":"recall","processorPhase":"input","messageCount":0},"metadata":{"runId":"","entityType":"input_processor","entityId":"message-history","entityName":"MessageHistory","runId":"","attributes":{"conversationId":"","instructions":""},"metadata":{"modelId":"","provider":"","traceId":""}},"threadId":"","resourceId":""}]},"output":{}}]"modelMetadata":{"modelId":"","modelVersion":"v2","modelProvider":""}},"input":[{"role":"system","content":""},{"role":"user","content":""}],"output":{"text":"","toolCalls":[]}}","attributes":{"stepIndex":0,"messageId":"","usage":{"inputTokens":7,"outputTokens":36,"inputDetails":{"text":7},"outputDetails":{"text":36}},"isContinued":false,"finishReason":"stop","warnings":[]},"name":"step: 0","spanType":"model_step","startedAt":"name":"inference: 0","spanType":"model_inference","output":{"files":[],"reasoning":[],"sources":[],"text":"","warnings":[]}},"input":{"messages":[{"role":"system","content":""},{"role":"user","content":[{"type":"text","text":""}]}]},"attributes":{"model":"","provider":"","streaming":true,"parameters":{},"finishReason":"stop","responseId":"","responseModel":"","completionStartTime":"202","usage":{"inputTokens":"name":"llm: '","spanType":"model_generation","input":{"messages":[{"id":"","role":"assistant","createdAt":"","content":{"format":2,"parts":[{"type":"text","text":"","createdAt":1795}],"content":""},"threadId":"","resourceId":""}]},"output":{}},{"traceId":"","spanId":"","parentSpanId":"","name":"memory: save","name":"memory: recall","spanType":"memory_operation","[{"traceId":"","spanId":"","name":"agent run: '","spanType":"agent_run","startedAt":"2026-","endedAt":"2026-","entityType":"agent","entityId":"","entityName":"","runId":"","threadId":"","resourceId":"","attributes":{"conversationId":"","instructions":""},"metadata":{"runId":"","resourceId":"","threadId":""},"input":[{"role":"user","content":""}],"output":{"text":"","files":[]}}`

var (
	deflaters = sync.Pool{New: func() any { w, _ := flate.NewWriter(nil, flate.BestSpeed); return w }}
	worders   = sync.Pool{New: func() any { w, _ := flate.NewWriterDict(nil, flate.DefaultCompression, []byte(words)); return w }}
)

// pack encodes a value for an attribute: compressed where that makes it smaller.
func pack(data []byte) []byte {
	if len(data) < compressFrom {
		return whole(data)
	}
	return packShort(data)
}

// packShort is pack for what shares its item with others, so that each byte counts.
func packShort(data []byte) []byte {
	form, pool := byte(worded), &worders
	if len(data) > wordsUpTo {
		form, pool = deflate, &deflaters
	}
	b := compress(pool, form, nil, data)
	if len(b) > len(data) {
		return whole(data)
	}
	return b
}

// packBehind encodes a value that has much in common with one before it in its item.
func packBehind(before, data []byte) []byte {
	if b := compress(&worders, following, before, data); len(b) <= len(data) {
		return b
	}
	return whole(data)
}

func whole(data []byte) []byte {
	return append(append(make([]byte, 0, len(data)+1), raw), data...)
}

// compress writes what is read with the pool's words and, behind them, those of before.
func compress(pool *sync.Pool, form byte, before, data []byte) []byte {
	var b bytes.Buffer
	b.Grow(len(data)/2 + 64)
	w := pool.Get().(*flate.Writer)
	defer pool.Put(w)
	w.Reset(&b) // no write to a buffer fails
	if before != nil {
		_, _ = w.Write(before)
		_ = w.Flush() // the next block begins with a byte
	}
	from := b.Len()
	_, _ = w.Write(data)
	_ = w.Close()
	return append([]byte{form}, b.Bytes()[from:]...)
}

func unpack(stored []byte) ([]byte, error) { return unpackBehind(nil, stored) }

// unpackBehind decodes a value; before is what it may have been encoded behind.
func unpackBehind(before, stored []byte) ([]byte, error) {
	if len(stored) == 0 {
		return nil, fmt.Errorf("dynamodb: a stored value is empty")
	}
	var known []byte
	switch stored[0] &^ brief {
	case raw:
		return stored[1:], nil
	case deflate:
	case worded:
		known = []byte(words)
	case following:
		known = append(append(make([]byte, 0, len(words)+len(before)), words...), before...)
	default:
		return nil, fmt.Errorf("dynamodb: a stored value was written by a newer version of this program")
	}
	data, err := io.ReadAll(flate.NewReaderDict(bytes.NewReader(stored[1:]), known))
	if err != nil {
		return nil, fmt.Errorf("dynamodb: a stored value is damaged: %w", err)
	}
	return data, nil
}
