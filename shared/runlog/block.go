package runlog

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// separator stands between the records of a block. JSON never contains it.
const separator = 0x1E

// encodeBlock writes chunks as one block. Most are deltas of one text that differ in their text alone: behind the first of
// them stands no more than that, as a JSON string.
func encodeBlock(chunks []mastra.Chunk) ([]byte, error) {
	size := 0
	for i := range chunks {
		if d, ok := textDelta(&chunks[i]); ok {
			size += len(d.Text) + 4
		} else if data, err := chunks[i].Encode(); err != nil {
			return nil, err
		} else {
			size += len(data) + 1
		}
	}
	b := make([]byte, 0, size+256)
	var last *mastra.Chunk // the delta that was written in full
	var before []byte      // the record written last, but for deltas
	for i := range chunks {
		c := &chunks[i]
		if i > 0 {
			b = append(b, separator)
		}
		if d, ok := textDelta(c); ok {
			if last != nil && last.RunID == c.RunID && last.From == c.From && last.Payload.(mastra.TextDelta).ID == d.ID {
				b = schema.AppendString(b, d.Text)
				continue
			}
			last = c
		}
		data, err := c.Encode()
		if err != nil {
			return nil, err
		}
		b = appendRecord(b, data, before)
		before = data
	}
	return b, nil
}

// leastShared is how many bytes two records must have in common to be worth it.
const leastShared = 256

// appendRecord appends a record. A finish repeats most of the step-finish before it: what their payloads begin with is not
// written again. It is then "=FROM,LENGTH,HEAD:" with where that stands in the record before, and how long the record's own
// head is, which stands with the rest behind it.
func appendRecord(b, data, before []byte) []byte {
	from, head := bytes.Index(before, payloadKey), bytes.Index(data, payloadKey)
	n := 0
	if from >= 0 && head >= 0 {
		for most := min(len(before)-from, len(data)-head); n < most && before[from+n] == data[head+n]; n++ {
		}
	}
	if n < leastShared {
		return append(b, data...)
	}
	b = strconv.AppendInt(append(b, '='), int64(from), 10)
	b = strconv.AppendInt(append(b, ','), int64(n), 10)
	b = strconv.AppendInt(append(b, ','), int64(head), 10)
	return append(append(append(b, ':'), data[:head]...), data[head+n:]...)
}

var payloadKey = []byte(`"payload":`)

// wholeRecord is a record as it was before appendRecord.
func wholeRecord(record, before []byte) ([]byte, error) {
	if len(record) == 0 || record[0] != '=' {
		return record, nil
	}
	numbers, rest, ok := bytes.Cut(record[1:], []byte{':'})
	var at [3]int
	for i, n := range bytes.Split(numbers, []byte{','}) {
		if i < len(at) {
			var err error
			at[i], err = strconv.Atoi(string(n))
			ok = ok && err == nil && at[i] >= 0
		}
	}
	from, n, head := at[0], at[1], at[2]
	if !ok || from > len(before) || n > len(before)-from || head > len(rest) {
		return nil, errors.New("a record refers to what is not there")
	}
	return slices.Concat(rest[:head], before[from:from+n], rest[head:]), nil
}

func textDelta(c *mastra.Chunk) (d mastra.TextDelta, ok bool) {
	if c.Type != mastra.ChunkTextDelta {
		return d, false
	}
	d, ok = c.Payload.(mastra.TextDelta)
	return d, ok && d.Text == c.Text
}

// decodeBlock reads what encodeBlock wrote. The payloads are JSON but for those of the deltas.
func decodeBlock(b *mastra.ChunkBlock) ([]mastra.Chunk, error) {
	chunks := make([]mastra.Chunk, 0, b.Count)
	var last mastra.Chunk
	var before []byte
	at := b.End
	at.Seq -= int64(b.Count)
	if b.Count == 0 {
		return nil, nil
	}
	for record := range bytes.SplitSeq(b.Data, []byte{separator}) {
		at.Seq++
		var c mastra.Chunk
		if len(record) > 0 && record[0] == '"' && last.Type != "" {
			c = last
			if err := schema.Unmarshal(record, &c.Text); err != nil {
				return nil, fmt.Errorf("a stored block of run %s: %w", b.RunID, err)
			}
			c.Payload = mastra.TextDelta{ID: last.Payload.(mastra.TextDelta).ID, Text: c.Text}
		} else {
			record, err := wholeRecord(record, before)
			if err != nil {
				return nil, fmt.Errorf("a stored block of run %s: %w", b.RunID, err)
			}
			before = record
			var read struct {
				Type    string      `json:"type"`
				RunID   string      `json:"runId"`
				From    string      `json:"from"`
				Text    string      `json:"text"`
				Payload mastra.JSON `json:"payload,omitzero"`
				Object  mastra.JSON `json:"object,omitzero"`
				Data    mastra.JSON `json:"data,omitzero"`
			}
			if err := schema.Unmarshal(record, &read); err != nil {
				return nil, fmt.Errorf("a stored block of run %s: %w", b.RunID, err)
			}
			c = mastra.Chunk{Type: read.Type, RunID: read.RunID, From: read.From, Text: read.Text, Object: read.Object, Data: read.Data}
			if read.Payload != nil {
				c.Payload = read.Payload
			}
			var d mastra.TextDelta
			if c.Type == mastra.ChunkTextDelta && schema.Unmarshal(read.Payload, &d) == nil {
				c.Payload = d
				last = c
			}
			c = c.WithEncoding(record)
		}
		c.At = at
		chunks = append(chunks, c)
	}
	if len(chunks) != b.Count {
		return nil, fmt.Errorf("a stored block of run %s has %d chunks, not %d", b.RunID, len(chunks), b.Count)
	}
	return chunks, nil
}
